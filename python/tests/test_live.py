"""A cluster that comes up in this process, breaks, goes down, and is replayed."""

from __future__ import annotations

import json
import urllib.request

import pytest
from conftest import run_cli

import supernode as sn

SMALL = {"system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "tp": 1, "instances": 2}


def complete(url: str, tokens: int = 8) -> dict[str, object]:
    body = {"model": SMALL["model"], "messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens}
    request = urllib.request.Request(
        url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return dict(json.load(reply))


def test_up_serves_breaks_and_is_replayed(cli: str, tmp_path: object) -> None:
    log = tmp_path / "input.log"  # type: ignore[operator]
    with sn.up(**SMALL, speed=50, log=log, seed=5) as server:
        answer = complete(server.url)
        assert answer["usage"]["completion_tokens"] == 8  # type: ignore[index]
        server.admin.kill_chip(0)
        state = server.admin.state()
        assert "failed" in json.dumps(state)
        assert complete(server.url)["usage"]["completion_tokens"] == 8  # type: ignore[index]
        server.admin.heal_chip(0)
        with pytest.raises(sn.InputError, match="name one of chip"):
            server.admin.kill()
        with urllib.request.urlopen(server.metrics_url, timeout=10) as reply:
            assert b"DCGM" in reply.read()
    assert server.decisions
    found = server.replay()
    assert found["agrees"] and found["completed"] == 2
    # The decisions made again are those that were made, and the command makes the same of the log.
    again = run_cli(cli, "replay", str(log), "--json")
    assert again.stdout == found.to_json(), again.stderr


def test_the_usual_cluster_comes_up() -> None:
    with sn.up(speed=1000) as server:
        assert server.chips == 256
        with urllib.request.urlopen(server.url + "/models", timeout=10) as reply:
            assert "DeepSeek-R1" in reply.read().decode()


def test_what_cannot_come_up_says_why() -> None:
    with pytest.raises(sn.InputError):
        sn.up("no/such/file.toml")
    with sn.up(**SMALL) as server:
        port = int(server.address.rsplit(":", 1)[1])
        with pytest.raises(sn.InputError, match="give another port"):
            sn.up(**SMALL, port=port)
