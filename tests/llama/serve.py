# Colophon's tests; Apache-2.0, like the rest of the repository.
"""llama.cpp's own server (xllamacpp) on a loopback port, until its parent goes. Prints `listening URL` when it is
ready. Usage: serve.py MODEL.gguf [embeddings]"""

import os
import socket
import sys
import time

import xllamacpp

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"tiny-random"}
params.hostnames = ["127.0.0.1"]
params.port = port
params.n_ctx = 8192
params.n_parallel = 4
params.warmup = False
params.fit_params = False
params.cpuparams.n_threads = 1
params.endpoint_metrics = True
# Without a prompt cache the same request does the same work, and says so in the same words.
params.cache_prompt = False
if "embeddings" in sys.argv[2:]:
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN

server = xllamacpp.Server(params)
# In one write and on a line of its own: the server writes its log to the same file at the same time.
os.write(1, f"\nlistening {server.listening_address}\n".encode())
parent = os.getppid()
while os.getppid() == parent:
    time.sleep(0.5)
os._exit(0)
