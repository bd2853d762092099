"""Clients that wait no longer: the agent goes on, and what they had asked takes no place from others.

Usage: patience.py http|grpc HOST:PORT PACKAGE      with the package `slow` of packages.py
"""

import queue
import sys

import numpy as np
from protocol import DEADLINE_S, Protocol

# Rounds that take a second or more, and a wait that is over long before.
LONG = 1000
SHORT_S = 0.05
# More than a worker computes or copies at a time.
GIVEN_UP = 6


def main(name, address, _package):
    to = Protocol(name, address)
    to.check(counted(to, 3) == 3, "the model counts its rounds")
    # Triton's own limit, which the agent keeps.
    limit = int(SHORT_S * 1e6)
    to.refused(lambda: counted(to, LONG, timeout=limit), "too slow", "slow", f"{int(SHORT_S * 1e3)} ms")
    to.check(counted(to, 4, timeout=DEADLINE_S * 10**6) == 4, "a limit that is not reached does nothing")
    for _ in range(GIVEN_UP):
        give_up(to)
    to.check(counted(to, 5) == 5, "the next request is answered")
    if name == "grpc":
        cancel(to)
        to.check(counted(to, 6) == 6, "the next request is answered")
    failed = statistics(to)
    many = [counted(to, rounds) for rounds in range(20)]
    to.check(many == list(range(20)) and statistics(to) == failed, "and all after it, without a failure")
    to.check(to.client.is_server_ready() and to.client.is_model_ready("slow"), "the agent is ready")
    to.end()


def rounds_of(to, count):
    return [to.input("rounds", np.array(count, np.int64))]


def counted(to, rounds, **options):
    result = to.client.infer("slow", rounds_of(to, rounds), **options)
    mean = result.as_numpy("mean")
    if not np.isclose(mean, 1 / 256):
        sys.exit(f"the matrix is another one: {mean}")
    return int(result.as_numpy("count"))


def give_up(to):
    """Asks, and leaves before the answer."""
    if to.name == "grpc":
        to.refused(lambda: counted(to, LONG, client_timeout=SHORT_S), "too slow")
        return
    with to.connect(network_timeout=SHORT_S) as hasty:
        try:
            hasty.infer("slow", rounds_of(to, LONG))
        except TimeoutError:
            to.check(True, "the client gave up")
        else:
            to.check(False, "the client gives up before the answer")


def cancel(to):
    answers = queue.Queue()
    calls = [
        to.client.async_infer("slow", rounds_of(to, LONG), lambda result, error: answers.put((result, error)))
        for _ in range(GIVEN_UP)
    ]
    for call in calls:
        call.cancel()
    for _ in calls:
        _, error = answers.get(timeout=DEADLINE_S)
        to.check(error is not None and "CANCELLED" in str(error.status()), f"a cancelled call says so: {error}")


def statistics(to):
    stats = to.told(to.client.get_inference_statistics("slow", **to.as_json()))["model_stats"][0]
    return stats["inference_stats"]["fail"].get("count", 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
