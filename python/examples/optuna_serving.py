"""Optuna drives the planner: which system, how many chips and which limit on speed give the cheapest tokens that are fast?

Two objectives, money per million tokens and time per output token; the front between them is what a buyer chooses from.

    pip install optuna
    python python/examples/optuna_serving.py
"""

from __future__ import annotations

import optuna

import supernode as sn

MODEL = "Qwen/Qwen3-30B-A3B"
SYSTEMS = ["h100-8", "h200-8", "h20-8", "cloudmatrix384"]


def objective(trial: optuna.Trial) -> tuple[float, float]:
    """Dollars per million tokens, and seconds per token, of the best deployment."""
    system = trial.suggest_categorical("system", SYSTEMS)
    chips = trial.suggest_categorical("chips", [1, 2, 4, 8])
    limit = trial.suggest_float("tpot_ms", 6.0, 60.0, log=True)
    try:
        plan = sn.plan_serve(
            system, chips=chips, model=MODEL, isl=2048, osl=512, tpot=f"{limit} ms", ttft="2 s", only="agg",
            objective="cost", spec_tokens=0, token_budget=0, pp=1, basis="buy",
        )  # fmt: skip
    except sn.NoAnswerError as no:
        raise optuna.TrialPruned(str(no)) from None
    best = plan["best"]["predicted"]
    trial.set_user_attr("layout", {key: plan["best"]["pools"][0][key] for key in ("tp", "dp", "ep", "instances")})
    return best["cost_per_million_tokens"]["value"], best["tpot"]["value"]


def main(trials: int = 60) -> optuna.Study:
    """The front of money and speed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(objective, n_trials=trials)
    print(f"{len(study.best_trials)} of {trials} trials are on the front")
    for best in sorted(study.best_trials, key=lambda one: one.values[1]):
        cost, tpot = best.values
        chips, system = best.params["chips"], best.params["system"]
        print(f"{tpot * 1e3:6.1f} ms/token {cost:8.3f} USD/M tokens  {chips} x {system} {best.user_attrs['layout']}")
    return study


if __name__ == "__main__":
    main()
