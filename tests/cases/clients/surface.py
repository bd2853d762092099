"""What Triton's clients can ask of one model besides its answers, and what goes wrong: information, errors, statistics, classes,
the repository, many clients at once.

Usage: surface.py http|grpc HOST:PORT PACKAGE      with shuttle-anomaly, which joins requests; gRPC only: streams
"""

import queue
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from protocol import DEADLINE_S, Protocol
from safetensors.numpy import load_file

MODEL = "shuttle-anomaly"
VERSION = "1.0.0"
EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "sequence", "statistics"]
CLIENTS = 16
REQUESTS = 50


def main(name, address, package):
    to = Protocol(name, address)
    golden = load_file(Path(package) / "golden/rows.safetensors")
    rows, expected = golden["input/sensors"], {output: golden[f"output/{output}"] for output in ("label", "scores")}
    information(to)
    answers(to, rows, expected)
    errors(to, rows)
    classes(to, rows, expected["scores"])
    absent(to, rows)
    statistics(to, rows)
    at_once(to, package)
    if name == "grpc":
        streams(to, rows, expected)
    repository(to, rows, expected)
    to.end()


def infer(to, rows, **options):
    return to.client.infer(MODEL, [to.input("sensors", rows)], **options)


def right(result, expected):
    return all(np.allclose(result.as_numpy(name), values, atol=1e-4, rtol=0) for name, values in expected.items())


def information(to):
    client, json = to.client, to.as_json()
    to.check(client.is_server_live() and client.is_server_ready(), "the server is live and ready")
    server = to.told(client.get_server_metadata(**json))
    to.check(server["name"] == "millwright" and server["extensions"] == EXTENSIONS, f"what the server can do: {server}")
    to.check(client.is_model_ready(MODEL) and client.is_model_ready(MODEL, VERSION), "the model is ready, in its version")
    to.check(not client.is_model_ready("nobody"), "a model that is not here is not ready")
    to.check(not client.is_model_ready(MODEL, "9.9.9"), "nor is another version")
    metadata = to.told(client.get_model_metadata(MODEL, **json))
    outputs = [("label", "INT64", [-1, 1]), ("scores", "FP32", [-1, 1])]
    to.check(
        metadata == {
            "name": MODEL, "versions": [VERSION], "platform": "onnxruntime_onnx",
            "inputs": [{"name": "sensors", "datatype": "FP32", "shape": [-1, 9]}],
            "outputs": [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in outputs],
        },
        f"the metadata are the manifest's: {metadata}",
    )
    config = to.told(client.get_model_config(MODEL, **json), "config")
    to.check([(one["name"], one["data_type"], one["dims"]) for one in config["input"]] == [("sensors", "TYPE_FP32", [-1, 9])], f"{config}")
    kinds = [(one["name"], one["data_type"]) for one in config["output"]]
    to.check(kinds == [("label", "TYPE_INT64"), ("scores", "TYPE_FP32")], f"{config}")
    to.check("dynamic_batching" in config and config["backend"] == "onnxruntime", f"{config}")
    index = to.told(client.get_model_repository_index(**json), "models")
    known = [(model["name"], model["version"], model["state"]) for model in index]
    to.check(known == [(MODEL, VERSION, "READY")], f"{index}")


def answers(to, rows, expected):
    result = infer(to, rows, request_id="seven", model_version=VERSION)
    to.check(right(result, expected), "the golden outputs come back")
    response = result.get_response()
    said = response if to.name == "http" else {"id": response.id, "model_name": response.model_name, "model_version": response.model_version}
    to.check((said["id"], said["model_name"], said["model_version"]) == ("seven", MODEL, VERSION), f"who answers what: {said}")
    scores = infer(to, rows, outputs=[to.output("scores")])
    to.check(right(scores, {"scores": expected["scores"]}) and scores.as_numpy("label") is None, "one output alone")
    if to.name == "http":
        wanted = [to.output(output, binary_data=False) for output in ("scores", "label")]
        result = to.client.infer(MODEL, [to.input("sensors", rows, binary_data=False)], outputs=wanted)
        order = [output["name"] for output in result.get_response()["outputs"]]
        to.check(right(result, expected) and order == ["scores", "label"], f"the same as lists of JSON, in the order asked for: {order}")


def errors(to, rows):
    client, sensors = to.client, to.input("sensors", rows)
    to.refused(lambda: client.infer("nobody", [sensors]), "unknown", "nobody")
    to.refused(lambda: infer(to, rows, model_version="9.9.9"), "unknown", "9.9.9", VERSION)
    to.refused(lambda: client.get_model_metadata("nobody"), "unknown", "nobody")
    to.refused(lambda: client.get_model_config(MODEL, "9.9.9"), "unknown", "9.9.9")
    to.refused(lambda: client.get_inference_statistics("nobody"), "unknown", "nobody")
    to.refused(lambda: infer(to, rows.astype(np.float64)), "invalid", "sensors", "FP32", "FP64")
    to.refused(lambda: infer(to, rows[:, :4].copy()), "invalid", "sensors", "[-1, 9]", "4]")
    to.refused(lambda: infer(to, rows[0].copy()), "invalid", "sensors", "[-1, 9]", "[9]")
    to.refused(lambda: client.infer(MODEL, []), "invalid", "sensors", "missing")
    to.refused(lambda: client.infer(MODEL, [to.input("temperature", rows)]), "invalid", "temperature", "sensors")
    to.refused(lambda: client.infer(MODEL, [sensors, to.input("sensors", rows)]), "invalid", "sensors", "twice")
    to.refused(lambda: infer(to, rows, outputs=[to.output("boxes")]), "invalid", "boxes", "label", "scores")
    size = rows.nbytes
    to.refused(lambda: client.infer(MODEL, [of_bytes(to, rows, rows.tobytes()[:-4])]), "invalid", "sensors", str(size), str(size - 4))
    to.refused(lambda: client.infer(MODEL, [of_bytes(to, rows, rows.tobytes() + bytes(4))]), "invalid", "sensors", str(size), str(size + 4))
    if to.name == "http":
        # What the header says and what comes after it.
        short, long = to.input("sensors", rows), to.input("sensors", rows)
        short._parameters["binary_data_size"] = size + 1
        to.refused(lambda: client.infer(MODEL, [short]), "invalid", "sensors", str(size + 1), str(size))
        long._parameters["binary_data_size"] = size - 4
        to.refused(lambda: client.infer(MODEL, [long]), "invalid", "4 bytes of the body belong to no input")


def of_bytes(to, rows, data):
    """An input whose bytes are not those of its shape."""
    tensor = to.input("sensors", rows)
    if to.name == "http":
        tensor._raw_data = data
        tensor._parameters["binary_data_size"] = len(data)
    else:
        tensor._raw_content = data
    return tensor


def classes(to, rows, scores):
    best = infer(to, rows, outputs=[to.output("scores", class_count=1)]).as_numpy("scores")
    to.check(best.shape == (len(rows), 1), f"one best class for each row: {best.shape}")
    said = [value.decode().split(":") for value in best.ravel()]
    close = np.allclose([float(value) for value, _ in said], scores.ravel(), atol=1e-4)
    to.check(close and {index for _, index in said} == {"0"}, f"a class is `score:index`: {said[:3]}")
    many = infer(to, rows, outputs=[to.output("scores", class_count=5)]).as_numpy("scores")
    to.check(many.shape == (len(rows), 1), "there are no more classes than the output has")


def absent(to, rows):
    client = to.client
    to.refused(lambda: client.get_system_shared_memory_status(), "absent", "shared memory is not supported")
    to.refused(lambda: client.register_system_shared_memory("a", "/a", 64), "absent", "shared memory is not supported")
    to.refused(lambda: client.unregister_system_shared_memory("a"), "absent", "shared memory is not supported")
    to.refused(lambda: client.get_cuda_shared_memory_status(), "absent", "shared memory is not supported")
    to.refused(lambda: client.register_cuda_shared_memory("a", b"aGFuZGxl", 0, 64), "absent", "shared memory is not supported")
    to.refused(lambda: client.unregister_cuda_shared_memory(), "absent", "shared memory is not supported")
    to.refused(lambda: client.get_trace_settings(), "absent", "traces")
    to.refused(lambda: client.get_log_settings(), "absent", "--log")
    there = to.triton.InferInput("sensors", list(rows.shape), "FP32")
    there.set_shared_memory("a", rows.nbytes)
    to.refused(lambda: client.infer(MODEL, [there]), "invalid", "shared_memory_region")
    into = to.output("scores")
    into.set_shared_memory("a", 64)
    to.refused(lambda: infer(to, rows, outputs=[into]), "invalid", "shared_memory_region")


def counted(to):
    (stats,) = to.told(to.client.get_inference_statistics(MODEL, **to.as_json()), None)["model_stats"]
    times = stats["inference_stats"]
    return {
        "answered": stats.get("inference_count", 0),
        "runs": stats.get("execution_count", 0),
        **{part: times[part].get("count", 0) for part in ("success", "fail", "queue", "compute_infer")},
        "ns": times["success"].get("ns", 0),
    }


def statistics(to, rows):
    before = counted(to)
    for _ in range(5):
        infer(to, rows)
    after = counted(to)
    gained = {part: after[part] - before[part] for part in after}
    for part in ("answered", "runs", "success", "queue", "compute_infer"):
        to.check(gained[part] == 5, f"five requests, one after another, are five in `{part}`: {gained}")
    to.check(gained["fail"] == 0 and gained["ns"] > 0, f"none failed, and they took time: {gained}")
    to.refused(lambda: infer(to, rows[:, :4].copy()), "invalid", "sensors")
    to.check(counted(to)["fail"] == after["fail"] + 1, "a refused request is counted as failed")
    everything = to.told(to.client.get_inference_statistics(**to.as_json()))["model_stats"]
    to.check([(model["name"], model["version"]) for model in everything] == [(MODEL, VERSION)], f"{everything}")


def at_once(to, package):
    """Each client has rows of its own, in every request others, and gets what ONNX Runtime gives for just them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(Path(package) / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def client(number):
        random, wrong = np.random.default_rng(number), 0
        with to.connect() as own:
            for request in range(REQUESTS):
                rows = random.normal(50, 25, (1 + request % 3, 9)).astype(np.float32)
                result = own.infer(MODEL, [to.input("sensors", rows)], request_id=f"{number}-{request}")
                label, scores = session.run(["label", "scores"], {"sensors": rows})
                wrong += not right(result, {"label": label, "scores": scores})
        return wrong

    before = counted(to)
    with ThreadPoolExecutor(CLIENTS) as pool:
        wrong = sum(pool.map(client, range(CLIENTS), timeout=DEADLINE_S))
    gained = {part: after - before[part] for part, after in counted(to).items()}
    to.check(wrong == 0, f"{CLIENTS} clients get {REQUESTS} answers each, every one right: {wrong} wrong")
    to.check(gained["answered"] == CLIENTS * REQUESTS and gained["fail"] == 0, f"all are counted: {gained}")
    to.check(gained["runs"] < gained["answered"], f"some were one run: {gained}")


def streams(to, rows, expected):
    answers = queue.Queue()
    for _ in range(32):
        to.client.async_infer(MODEL, [to.input("sensors", rows)], lambda result, error: answers.put((result, error)))
    many = [answers.get(timeout=DEADLINE_S) for _ in range(32)]
    to.check(all(error is None and right(result, expected) for result, error in many), "32 requests of one client at once")
    streamed = queue.Queue()
    with to.connect() as other:
        other.start_stream(lambda result, error: streamed.put((result, error)))
        other.async_stream_infer(MODEL, [to.input("sensors", rows)], request_id="one")
        other.async_stream_infer(MODEL, [to.input("sensors", rows[:, :4].copy())], request_id="two")
        other.async_stream_infer(MODEL, [to.input("sensors", rows)], request_id="three", enable_empty_final_response=True)
        told = [streamed.get(timeout=DEADLINE_S) for _ in range(3)]
        other.stop_stream()
    first, second, third = told
    to.check(right(first[0], expected) and first[0].get_response().id == "one", "a stream answers")
    to.check(second[1] is not None and "sensors" in second[1].message(), f"an error in a stream is that of its request: {second}")
    to.check(right(third[0], expected) and third[0].get_response().id == "three", "the stream goes on after it")
    final = third[0].get_response().parameters["triton_final_response"].bool_param
    to.check(final, "each answer is the last one of its request, and says so where it is asked")
    to.check("triton_final_response" not in first[0].get_response().parameters, "and only there")


def repository(to, rows, expected):
    client = to.client
    to.refused(lambda: client.load_model("nobody"), "unknown", "nobody")
    to.refused(lambda: client.load_model(MODEL, config='{"max_batch_size": 8}'), "invalid", "config")
    client.unload_model(MODEL)
    to.check(not client.is_model_ready(MODEL), "an unloaded model is not ready")
    index = to.told(client.get_model_repository_index(**to.as_json()), "models")
    to.check([(model["name"], model["state"], model["reason"]) for model in index] == [(MODEL, "UNAVAILABLE", "unloaded")], f"{index}")
    to.refused(lambda: infer(to, rows), "unknown", MODEL)
    to.check(client.is_server_live(), "the server lives without a model")
    client.load_model(MODEL)
    to.check(client.is_model_ready(MODEL) and right(infer(to, rows), expected), "a loaded model answers again")


if __name__ == "__main__":
    main(*sys.argv[1:])
