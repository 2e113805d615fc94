#!/usr/bin/env python3
"""A real engine on this machine's CPU, observed and predicted: llama.cpp with a model of random weights.

    pip install xllamacpp gguf numpy
    python3 scripts/observe_cpu.py target/release/supernode FOLDER

Measures what the CPU can do (numpy), describes it as a chip, observes llama.cpp at some loads, fits the engine's overheads on
these rows, and predicts loads that were not used. Wants a machine that does nothing else, for about five minutes.
"""
import csv, os, subprocess, sys, time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
# Users, prompt tokens, output tokens.
FITTED = [(1, 64, 24), (4, 64, 24), (8, 64, 24), (1, 256, 24), (8, 256, 24)]
HELD_OUT = [(2, 64, 24), (6, 64, 24), (1, 128, 24), (4, 128, 32), (2, 256, 24), (4, 384, 16)]


def peaks():
    """Floating-point operations and bytes per second: the best of a few runs of a matrix product and of a copy."""
    a = np.random.default_rng(1).standard_normal((1536, 1536), dtype=np.float32)
    product = min(timed(lambda: a @ a) for _ in range(8))
    big = np.ones(64_000_000, dtype=np.float32)
    target = np.empty_like(big)
    copied = min(timed(lambda: np.copyto(target, big)) for _ in range(8))
    return 2 * 1536**3 / product, 2 * big.nbytes / copied


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def catalog(folder, flops, bandwidth):
    os.makedirs(f"{folder}/chips", exist_ok=True)
    os.makedirs(f"{folder}/engines", exist_ok=True)
    fact = lambda value, grade="measured": f'{{ value = {value}, source = "own", grade = "{grade}" }}'
    with open(f"{folder}/chips/host-cpu.toml", "w") as file:
        file.write(
            f'name = "Host CPU"\nvendor = "Example"\nfamily = "cpu"\nkernels = ["h100"]\ncores = {fact(os.cpu_count())}\n'
            f'l2 = {fact(chr(34) + "32 MiB" + chr(34), "assumed")}\nmemory.capacity = {fact(chr(34) + "8 GB" + chr(34))}\n'
            f'memory.bandwidth = {fact(f"{chr(34)}{bandwidth / 1e9:.2f} GB/s{chr(34)}")}\n'
            f'matrix.bf16 = {fact(f"{chr(34)}{flops / 1e12:.4f} TFLOPS{chr(34)}")}\nmatrix.fp16 = {fact(f"{chr(34)}{flops / 1e12:.4f} TFLOPS{chr(34)}")}\n'
            'sources.own = { title = "numpy on this machine", date = "2026-11", address = "scripts/observe_cpu.py" }\n'
        )
    usual = open(f"{HERE}/../catalog/engines/vllm.toml").read().splitlines()
    kept, skip = [], False
    for line in usual:
        if line.startswith("["):
            skip = line == "[sharding]"
        if skip or line.startswith("releases"):
            continue
        line = line.replace('name = "vLLM"', 'name = "llama.cpp"').replace('"4.0000 GB"', '"0.1 GB"')
        if line.startswith("max_sequences"):
            line = line.replace("1024", "8")
        kept.append(line)
    open(f"{folder}/engines/llamacpp.toml", "w").write("\n".join(kept) + "\n")


def main():
    binary, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    os.makedirs(folder, exist_ok=True)
    flops, bandwidth = peaks()
    print(f"the CPU: {flops / 1e9:.0f} GFLOPS, {bandwidth / 1e9:.1f} GB/s, {os.cpu_count()} cores", flush=True)
    described = f"{folder}/catalog"
    catalog(described, flops, bandwidth)
    model = f"{folder}/model"
    subprocess.run([sys.executable, f"{HERE}/random_gguf.py", model], check=True)
    server = subprocess.Popen([sys.executable, f"{HERE}/llamacpp.py", f"{model}/model.gguf", "18300", "8", str(os.cpu_count()), "900"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        while "listening" not in server.stdout.readline():
            pass
        for name, loads in [("fitted", FITTED), ("held-out", HELD_OUT)]:
            table = f"{folder}/{name}.csv"
            if os.path.exists(table):
                os.remove(table)
            for users, isl, osl in loads:
                count = max(8, 3 * users)
                columns = [f"--column={pair}" for pair in ["system=generic-1", "chip=host-cpu", f"model={model}", "engine=llamacpp", "tp=1"]]
                flags = ["--concurrency", str(users), "--requests", str(count), "--warm-up", str(users), "--isl", str(isl), "--osl", str(osl)]
                subprocess.run([binary, "observe", "http://127.0.0.1:18300", *flags, *columns, "--chips", "1", "--row", table], check=True, stdout=subprocess.DEVNULL)
            for row in csv.DictReader(open(table)):
                print(f"{name}: {row['concurrency']} users, {row['isl']} in, {row['osl']} out: TTFT {row['ttft_ms']} ms, TPOT {row['tpot_ms']} ms", flush=True)
    finally:
        server.terminate()
    fitted = f"{folder}/fitted"
    subprocess.run([binary, "calibrate", "--catalog", described, "--engine", "llamacpp", "--fidelity", "steady", "--data", f"{folder}/fitted.csv", "--out", fitted, "--source", "llama.cpp on this machine"], check=True)
    subprocess.run(["cp", "-r", f"{described}/chips", fitted], check=True)
    for name, used in [("before", described), ("after", fitted)]:
        print(f"{name} the fit, loads that were not used:", flush=True)
        subprocess.run([binary, "validate", "--catalog", used, "--data", f"{folder}/held-out.csv", "--fidelity", "steady"], check=True)


main()
