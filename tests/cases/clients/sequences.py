"""A model that remembers: requests of one sequence go on where the last one was, whatever else is asked between.

Usage: sequences.py http|grpc HOST:PORT PACKAGE      with voice-activity, which hears chunk after chunk of sound
"""

import queue
import sys
from pathlib import Path

import numpy as np
from protocol import DEADLINE_S, Protocol
from safetensors.numpy import load_file

MODEL = "voice-activity"


def main(name, address, package):
    to = Protocol(name, address)
    sound = load_file(Path(package) / "sequence.safetensors")
    chunks, heard = sound["chunks"], sound["heard"]
    last = len(chunks) - 1
    config = to.told(to.client.get_model_config(MODEL, **to.as_json()), "config")["sequence_batching"]
    states = [(state["input_name"], state["output_name"], state["dims"]) for state in config["state"]]
    to.check(states == [("state", "stateN", [2, 1, 128])], f"the configuration tells the state: {config}")
    # One is named by a number, one by text, and the second is two chunks behind.
    for step in range(len(chunks) + 2):
        for sequence, behind in ((7, 0), ("line-2", 2)):
            number = step - behind
            if 0 <= number <= last:
                found = listen(to, chunks[number], sequence, number == 0, number == last)
                to.same(found, heard[number], f"sequence {sequence}, chunk {number}")
    to.check(not np.array_equal(alone(to, chunks[1]), heard[1]), "without a sequence nothing is remembered")
    to.refused(lambda: listen(to, chunks[1], 7, False, False), "invalid", "sequence 7", "sequence_start")
    to.refused(lambda: listen(to, chunks[1], "nobody", False, True), "invalid", "sequence nobody", "sequence_start")
    to.same(listen(to, chunks[0], 7, True, False), heard[0], "a sequence of an old name begins anew")
    to.same(listen(to, chunks[0], 7, True, False), heard[0], "and again before it ended")
    to.same(listen(to, chunks[1], 7, False, True), heard[1], "and goes on")
    if name == "grpc":
        stream(to, chunks, heard)
    to.end()


def inputs(to, chunk):
    return [to.input("input", chunk), to.input("sr", np.array(16_000, np.int64))]


def listen(to, chunk, sequence, start, end):
    result = to.client.infer(MODEL, inputs(to, chunk), sequence_id=sequence, sequence_start=start, sequence_end=end)
    return result.as_numpy("output")


def alone(to, chunk):
    return to.client.infer(MODEL, inputs(to, chunk)).as_numpy("output")


def stream(to, chunks, heard):
    answers = queue.Queue()
    with to.connect() as other:
        other.start_stream(lambda result, error: answers.put((result, error)))
        for number, chunk in enumerate(chunks):
            options = {"sequence_start": number == 0, "sequence_end": number == len(chunks) - 1}
            other.async_stream_infer(MODEL, inputs(to, chunk), sequence_id=9, request_id=str(number), **options)
        told = [answers.get(timeout=DEADLINE_S) for _ in chunks]
        other.stop_stream()
    in_order = [result.get_response().id for result, _ in told] == [str(number) for number in range(len(chunks))]
    right = all(np.array_equal(result.as_numpy("output"), one) for (result, _), one in zip(told, heard, strict=True))
    to.check(in_order and right, "a sequence in a stream is answered in its order")


if __name__ == "__main__":
    main(*sys.argv[1:])
