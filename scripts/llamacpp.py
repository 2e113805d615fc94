#!/usr/bin/env python3
"""llama.cpp's own server on the CPU with a GGUF model, for `supernode observe`. Ends by itself after SECONDS.

    pip install xllamacpp
    python3 scripts/llamacpp.py MODEL.gguf PORT [SLOTS THREADS SECONDS]
"""
import os, sys, time

import xllamacpp

model, port = sys.argv[1], int(sys.argv[2])
slots, threads, seconds = (int(word) for word in (sys.argv[3:6] + ["8", str(os.cpu_count()), "600"][len(sys.argv[3:6]) :]))
params = xllamacpp.CommonParams()
params.model.path, params.port, params.hostnames = model, port, ["127.0.0.1"]
params.n_parallel, params.n_ctx, params.ctx_shift = slots, slots * 2048, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
# Every prompt is computed, whatever was asked before.
params.cache_prompt, params.cache_ram_mib = False, 0
server = xllamacpp.Server(params)
print("listening on", server.listening_address, flush=True)
time.sleep(seconds)
