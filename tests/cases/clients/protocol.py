"""tritonclient over HTTP or gRPC: what differs between the two, and counting what holds."""

import sys

import ml_dtypes
import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

# Whose fault an error is, as each protocol says it.
FAULTS = {
    "invalid": {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"},
    "unknown": {"http": "404", "grpc": "StatusCode.NOT_FOUND"},
    "too large": {"http": "413", "grpc": "StatusCode.OUT_OF_RANGE"},
    "absent": {"http": "501", "grpc": "StatusCode.UNIMPLEMENTED"},
    "not ready": {"http": "503", "grpc": "StatusCode.UNAVAILABLE"},
    "too slow": {"http": "504", "grpc": "StatusCode.DEADLINE_EXCEEDED"},
}
# Longest wait for an answer; a debug build on a loaded machine needs some of it.
DEADLINE_S = 120


class Protocol:
    """One of the two clients, connected, and the checks made with it."""

    def __init__(self, name, address):
        self.name, self.address, self.passed = name, address, 0
        self.triton = {"http": tritonclient.http, "grpc": tritonclient.grpc}[name]
        self.client = self.connect()

    def connect(self, **options):
        if self.name == "http":
            options = {"connection_timeout": DEADLINE_S, "network_timeout": DEADLINE_S} | options
        return self.triton.InferenceServerClient(self.address, **options)

    def input(self, name, values, **options):
        datatype = "BF16" if values.dtype == ml_dtypes.bfloat16 else np_to_triton_dtype(values.dtype)
        tensor = self.triton.InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values, **options)
        return tensor

    def output(self, name, **options):
        return self.triton.InferRequestedOutput(name, **options)

    def told(self, answer, key=None):
        """What a call for information told, as dictionaries with whole numbers."""
        return whole(answer if self.name == "http" or key is None else answer[key])

    def as_json(self):
        """How a call is asked for dictionaries."""
        return {} if self.name == "http" else {"as_json": True}

    def check(self, holds, what):
        if not holds:
            sys.exit(f"not so over {self.name}: {what}")
        self.passed += 1

    def same(self, found, expected, what):
        equal = found is not None and found.dtype == expected.dtype and found.shape == expected.shape
        self.check(equal and found.tobytes() == expected.tobytes(), f"{what}: {found} instead of {expected}")

    def refused(self, call, fault, *words):
        """A call fails with the status of `fault` and a message with all of `words`."""
        try:
            call()
        except InferenceServerException as error:
            said = f"{error.status()} {error.message()}"
            right = error.status() == FAULTS[fault][self.name] and all(word in error.message() for word in words)
            self.check(right, f"{fault} with {words}; it says {said}")
        else:
            self.check(False, f"it is refused as {fault} with {words}")

    def end(self):
        self.client.close()
        print(f"{self.passed} checks passed")


def whole(value):
    """gRPC's JSON has whole numbers as text."""
    match value:
        case dict():
            return {key: whole(one) for key, one in value.items()}
        case list():
            return [whole(one) for one in value]
        case str() if value.lstrip("-").isdigit():
            return int(value)
    return value


def texts(*strings):
    return np.array(strings, dtype=np.object_)
