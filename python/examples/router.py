"""A router in Python that beats the built-in ones on a stated workload.

The workload: half of all prompts are below 500 tokens, one in thirty above 10,000. Who spreads requests by their number or by their
tokens puts short chats behind long documents on every instance. The router keeps one instance of four for documents and
spreads everything else over the others by tokens. What it knows of a request is what a front end knows: the length of its
prompt. The price is paid by documents, which wait for each other: the 99th percentile shows it.

    python python/examples/router.py
"""

from __future__ import annotations

from collections.abc import Sequence

import supernode as sn

DOCUMENT = 10_000
"""Prompt tokens from which on a request is a document."""

SCENARIO = {
    "name": "chats and documents",
    "seed": 11,
    "deployment": [
        {"model": "meta-llama/Llama-3.1-8B", "system": "h100-8", "pool": [{"instances": 4, "tp": 1}]},
    ],
    # Half of all prompts are below 500 tokens, one in thirty above 10,000.
    "workload": {"rate": "44 /s", "requests": 4000, "isl": "lognormal(500, 1.6, 30000)", "osl": "lognormal(120, 0.5, 600)"},
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


def figures(found: sn.Simulation) -> tuple[float, ...]:
    """Share of requests within the limit, and median, 95th and 99th percentile of the time to the first token."""
    ttft = found["latency"]["ttft"]
    return found["requests"]["good"] / found["requests"]["arrived"], ttft["p50"], ttft["p95"], ttft["p99"]


def main() -> dict[str, tuple[float, ...]]:
    """Runs the workload under each router."""
    names = ("round-robin", "least-requests", "least-tokens", "power-of-two")
    found = {name: figures(sn.simulate(with_router(name), records=False, steps=False)) for name in names}
    mine = sn.simulate(SCENARIO, records=False, steps=False, policy=KeepDocumentsApart())
    found["documents apart (Python)"] = figures(mine)
    print(f"{'router':26} {'TTFT <= 500 ms':>14} {'p50':>8} {'p95':>8} {'p99':>9}")
    for name, (good, median, late, latest) in found.items():
        times = f"{median * 1e3:5.0f} ms {late * 1e3:5.0f} ms {latest * 1e3:6.0f} ms"
        print(f"{name:26} {100 * good:12.1f} % {times}")
    return found


if __name__ == "__main__":
    main()
