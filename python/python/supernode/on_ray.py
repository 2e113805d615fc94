"""Sweeps on a Ray cluster: the driver hands out units of work in chunks and keeps their rows.

Only the driver writes: a row is on its disk before its cell counts as done, so that a killed driver goes on where it was.
A worker or a node that dies takes chunks with it that are evaluated elsewhere; a chunk on which workers die again and
again is halved until the cell is found that kills them, which becomes a row of status ``failed``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import zlib
from collections import deque
from typing import Any

from . import _native
from .errors import Error, InputError

# Seconds of work in a chunk: long against the milliseconds that Ray takes for a task, short against a node's life.
_CHUNK = 1.5
# Cells of a chunk at most, and before it is known what one takes.
_MOST, _FIRST = 8192, 4
# Times that Ray gives a chunk to another worker when one dies.
_RETRIES = 4

_evaluator: _native.SweepEvaluator | None = None


def _packed(lines: list[str]) -> bytes:
    return zlib.compress("\n".join(lines).encode(), 1)


def _unpacked(packed: bytes) -> list[str]:
    return zlib.decompress(packed).decode().split("\n")


def _evaluate(version: str, units: bytes) -> tuple[float, bytes]:
    """Rows of units, and the seconds they took; runs on a worker."""
    global _evaluator
    if version != _native.__version__:
        raise InputError(f"the driver is supernode {version}, this worker {_native.__version__}; install one version")
    if _evaluator is None:
        _evaluator = _native.SweepEvaluator()
    start = time.perf_counter()
    rows = _evaluator.rows(_unpacked(units))
    return time.perf_counter() - start, _packed(rows)


class Chunks:
    """Cells that wait, handed out in chunks of about the same time; of equal ones the earliest first."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self._ranges = deque(ranges)
        self._again: deque[list[int]] = deque()
        self._pace: float | None = None

    def __bool__(self) -> bool:
        return bool(self._ranges or self._again)

    def timed(self, cells: int, seconds: float) -> None:
        """So many cells took so long."""
        pace = seconds / cells
        self._pace = pace if self._pace is None else 0.7 * self._pace + 0.3 * pace

    def again(self, cells: list[int]) -> None:
        """Cells that have to be handed out once more come first."""
        self._again.append(cells)

    def take(self) -> list[int]:
        """The next chunk."""
        if self._again:
            return self._again.popleft()
        size = _FIRST if self._pace is None else int(_CHUNK / max(self._pace, 1e-9))
        size = max(1, min(_MOST, size))
        cells: list[int] = []
        while self._ranges and len(cells) < size:
            start, end = self._ranges.popleft()
            stop = min(end, start + size - len(cells))
            cells.extend(range(start, stop))
            if stop < end:
                self._ranges.appendleft((stop, end))
        return cells


def _connect(address: str | None) -> tuple[Any, bool]:
    """Ray, and whether it was connected to here."""
    try:
        import ray
    except ImportError:
        why = "`backend`: ray needs the package of that name; run `pip install \"ray[default]\"`"
        raise InputError(why, key="backend") from None
    if ray.is_initialized():
        return ray, False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "local":
        options["include_dashboard"] = False
    try:
        ray.init(address=address or "auto", **options)
    except (ConnectionError, ValueError, RuntimeError) as problem:
        why = f"`address`: no Ray cluster at {address or 'auto'} ({problem}); start one with `ray start --head`, or say local"
        raise InputError(why, key="address") from None
    return ray, True


def run(plan: _native.SweepPlan, out: str, address: str | None, tell: Any) -> tuple[str, list[tuple[str, int]]]:
    """Evaluates every cell of ``plan`` whose row the folder does not hold, and puts all rows together."""
    store = _native.SweepStore(out, plan)
    try:
        tell(store.done, plan.cells)
        waiting = Chunks(store.pending())
        if waiting:
            ray, connected = _connect(address)
            try:
                _drive(ray, plan, store, waiting, tell)
            finally:
                if connected:
                    ray.shutdown()
        return store.finish()
    finally:
        store.close()


def _drive(ray: Any, plan: _native.SweepPlan, store: _native.SweepStore, waiting: Chunks, tell: Any) -> None:
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_evaluate)
    version, done = _native.__version__, store.done
    working: dict[Any, list[int]] = {}
    while waiting or working:
        # Two chunks for each core, so that none waits for the driver; nodes may come and go.
        room = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        while waiting and len(working) < room:
            cells = waiting.take()
            working[task.remote(version, _packed(plan.units(cells)))] = cells
        ready, _ = ray.wait(list(working), num_returns=1, timeout=0.5)
        for reference in ready:
            cells = working.pop(reference)
            kept = _collect(ray, reference, cells, plan, store, waiting)
            done += kept
        tell(done, plan.cells)


def _collect(
    ray: Any, reference: Any, cells: list[int], plan: _native.SweepPlan, store: _native.SweepStore, waiting: Chunks
) -> int:
    """Keeps the rows of a chunk that has ended; how many there were."""
    try:
        seconds, packed = ray.get(reference)
    except ray.exceptions.RayTaskError as failed:
        cause = failed.cause
        raise cause if isinstance(cause, Error) else Error(f"a worker failed: {failed}") from None
    except ray.exceptions.RayError as lost:
        if len(cells) > 1:
            half = len(cells) // 2
            waiting.again(cells[:half])
            waiting.again(cells[half:])
            return 0
        store.keep([plan.lost(cells[0], f"its workers died {_RETRIES + 1} times: {type(lost).__name__}")])
        return 1
    rows = _unpacked(packed)
    if len(rows) != len(cells):
        raise Error(f"a worker sent {len(rows)} rows for {len(cells)} cells")
    store.keep(rows)
    waiting.timed(len(cells), seconds)
    return len(rows)


def main(arguments: list[str] | None = None) -> int:
    """The driver of ``supernode sweep --ray``."""
    from .sweeps import sweep

    parser = argparse.ArgumentParser(prog="python -m supernode.on_ray", description=__doc__)
    parser.add_argument("spec", help="specification (TOML)")
    parser.add_argument("--out", required=True, help="folder for the rows")
    parser.add_argument("--ray", default="auto", help="address of the cluster, auto or local")
    parser.add_argument("--catalog", help="folder laid over the built-in catalog")
    parser.add_argument("--set", action="append", default=[], help="replaced figure, KEY=VALUE")
    given = parser.parse_args(arguments)
    try:
        facts: Any = {"set": given.set}
        if given.catalog is not None:
            facts["catalog"] = given.catalog
        print(sweep(given.spec, given.out, backend="ray", address=given.ray, **facts))
    except InputError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except Error as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # What was kept stays kept; the code is that of a program that an interrupt has ended.
        os._exit(130)
    return 0


if __name__ == "__main__":
    sys.exit(main())
