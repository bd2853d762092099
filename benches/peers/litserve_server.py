"""A sensor model behind LitServe: a row as JSON in, its score as JSON out, which is how LitServe is meant to be used.

Usage: litserve_server.py --port PORT   (MODEL in the environment)
"""

import argparse
import os

import litserve
import numpy as np
import onnxruntime


class Sensors(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        return np.asarray(request["row"], np.float32).reshape(-1, 9)

    def predict(self, rows):
        return self.session.run(["scores"], {"sensors": rows})[0]

    def encode_response(self, scores):
        return {"scores": scores.ravel().tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    server = litserve.LitServer(Sensors(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=parser.parse_args().port, num_api_servers=1, log_level="warning", timeout_keep_alive=300, generate_client_file=False)
