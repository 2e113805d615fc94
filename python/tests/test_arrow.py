"""Rows reach pandas, polars, duckdb and pyarrow without a copy, with their units."""

from __future__ import annotations

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import ROOT

import supernode as sn


@pytest.fixture(scope="module")
def run() -> sn.Simulation:
    return sn.simulate(ROOT / "examples/scenarios/failure-storm.toml", until="60 s")


def address(column: pa.ChunkedArray) -> int:
    (chunk,) = column.chunks
    return int(chunk.buffers()[1].address)


def test_readers_see_the_same_rows(run: sn.Simulation) -> None:
    records = run.records
    arrow = pa.table(records)
    frame = pd.DataFrame.from_arrow(records)
    polar = pl.DataFrame(records)
    (duck,) = duckdb.sql("SELECT count(*), avg(e2e_s) FROM records").fetchall()
    mean = sum(records["e2e_s"]) / len(records)
    assert len(records) == arrow.num_rows == len(frame) == len(polar) == duck[0] > 100
    for found in (arrow["e2e_s"].to_numpy().mean(), frame["e2e_s"].mean(), polar["e2e_s"].mean(), duck[1]):
        assert found == pytest.approx(mean, rel=1e-12)
    assert records["outcome"] == arrow["outcome"].to_pylist() == polar["outcome"].to_list()
    assert records["ttft_s"] == arrow["ttft_s"].to_pylist()
    assert records["measured"] == arrow["measured"].to_pylist()
    assert {kind for kind in records["outcome"]} >= {"completed"}


def test_nothing_is_copied(run: sn.Simulation) -> None:
    first, second = pa.table(run.records), pa.table(run.records)
    polar = pl.DataFrame(run.records)
    for name in ("arrival_s", "e2e_s", "input_tokens", "ttft_s"):
        assert address(first[name]) == address(second[name])
        assert polar[name].to_arrow().buffers()[1].address == address(first[name]), name
    read = duckdb.sql("SELECT e2e_s FROM first").to_arrow_table()
    assert read["e2e_s"].to_pylist() == first["e2e_s"].to_pylist()


def test_units_travel_with_columns(run: sn.Simulation) -> None:
    schema = pa.table(run.records).schema
    assert schema.field("ttft_s").metadata == {b"unit": b"s"}
    assert schema.field("input_tokens").metadata == {b"unit": b"tokens"}
    assert schema.field("request").metadata is None
    assert run.records.units["e2e_s"] == "s" and run.steps.units["energy_j"] == "J"


def test_tables_outlive_their_run(run: sn.Simulation) -> None:
    table = pa.table(sn.simulate(ROOT / "examples/scenarios/failure-storm.toml", until="20 s").records)
    assert table.num_rows > 10 and table["e2e_s"].to_numpy().min() >= 0.0


def test_steps_add_up(run: sn.Simulation) -> None:
    steps = pl.DataFrame(run.steps)
    assert (steps["end_s"] >= steps["start_s"]).all() and steps["steps"].min() >= 1
    assert steps["prefill_tokens"].sum() > 0


def test_a_column_that_is_not_there(run: sn.Simulation) -> None:
    with pytest.raises(KeyError, match="there is no column `ttft`; there are request, arrival_s"):
        run.records["ttft"]
    assert "ttft_s" in repr(run.records)
