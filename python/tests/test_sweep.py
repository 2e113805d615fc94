"""Sweeps on this machine: the rows of the command, and nothing lost or done twice."""

from __future__ import annotations

import polars as pl
import pytest
from conftest import run_cli

import supernode as sn

SPACE = {
    "kind": "estimate",
    "base": {"system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "isl": 1024, "osl": 256},
    "vary": {"concurrency": [1, 4, 16, 64], "layout": [{"tp": 1}, {"tp": 2}, {"tp": 3}]},
}
TEXT = """kind = "estimate"
[base]
system = "h100-8"
model = "meta-llama/Llama-3.1-8B"
isl = 1024
osl = 256
[vary]
concurrency = [1, 4, 16, 64]
layout = [{ tp = 1 }, { tp = 2 }, { tp = 3 }]
"""


def test_the_rows_are_those_of_the_command(cli: str, tmp_path: object) -> None:
    told: list[tuple[int, int]] = []
    found = sn.sweep(SPACE, tmp_path / "a", progress=lambda done, cells: told.append((done, cells)))  # type: ignore[operator]
    assert told[-1] == (12, 12) and len(found) == 12
    spec = tmp_path / "spec.toml"  # type: ignore[operator]
    spec.write_text(TEXT)
    by_command = tmp_path / "b"  # type: ignore[operator]
    printed = run_cli(cli, "sweep", str(spec), "--out", str(by_command))
    assert (by_command / "rows.parquet").read_bytes() == found.path.read_bytes()
    assert printed.stdout.splitlines()[0] == str(found).splitlines()[0]
    by_text = sn.sweep(TEXT, tmp_path / "c")  # type: ignore[operator]
    assert by_text.path.read_bytes() == found.path.read_bytes()
    rows = pl.DataFrame(found)
    assert rows["cell"].to_list() == list(range(12))
    assert found.rows.units["ttft_ms"] == "ms" and found.rows.units["tokens_per_s_per_chip"] == "tokens/s/chip"
    assert found.counts["ok"] == 8 and found.counts["refused"] + found.counts["invalid"] == 4


def test_a_sweep_goes_on_where_it_was(tmp_path: object) -> None:
    space = {**SPACE, "vary": {"concurrency": list(range(1, 301)), "tp": [1, 2]}}
    out = tmp_path / "rows"  # type: ignore[operator]
    calls = 0

    def stop(done: int, cells: int) -> None:
        nonlocal calls
        calls += 1
        if done > 0:
            import _thread

            _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        sn.sweep(space, out, progress=stop)
    first: list[int] = []
    whole = sn.sweep(space, out, progress=lambda done, cells: first.append(done))
    assert whole.path.read_bytes() == sn.sweep(space, tmp_path / "whole").path.read_bytes()  # type: ignore[operator]


def test_facts_and_mistakes(tmp_path: object) -> None:
    slow = sn.sweep(SPACE, set=["chip.hbm.bandwidth=1TB/s"])
    assert slow.rows["tpot_ms"][0] > 1.5 * sn.sweep(SPACE).rows["tpot_ms"][0]
    with pytest.raises(sn.InputError) as raised:
        sn.sweep({**SPACE, "vary": {"concurrency": ["many"]}})
    assert raised.value.key == "concurrency" and "many" in str(raised.value)
    with pytest.raises(sn.InputError):
        sn.sweep(tmp_path / "none.toml")  # type: ignore[operator]
