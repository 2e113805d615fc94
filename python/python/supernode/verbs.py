"""The verbs: questions whose words are the keys of the command line and of scenario files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import _native, results
from .errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._keys import EstimateKeys, FactKeys, MatchKeys, PlanTrainKeys, ServingKeys, SimulateKeys, TrainKeys

_FACTS = ("catalog", "set", "region", "basis")
_POOL = (
    "instances", "tp", "pp", "dp", "ep", "moe_tp", "redundant_experts", "router", "batching", "order",
    "preemption", "token_budget", "max_seqs", "max_sequences", "prefix_cache", "memory_fraction", "stream_interval", "execution",
    "expert_skew", "micro_batches",
)  # fmt: skip
_DEPLOYMENT = (
    "model", "system", "chip", "engine", "engine_version", "weight_dtype", "act_dtype", "kv_dtype", "moe_dtype",
    "spec_tokens", "spec_accept",
)  # fmt: skip
_WORKLOAD = (
    "requests", "arrival", "rate", "burstiness", "users", "warm_up", "isl", "osl", "trace", "trace_format",
    "time_unit", "block_size", "columns", "rate_scale", "repeat",
)  # fmt: skip
_SLO = {"slo_ttft": "ttft", "slo_tpot": "tpot"}

_A = TypeVar("_A", bound=results.Answer)


def dumped(document: Any) -> str:
    """A question as the native part reads it; paths are texts, what is ``None`` is not said."""
    try:
        return json.dumps(_said(document), default=os.fspath, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise InputError(f"the question is no data: {problem}") from None


def _said(document: Any) -> Any:
    if isinstance(document, Mapping):
        return {str(key): _said(value) for key, value in document.items() if value is not None}
    if isinstance(document, (list, tuple)):
        return [_said(value) for value in document]
    if hasattr(document, "item") and not isinstance(document, (str, bytes)):
        # Numbers of numpy and its kin.
        return document.item()
    return document


def facts_of(keys: dict[str, Any]) -> str:
    """Takes the keys that replace facts out of ``keys``."""
    facts = {key: keys.pop(key) for key in _FACTS if key in keys}
    if isinstance(facts.get("set"), Mapping):
        facts["set"] = [f"{key}={value}" for key, value in facts["set"].items()]
    elif isinstance(facts.get("set"), str):
        facts["set"] = [facts["set"]]
    return dumped(facts)


def _ask(kind: type[_A], verb: str, keys: dict[str, Any], question: Any = None) -> _A:
    facts = facts_of(keys)
    return kind(*_native.ask(verb, facts, dumped(keys if question is None else question)))


def _scenario(given: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return {"document": given, "path": os.path.join(os.getcwd(), "scenario")}
    if isinstance(given, str) and "\n" in given:
        return {"text": given, "path": "scenario.toml"}
    path = Path(given)
    try:
        return {"text": path.read_text(encoding="utf-8"), "path": str(path)}
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"{path}: {problem}", key="scenario", file=str(path)) from None


def _described(keys: dict[str, Any]) -> dict[str, Any]:
    """A scenario of one aggregated deployment, out of keys as the command's flags have them."""
    for needed in ("system", "model"):
        if needed not in keys:
            raise InputError(f"`{needed}` is needed where no scenario is given", key=needed)

    def take(names: Sequence[str]) -> dict[str, Any]:
        return {name: keys.pop(name) for name in names if name in keys}

    deployment, pool, workload = take(_DEPLOYMENT), take(_POOL), take(_WORKLOAD)
    slo = {_SLO[name]: value for name, value in take(tuple(_SLO)).items()}
    _with_unit(workload, "rate")
    if "trace" in workload:
        workload["trace"] = os.path.abspath(workload["trace"])
    if keys:
        name = next(iter(keys))
        raise InputError(f"`{name}` is no key of a deployment or of its traffic", key=name)
    title = f"{deployment['model']} on {deployment['system']}"
    return {"name": title, "deployment": [{**deployment, "pool": [pool]}], "workload": workload, "slo": slo}


def _with_unit(keys: dict[str, Any], name: str) -> None:
    """A bare number of requests per second gets its unit, as the command's flags do."""
    value = keys.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        keys[name] = f"{value} /s"


def estimate(**keys: Unpack[EstimateKeys]) -> results.Estimate:
    """What a deployment does in the steady state: latency, throughput, power and money.

    The keys are those of ``supernode estimate``; ``catalog``, ``set``, ``region`` and ``basis`` replace facts.

    >>> found = estimate(system="h100-8", model="meta-llama/Llama-3.1-8B", tp=1, isl=1024, osl=128, concurrency=8)
    >>> found.tpot.unit
    'ms'
    """
    return _ask(results.Estimate, "estimate", dict(keys))


def plan_serve(
    system: str | Sequence[str],
    *,
    chips: int | None = None,
    confirm: bool = False,
    **keys: Unpack[ServingKeys],
) -> results.Plan:
    """The best ways to serve a job on ``chips`` chips of one or several systems.

    ``confirm`` runs the best deployments in the simulator, as the command does without ``--no-confirm``.
    """
    return _serving(results.Plan, "plan_serve", system, chips, dict(keys), confirm)


def compare(
    systems: Sequence[str] = (), *, chips: int | None = None, **keys: Unpack[ServingKeys]
) -> results.Comparison:
    """The same job on several systems: what :func:`plan_serve` finds on each.

    A system may name the region whose prices it pays (``"h20-8@cn"``); without systems the chips that ``chip`` names are
    compared, each in its usual one.
    """
    return _serving(results.Comparison, "compare", systems, chips, dict(keys), False)


def _serving(
    kind: type[_A], verb: str, systems: str | Sequence[str], chips: int | None, keys: dict[str, Any], confirm: bool
) -> _A:
    listed = [systems] if isinstance(systems, str) else list(systems)
    facts = {key: keys.pop(key) for key in _FACTS if key in keys}
    _listed(keys)
    _with_unit(keys, "target_rate")
    question = {"job": keys, "systems": listed, "chips": chips, "confirm": confirm}
    return _ask(kind, verb, facts, question)


def _listed(keys: dict[str, Any]) -> None:
    """Keys that take several values take one as well."""
    for name in ("chip", "weight_dtype", "kv_dtype", "token_budget", "pp", "vary", "front"):
        if isinstance(keys.get(name), (str, int)):
            keys[name] = [keys[name]]


def match(chip: str, against: str, **keys: Unpack[MatchKeys]) -> results.Match:
    """What a chip must be to do a job as well as another: the value of one figure, or the front of two."""
    given: dict[str, Any] = dict(keys)
    facts = {key: given.pop(key) for key in _FACTS if key in given}
    _listed(given)
    _with_unit(given, "target_rate")
    own = ("system", "against_system", "chips", "vary")
    request = {"chip": chip, "against": against, **{key: given.pop(key) for key in own if key in given}}
    return _ask(results.Match, "match", facts, {"job": given, "request": request})


def train(**keys: Unpack[TrainKeys]) -> results.Training:
    """What one step of a training job takes in time, memory and money, and a run of many with ``tokens``."""
    return _ask(results.Training, "train", dict(keys))


def plan_train(**keys: Unpack[PlanTrainKeys]) -> results.TrainingPlan:
    """The best ways to cut a training job. What is said of its layout stays as it is said."""
    given: dict[str, Any] = dict(keys)
    if isinstance(given.get("front"), int):
        given["front"] = [given["front"]]
    return _ask(results.TrainingPlan, "plan_train", given)


def simulate(
    scenario: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    seed: int | None = None,
    until: str | None = None,
    exact: bool = False,
    check: bool = False,
    records: bool = True,
    steps: bool = True,
    policy: object | None = None,
    **keys: Unpack[SimulateKeys],
) -> results.Simulation:
    """Runs traffic through a cluster, request by request, in virtual time.

    ``scenario`` is the path of a scenario file, its text, or the same as a mapping. Without it, the keys of one
    aggregated deployment and of its traffic are given as the flags of ``supernode simulate`` have them.

    ``records`` and ``steps`` keep a row per request and per run of equal steps in memory.

    ``policy`` is an object with some of the methods ``route``, ``order`` and ``scale``, which decide instead of the
    settings; see :class:`Policy`. Each decision takes the interpreter's lock: about a microsecond, and what the method
    itself takes.
    """
    given: dict[str, Any] = dict(keys)
    facts = facts_of(given)
    if scenario is None:
        described = {"document": _described(given), "path": ""}
    elif given:
        name = next(iter(given))
        raise InputError(f"`{name}` has no effect beside a scenario; say it in the scenario", key=name)
    else:
        described = _scenario(scenario)
    options = {"seed": seed, "until": until, "exact": exact, "check": check}
    document = {"scenario": described, "options": options, "records": records, "steps": steps}
    return results.Simulation(*_native.simulate(facts, dumped(document), policy))


def session_facts(**keys: Unpack[FactKeys]) -> str:
    """The facts of a question, as the native part reads them."""
    given: dict[str, Any] = dict(keys)
    return facts_of(given)
