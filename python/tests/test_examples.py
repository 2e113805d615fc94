"""The examples do what they say."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from conftest import ROOT


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"python/examples/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_router_in_python_beats_the_built_in_ones() -> None:
    found = example("router").main()
    mine = found.pop("documents apart (Python)")
    assert all(mine[0] > good + 0.02 for good, *_ in found.values()), found
    assert all(mine[1] < median and mine[2] < late for _, median, late, _ in found.values()), found


def test_optuna_drives_the_planner() -> None:
    study = example("optuna_serving").main(trials=12)
    assert len(study.trials) == 12 and study.best_trials
    for best in study.best_trials:
        assert best.values[1] <= best.params["tpot_ms"] / 1e3


def test_ray_tune_drives_the_planner() -> None:
    ray = pytest.importorskip("ray")
    ray.shutdown()
    best = example("ray_tune_serving").main(samples=3)
    assert best.metrics["throughput"] > 0
    ray.shutdown()


def test_three_readers_answer_alike() -> None:
    found = example("a_million_records").main(requests=5_000)
    pandas, polars, duck = found.values()
    for ours, theirs in ((polars, pandas), (polars, duck)):
        assert [row[:2] for row in ours] == [row[:2] for row in theirs]
        assert [row[2] for row in ours] == pytest.approx([row[2] for row in theirs], rel=1e-9)
