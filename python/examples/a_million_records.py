"""A million requests as columns: pandas, polars and duckdb answer the same question of the same memory.

    pip install pandas polars duckdb pyarrow
    python python/examples/a_million_records.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import duckdb
import pandas as pd
import polars as pl

import supernode as sn


def with_pandas(records: sn.Table) -> list[tuple[int, int, float]]:
    """Requests and the 99th percentile of the time to the first token, by thousands of prompt tokens."""
    frame = pd.DataFrame.from_arrow(records)
    grouped = frame.groupby(frame["input_tokens"] // 1000)["ttft_s"]
    return [(int(key), int(part.count()), float(part.quantile(0.99))) for key, part in grouped]


def with_polars(records: sn.Table) -> list[tuple[int, int, float]]:
    """The same."""
    found = (
        pl.DataFrame(records)
        .group_by((pl.col("input_tokens") // 1000).alias("thousands"))
        .agg(pl.col("ttft_s").count(), pl.col("ttft_s").quantile(0.99, "linear").alias("late"))
        .sort("thousands")
    )
    return [(int(key), int(count), float(late)) for key, count, late in found.iter_rows()]


def with_duckdb(records: sn.Table) -> list[tuple[int, int, float]]:
    """The same."""
    found = duckdb.sql(
        "SELECT input_tokens // 1000 AS thousands, count(ttft_s), quantile_cont(ttft_s, 0.99)"
        " FROM records GROUP BY thousands ORDER BY thousands"
    ).fetchall()
    return [(int(key), int(count), float(late)) for key, count, late in found]


def main(requests: int = 1_000_000) -> dict[str, list[tuple[int, int, float]]]:
    """Simulates and asks each of the three."""
    start = time.perf_counter()
    run = sn.simulate(
        system="h100-8", model="meta-llama/Llama-3.1-8B", tp=1, instances=8, rate=150, requests=requests,
        isl="lognormal(700, 0.7, 4000)", osl="lognormal(60, 0.5, 300)", steps=False,
    )  # fmt: skip
    records = run.records
    print(f"{len(records)} requests simulated in {time.perf_counter() - start:.1f} s")
    found = {}
    readers: list[Callable[[sn.Table], list[tuple[int, int, float]]]] = [with_pandas, with_polars, with_duckdb]
    for reader in readers:
        start = time.perf_counter()
        found[reader.__name__] = reader(records)
        print(f"{reader.__name__:12} {(time.perf_counter() - start) * 1e3:6.0f} ms")
    for thousands, count, late in found["with_polars"]:
        print(f"prompts of {thousands}000 tokens and more: {count:7} requests, TTFT p99 {late * 1e3:7.1f} ms")
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
