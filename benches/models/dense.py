"""The model of the `batching` bench: a dense network whose weights do not fit into a core's own cache, so that a run
mostly waits for weights and rows that share a run share the wait. Run in the Python of `make setup`.

512 values, three hidden layers of 1,024, 16 scores: 2.6 million weights. They are a formula that ONNX Runtime computes
once, when it opens the model, so the file is small and the same everywhere.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

LAYERS = [512, 1024, 1024, 1024, 16]


def initializer(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


nodes, constants = [], []
flowing = "values"
for at, (rows, columns) in enumerate(zip(LAYERS, LAYERS[1:])):
    constants += [
        initializer(f"end{at}", np.int64(rows * columns)),
        initializer(f"shape{at}", np.array([rows, columns], np.int64)),
    ]
    last = at == len(LAYERS) - 2
    nodes += [
        helper.make_node("Range", ["zero", f"end{at}", "one"], [f"count{at}"]),
        helper.make_node("Mod", [f"count{at}", "cycle"], [f"cycled{at}"]),
        helper.make_node("Cast", [f"cycled{at}"], [f"float{at}"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"float{at}", "middle"], [f"centred{at}"]),
        helper.make_node("Div", [f"centred{at}", "scale"], [f"flat{at}"]),
        helper.make_node("Reshape", [f"flat{at}", f"shape{at}"], [f"w{at}"]),
        helper.make_node("MatMul", [flowing, f"w{at}"], ["scores" if last else f"hidden{at}"]),
    ]
    if not last:
        nodes.append(helper.make_node("Relu", [f"hidden{at}"], [f"active{at}"]))
        flowing = f"active{at}"
constants += [
    initializer("zero", np.int64(0)),
    initializer("one", np.int64(1)),
    initializer("cycle", np.int64(61)),
    initializer("middle", np.float32(30)),
    initializer("scale", np.float32(512)),
]
graph = helper.make_graph(
    nodes,
    "dense",
    [helper.make_tensor_value_info("values", TensorProto.FLOAT, [None, LAYERS[0]])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, LAYERS[-1]])],
    constants,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
checker.check_model(model, full_check=True)
path = Path(__file__).parent / "dense-1.0.0" / "model.onnx"
path.write_bytes(model.SerializeToString(deterministic=True))
