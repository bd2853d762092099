"""tritonclient against a running agent: metadata, readiness, inference with binary and with JSON tensors.

Usage: triton_http.py HOST:PORT GOLDEN.safetensors
"""

import sys

import numpy as np
import tritonclient.http as triton
from safetensors.numpy import load_file
from tritonclient.utils import InferenceServerException

MODEL = "shuttle-anomaly"


def infer(client, rows, binary):
    tensor = triton.InferInput("sensors", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "scores")]
    return client.infer(MODEL, [tensor], outputs=wanted, request_id="seven")


def main(address, golden_file):
    golden = load_file(golden_file)
    rows, labels, scores = (golden[name] for name in ("input/sensors", "output/label", "output/scores"))
    client = triton.InferenceServerClient(address)
    checks = 0

    def check(holds, what):
        nonlocal checks
        if not holds:
            sys.exit(f"not so: {what}")
        checks += 1

    check(client.is_server_live() and client.is_server_ready(), "the server is live and ready")
    check("binary_tensor_data" in client.get_server_metadata()["extensions"], "the server takes binary tensors")
    check(client.is_model_ready(MODEL) and not client.is_model_ready("nobody"), "only the model is ready")
    metadata = client.get_model_metadata(MODEL)
    check(
        metadata["inputs"] == [{"name": "sensors", "datatype": "FP32", "shape": [-1, 9]}]
        and [output["name"] for output in metadata["outputs"]] == ["label", "scores"],
        f"the metadata are the manifest's: {metadata}",
    )
    for binary in (True, False):
        result = infer(client, rows, binary)
        same = np.array_equal(result.as_numpy("label"), labels) and np.allclose(
            result.as_numpy("scores"), scores, atol=1e-4, rtol=0
        )
        check(same and result.get_response()["id"] == "seven", f"the golden outputs come back (binary: {binary})")
    try:
        infer(client, rows[:, :4].copy(), True)
        check(False, "a wrong shape is refused")
    except InferenceServerException as error:
        check(error.status() == "400" and "sensors" in error.message(), f"the error names the input: {error}")
    print(f"{checks} checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
