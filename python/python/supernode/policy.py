"""Policies in Python, for research in the virtual driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Union

from ._native import InstanceView, PoolView, RequestView


class Router(Protocol):
    """Where requests go."""

    def route(
        self, now: float, pool: int, request: RequestView, instances: Sequence[InstanceView]
    ) -> int | None:
        """The number of the instance that the request goes to; the pool's own router decides if it is ``None``."""


class QueueOrder(Protocol):
    """Which waiting request goes first."""

    def order(self, now: float, request: RequestView) -> int:
        """A whole number from 0: requests of a smaller one go first, of equal ones the one that came first."""


class Scaler(Protocol):
    """How many instances there are, in pools that have an autoscaler."""

    def scale(self, now: float, pool: PoolView) -> int:
        """Instances wanted; held between the pool's least and most."""


Policy = Union[Router, QueueOrder, Scaler]
