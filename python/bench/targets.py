"""What the package is held to, measured: prints a table, and ends with 1 where a target is missed.

    python python/bench/targets.py --command target/release/supernode

The wheel must be a release build, as `pip install ./python` makes it. Run it on a quiet machine: the load is printed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import supernode as sn
from supernode import _native

POINT = {"system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "tp": 1, "isl": 1024, "osl": 128}
RUN = {"system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "tp": 1, "instances": 4, "rate": 80,
       "requests": 150_000, "isl": "lognormal(700, 0.7, 4000)", "osl": "lognormal(60, 0.5, 300)"}  # fmt: skip

Row = tuple[str, str, str, bool]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def flags(keys: dict[str, object]) -> list[str]:
    """Keys as flags of the command."""
    return [word for key, value in keys.items() for word in ("--" + key.replace("_", "-"), str(value))]


def warm_estimate() -> Row:
    """One deployment, asked at loads that were not asked before."""
    sn.estimate(**POINT, concurrency=1)
    times = [seconds(lambda at=at: sn.estimate(**POINT, concurrency=at)) for at in range(2, 402)]
    median = statistics.median(times)
    return "warm estimate", "< 1 ms", f"{median * 1e3:.2f} ms", median < 1e-3


def simulate(command: str) -> Row:
    """The same run by the package and by the command, with and without records, the quicker of several each."""
    words = [command, "simulate", *flags(RUN), "--json"]
    quiet = {**RUN, "records": False, "steps": False}
    pairs = [(seconds(lambda: subprocess.run(words, capture_output=True, check=True)), seconds(lambda: sn.simulate(**quiet)),
              seconds(lambda: sn.simulate(**RUN))) for _ in range(5)]  # fmt: skip
    ours, kept, theirs = min(p[1] for p in pairs), min(p[2] for p in pairs), min(p[0] for p in pairs)
    told = f"{ours / theirs:.3f} times ({kept / theirs:.3f} with records and steps)"
    return "simulate against the command", "<= 1.05 times", told, ours <= 1.05 * theirs


def a_million_rows() -> Row:
    """Records to pandas."""
    import pandas as pd

    run = sn.simulate(**{**RUN, "requests": 1_000_000}, steps=False)
    took = seconds(lambda: pd.DataFrame.from_arrow(run.records))
    return "1,000,000 rows to pandas", "< 1 s", f"{took * 1e3:.0f} ms", took < 1.0


def no_copy() -> Row:
    """Addresses of the same column as polars, pyarrow and a reader of duckdb's see it."""
    import duckdb
    import polars as pl
    import pyarrow as pa

    records = sn.simulate(**{**RUN, "requests": 20_000}, steps=False).records
    arrow = pa.table(records)
    addresses = {
        "pyarrow": arrow["e2e_s"].chunks[0].buffers()[1].address,
        "again": pa.table(records)["e2e_s"].chunks[0].buffers()[1].address,
        "polars": pl.DataFrame(records)["e2e_s"].to_arrow().buffers()[1].address,
    }
    # duckdb scans the stream's buffers in place; what it hands out is its own.
    (scanned,) = duckdb.sql("SELECT sum(e2e_s) FROM records").fetchall()
    same = len(set(addresses.values())) == 1 and abs(scanned[0] - sum(records["e2e_s"])) < 1e-6 * scanned[0]
    return "no copy to pyarrow and polars", "one address", f"{len(set(addresses.values()))} address", same


def random_point(dice: random.Random) -> dict[str, object]:
    """An operating point, most of them possible."""
    system = dice.choice(["h100-8", "h200-8", "h20-8", "b200-8", "cloudmatrix384"])
    model, tp = dice.choice([("meta-llama/Llama-3.1-8B", 1), ("Qwen/Qwen3-30B-A3B", 2), ("Qwen/Qwen3-8B", 1), ("meta-llama/Llama-3.1-70B", 8)])
    point: dict[str, object] = {"system": system, "model": model, "tp": tp * dice.choice([1, 1, 2]),
             "isl": dice.randint(1, 8000), "osl": dice.randint(2, 2000), "concurrency": dice.randint(1, 300)}  # fmt: skip
    if dice.random() < 0.3:
        point["kv_dtype"] = "fp8"
    if dice.random() < 0.3:
        point["prefix_hit"] = round(dice.random() * 0.9, 3)
    return point


def equal_bytes(command: str, inputs: int) -> Row:
    """The package's JSON against what the command prints, over random inputs; refusals have to agree as well."""
    dice, same, answers = random.Random(20), 0, 0
    for _ in range(inputs):
        point = random_point(dice)
        printed = subprocess.run([command, "estimate", *flags(point), "--json"], capture_output=True, text=True)
        try:
            found = sn.estimate(**point)
            same += printed.stdout == found.to_json() and json.loads(printed.stdout) == found.to_dict()
            answers += 1
        except sn.InputError:
            same += printed.returncode == 2
        except sn.NoAnswerError:
            same += printed.returncode == 1
    told = f"{same} of {inputs} ({answers} answers)"
    return f"same bytes on {inputs} random inputs", "all", told, same == inputs


def memory(calls: int) -> Row:
    """Resident memory after many different calls, against that after the first thousands."""

    def ask(start: int, count: int) -> int:
        for at in range(start, start + count):
            sn.estimate(**{**POINT, "isl": 500 + at % 1000}, concurrency=1 + at % 200)
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = ask(0, 3000)
    after = ask(3000, calls)
    growth = after / before - 1.0
    return f"memory over {calls} calls", "within 2 %", f"{100 * growth:+.2f} %", growth < 0.02


def ray_speed_up() -> Row:
    """A sweep on a Ray cluster of two workers against one process on one core."""
    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    space = {
        "kind": "simulate",
        "base": {
            "deployment": [{"model": POINT["model"], "system": "h100-8", "pool": [{"tp": 1}]}],
            "workload": {"isl": 512, "osl": 64, "requests": 60_000},
        },
        "vary": {"seed": list(range(30)), "workload.rate": ["20 /s", "30 /s"]},
    }
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.get([ray.remote(_warm).remote() for _ in range(4)])
    from supernode.sweeps import plan_of

    plan = plan_of(space, "{}")
    lines = plan.units(list(range(plan.cells)))
    with tempfile.TemporaryDirectory() as folder:
        # In turns, and the quicker of several each: a core that others take for a while weighs on neither alone.
        pairs = [(seconds(lambda: _native.SweepEvaluator().rows(lines)),
                  seconds(lambda at=at: sn.sweep(space, Path(folder) / f"rows{at}", backend="ray"))) for at in range(3)]  # fmt: skip
    ray.shutdown()
    gain = min(pair[0] for pair in pairs) / min(pair[1] for pair in pairs)
    return "Ray sweep, two workers against one process", ">= 1.6 times", f"{gain:.2f} times", gain >= 1.6


def _warm() -> None:
    import supernode  # noqa: F401


def imported() -> Row:
    """Importing the package in a fresh interpreter."""
    code = "import time; s = time.perf_counter(); import supernode; print(time.perf_counter() - s)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(7)]
    took = min(float(run.stdout) for run in runs)
    return "import", "< 50 ms", f"{took * 1e3:.0f} ms", took < 0.05


def wheel_size(wheel: Path | None) -> Row:
    """The wheel on disk."""
    if wheel is None:
        return "wheel", "< 20 MB", "name it with --wheel", False
    size = wheel.stat().st_size / 1e6
    return "wheel", "< 20 MB", f"{size:.1f} MB", size < 20


def main() -> int:
    """Measures everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", required=True, help="the command of the same build")
    parser.add_argument("--wheel", type=Path, help="the wheel that is installed")
    parser.add_argument("--inputs", type=int, default=200)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--without", nargs="*", default=[], help="targets to leave out, by function")
    given = parser.parse_args()
    all_of: list[tuple[str, Callable[[], Row]]] = [
        ("warm_estimate", warm_estimate),
        ("simulate", lambda: simulate(given.command)),
        ("a_million_rows", a_million_rows),
        ("no_copy", no_copy),
        ("equal_bytes", lambda: equal_bytes(given.command, given.inputs)),
        ("memory", lambda: memory(given.calls)),
        ("ray_speed_up", ray_speed_up),
        ("imported", imported),
        ("wheel_size", lambda: wheel_size(given.wheel)),
    ]
    missed = 0
    print("| target | wanted | measured | load | |\n|---|---|---|---|---|", flush=True)
    for name, measure in all_of:
        if name in given.without:
            continue
        load = os.getloadavg()[0]
        what, wanted, found, held = measure()
        missed += not held
        print(f"| {what} | {wanted} | {found} | {load:.1f} | {'held' if held else 'missed'} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
