"""Triton by nvidia-pytriton: serve_pytriton.py HTTP_PORT GRPC_PORT. KServe's V2 protocol on both."""
import sys

import model
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


@batch
def infer(ids):
    return {"score": model.score(ids).reshape(-1, 1)}


http, grpc = map(int, sys.argv[1:3])
with Triton(config=TritonConfig(http_port=http, grpc_port=grpc, metrics_port=grpc + 1, http_address="127.0.0.1")) as triton:
    triton.bind(model_name="rows", infer_func=infer, inputs=[Tensor(name="ids", dtype=np.int32, shape=(160,))],
                outputs=[Tensor(name="score", dtype=np.float32, shape=(1,))], config=ModelConfig(max_batch_size=16384))
    triton.serve()
