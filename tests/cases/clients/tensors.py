"""Tensors of strings and of floats of 16 bits, there and back.

Usage: tensors.py http|grpc HOST:PORT PACKAGE      with the package `echo` of packages.py
"""

import sys

import ml_dtypes
import numpy as np
from protocol import Protocol, texts

NONE = {"strings": texts(), "half": np.array([], np.float16), "brain": np.array([], ml_dtypes.bfloat16)}
STRINGS = {
    "text": texts(b"press", "Maß".encode()),
    "a zero inside": texts(b"a\0b", b"\0", b"\0\0\0"),
    "what is no UTF-8": texts(b"\xff\xfe", b"\x80", b"\xc3", b"\xed\xa0\x80"),
    "empty ones": texts(b"", b"a", b""),
    "every byte": texts(bytes(range(256)), *(bytes([byte]) for byte in range(256))),
    "a long one": texts(bytes(range(256)) * 4096, b"short"),
    "none": texts(),
}


def main(name, address, _package):
    to = Protocol(name, address)
    for what, strings in STRINGS.items():
        found = echoed(to, strings=strings)["strings"]
        to.check(list(found) == list(strings) and found.shape == strings.shape, f"strings come back, {what}: {found}")
    random = np.random.default_rng(1)
    many = texts(*(random.bytes(int(length)) for length in random.integers(0, 40, 5000)))
    to.check(list(echoed(to, strings=many)["strings"]) == list(many), "five thousand strings come back")
    # Every bit pattern of 16 bits is one of each.
    patterns = np.arange(1 << 16, dtype=np.uint16)
    to.same(echoed(to, half=patterns.view(np.float16))["half"], patterns.view(np.float16), "every FP16, NaN and subnormal among them")
    brain = patterns.view(ml_dtypes.bfloat16)
    to.same(echoed(to, brain=brain)["brain"].astype(ml_dtypes.bfloat16), brain, "every BF16")
    both = echoed(to, strings=texts(b"\0"), half=np.array([1.5], np.float16), brain=np.array([-2], ml_dtypes.bfloat16))
    to.check(list(both["strings"]) == [b"\0"] and both["half"][0] == 1.5 and both["brain"][0] == -2, f"all kinds at once: {both}")
    damaged(to)
    if name == "http":
        json(to)
    to.end()


def inputs(to, **given):
    return [to.input(name, values) for name, values in (NONE | given).items()]


def echoed(to, **given):
    result = to.client.infer("echo", inputs(to, **given))
    return {name: result.as_numpy(f"same-{name}") for name in NONE}


def damaged(to):
    """Strings are refused whose lengths do not fill the data."""
    whole = texts(b"one", b"two")
    for what, data in {
        "a string is missing": b"\3\0\0\0one",
        "the last one is cut": b"\3\0\0\0one\3\0\0\0tw",
        "there is one more": b"\3\0\0\0one\3\0\0\0two\0\0\0\0",
        "a length is beyond everything": b"\3\0\0\0one\xff\xff\xff\xff",
    }.items():
        request = inputs(to, strings=whole)
        if to.name == "http":
            request[0]._raw_data = data
            request[0]._parameters["binary_data_size"] = len(data)
        else:
            request[0]._raw_content = data
        to.refused(lambda request=request: to.client.infer("echo", request), "invalid", "strings", "2 strings")
    found = echoed(to, strings=whole)["strings"]
    to.check(list(found) == list(whole), "and the next request is answered")


def json(to):
    """Strings as JSON has them: text, also with a zero; what is none is told."""
    text = texts("Maß\0".encode(), b"")
    request = inputs(to, strings=text)
    request[0] = to.input("strings", text, binary_data=False)
    as_json = [to.output("same-strings", binary_data=False)]
    result = to.client.infer("echo", request, outputs=as_json)
    found = result.get_response()["outputs"][0]["data"]
    to.check(found == ["Maß\0", ""], f"text as JSON: {found}")
    no_text = inputs(to, strings=texts(b"\xff"))
    to.refused(lambda: to.client.infer("echo", no_text, outputs=as_json), "invalid", "same-strings", "not UTF-8", "binary_data")
    for name in ("half", "brain"):
        wanted = [to.output(f"same-{name}", binary_data=False)]
        to.refused(lambda wanted=wanted: to.client.infer("echo", inputs(to), outputs=wanted), "invalid", f"same-{name}", "binary data only")


if __name__ == "__main__":
    main(*sys.argv[1:])
