# Colophon's tests; Apache-2.0, like the rest of the repository.
"""llama.cpp's own server (xllamacpp) on a loopback port, until its parent goes. Prints `listening URL` when it is
ready. Usage: serve.py MODEL.gguf [embeddings]"""

import os
import socket
import sys
import time

import xllamacpp

from parameters import parameters

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]

params = parameters(sys.argv[1], "127.0.0.1", port)
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
