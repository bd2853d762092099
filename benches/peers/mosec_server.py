"""A sensor model behind mosec: raw float32 rows in, raw float32 scores out.

Usage: mosec_server.py --port PORT   (MODEL in the environment)
"""

import os

import numpy as np
import onnxruntime
from mosec import Server, Worker


class Sensors(Worker):
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    def deserialize(self, data):
        return np.frombuffer(data, np.float32).reshape(-1, 9)

    def serialize(self, data):
        return data.tobytes()

    def forward(self, data):
        return self.session.run(["scores"], {"sensors": data})[0]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Sensors)
    server.run()
