"""Clusters that come up in this process, behind an OpenAI-compatible server."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _native, results
from .errors import Error, InputError
from .verbs import _described, _scenario, dumped, facts_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._keys import UpKeys


class Admin:
    """The administrator of a cluster that is up: what breaks, what is mended, how it serves."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    def _call(self, path: str, body: Any = None) -> dict[str, Any]:
        # Imported when it is called for: it takes longer than all the rest of the package.
        import urllib.error
        import urllib.request

        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                answer = json.load(reply)
        except urllib.error.HTTPError as refused:
            text = refused.read().decode(errors="replace")
            raise InputError(_reason(text) or f"the administrator's port says {refused.code}") from None
        except OSError as problem:
            raise Error(f"{self.url}: {problem}") from None
        return dict(answer)

    def state(self) -> dict[str, Any]:
        """What the cluster looks like now."""
        return self._call("/state")

    def command(self, body: Mapping[str, Any]) -> int:
        """Any command of the administrator's port; its place in the input log."""
        return int(self._call("/command", dict(body))["seq"])

    def kill_chip(self, chip: int, system: int = 0) -> int:
        """Breaks a chip: its instance loses what is on it."""
        return self.command({"kill": {"system": system, "chip": chip}})

    def heal_chip(self, chip: int, system: int = 0) -> int:
        """Mends a chip."""
        return self.command({"heal": {"system": system, "chip": chip}})

    def kill(self, **part: int) -> int:
        """Breaks one of ``chip``, ``board``, ``node``, ``link`` or ``instance``."""
        return self.command({"kill": part})

    def heal(self, **part: int) -> int:
        """Mends one of ``chip``, ``board``, ``node``, ``link`` or ``instance``."""
        return self.command({"heal": part})


def _reason(text: str) -> str | None:
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip() or None


class Server:
    """A cluster that is up until the ``with`` block ends. Requests and administrator's commands go to its input log."""

    def __init__(self, native: _native.LiveServer, facts: str, document: dict[str, Any]) -> None:
        self._native = native
        self._facts = facts
        self._document = document
        self.admin = Admin(native.admin, native.token)
        self.decisions: str | None = None
        """Hash of all decisions, once it is down."""

    @property
    def url(self) -> str:
        """Base of OpenAI's API, for example for ``openai.OpenAI(base_url=server.url)``."""
        return f"{self._native.address}/v1"

    @property
    def address(self) -> str:
        """The main port, which also has ``/metrics`` and ``/health``."""
        return self._native.address

    @property
    def metrics_url(self) -> str:
        """Metrics of the chips, for Prometheus."""
        return f"{self._native.metrics}/metrics"

    @property
    def chips(self) -> int:
        """Chips in use at the start."""
        return self._native.chips

    @property
    def log(self) -> str:
        """The input log, which ``supernode replay`` reads too."""
        return str(self._document["log"])

    def replay(self) -> results.Replay:
        """Makes the decisions of the log again in virtual time, and holds them to its hashes."""
        return results.Replay(*_native.replay(self._facts, dumped(self._document), self.log))

    def stop(self) -> str | None:
        """Lets requests in flight end and goes down; the hash of all decisions."""
        hashed = self._native.stop()
        self.decisions = hashed or self.decisions
        return self.decisions

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<supernode.Server of {self.chips} chips at {self.url}>"


def up(
    scenario: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    port: int = 0,
    speed: float | None = None,
    seed: int | None = None,
    text: str | None = None,
    log: str | os.PathLike[str] | None = None,
    ledger: str | os.PathLike[str] | None = None,
    keys_file: str | os.PathLike[str] | None = None,
    drain: str | None = None,
    **keys: Unpack[UpKeys],
) -> Server:
    """Brings a cluster up in this process, on a free port: it answers when, and as, the described cluster would.

    Without a scenario and without ``system`` and ``model`` it is DeepSeek-R1 on 256 chips of a CloudMatrix384.

    >>> with up(system="h100-8", model="meta-llama/Llama-3.1-8B", tp=1, speed=100) as server:
    ...     seq = server.admin.kill_chip(0)
    """
    given: dict[str, Any] = dict(keys)
    facts = facts_of(given)
    osl = given.pop("osl", None)
    described: dict[str, Any] | None = None
    if scenario is not None:
        if given:
            name = next(iter(given))
            raise InputError(f"`{name}` has no effect beside a scenario; say it in the scenario", key=name)
        described = _scenario(scenario)
    elif given:
        described = {"document": _described(given), "path": ""}
    if described is not None and "document" in described:
        # The log holds the cluster as the text of a scenario, so that it can be replayed anywhere.
        described = {"text": toml_text(described["document"]), "path": described["path"] or "scenario.toml"}
    if log is None:
        import tempfile

        handle, log = tempfile.mkstemp(prefix="supernode-", suffix=".log")
        os.close(handle)
        os.unlink(log)
    document = {
        "scenario": described,
        "osl": None if osl is None else str(osl),
        "seed": seed,
        "port": port,
        "speed": speed,
        "text": text,
        "log": os.fspath(log),
        "ledger": ledger,
        "keys": keys_file,
        "drain": drain,
    }
    return Server(_native.bring_up(facts, dumped(document)), facts, document)


def toml_text(document: Mapping[str, Any]) -> str:
    """A scenario as the text of a file."""
    return "".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in document.items() if value is not None)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items() if item is not None)
        return f"{{ {inner} }}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, (bool, int, float, str)):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(os.fspath(value))
