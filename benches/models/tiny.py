"""The model of the `overhead` bench: so small that what is measured is the way to it. Run in the Python of `make setup`.

Nine sensors, one hidden layer of eight, one score; its weights are a formula, so the file is the same everywhere.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

SENSORS, HIDDEN = 9, 8


def weights(rows, columns):
    return (np.arange(rows * columns, dtype=np.float32).reshape(rows, columns) % 7 - 3) / 16


graph = helper.make_graph(
    [
        helper.make_node("MatMul", ["sensors", "w1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "w2"], ["scores"]),
    ],
    "tiny",
    [helper.make_tensor_value_info("sensors", TensorProto.FLOAT, [None, SENSORS])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])],
    [
        numpy_helper.from_array(weights(SENSORS, HIDDEN), "w1"),
        numpy_helper.from_array(weights(HIDDEN, 1), "w2"),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
checker.check_model(model, full_check=True)
path = Path(__file__).parent / "tiny-1.0.0" / "model.onnx"
path.write_bytes(model.SerializeToString(deterministic=True))
