"""Ray Tune drives the planner: the memory bandwidth and the compute that a chip needs to be worth building.

Each trial plans the same job on a chip with other figures. Trials run side by side on the cluster that Ray is connected
to, or on this machine.

    pip install "ray[default,tune]"
    python python/examples/ray_tune_serving.py
"""

from __future__ import annotations

from typing import Any

import ray
from ray import tune

import supernode as sn

JOB = {
    "model": "Qwen/Qwen3-30B-A3B",
    "isl": 2048,
    "osl": 512,
    "tpot": "25 ms",
    "ttft": "2 s",
    "only": "agg",
    "spec_tokens": 0,
    "token_budget": 0,
    "pp": 1,
}


def trial(config: dict[str, Any]) -> None:
    """Tokens per second of a chip with these figures, and per unit of what such a chip has to be given."""
    figures = {"chip.hbm.bandwidth": f"{config['bandwidth']} TB/s", "chip.hbm.capacity": f"{config['capacity']} GB"}
    try:
        plan = sn.plan_serve("h100-8", chips=8, set=figures, **JOB)
    except sn.NoAnswerError:
        tune.report({"throughput": 0.0, "merit": 0.0})
        return
    throughput = plan["best"]["predicted"]["throughput_per_chip"]["value"]
    # A stack of memory costs what it holds and what it carries; the measure is a stand-in for a real bill.
    tune.report({"throughput": throughput, "merit": throughput / (config["capacity"] / 80 + config["bandwidth"] / 3.35)})


def main(samples: int = 12) -> Any:
    """The chip that serves most for what its memory takes."""
    if not ray.is_initialized():
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
    space = {"bandwidth": tune.quniform(1.5, 8.0, 0.5), "capacity": tune.choice([48, 64, 80, 96, 141, 192])}
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(num_samples=samples, metric="merit", mode="max"),
        run_config=tune.RunConfig(verbose=0),
    )
    best = tuner.fit().get_best_result()
    print(f"best of {samples}: {best.config} with {best.metrics['throughput']:.0f} tokens/s per chip")
    return best


if __name__ == "__main__":
    main()
