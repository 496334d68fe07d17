# Colophon's tests; Apache-2.0, like the rest of the repository.
"""The parameters with which the tests' llama.cpp servers run: small, and the same answer for the same request."""

import xllamacpp


def parameters(model, host, port, context=8192, alias="tiny-random"):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {alias}
    params.hostnames = [host]
    params.port = port
    params.n_ctx = context
    params.n_parallel = 4
    params.warmup = False
    params.fit_params = False
    params.cpuparams.n_threads = 1
    params.endpoint_metrics = True
    # Without a prompt cache the same request does the same work, and says so in the same words.
    params.cache_prompt = False
    return params
