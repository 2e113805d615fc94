"""Sweeps on a Ray cluster of several nodes: whoever dies, no row is lost and none is there twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import supernode as sn
from supernode import _native, on_ray

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

# Two hundred runs of some tens of milliseconds each.
SPEC = """kind = "simulate"
[base]
[[base.deployment]]
model = "meta-llama/Llama-3.1-8B"
system = "h100-8"
pool = [{ tp = 1 }]
[base.workload]
isl = 512
osl = 64
requests = REQUESTS
[vary]
seed = { from = 1, to = 20, steps = 20 }
"workload.rate" = ["10 /s", "20 /s", "30 /s", "40 /s", "50 /s", "60 /s", "70 /s", "80 /s", "90 /s", "100 /s"]
"""
CELLS = 200


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, with runs long enough that there is time to kill somebody."""
    folder = tmp_path_factory.mktemp("spec")
    requests = 2000
    start = time.perf_counter()
    sn.simulate(system="h100-8", model="meta-llama/Llama-3.1-8B", tp=1, isl=512, osl=64, rate=50, requests=requests)
    took = time.perf_counter() - start
    file = folder / "spec.toml"
    file.write_text(SPEC.replace("REQUESTS", str(max(50, int(requests * 0.04 / took)))))
    return file


@pytest.fixture(scope="module")
def expected(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    found = sn.sweep(spec, tmp_path_factory.mktemp("local") / "rows")
    assert found.counts["ok"] == CELLS
    return found.path.read_bytes()


def workers() -> list[psutil.Process]:
    """Processes of this machine that evaluate a chunk now."""
    mine = psutil.Process().pid
    found = [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] and one.pid != mine]
    return [one for one in found if "ray::_evaluate" in " ".join(one.info["cmdline"])]


def on(cluster: Cluster, spec: Path, out: Path, act: Any = None) -> sn.SweepResult:
    """Runs the sweep on the cluster; `act` is called once, in the middle of it."""
    acted = False

    def told(done: int, cells: int) -> None:
        nonlocal acted
        if act is not None and not acted and done > 8:
            acted = act() is not False

    try:
        found = sn.sweep(spec, out, backend="ray", address=cluster.address, progress=told)
    finally:
        ray.shutdown()
    assert act is None or acted, "the sweep was over too soon"
    return found


def test_the_rows_are_those_of_one_machine(cluster: Cluster, spec: Path, expected: bytes, tmp_path: Path) -> None:
    assert on(cluster, spec, tmp_path / "rows").path.read_bytes() == expected


def test_a_worker_is_killed(cluster: Cluster, spec: Path, expected: bytes, tmp_path: Path) -> None:
    def kill() -> bool:
        for worker in workers()[:1]:
            worker.send_signal(signal.SIGKILL)
            return True
        return False

    assert on(cluster, spec, tmp_path / "rows", kill).path.read_bytes() == expected


def test_a_node_is_killed(cluster: Cluster, spec: Path, expected: bytes, tmp_path: Path) -> None:
    extra = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    cluster.wait_for_nodes()

    def kill() -> None:
        cluster.remove_node(extra, allow_graceful=False)

    assert on(cluster, spec, tmp_path / "rows", kill).path.read_bytes() == expected


def test_the_driver_is_killed(cluster: Cluster, spec: Path, expected: bytes, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    words = [sys.executable, "-m", "supernode.on_ray", str(spec), "--out", str(out), "--ray", cluster.address]
    driver = subprocess.Popen(words, env={**os.environ}, stdout=subprocess.DEVNULL)

    def kept() -> int:
        journals = out.glob("journal-*.jsonl") if out.exists() else []
        parts = list(out.glob("part-*.parquet")) if out.exists() else []
        return sum(file.read_bytes().count(b"\n") for file in journals) + len(parts)

    patience = time.monotonic() + 90
    while kept() < 5 and driver.poll() is None:
        assert time.monotonic() < patience, "the driver does nothing"
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    assert not (out / "rows.parquet").exists(), "the sweep was over too soon"
    told: list[int] = []
    sn_found = sn.sweep(spec, out, backend="ray", address=cluster.address, progress=lambda done, _: told.append(done))
    ray.shutdown()
    assert told[0] >= 5, "what was there has been done again"
    assert sn_found.path.read_bytes() == expected


def test_the_command_runs_the_driver(cli: str, spec: Path, expected: bytes, cluster: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    environment = {**os.environ, "SUPERNODE_PYTHON": sys.executable}
    words = [cli, "sweep", str(spec), "--out", str(out), "--ray", cluster.address]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == f"{CELLS} cells: {CELLS} ok"
    assert (out / "rows.parquet").read_bytes() == expected
    wrong = subprocess.run([*words[:-1], "127.0.0.1:1"], env=environment, capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 0, "a sweep that is whole needs no cluster"


class FakeRay:
    """Runs tasks at once; the worker dies on some cells."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            cause = None

    def __init__(self, deadly: set[int]) -> None:
        self.deadly, self.tasks = deadly, 0

    def remote(self, **_: Any) -> Any:
        return lambda work: self

    def task(self, version: str, units: bytes) -> tuple[float, bytes]:
        self.tasks += 1
        cells = {int(line.split('"cell":')[1].split(",")[0]) for line in on_ray._unpacked(units)}
        if cells & self.deadly:
            raise self.exceptions.RayError("died")
        return on_ray._evaluate(version, units)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def wait(self, references: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:
        return self.task(*reference[1])


def test_a_cell_that_kills_its_workers_becomes_a_row(tmp_path: Path) -> None:
    space = {"kind": "estimate", "base": {"system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "isl": 512,
             "osl": 64, "tp": 1}, "vary": {"concurrency": list(range(1, 101))}}  # fmt: skip
    from supernode.sweeps import plan_of

    plan = plan_of(space, "{}")
    store = _native.SweepStore(str(tmp_path / "rows"), plan)
    fake = FakeRay({13, 77})
    counter = iter(range(1_000_000))
    fake_task = type("Task", (), {"remote": staticmethod(lambda *arguments: (next(counter), arguments))})
    fake.remote = lambda **_: lambda work: fake_task  # type: ignore[method-assign]
    on_ray._drive(fake, plan, store, on_ray.Chunks(store.pending()), lambda done, cells: None)
    path, counts = store.finish()
    assert dict(counts) == {"ok": 98, "refused": 0, "invalid": 0, "failed": 2}
    rows = _native.sweep_rows(path)
    dead = [cell for cell, status in zip(rows["cell"], rows["status"]) if status == "failed"]
    assert dead == [13, 77] and "died" in rows["reason"][13]


def test_chunks_are_of_a_second() -> None:
    chunks = on_ray.Chunks([(0, 10_000), (20_000, 30_000)])
    assert chunks.take() == [0, 1, 2, 3]
    chunks.timed(4, 0.02)
    assert len(chunks.take()) == 300
    chunks.again([7])
    assert chunks.take() == [7]
    seen = 304
    while chunks:
        seen += len(chunks.take())
    assert seen == 20_000
