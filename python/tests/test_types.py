"""The package is typed, and its keys are those of the library."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import supernode as sn
from supernode import _native, verbs

PACKAGE = Path(__file__).resolve().parents[1]
STUB = PACKAGE / "python/supernode/_keys.pyi"


def keys(name: str) -> list[str]:
    body = re.search(rf"^class {name}\(.*?\n(?=\nclass |\Z)", STUB.read_text() + "\n", re.M | re.S)
    assert body, name
    return re.findall(r"^    (\w+): ", body[0], re.M)


def test_the_keys_of_an_operating_point_are_those_of_the_library() -> None:
    assert keys("EstimateKeys") == [name for name, _ in _native.point_keys()]


def test_a_run_of_one_deployment_takes_the_keys_of_its_engine() -> None:
    engine = {"engine_version", "max_sequences", "memory_fraction", "stream_interval", "execution", "expert_skew", "micro_batches"}
    assert engine <= set(keys("DeploymentKeys")) and engine <= set(verbs._POOL + verbs._DEPLOYMENT)


def test_unknown_keys_are_told_all_that_are_known() -> None:
    for ask, name in ((sn.train, "TrainKeys"),):
        try:
            ask(nonsense=1)  # type: ignore[call-arg]
        except sn.InputError as wrong:
            listed = {key.replace("-", "_") for key in re.findall(r"`([\w-]+)`", str(wrong))} - {"nonsense"}
            assert listed <= set(keys(name)) and set(keys(name)) - listed <= {"checkpoint_interval", "spares"}


def test_mypy_is_content(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(
        "import supernode as sn\n"
        "found: sn.Estimate = sn.estimate(system='h100-8', model='m', tp=1, set={'a': 1})\n"
        "wrong = sn.estimate(system='h100-8', model='m', tp='one')\n"
        "missing = sn.estimate(system='h100-8')\n"
        "class Mine:\n"
        "    def route(self, now: float, pool: int, request: sn.RequestView, instances: list[sn.InstanceView]) -> int:\n"
        "        return instances[0].instance\n"
    )
    words = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "--cache-dir", str(tmp_path)]
    own = subprocess.run([*words, "-p", "supernode"], capture_output=True, text=True, cwd=tmp_path)
    assert own.returncode == 0, own.stdout
    user = subprocess.run([*words, str(sample)], capture_output=True, text=True, cwd=tmp_path)
    wrong = [line for line in user.stdout.splitlines() if "error" in line]
    assert [line.split(":")[1] for line in wrong[:2]] == ["3", "4"], user.stdout


def test_importing_is_quick_and_brings_nobody_along() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import supernode; took = time.perf_counter() - start\n"
        "assert not {'ray', 'pandas', 'polars', 'pyarrow', 'numpy', 'urllib.request'} & set(sys.modules)\n"
        "print(took)"
    )
    took = min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout) for _ in range(3))
    assert took < 0.2, f"{took * 1e3:.0f} ms; the target of a release build is in bench/targets.py"
