"""Package directories: the small committed parts, the ONNX files, golden sets and checksums.

`packages/<name>-<version>/` holds everything of a package but large ONNX files; `checksums` names the SHA-256 of every
ONNX file in the form of sha256sum.
"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import yaml
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "packages"
CHECKSUMS = HERE / "checksums"
DATATYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}


class Mismatch(Exception):
    """What was built is not what was committed, or does not do what it says."""


def names():
    return sorted(path.name for path in SOURCE.iterdir())


def digest(data):
    return hashlib.sha256(data).hexdigest()


def checksums():
    lines = CHECKSUMS.read_text().splitlines()
    return {path.strip(): sha256 for sha256, path in (line.split(maxsplit=1) for line in lines)}


def write_checksums(target):
    lines = [f"{digest((target / name / 'model.onnx').read_bytes())}  {name}/model.onnx\n" for name in names()]
    CHECKSUMS.write_text("".join(lines))


def lay_out(target, name, model=None):
    """Makes `target/<name>` from the committed parts and `model`, checked, in one step."""
    data = model.SerializeToString(deterministic=True) if model else (SOURCE / name / "model.onnx").read_bytes()
    expected, found = checksums().get(f"{name}/model.onnx"), digest(data)
    if found != expected:
        raise Mismatch(
            f"{name}/model.onnx has SHA-256 {found} instead of {expected}: "
            "use the versions of requirements.txt, or `build.py all` if it was changed on purpose"
        )
    target.mkdir(parents=True, exist_ok=True)
    finished, partial = target / name, target / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(SOURCE / name, partial)
    (partial / "model.onnx").write_bytes(data)
    shutil.rmtree(finished, ignore_errors=True)
    partial.rename(finished)
    return found


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def write_golden(path, model, inputs):
    """Runs `model` on `inputs` and keeps both as tensors `input/<name>` and `output/<name>`."""
    outputs = [output.name for output in model.get_outputs()]
    results = dict(zip(outputs, model.run(outputs, inputs), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"input/{name}": np.ascontiguousarray(value) for name, value in inputs.items()}
        | {f"output/{name}": np.ascontiguousarray(value) for name, value in results.items()},
        path,
    )


def check(directory):
    """Checks a package against its manifest and golden sets; yields the largest difference of every output."""
    manifest = yaml.safe_load((directory / "model.yaml").read_text())
    spec = manifest["spec"]
    if f"{manifest['metadata']['name']}-{manifest['metadata']['version']}" != directory.name:
        raise Mismatch(f"{directory}: model.yaml is of another model or version")
    model = session(directory / spec["file"])
    for kind, found in (("inputs", model.get_inputs()), ("outputs", model.get_outputs())):
        found = [(value.name, DATATYPES[value.type], dims(value.shape)) for value in found]
        told = [(value["name"], value["datatype"], value["shape"]) for value in spec[kind]]
        if found != told:
            raise Mismatch(f"{directory}: model.yaml tells {kind} {told}, the model has {found}")
    for golden in spec["golden"]:
        tensors = load_file(directory / golden["file"])
        expected = by_name(tensors, "output/")
        results = model.run(list(expected), by_name(tensors, "input/"))
        for (name, wanted), result in zip(expected.items(), results, strict=True):
            error = np.abs(result.astype(np.float64) - wanted.astype(np.float64))
            allowed = golden["absoluteTolerance"] + golden["relativeTolerance"] * np.abs(wanted)
            if result.shape != wanted.shape or (error > allowed).any():
                raise Mismatch(f"{directory}: output {name} of {golden['file']} is off by up to {error.max():.6g}")
            yield name, float(error.max()), float((error / allowed).max())


def dims(shape):
    return [length if isinstance(length, int) else -1 for length in shape]


def by_name(tensors, prefix):
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
