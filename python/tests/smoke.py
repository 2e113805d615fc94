"""What every interpreter has to do with nothing but the wheel: each verb once."""

import sys
import time

start = time.perf_counter()
import supernode as sn  # noqa: E402

took = time.perf_counter() - start
point = {"system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "tp": 1}
assert sn.estimate(**point, isl=512, osl=64, concurrency=4).tpot.value > 0
run = sn.simulate(**point, requests=20, rate=5, isl=128, osl=16)
assert len(run.records) == 20 and run.records["outcome"] == ["completed"] * 20
assert sn.train(shape="layers=8,hidden=1024,heads=8", system="h100-8", chips=8, global_batch=8).step_time.value > 0
space = {"kind": "estimate", "base": {**point, "isl": 128, "osl": 16}, "vary": {"concurrency": [1, 2]}}
assert sn.sweep(space).counts["ok"] == 2
try:
    sn.estimate(system="h100-9", model="x")
except sn.InputError as wrong:
    assert "h100-9" in str(wrong)
print(f"Python {sys.version.split()[0]}: imported in {took * 1e3:.0f} ms, every verb answers")
