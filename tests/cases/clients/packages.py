"""Makes the packages that the scripts beside it ask, each in its own directory of DIRECTORY.

Usage: packages.py DIRECTORY

  echo   gives back what it gets: strings of any bytes, and both kinds of floats of 16 bits
  big    gives back numbers, as many as a request can carry
  slow   multiplies matrices, as often as it is told
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

TYPES = {"BYTES": TensorProto.STRING, "FP16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}
# Multiplying two matrices of this many rows and columns takes about a millisecond.
SIDE = 256


def main(directory):
    echo(Path(directory) / "echo", {"strings": "BYTES", "half": "FP16", "brain": "BF16"})
    echo(Path(directory) / "big", {"numbers": "FP32"})
    slow(Path(directory) / "slow")


def write(package, graph, inputs, outputs):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    package.mkdir()
    (package / "model.onnx").write_bytes(model.SerializeToString())
    manifest = {
        "apiVersion": "millwright/v1",
        "kind": "ModelPackage",
        "metadata": {"name": package.name, "version": "1.0.0"},
        "spec": {"file": "model.onnx", "inputs": inputs, "outputs": outputs},
    }
    # JSON is YAML too.
    (package / "model.yaml").write_text(json.dumps(manifest, indent=1))


def echo(package, types):
    """A model whose outputs, called like its inputs with `same-` before, are its inputs."""
    def listed(prefix):
        return [{"name": prefix + name, "datatype": datatype, "shape": [-1]} for name, datatype in types.items()]

    def ports(prefix):
        return [helper.make_tensor_value_info(prefix + name, TYPES[datatype], [name]) for name, datatype in types.items()]

    nodes = [helper.make_node("Identity", [name], ["same-" + name]) for name in types]
    graph = helper.make_graph(nodes, package.name, ports(""), ports("same-"))
    write(package, graph, listed(""), listed("same-"))


def slow(package):
    """`count` is `rounds` again, once a matrix was multiplied that many times; `mean` is that of the matrix."""
    info = helper.make_tensor_value_info
    matrix = [SIDE, SIDE]
    # Multiplied with itself it is itself, so numbers stay what they are.
    own = numpy_helper.from_array(np.full(matrix, 1 / SIDE, np.float32), "own")
    one = numpy_helper.from_array(np.array(1, np.int64), "one")
    none = numpy_helper.from_array(np.array(0, np.int64), "none")
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes-on"]),
            helper.make_node("MatMul", ["before", "own"], ["after"]),
            helper.make_node("Add", ["counted", "one"], ["counts"]),
        ],
        "round",
        [info("round", TensorProto.INT64, []), info("going", TensorProto.BOOL, []), info("before", TensorProto.FLOAT, matrix), info("counted", TensorProto.INT64, [])],
        [info("goes-on", TensorProto.BOOL, []), info("after", TensorProto.FLOAT, matrix), info("counts", TensorProto.INT64, [])],
    )
    nodes = [
        helper.make_node("Loop", ["rounds", "", "own", "none"], ["last", "count"], body=body),
        helper.make_node("ReduceMean", ["last"], ["mean"], keepdims=0),
    ]
    inputs = [info("rounds", TensorProto.INT64, [])]
    outputs = [info("count", TensorProto.INT64, []), info("mean", TensorProto.FLOAT, [])]
    graph = helper.make_graph(nodes, "slow", inputs, outputs, [own, one, none])
    listed = [{"name": "count", "datatype": "INT64", "shape": []}, {"name": "mean", "datatype": "FP32", "shape": []}]
    write(package, graph, [{"name": "rounds", "datatype": "INT64", "shape": []}], listed)


if __name__ == "__main__":
    main(*sys.argv[1:])
