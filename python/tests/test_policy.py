"""Policies in Python decide instead of the settings: repeatably, with errors that are theirs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import supernode as sn

MODEL = "meta-llama/Llama-3.1-8B"


def scenario(**pool: object) -> dict[str, object]:
    return {
        "seed": 7,
        "deployment": [{"model": MODEL, "system": "h100-8", "pool": [{"instances": 4, "tp": 1, **pool}]}],
        "workload": {"rate": "60 /s", "requests": 1500, "isl": "lognormal(800, 1.4, 16000)", "osl": 120},
    }


class LeastTokens:
    """As the built-in of that name."""

    def __init__(self) -> None:
        self.calls = 0

    def route(self, now: float, pool: int, request: sn.RequestView, instances: Sequence[sn.InstanceView]) -> int:
        self.calls += 1
        return min(instances, key=lambda one: (one.tokens, one.instance)).instance


def test_a_router_in_python_decides_as_the_built_in_one() -> None:
    policy = LeastTokens()
    mine = sn.simulate(scenario(router="round-robin"), policy=policy)
    built_in = sn.simulate(scenario(router="least-tokens"))
    assert policy.calls == 1500
    assert mine["latency"] == built_in["latency"]
    assert mine.records["ttft_s"] == built_in.records["ttft_s"]
    assert mine.records["ttft_s"] != sn.simulate(scenario(router="round-robin")).records["ttft_s"]


def test_the_same_policy_gives_the_same_bytes() -> None:
    first = sn.simulate(scenario(), policy=LeastTokens())
    assert first.to_json() == sn.simulate(scenario(), policy=LeastTokens()).to_json()


class ShortestFirst:
    def order(self, now: float, request: sn.RequestView) -> int:
        return request.prompt_tokens


def test_an_order_in_python_serves_short_prompts_first() -> None:
    busy = scenario(instances=1, max_seqs=8)
    fcfs = sn.simulate(busy)
    short = sn.simulate(busy, policy=ShortestFirst())
    assert short["latency"]["ttft"]["p50"] < 0.7 * fcfs["latency"]["ttft"]["p50"]
    assert short["requests"]["completed"] == fcfs["requests"]["completed"] == 1500


class Scale:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def scale(self, now: float, pool: sn.PoolView) -> int:
        self.seen.append((pool.active, pool.waiting))
        return 4 if now > 5 else 1


def test_a_scaler_in_python_sets_the_instances() -> None:
    scaling = {"rule": "reactive", "min": 1, "max": 6, "interval": "1 s", "up": 1e9, "down": 0}
    policy = Scale()
    found = sn.simulate(scenario(instances=1, scaling=scaling, load_warm="1 s"), policy=policy)
    assert max(active for active, _ in policy.seen) == 4
    assert found["requests"]["completed"] == 1500
    assert len(set(found.steps["instance"])) >= 4


def test_errors_in_a_policy_are_raised() -> None:
    class Broken:
        def route(self, now: float, pool: int, request: object, instances: object) -> int:
            raise ZeroDivisionError("mine")

    class Stranger:
        def route(self, now: float, pool: int, request: object, instances: object) -> int:
            return 99

    class Wordy:
        def order(self, now: float, request: object) -> str:
            return "first"

    with pytest.raises(ZeroDivisionError, match="mine"):
        sn.simulate(scenario(), policy=Broken())
    with pytest.raises(sn.InputError, match="99 is none of the instances") as raised:
        sn.simulate(scenario(), policy=Stranger())
    assert raised.value.key == "policy.route"
    with pytest.raises(TypeError):
        sn.simulate(scenario(), policy=Wordy())
    with pytest.raises(sn.InputError, match="route, order and scale"):
        sn.simulate(scenario(), policy=object())
