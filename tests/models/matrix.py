#!/usr/bin/env python3
"""Lays out the operator models of Debian's libonnx-testdata as packages, each with inputs and what ONNX Runtime gives for them.

matrix.py SOURCE TARGET   SOURCE is the package's directory of models, TARGET gets one directory for each

TARGET/matrix.json says of every model what it is good for:
  cases       packages to run: model.onnx, model.yaml, and case.json + case.bin, the inputs and the outputs of ONNX Runtime
  different   cases whose outputs are not those that came with the model: ONNX Runtime's matter, or random numbers
  refused     models that ONNX Runtime in Python cannot open or run, with its reason
  beyond      models with inputs or outputs that are no tensors of the Open Inference Protocol, with the reason
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float": "FP32", "double": "FP64", "bfloat16": "BF16", "string": "BYTES",
}
TENSOR = "tensor("
SEQUENCE = "seq(tensor("


class Beyond(Exception):
    """Not for the Open Inference Protocol."""


def main():
    source, target = map(Path, sys.argv[1:])
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    found = {"cases": [], "different": [], "refused": {}, "beyond": {}}
    onnxruntime.set_default_logger_severity(4)
    models = sorted(source.rglob("model.onnx"))
    for number, model in enumerate(models):
        name = f"{model.parent.parent.name}/{model.parent.name}"
        package = target / f"m{number:04}"
        try:
            same = lay_out(model, package, name)
            found["cases"].append({"directory": package.name, "name": name})
            if not same:
                found["different"].append(name)
        except Beyond as error:
            found["beyond"][name] = str(error)
        except Exception as error:  # ONNX Runtime and onnx raise whatever they like.
            found["refused"][name] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
    (target / "matrix.json").write_text(json.dumps(found, indent=1))
    print({kind: len(models) for kind, models in found.items()})


def lay_out(model, package, name):
    """Writes the package of one model; says whether ONNX Runtime gives what came with it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    ports = session.get_inputs() + session.get_outputs()
    for port in ports:
        check(port.type)
    if not session.get_inputs():
        raise Beyond("no inputs: a manifest lists at least one")
    data = model.parent / "test_data_set_0"
    values = [read(data / f"input_{index}.pb") for index in range(len(list(data.glob("input_*.pb"))))]
    inputs = dict(zip((port.name for port in session.get_inputs()), values, strict=True))
    outputs = session.run(None, inputs)
    outputs = [tensor(value, port.type) for value, port in zip(outputs, session.get_outputs(), strict=True)]
    package.mkdir()
    shutil.copy(model, package)
    write_manifest(package, session, name)
    write_case(package, session, list(inputs.values()), outputs)
    return all(close(data / f"output_{index}.pb", value) for index, value in enumerate(outputs))


def check(kind):
    known = any(kind == f"tensor({name})" or kind == f"seq(tensor({name}))" for name in DATATYPES)
    if not known:
        raise Beyond(f"{kind} is no tensor of the protocol")


def read(path):
    proto = onnx.TensorProto()
    try:
        proto.ParseFromString(path.read_bytes())
        return numpy_helper.to_array(proto)
    except Exception as error:
        raise Beyond(f"{path.name} is no tensor") from error


def tensor(value, kind):
    """An output as clients see it: a sequence of tensors of one shape is one tensor."""
    if not kind.startswith(SEQUENCE):
        return np.asarray(value)
    if len({element.shape for element in value}) > 1:
        raise Beyond("a sequence of tensors of several shapes")
    return np.stack(value) if value else np.zeros([0], np.float32)


def close(path, value):
    """Whether an output is what came with the model."""
    proto = onnx.TensorProto()
    try:
        proto.ParseFromString(path.read_bytes())
        expected = numpy_helper.to_array(proto)
    except Exception:
        return True  # A sequence; ours is compared with ONNX Runtime all the same.
    if value.shape != expected.shape:
        return False
    if value.dtype.kind in "OSU":
        return [text(one) for one in value.ravel()] == [text(one) for one in expected.ravel()]
    return np.allclose(value.astype(np.float64), expected.astype(np.float64), rtol=1e-3, atol=1e-5, equal_nan=True)


def write_manifest(package, session, name):
    def listed(ports):
        return [{"name": port.name, "datatype": datatype(port.type), "shape": dims(port)} for port in ports]

    spec = {"file": "model.onnx", "inputs": listed(session.get_inputs()), "outputs": listed(session.get_outputs())}
    manifest = {
        "apiVersion": "millwright/v1",
        "kind": "ModelPackage",
        "metadata": {"name": package.name, "version": "1.0.0", "description": name},
        "spec": spec,
    }
    # JSON is YAML too.
    (package / "model.yaml").write_text(json.dumps(manifest, indent=1))


def datatype(kind):
    return DATATYPES[kind.rstrip(")").rpartition("(")[2]]


def dims(port):
    shape = [length if isinstance(length, int) and length > 0 else -1 for length in port.shape or []]
    return [-1, *shape] if port.type.startswith(SEQUENCE) and shape else shape


def write_case(package, session, inputs, outputs):
    blob = bytearray()

    def place(port, value):
        value = np.asarray(value)
        data = encode(value)
        blob.extend(data)
        return {
            "name": port.name,
            "datatype": datatype(port.type),
            "shape": list(value.shape),
            "offset": len(blob) - len(data),
            "length": len(data),
        }

    case = {
        "inputs": [place(port, value) for port, value in zip(session.get_inputs(), inputs, strict=True)],
        "outputs": [place(port, value) for port, value in zip(session.get_outputs(), outputs, strict=True)],
    }
    (package / "case.json").write_text(json.dumps(case))
    (package / "case.bin").write_bytes(blob)


def encode(value):
    if value.dtype.kind not in "OSU":
        return np.ascontiguousarray(value).tobytes()
    texts = [text(one) for one in value.ravel()]
    return b"".join(len(one).to_bytes(4, "little") + one for one in texts)


def text(value):
    return value if isinstance(value, bytes) else str(value).encode()


if __name__ == "__main__":
    main()
