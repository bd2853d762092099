"""One inference over HTTP with the golden inputs of a package; exits 0 when the golden outputs come back.

Usage: infer.py http://HOST:PORT PACKAGE
"""

import json
import pathlib
import sys
import urllib.request

import numpy as np
from safetensors.numpy import load_file

DATATYPES = {"float32": "FP32", "int64": "INT64"}


def main(base, package):
    package = pathlib.Path(package)
    model = package.name.rsplit("-", 1)[0]
    golden = load_file(next((package / "golden").glob("*.safetensors")))
    inputs = [
        {
            "name": name.removeprefix("input/"),
            "datatype": DATATYPES[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data": tensor.ravel().tolist(),
        }
        for name, tensor in golden.items()
        if name.startswith("input/")
    ]
    request = urllib.request.Request(
        f"{base}/v2/models/{model}/infer",
        data=json.dumps({"inputs": inputs}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        outputs = {output["name"]: output for output in json.load(answer)["outputs"]}
    for name, tensor in golden.items():
        if name.startswith("output/"):
            got = np.asarray(outputs[name.removeprefix("output/")]["data"], tensor.dtype).reshape(tensor.shape)
            np.testing.assert_allclose(got, tensor, atol=1e-3, rtol=1e-3)
    print(f"{model}: {', '.join(sorted(outputs))} agree with the golden outputs")


if __name__ == "__main__":
    main(*sys.argv[1:])
