"""tritonclient's gRPC client against a running agent: metadata, inference, streams, errors, the repository.

Usage: triton_grpc.py HOST:PORT GOLDEN.safetensors
"""

import queue
import sys

import numpy as np
import tritonclient.grpc as triton
from safetensors.numpy import load_file
from tritonclient.utils import InferenceServerException

MODEL = "shuttle-anomaly"


def sensors(rows):
    tensor = triton.InferInput("sensors", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    return [tensor]


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

    def same(result):
        return np.array_equal(result.as_numpy("label"), labels) and np.allclose(
            result.as_numpy("scores"), scores, atol=1e-4, rtol=0
        )

    def refused(call, status, words):
        try:
            call()
        except InferenceServerException as error:
            said = f"{error.status()} {error.message()}"
            check(status in error.status() and words in error.message(), f"{words} in {said}")
        else:
            check(False, f"{words} is refused")

    check(client.is_server_live() and client.is_server_ready(), "the server is live and ready")
    check("sequence" in client.get_server_metadata().extensions, "the server knows sequences")
    check(client.is_model_ready(MODEL) and not client.is_model_ready("nobody"), "only the model is ready")
    metadata = client.get_model_metadata(MODEL)
    check(list(metadata.inputs[0].shape) == [-1, 9], f"the metadata are the manifest's: {metadata}")
    check(client.get_model_config(MODEL).config.input[0].data_type == 11, "the configuration says FP32")
    result = client.infer(MODEL, sensors(rows), request_id="seven")
    check(same(result) and result.get_response().id == "seven", "the golden outputs come back")
    best = client.infer(MODEL, sensors(rows), outputs=[triton.InferRequestedOutput("scores", class_count=1)])
    check(best.as_numpy("scores").shape == (len(rows), 1), "one best class for each row")
    answers = queue.Queue()
    for _ in range(32):
        client.async_infer(MODEL, sensors(rows), lambda result, error: answers.put((result, error)))
    many = [answers.get(timeout=30) for _ in range(32)]
    check(all(error is None and same(result) for result, error in many), "32 requests at once are answered alike")
    streamed = queue.Queue()
    with triton.InferenceServerClient(address) as other:
        other.start_stream(lambda result, error: streamed.put((result, error)))
        other.async_stream_infer(MODEL, sensors(rows), request_id="one")
        other.async_stream_infer(MODEL, sensors(rows[:, :4].copy()), request_id="two")
        other.async_stream_infer(MODEL, sensors(rows), request_id="three")
        told = [streamed.get(timeout=30) for _ in range(3)]
        other.stop_stream()
    check(same(told[0][0]) and told[1][1] is not None and same(told[2][0]), "a stream outlives an error in it")
    refused(lambda: client.infer(MODEL, sensors(rows[:, :4].copy())), "INVALID_ARGUMENT", "sensors")
    refused(lambda: client.infer("nobody", sensors(rows)), "NOT_FOUND", "nobody")
    refused(lambda: client.get_system_shared_memory_status(), "UNIMPLEMENTED", "")
    stats = client.get_inference_statistics(MODEL).model_stats[0]
    check(stats.inference_count >= 36 and 0 < stats.execution_count <= stats.inference_count, f"{stats}")
    index = client.get_model_repository_index().models
    check([(model.name, model.state) for model in index] == [(MODEL, "READY")], f"{index}")
    client.unload_model(MODEL)
    check(not client.is_model_ready(MODEL), "an unloaded model is not ready")
    client.load_model(MODEL)
    check(same(client.infer(MODEL, sensors(rows))), "a loaded model answers again")
    print(f"{checks} checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
