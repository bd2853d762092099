"""A sensor model behind NVIDIA's Triton through PyTriton, which answers the Open Inference Protocol itself.

Usage: pytriton_server.py --port PORT   (MODEL in the environment)
"""

import argparse
import os

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])


@batch
def infer(sensors):
    return session.run(["scores"], {"sensors": sensors})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    config = TritonConfig(
        http_address="127.0.0.1", http_port=parser.parse_args().port, allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="tiny",
            infer_func=infer,
            inputs=[Tensor(name="sensors", dtype=np.float32, shape=(9,))],
            outputs=[Tensor(name="scores", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=8),
        )
        triton.serve()
