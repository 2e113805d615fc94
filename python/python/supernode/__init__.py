"""An AI chip cluster in software: describe chips, fabric and model; serve, train, plan and price in virtual time."""

from __future__ import annotations

from ._native import InstanceView, PoolView, RequestView, Table, __version__
from .errors import Error, InputError, InternalError, NoAnswerError
from .live import Admin, Server, up
from .policy import Policy, QueueOrder, Router, Scaler
from .results import (
    Answer,
    Comparison,
    Estimate,
    Figure,
    Match,
    Plan,
    Replay,
    Simulation,
    Training,
    TrainingPlan,
)
from .sweeps import SweepResult, sweep
from .verbs import compare, estimate, match, plan_serve, plan_train, simulate, train

__all__ = [
    "Admin",
    "Answer",
    "Comparison",
    "Error",
    "Estimate",
    "Figure",
    "InputError",
    "InstanceView",
    "InternalError",
    "Match",
    "NoAnswerError",
    "Plan",
    "Policy",
    "PoolView",
    "QueueOrder",
    "Replay",
    "RequestView",
    "Router",
    "Scaler",
    "Server",
    "Simulation",
    "SweepResult",
    "Table",
    "Training",
    "TrainingPlan",
    "__version__",
    "compare",
    "estimate",
    "match",
    "plan_serve",
    "plan_train",
    "simulate",
    "sweep",
    "train",
    "up",
]
