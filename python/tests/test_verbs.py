"""The verbs answer, keep units, bands and grades, and say the same as the command, byte for byte."""

from __future__ import annotations

import json
import pickle

import pytest
from conftest import POINT, ROOT, flags, run_cli

import supernode as sn

SERVED = {"model": "meta-llama/Llama-3.1-8B", "isl": 1024, "osl": 128, "pp": 1, "spec_tokens": 0, "token_budget": 0}
GPT = {
    "shape": "layers=32,hidden=4096,heads=32",
    "system": "h100-8",
    "chips": 64,
    "seq": 2048,
    "global_batch": 256,
}


def same(cli: str, answer: sn.Answer, *arguments: str) -> None:
    printed = run_cli(cli, *arguments, "--json")
    assert printed.stdout == answer.to_json(), printed.stderr
    assert json.loads(printed.stdout) == json.loads(answer.to_json())
    assert answer.to_dict() == (json.loads(printed.stdout))


def test_estimate(cli: str) -> None:
    found = sn.estimate(**POINT)
    same(cli, found, "estimate", *flags(POINT))
    assert found.tpot.low < float(found.tpot) < found.tpot.high and found.tpot.unit == "ms"
    assert found.tpot.grade == found["evidence_grade"] == found.grade
    assert found["schema"] == "supernode.estimate/1"
    assert str(found) == run_cli(cli, "estimate", *flags(POINT)).stdout
    assert pickle.loads(pickle.dumps(found)).to_dict() == found.to_dict()


def test_facts_are_replaced(cli: str) -> None:
    slow = {**POINT, "set": ["chip.hbm.bandwidth=1TB/s"], "region": "cn", "basis": "buy"}
    found = sn.estimate(**slow)
    same(cli, found, "estimate", *flags(slow))
    assert found.tpot.value > 1.5 * sn.estimate(**POINT).tpot.value
    by_mapping = sn.estimate(**{**slow, "set": {"chip.hbm.bandwidth": "1TB/s"}})
    assert by_mapping.to_json() == found.to_json()


def test_plan_serve_and_compare(cli: str) -> None:
    plan = sn.plan_serve("h100-8", chips=2, **SERVED)
    same(cli, plan, "plan", "serve", "--system", "h100-8", "--chips", "2", "--no-confirm", *flags(SERVED))
    both = sn.compare(["h100-8", "h200-8"], chips=2, **SERVED)
    same(cli, both, "compare", "h100-8", "h200-8", "--chips", "2", *flags(SERVED))


def test_match(cli: str) -> None:
    job = {"model": "meta-llama/Llama-3.1-8B", "isl": 1024, "osl": 128, "pp": 1, "chips": 1, "spec_tokens": 0}
    found = sn.match("h100-sxm", "h200-sxm", **job)
    same(cli, found, "match", "--chip", "h100-sxm", "--against", "h200-sxm", *flags(job))


def test_train_and_plan_train(cli: str) -> None:
    cut = {**GPT, "tp": 2, "pp": 4}
    found = sn.train(**cut, tokens="1T", spares=4)
    same(cli, found, "train", *flags(cut), "--tokens", "1T", "--spares", "4")
    plan = sn.plan_train(**GPT, pp=1, top=3)
    same(cli, plan, "plan", "train", *flags(GPT), "--pp", "1", "--top", "3")
    best = sn.train(**plan.jobs[0])
    assert best["step_time"] == plan["best"]["step_time"]
    assert len(plan.jobs) == 3


def test_simulate_keys_and_files(cli: str) -> None:
    keys = {"system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "tp": 1, "requests": 200, "rate": 20,
            "isl": 512, "osl": 64, "slo_ttft": "1 s"}  # fmt: skip
    found = sn.simulate(**keys)
    same(cli, found, "simulate", *flags(keys))
    assert len(found.records) == 200 and len(found.steps) > 10
    engine = {**keys, "max_sequences": 16, "memory_fraction": 0.5, "stream_interval": 4, "execution": "eager"}
    changed = sn.simulate(**engine)
    same(cli, changed, "simulate", *flags(engine))
    assert changed["latency"]["ttft"] != found["latency"]["ttft"]
    file = ROOT / "examples/scenarios/h100-llama-chat.toml"
    by_file = sn.simulate(file, seed=3, until="30 s")
    same(cli, by_file, "simulate", str(file), "--seed", "3", "--until", "30 s")
    by_text = sn.simulate(file.read_text(), seed=3, until="30 s")
    assert by_text.to_json() == by_file.to_json()


def test_simulate_takes_mappings() -> None:
    scenario = {
        "name": "small",
        "deployment": [{"model": POINT["model"], "system": "h100-8", "pool": [{"tp": 1}]}],
        "workload": {"rate": "5 /s", "requests": 50, "isl": 256, "osl": 32},
    }
    found = sn.simulate(scenario, records=False, steps=False)
    assert found["name"] == "small" and found["requests"]["completed"] == 50
    with pytest.raises(sn.InputError, match="records=True"):
        found.records  # noqa: B018


def test_every_figure_is_shown() -> None:
    found = sn.estimate(**POINT)
    page = found._repr_html_()
    figures = found.figures()
    assert "ttft" in figures and "tpot" in figures
    for path, figure in figures.items():
        assert f"<td>{path}</td>" in page and figure.unit in page
    assert f"{figures['tpot'].low:.4g} to {figures['tpot'].high:.4g}" in page


ERRORS = [
    (lambda: sn.estimate(**{**POINT, "system": "h100-9"}), None, "h100-9"),
    (lambda: sn.estimate(**{**POINT, "islands": 3}), None, "islands"),
    (lambda: sn.estimate(**{**POINT, "tp": "many"}), "tp", "many"),
    (lambda: sn.estimate(**{**POINT, "tp": float("nan")}), None, "no data"),
    (lambda: sn.estimate(**{**POINT, "osl": object()}), None, "no data"),
    (lambda: sn.plan_serve("h100-8", model="x", isl="many"), "isl", "invalid type"),
    (lambda: sn.plan_serve("h100-8", model="meta-llama/Llama-3.1-8B", objective="joy"), "objective", "joy"),
    (lambda: sn.train(**GPT, global_batches=1), "global_batches", "unknown field"),
    (lambda: sn.train(**{**GPT, "tp": 0}), "tp", "at least 1"),
    (lambda: sn.train(**GPT, spares=1), "spares", "`tokens`"),
    (lambda: sn.train(tp=1), "model", "what to train"),
    (lambda: sn.simulate(system="h100-8"), "model", "needed"),
    (lambda: sn.simulate(system="h100-8", model="x", colour=1), "colour", "no key"),
    (lambda: sn.simulate({"deployment": [{"model": "x"}]}), "system", "is needed"),
    (lambda: sn.sweep({"kind": "estimate", "base": {"system": "h100-8"}}), "the first cell", "model"),
    (lambda: sn.sweep({"kind": "estimate"}, backend="dask"), "backend", "dask"),
    (lambda: sn.up(system="h100-8", model="meta-llama/Llama-3.1-8B", speed=1e9), "speed", "speed"),
]


@pytest.mark.parametrize("ask, key, words", ERRORS, ids=range(len(ERRORS)))
def test_errors_name_the_key(ask: object, key: str | None, words: str) -> None:
    with pytest.raises(sn.InputError) as raised:
        ask()  # type: ignore[operator]
    assert raised.value.key == key, raised.value
    assert words in str(raised.value) and "--" not in str(raised.value)
    copied = pickle.loads(pickle.dumps(raised.value))
    assert copied.key == key and str(copied) == str(raised.value)


def test_errors_name_file_and_line(tmp_path: object) -> None:
    file = tmp_path / "s.toml"  # type: ignore[operator]
    file.write_text('[[deployment]]\nmodel = "meta-llama/Llama-3.1-8B"\nsystem = "h100-8"\n[[deployment.pool]]\ntp = 1\nrouter = "dice"\n[workload]\nrate = "1 /s"\nrequests = 5\nisl = 64\nosl = 8\n')
    with pytest.raises(sn.InputError) as raised:
        sn.simulate(file)
    assert (raised.value.file, raised.value.line) == (str(file), 6)
    assert raised.value.key == "deployment.pool.router"


def test_no_is_no_mistake() -> None:
    with pytest.raises(sn.NoAnswerError, match="does not fit"):
        sn.train(**{**GPT, "chips": 1, "global_batch": 1})
    with pytest.raises(sn.NoAnswerError):
        sn.estimate(**{**POINT, "model": "deepseek-ai/DeepSeek-R1"})
