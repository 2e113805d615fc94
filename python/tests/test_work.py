"""The interpreter is free while the library works, an interrupt ends it at once, and a defect is an exception."""

from __future__ import annotations

import _thread
import threading
import time

import pytest
from conftest import POINT

import supernode as sn
from supernode import _native

LONG = {"system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "tp": 1, "requests": 10_000_000, "rate": 40,
        "isl": 512, "osl": 256, "records": False, "steps": False}  # fmt: skip


def test_the_interpreter_is_free() -> None:
    counted, over = 0, threading.Event()

    def count() -> None:
        nonlocal counted
        while not over.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    start = time.perf_counter()
    sn.simulate(**{**LONG, "requests": 4000})
    took = time.perf_counter() - start
    over.set()
    thread.join()
    assert counted > 50 * took, f"{counted} turns in {took} s"


@pytest.mark.parametrize(
    "ask",
    [
        lambda: sn.simulate(**LONG),
        lambda: sn.plan_serve("cloudmatrix384", model="deepseek-ai/DeepSeek-R1"),
    ],
    ids=["simulate", "plan_serve"],
)
def test_an_interrupt_is_raised_at_once(ask: object) -> None:
    raised_at = 0.0

    def interrupt() -> None:
        nonlocal raised_at
        raised_at = time.perf_counter()
        _thread.interrupt_main()

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            ask()  # type: ignore[operator]
    finally:
        timer.cancel()
    late = time.perf_counter() - raised_at
    assert raised_at > 0 and late < 0.1, f"{late * 1e3:.0f} ms"


def test_threads_ask_side_by_side() -> None:
    alone = sn.estimate(**POINT).to_json()
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(sn.estimate(**POINT).to_json())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 8


def test_a_defect_is_an_exception() -> None:
    try:
        _native.ask("panic", "{}", "{}")
    except sn.InternalError as defect:
        assert "asked to" in str(defect)
    except sn.InputError:
        pytest.skip("a release build has no question that panics")
