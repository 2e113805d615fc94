from collections.abc import Callable
from typing import Any

__version__: str

def ask(verb: str, facts: str, document: str) -> tuple[str, str]: ...
def point_keys() -> list[tuple[str, str]]: ...
def simulate(
    facts: str, document: str, policy: object | None = None
) -> tuple[str, str, Table | None, Table | None]: ...
def sweep_rows(path: str) -> Table: ...
def bring_up(facts: str, document: str) -> LiveServer: ...
def replay(facts: str, document: str, log: str) -> tuple[str, str]: ...

class Table:
    """Rows in columns, read without a copy through the Arrow PyCapsule interface."""

    column_names: list[str]
    units: dict[str, str]
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __len__(self) -> int: ...
    def __getitem__(self, name: str) -> list[Any]: ...

class RequestView:
    """A request as a front end knows it: there is no output length, nobody knows it yet."""

    prompt_tokens: int
    max_tokens: int | None
    deployment: int
    tenant: int
    session: int | None
    priority: int

class InstanceView:
    """An instance that takes requests."""

    instance: int
    requests: int
    waiting: int
    decoding: int
    tokens: int
    cached_tokens: int

class PoolView:
    """How much there is to do in a pool."""

    pool: int
    active: int
    loading: int
    waiting: int
    requests: int
    min: int
    max: int

class SweepPlan:
    cells: int
    axes: list[tuple[str, int | None]]
    def __init__(self, facts: str, described: str) -> None: ...
    def units(self, cells: list[int]) -> list[str]: ...
    def lost(self, cell: int, reason: str) -> str: ...
    def run(self, out: str, ended: Callable[[int], object]) -> tuple[str, list[tuple[str, int]]]: ...

class SweepStore:
    done: int
    def __init__(self, out: str, plan: SweepPlan) -> None: ...
    def pending(self) -> list[tuple[int, int]]: ...
    def keep(self, rows: list[str]) -> None: ...
    def finish(self) -> tuple[str, list[tuple[str, int]]]: ...
    def close(self) -> None: ...

class SweepEvaluator:
    def __init__(self) -> None: ...
    def rows(self, units: list[str]) -> list[str]: ...

class LiveServer:
    address: str
    admin: str
    metrics: str
    token: str
    chips: int
    server: bool
    def stop(self) -> str | None: ...
