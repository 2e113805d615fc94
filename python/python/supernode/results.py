"""Answers: documents whose figures keep their unit, their band and their grade."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ._native import Table
from .errors import InputError


class Figure(NamedTuple):
    """A number with its unit, and the ends of its band where it is a prediction."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    grade: str | None = None

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        text = f"{self.value:.6g} {self.unit}"
        if self.low is not None and self.high is not None:
            text += f" ({self.low:.6g} to {self.high:.6g})"
        return text + (f", {self.grade}" if self.grade else "")


def _figure(entry: Any, grade: str | None) -> Figure | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("unit"), str):
        return None
    value = entry.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return Figure(float(value), entry["unit"], entry.get("low"), entry.get("high"), entry.get("grade", grade))


class Answer:
    """What was found. ``to_dict()`` is what the command prints with ``--json``, ``str()`` what it prints without.

    Keys of the document can be read as items; those that are figures also as attributes: ``answer.ttft.value``.
    """

    def __init__(self, json_text: str, text: str) -> None:
        self._json = json_text
        self._text = text
        self._document: Any = None

    def to_json(self) -> str:
        """The document as the command prints it, byte for byte."""
        return self._json

    def to_dict(self) -> dict[str, Any]:
        """The document; a copy that the caller may change."""
        document = json.loads(self._json)
        return document if isinstance(document, dict) else {"entries": document}

    def _read(self) -> dict[str, Any]:
        if self._document is None:
            self._document = self.to_dict()
        document: dict[str, Any] = self._document
        return document

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._read()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key of the document."""
        return self._read().get(key, default)

    @property
    def grade(self) -> str | None:
        """The weakest grade among the figures that the answer rests on, where it has one."""
        document = self._read()
        evidence = document.get("evidence")
        inner = evidence.get("grade") if isinstance(evidence, dict) else None
        found = document.get("evidence_grade") or inner or document.get("grade")
        return str(found) if found else None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        document = self._read()
        if name not in document:
            raise AttributeError(f"there is no `{name}`; there are {', '.join(document)}")
        entry = document[name]
        return _figure(entry, self.grade) or entry

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._read()]

    def figures(self) -> dict[str, Figure]:
        """Every figure of the document by its path."""
        return dict(self._walk("", self._read()))

    def _walk(self, path: str, entry: Any) -> Iterator[tuple[str, Figure]]:
        figure = _figure(entry, self.grade)
        if figure is not None:
            yield path, figure
        elif isinstance(entry, dict):
            for key, value in entry.items():
                yield from self._walk(f"{path}.{key}" if path else key, value)
        elif isinstance(entry, list):
            for place, value in enumerate(entry):
                yield from self._walk(f"{path}[{place}]", value)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<supernode {self._read().get('schema', 'answer')}>"

    def _repr_html_(self) -> str:
        rows = []
        for path, figure in self.figures().items():
            band = "" if figure.low is None or figure.high is None else f"{figure.low:.4g} to {figure.high:.4g}"
            cells = (path, f"{figure.value:.6g}", figure.unit, band, figure.grade or "")
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
        head = "".join(f"<th>{name}</th>" for name in ("figure", "value", "unit", "band", "grade"))
        title = html.escape(str(self._read().get("schema", "")))
        return f"<table><caption>{title}</caption><tr>{head}</tr>{''.join(rows)}</table>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._json, self._text))


class Estimate(Answer):
    """What a deployment does in the steady state."""


class Plan(Answer):
    """Deployments for a job, the best first."""


class Comparison(Answer):
    """What the best plan on each of several systems does."""


class Match(Answer):
    """What a chip must be to do a job as well as another."""


class Training(Answer):
    """What one step of a training job takes, and a run of many."""


class TrainingPlan(Answer):
    """Layouts of a training job, the best first."""

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """Keys for :func:`supernode.train` of each layout found on the most chips, the best first."""
        document = self._read()
        plans = document["plans"]
        most = max(plans, key=lambda plan: plan["chips"])
        return [_job(document["job"], found["layout"]) for found in most["best"]]


def _job(words: dict[str, Any], layout: dict[str, Any]) -> dict[str, Any]:
    keys = {**words, **layout}
    keys.pop("micro_batches", None)
    whole = {key: _whole(value) for key, value in keys.items() if value is not None}
    return {key.replace("-", "_"): value for key, value in whole.items()}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Replay(Answer):
    """The decisions of an input log, made again."""


class Simulation(Answer):
    """A run in virtual time."""

    def __init__(
        self, json_text: str, text: str, records: Table | None = None, steps: Table | None = None
    ) -> None:
        super().__init__(json_text, text)
        self._records = records
        self._steps = steps

    @property
    def records(self) -> Table:
        """A row per request; the run must have been told to keep them."""
        return _kept(self._records, "records")

    @property
    def steps(self) -> Table:
        """A row per run of equal steps of an instance; the run must have been told to keep them."""
        return _kept(self._steps, "steps")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Simulation, (self._json, self._text))


def _kept(table: Table | None, name: str) -> Table:
    if table is None:
        raise InputError(f"{name} were not kept; call simulate(..., {name}=True)", key=name)
    return table
