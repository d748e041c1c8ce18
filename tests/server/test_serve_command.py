"""`latadj serve` as a process: what it refuses, and how it ends."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest
from helpers.command_line import run
from helpers.served_model import lines, process, spoil, without_clock_of_this_device, write_served

from latadj.checkpoints.metadata import read_metadata, write_metadata


def refused(folder, *options):
    """The one line that it writes."""
    where = [f"checkpoint={folder}", f"folder={folder.parent / 'none'}"]
    common = [*where, "device.name=cpu", "device.threads=1", "port=0"]
    given = {option.partition("=")[0] for option in options}
    found = run("serve", *[one for one in common if one.partition("=")[0] not in given], *options, expect=2)
    assert found.stderr.count("\n") == 1, found.stderr
    return found.stderr


@pytest.fixture(scope="module")
def checkpoint(served_root):
    return served_root / "checkpoint"


def test_a_checkpoint_without_a_dial_is_pointed_at_calibrate(served_root):
    message = refused(write_served(served_root, "undialled", dial=False))
    assert "has no dial: make one with `latadj calibrate task=toys checkpoint=" in message


def test_a_checkpoint_without_a_clock_is_pointed_at_calibrate(served_root):
    message = refused(write_served(served_root, "untimed", clock=False))
    assert "calibrated on no device: run `latadj calibrate" in message
    assert "calibration.device_only=true" in message


def test_a_checkpoint_of_another_device_is_pointed_at_calibrate(served_root, checkpoint):
    folder = shutil.copytree(checkpoint, served_root / "elsewhere")
    write_metadata(folder, without_clock_of_this_device(read_metadata(folder)))
    assert "calibrated on another device or precision than this" in refused(folder)


def test_a_dial_without_drops_takes_no_limit_on_them(served_root):
    folder = write_served(served_root, "undropped", drops=False)
    assert "was not measured: run `latadj calibrate`" in refused(folder)
    assert "what it loses was not measured" in refused(folder, "policy=fixed", "speedup=2")


def test_a_fixed_speedup_beyond_the_limit_is_refused(checkpoint):
    message = refused(checkpoint, "policy=fixed", "speedup=3")
    assert re.search(r"speedup=3: it is expected to lose 1\.\d+ points, and max_drop=1", message)
    assert "beyond this dial" in refused(checkpoint, "policy=fixed", "speedup=9", "max_drop=null")


def test_a_port_in_use_is_refused(checkpoint):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = refused(checkpoint, f"port={port}")
    assert f"host=127.0.0.1 port={port}: Address already in use" in message


def test_broken_weights_are_refused(served_root, checkpoint):
    folder = shutil.copytree(checkpoint, served_root / "broken")
    spoil(folder)
    assert "NaN" in refused(folder) or "not finite" in refused(folder)


@pytest.mark.parametrize(
    ("task_type", "words"),
    [("generation", "vLLM serves language models"), ("token_classification", "`latadj predict` reads a file")],
)
def test_a_model_for_something_else_is_pointed_elsewhere(served_root, checkpoint, task_type, words):
    folder = shutil.copytree(checkpoint, served_root / task_type)
    saved = json.loads((folder / "latadj.json").read_text())
    saved["task_spec"]["type"] = task_type
    (folder / "latadj.json").write_text(json.dumps(saved))
    assert words in refused(folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["port=70000"], "port=70000: expected a port from 0"),
        (["speedup=2"], "speedup=2 with policy=slack"),
        (["policy=quick"], "policy=quick: expected one of slack, fixed"),
        (["deadline_ms=0"], "deadline_ms=0"),
        (["reserve=1"], "reserve=1"),
        (["limits.body_bytes=0"], "limits.body_bytes=0"),
    ],
)
def test_options_out_of_range_are_refused(checkpoint, options, words):
    assert words in refused(checkpoint, *options)


def test_the_help_needs_neither_torch_nor_fastapi():
    code = """
import sys, latadj.cli
latadj.cli.app(["serve", "--help"], standalone_mode=False)
print([name for name in ("torch", "transformers", "fastapi", "uvicorn", "starlette") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_was_let_in_is_answered_after_a_signal(checkpoint, number):
    with process(checkpoint, "access_log=true", "drain_s=20") as (server, url):
        statuses, failures, begun = [], [], threading.Barrier(5)

        def ask():
            with httpx.Client(timeout=30) as client:
                begun.wait()
                for _ in range(200):
                    try:
                        response = client.post(f"{url}/predict", json={"inputs": [["the film is great"]] * 20})
                    except httpx.TransportError as error:
                        failures.append(error)
                        return
                    statuses.append((response.status_code, len(response.json())))
                    if response.headers.get("connection") == "close":
                        return

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        begun.wait()
        while len(statuses) < 20:
            pass
        server.send_signal(number)
        for client in clients:
            client.join()
        out, _ = server.communicate(timeout=30)
    assert server.returncode == 0
    assert set(statuses) == {(200, 20)}
    logged = [line for line in lines(out) if line["path"] == "/predict"]
    assert failures == []
    assert len(logged) == len(statuses)
    assert {line["status"] for line in logged} == {200}
    assert all(line["texts"] == 20 and line["speedup"] >= 1.0 and line["id"] for line in logged)


def test_a_server_that_lingers_answers_and_closes_until_a_second_signal(checkpoint):
    with process(checkpoint, "linger_s=600") as (server, url):
        assert "connection" not in httpx.get(f"{url}/health").headers
        server.send_signal(signal.SIGTERM)
        while (health := httpx.get(f"{url}/health")).status_code == 200:
            pass
        assert health.status_code == 503
        response = httpx.post(f"{url}/predict", json={"inputs": "the film is great"})
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
        assert server.returncode == 0


def test_a_warm_up_that_fails_ends_it_with_one_line(checkpoint, monkeypatch):
    def fails(engine):
        raise ValueError("no time can be measured")

    monkeypatch.setattr("latadj.server.engine.Engine.warm_up", fails)
    where = [f"checkpoint={checkpoint}", f"folder={checkpoint.parent / 'failed'}", "device.name=cpu", "port=0"]
    found = run("serve", *where, "device.threads=1", expect=2)
    assert found.stderr.splitlines()[-1] == "latadj serve: no time can be measured"


def test_a_page_that_follows_the_server_does_not_keep_it_from_ending(checkpoint):
    with (
        process(checkpoint, "drain_s=600") as (server, url),
        httpx.stream("GET", f"{url}/events", timeout=60) as events,
    ):
        next(line for line in events.iter_lines() if line.startswith("data:"))
        server.terminate()
        server.communicate(timeout=60)
        assert server.returncode == 0
