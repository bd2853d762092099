"""The largest tensors a request can carry, and the smallest that it cannot.

Usage: limits.py http|grpc HOST:PORT PACKAGE      with the package `big` of packages.py
"""

import sys

import numpy as np
from protocol import Protocol

LIMIT = 64 * 1024 * 1024
# Over HTTP the limit is that of the body, header and tensor together; over gRPC there is room for names beside the tensors.
HEADER = 4096


def main(name, address, _package):
    to = Protocol(name, address)
    largest = LIMIT - HEADER if name == "http" else LIMIT
    over = LIMIT if name == "http" else LIMIT + 128 * 1024
    for size in (4, 1 << 20, largest):
        numbers = np.random.default_rng(size).integers(0, 1 << 32, size // 4, dtype=np.uint32).view(np.float32)
        to.same(echoed(to, numbers), numbers, f"{size} bytes come back")
    for size in (over, 2 * LIMIT - HEADER):
        to.refused(lambda size=size: echoed(to, np.zeros(size // 4, np.float32)), "too large", str(LIMIT + 64 * 1024 if name == "grpc" else LIMIT))
    few = np.arange(10, dtype=np.float32)
    to.same(echoed(to, few), few, "the next request is answered")
    to.end()


def echoed(to, numbers):
    return to.client.infer("big", [to.input("numbers", numbers)]).as_numpy("same-numbers")


if __name__ == "__main__":
    main(*sys.argv[1:])
