"""Sweeps: one job with some of its keys varied, on this machine or on a Ray cluster."""

from __future__ import annotations

import html
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _native
from .errors import InputError
from .verbs import dumped, facts_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._keys import SweepFacts

Progress = Callable[[int, int], object]


class SweepResult:
    """The rows of a sweep that has finished, and how many cells ended how."""

    def __init__(self, path: str, counts: list[tuple[str, int]]) -> None:
        self.path = Path(path)
        self.counts = dict(counts)
        self._rows: _native.Table | None = None

    @property
    def rows(self) -> _native.Table:
        """A row per cell, read from the folder once."""
        if self._rows is None:
            self._rows = _native.sweep_rows(str(self.path))
        return self._rows

    def __arrow_c_schema__(self) -> object:
        return self.rows.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        ended = [f"{count} {name}" for name, count in self.counts.items() if count or name == "ok"]
        return f"{len(self)} cells: {', '.join(ended)}\n{self.path}"

    def __repr__(self) -> str:
        return f"<supernode.SweepResult {self}>"

    def _repr_html_(self) -> str:
        names = "".join(f"<th>{html.escape(name)}</th>" for name in self.counts)
        counts = "".join(f"<td>{count}</td>" for count in self.counts.values())
        title = html.escape(str(self.path))
        return f"<table><caption>{title}</caption><tr>{names}</tr><tr>{counts}</tr></table>"


class Bar:
    """How far a sweep is, on one line of stderr."""

    WIDTH = 40

    def __init__(self) -> None:
        self._shown = False

    def __call__(self, done: int, cells: int) -> None:
        full = self.WIDTH * done // max(cells, 1)
        sys.stderr.write(f"\r{'█' * full}{'░' * (self.WIDTH - full)} {done}/{cells} cells")
        sys.stderr.flush()
        self._shown = True

    def close(self) -> None:
        """Ends the line."""
        if self._shown:
            sys.stderr.write("\n")


def plan_of(space: Mapping[str, Any] | str | os.PathLike[str], facts: str) -> _native.SweepPlan:
    """The plan of a specification: the path of a file, its text, or the same as a mapping."""
    if isinstance(space, Mapping):
        described: dict[str, Any] = {"document": space, "path": os.path.join(os.getcwd(), "sweep")}
    elif isinstance(space, str) and "\n" in space:
        described = {"text": space, "path": os.path.join(os.getcwd(), "sweep.toml")}
    else:
        path = Path(space).absolute()
        try:
            described = {"text": path.read_text(encoding="utf-8"), "path": str(path)}
        except (OSError, UnicodeDecodeError) as problem:
            raise InputError(f"{path}: {problem}", key="space", file=str(path)) from None
    return _native.SweepPlan(facts, dumped(described))


def sweep(
    space: Mapping[str, Any] | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    backend: str = "local",
    address: str | None = None,
    progress: bool | Progress | None = None,
    **facts: Unpack[SweepFacts],
) -> SweepResult:
    """Evaluates every cell of ``space`` and keeps a row for each in the folder ``out``.

    A sweep that was stopped, by whatever means, goes on where it was when it is asked for again with the same ``out``:
    no row is lost and none is there twice. Without ``out`` the folder is a temporary one.

    ``backend`` is ``"local"`` (all cores of this machine) or ``"ray"``; ``address`` is then that of a Ray cluster, the
    one that this process is connected to or else the one around it by default, or ``"local"`` to start one here.

    ``progress`` is a function that is told how many of how many cells are done, or whether to draw a bar; a bar is drawn
    on a terminal by default.
    """
    if backend not in ("local", "ray"):
        raise InputError(f"`backend`: `{backend}` is not known; use local or ray", key="backend")
    if backend == "local" and address is not None:
        raise InputError("`address` has no effect without backend=\"ray\"", key="address")
    keys: dict[str, Any] = dict(facts)
    plan = plan_of(space, facts_of(keys))
    if keys:
        name = next(iter(keys))
        raise InputError(f"`{name}` is no key of a sweep; say it in the specification", key=name)
    if out is None:
        import tempfile

        out = tempfile.mkdtemp(prefix="supernode-sweep-")
    folder = os.fspath(out)
    bar = Bar()
    if progress is None:
        progress = sys.stderr.isatty()
    tell: Progress = progress if callable(progress) else (bar if progress else _silent)
    try:
        if backend == "local":
            finished = plan.run(folder, lambda done: tell(done, plan.cells))
        else:
            from .on_ray import run

            finished = run(plan, folder, address, tell)
    finally:
        bar.close()
    return SweepResult(*finished)


def _silent(done: int, cells: int) -> None:
    """For who wants no bar."""
