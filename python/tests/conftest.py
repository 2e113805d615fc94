"""What the tests share: the command, if it is there, and small jobs that are quick to answer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Ray on loopback, without its checks of the cluster's users and without phoning home.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")

POINT = {
    "system": "h100-8",
    "model": "meta-llama/Llama-3.1-8B",
    "tp": 1,
    "isl": 1024,
    "osl": 128,
    "concurrency": 8,
}


def command() -> str | None:
    """The supernode command: SUPERNODE_BIN, that of the last build, or that of the path."""
    named = os.environ.get("SUPERNODE_BIN")
    if named:
        return named
    for profile in ("debug", "release"):
        built = ROOT / "target" / profile / "supernode"
        if built.exists():
            return str(built)
    return shutil.which("supernode")


@pytest.fixture(scope="session")
def cli() -> str:
    found = command()
    if found is None:
        pytest.fail("build the command first: cargo build, or name it in SUPERNODE_BIN")
    return found


def flags(keys: dict[str, object]) -> list[str]:
    """Keys as flags of the command."""
    out: list[str] = []
    for key, value in keys.items():
        values = value if isinstance(value, list) else [value]
        if key == "set":
            for one in values:
                out += ["--set", str(one)]
        elif value is True and key in ("at_most", "mix", "prefix_cache"):
            out.append("--" + key.replace("_", "-"))
        else:
            text = ",".join(str(one).lower() if isinstance(one, bool) else str(one) for one in values)
            out += ["--" + key.replace("_", "-"), text]
    return out


def run_cli(cli: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([cli, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
