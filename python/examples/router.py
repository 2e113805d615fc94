"""A router in Python that beats the built-in ones on a stated workload.

The workload: one instance in four could serve all long prompts, but who spreads by tokens puts short chats behind them. Nine
requests in ten are chats, the tenth carries a document; the router keeps one instance for documents and spreads chats
over the others. What it knows of a request is what a front end knows: the length of its prompt.

    python python/examples/router.py
"""

from __future__ import annotations

from collections.abc import Sequence

import supernode as sn

DOCUMENT = 6000
"""Prompt tokens from which on a request is a document."""

SCENARIO = {
    "name": "chats and documents",
    "seed": 11,
    "deployment": [
        {"model": "meta-llama/Llama-3.1-8B", "system": "h100-8", "pool": [{"instances": 4, "tp": 1}]},
    ],
    # Half of all prompts are below 500 tokens, one in twenty-five above 8,000.
    "workload": {"rate": "36 /s", "requests": 4000, "isl": "lognormal(500, 1.6, 30000)", "osl": "lognormal(120, 0.5, 600)"},
    "slo": {"ttft": "500 ms"},
}


class KeepDocumentsApart:
    """Documents to the first instance, everything else to the least loaded of the others."""

    def route(
        self, now: float, pool: int, request: sn.RequestView, instances: Sequence[sn.InstanceView]
    ) -> int | None:
        apart, *others = sorted(instances, key=lambda one: one.instance)
        if request.prompt_tokens >= DOCUMENT or not others:
            return apart.instance
        return min(others, key=lambda one: (one.tokens, one.instance)).instance


def with_router(name: str) -> dict[str, object]:
    """The scenario with a built-in router."""
    (deployment,) = SCENARIO["deployment"]  # type: ignore[misc]
    return {**SCENARIO, "deployment": [{**deployment, "pool": [{**deployment["pool"][0], "router": name}]}]}


def figures(found: sn.Simulation) -> tuple[float, float, float]:
    """Share of requests within the limit, and median and 95th percentile of the time to the first token."""
    ttft = found["latency"]["ttft"]
    return found["requests"]["good"] / found["requests"]["arrived"], ttft["p50"], ttft["p95"]


def main() -> dict[str, tuple[float, float, float]]:
    """Runs the workload under each router."""
    names = ("round-robin", "least-requests", "least-tokens", "power-of-two")
    found = {name: figures(sn.simulate(with_router(name), records=False, steps=False)) for name in names}
    mine = sn.simulate(SCENARIO, records=False, steps=False, policy=KeepDocumentsApart())
    found["documents apart (Python)"] = figures(mine)
    print(f"{'router':26} {'TTFT <= 500 ms':>14} {'p50':>8} {'p95':>8}")
    for name, (good, median, late) in found.items():
        print(f"{name:26} {100 * good:12.1f} % {median * 1e3:5.0f} ms {late * 1e3:5.0f} ms")
    return found


if __name__ == "__main__":
    main()
