"""What a model gives through the agent and what ONNX Runtime in Python gives for the same.

Usage: agreement.py http|grpc HOST:PORT PACKAGE      with one of the models below
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from protocol import Protocol

RANDOM = np.random.default_rng(4)


def picture(height, width, high):
    return RANDOM.uniform(0, high, (1, 3, height, width)).astype(np.float32)


def bytes_of(count):
    return RANDOM.integers(0, 256, (count, 2048)).astype(np.int32)


# Inputs of several shapes for each.
INPUTS = {
    "face-detector": lambda: [{"input.1": picture(height, width, 255)} for height, width in ((32, 32), (64, 96), (160, 128))],
    "shuttle-anomaly": lambda: [{"sensors": RANDOM.normal(50, 25, (rows, 9)).astype(np.float32)} for rows in (1, 7, 500)],
    "file-type": lambda: [{"bytes": bytes_of(count)} for count in (1, 2, 5)],
    "text-recogniser": lambda: [{"x": picture(48, width, 1)} for width in (64, 160, 320)],
}
# Differences come from sums in another order, where the number of threads is another.
ABSOLUTE, RELATIVE = 1e-5, 1e-4


def main(name, address, package):
    to = Protocol(name, address)
    model = served(to)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(Path(package) / "model.onnx"), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for inputs in INPUTS[model]():
        result = to.client.infer(model, [to.input(name, values) for name, values in inputs.items()])
        shapes = [values.shape for values in inputs.values()]
        for name, expected in zip(names, session.run(names, inputs), strict=True):
            found = result.as_numpy(name)
            same = found.dtype == expected.dtype and found.shape == expected.shape
            close = same and np.allclose(found, expected, atol=ABSOLUTE, rtol=RELATIVE)
            to.check(close, f"`{name}` of {model} for {shapes} is that of ONNX Runtime: {found} instead of {expected}")
    to.end()


def served(to):
    (model,) = to.told(to.client.get_model_repository_index(**to.as_json()), "models")
    return model["name"]


if __name__ == "__main__":
    main(*sys.argv[1:])
