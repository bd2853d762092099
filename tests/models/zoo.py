#!/usr/bin/env python3
"""Lays out models of other makers as packages, for the cases that go through every kind of model.

zoo.py lay-out WHEELS TARGET   from the wheels of requirements-zoo.txt and the small models in zoo/; needs requirements.txt
zoo.py train                   makes the small models in zoo/ anew; needs requirements-all.txt

Golden sets hold what ONNX Runtime gives on this machine, so that a case compares the agent with Python and nothing else.
"""

import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
CLASSES = ["bearing", "cavitation", "good"]
SENSORS = 6
CHUNK = 576  # 64 samples of the chunk before and 512 new ones, at 16 kHz
DATATYPES = {"tensor(float)": "FP32", "tensor(int32)": "INT32", "tensor(int64)": "INT64"}


def main():
    match sys.argv[1:]:
        case ["lay-out", wheels, target]:
            lay_out(Path(wheels), Path(target))
        case ["train"]:
            train()
        case _:
            sys.exit(__doc__)


def lay_out(wheels, target):
    shutil.rmtree(target, ignore_errors=True)
    silero = member(wheels, "silero_vad-*.whl", "silero_vad/data/silero_vad.onnx")
    voice(target / "voice-activity", silero)
    magika = member(wheels, "magika-*.whl", "magika/models/standard_v3_3/model.onnx")
    text = np.frombuffer(Path(__file__).read_bytes(), np.uint8)
    plain(target / "file-type", magika, {"bytes": np.concatenate([text[:1024], text[-1024:]]).astype(np.int32)[None]})
    detector, recogniser = (
        member(wheels, "rapidocr_onnxruntime-*.whl", f"rapidocr_onnxruntime/models/ch_PP-OCRv4_{part}_infer.onnx")
        for part in ("det", "rec")
    )
    plain(target / "text-detector", detector, {"x": picture(64, 96)})
    plain(target / "text-recogniser", recogniser, {"x": picture(48, 160)})
    rows = np.linspace(-2, 2, 4 * SENSORS, dtype=np.float32).reshape(4, SENSORS)
    for kind in ("numbers", "names"):
        labelled(target / f"pump-{kind}", (HERE / "zoo" / f"pump-{kind}.onnx").read_bytes(), rows)
    offset(target / "offset")


def member(wheels, wheel, name):
    (path,) = wheels.glob(wheel)
    return zipfile.ZipFile(io.BytesIO(path.read_bytes())).read(name)


def picture(height, width):
    """Something like writing: dark strokes on a light ground."""
    down, right = np.mgrid[:height, :width]
    ink = ((down // 5 + right // 7) % 3 == 0).astype(np.float32)
    return np.repeat((1 - 2 * ink)[None, None], 3, axis=1)


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def write(package, model, spec):
    package.mkdir(parents=True)
    (package / "model.onnx").write_bytes(model)
    manifest = {
        "apiVersion": "millwright/v1",
        "kind": "ModelPackage",
        "metadata": {"name": package.name, "version": "1.0.0"},
        "spec": {"file": "model.onnx", **spec},
    }
    # JSON is YAML too.
    (package / "model.yaml").write_text(json.dumps(manifest, indent=1))


def port(found, shape=None):
    dims = [length if isinstance(length, int) else -1 for length in found.shape] if shape is None else shape
    return {"name": found.name, "datatype": DATATYPES[found.type], "shape": dims}


def golden(package, inputs, outputs):
    tensors = {f"input/{name}": value for name, value in inputs.items()}
    tensors |= {f"output/{name}": value for name, value in outputs.items()}
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, package / "golden.safetensors")


def plain(package, model, inputs):
    """A model of tensors only."""
    run = session(model)
    listed = {"inputs": [port(one) for one in run.get_inputs()], "outputs": [port(one) for one in run.get_outputs()]}
    write(package, model, listed | {"golden": [{"file": "golden.safetensors"}]})
    names = [output.name for output in run.get_outputs()]
    golden(package, inputs, dict(zip(names, run.run(names, inputs), strict=True)))


def voice(package, model):
    """A model with a state: what it gives for a chunk depends on the chunks before."""
    run = session(model)
    ports = {one.name: one for one in run.get_inputs() + run.get_outputs()}
    state = {"input": "state", "output": "stateN", "datatype": "FP32", "shape": [2, 1, 128]}
    write(package, model, {
        "inputs": [port(ports["input"], [1, CHUNK]), port(ports["sr"])],
        "outputs": [port(ports["output"])],
        "state": [state],
    })
    time = np.arange(8 * CHUNK, dtype=np.float32) / 16_000
    sound = np.sin(2 * np.pi * 180 * time) * np.sin(2 * np.pi * 3 * time) ** 2 * 0.4
    chunks = sound.astype(np.float32).reshape(8, 1, CHUNK)
    remembered, heard = np.zeros([2, 1, 128], np.float32), []
    for chunk in chunks:
        inputs = {"input": chunk, "sr": np.array(16_000, np.int64), "state": remembered}
        probability, remembered = run.run(["output", "stateN"], inputs)
        heard.append(probability)
    save_file({"chunks": chunks, "heard": np.stack(heard)}, package / "sequence.safetensors")


def labelled(package, model, rows):
    """A classifier of scikit-learn, whose second output is a sequence of maps."""
    run = session(model)
    label, probabilities = (output.name for output in run.get_outputs())
    labels, maps = run.run(None, {"sensors": rows})
    names = sorted(maps[0])
    text = isinstance(names[0], str)
    keys = {"name": f"{probabilities}.keys", "datatype": "BYTES" if text else "INT64", "shape": [len(names)]}
    write(package, model, {
        "inputs": [port(run.get_inputs()[0])],
        "outputs": [
            {"name": label, "datatype": "BYTES" if text else "INT64", "shape": [-1]},
            {"name": probabilities, "datatype": "FP32", "shape": [-1, len(names)]},
            keys,
        ],
        "golden": [{"file": "golden.safetensors"}],
    })
    table = np.array([[one[name] for name in names] for one in maps], np.float32)
    # A golden set holds numbers; names are compared by the case.
    numbers = {} if text else {label: labels, f"{probabilities}.keys": np.array(names, np.int64)}
    golden(package, {"sensors": rows}, {probabilities: table} | numbers)
    (package / "labels.json").write_text(json.dumps({"labels": list(map(str, labels)), "keys": list(map(str, names))}))


def offset(package):
    """A model with a value of its own for an input: y = x + by, with 10 for `by`."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in (("x", ["n"]), ("by", [1]), ("y", ["n"]))]
    own = numpy_helper.from_array(np.array([10], np.float32), "by")
    graph = helper.make_graph([helper.make_node("Add", ["x", "by"], ["y"])], "offset", ports[:2], ports[2:], [own])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    tensor = {"datatype": "FP32", "shape": [-1]}
    write(package, model.SerializeToString(), {
        "inputs": [{"name": "x", **tensor}, {"name": "by", "datatype": "FP32", "shape": [1], "optional": True}],
        "outputs": [{"name": "y", **tensor}],
    })


def train():
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.neural_network import MLPClassifier

    numbers = np.random.default_rng(7)
    rows = numbers.normal(size=(300, SENSORS)).astype(np.float32)
    kinds = (rows[:, 0] > 0).astype(int) + (rows[:, 1] > 0.5)
    for name, labels in (("numbers", kinds), ("names", np.array(CLASSES)[kinds])):
        network = MLPClassifier([5], random_state=1, max_iter=300).fit(rows, labels)
        types = [("sensors", FloatTensorType([None, SENSORS]))]
        model = skl2onnx.to_onnx(network, initial_types=types, target_opset=15)
        (HERE / "zoo" / f"pump-{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
