"""Requests whose client hangs up, whose model fails or dies, or that come too fast for the tokenizer."""

import os
import signal
import threading

import httpx
import pytest
from helpers.served_model import Running, wait_for


def test_a_model_that_fails_says_so_and_the_next_is_answered(server, monkeypatch):
    (process,) = server.service.engine.processes
    original = process.run
    with monkeypatch.context() as patched:
        patched.setattr(process, "run", lambda rows, place: original([{"input_ids": [2**30]}], place))
        response = server.post({"inputs": "a"})
    assert (response.status_code, response.json()["error_type"]) == (424, "Backend")
    assert "out of range" in response.json()["error"]
    assert server.post({"inputs": "a"}).status_code == 200


def test_who_hangs_up_is_forgotten(server, monkeypatch):
    (process,), seen = server.service.engine.processes, []
    entered, go_on = threading.Event(), threading.Event()
    original = process.run

    def slow(rows, place):
        def work():
            go_on.wait(60)
            original(rows, place)

        seen.append(len(rows))
        entered.set()
        threading.Thread(target=work, daemon=True).start()

    with monkeypatch.context() as patched:
        patched.setattr(process, "run", slow)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/predict", json={"inputs": "bad"}, timeout=0.5)  # runs, and nobody waits for it
        entered.wait(60)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/predict", json={"inputs": [["good"]] * 7}, timeout=0.5)  # waits behind it
        wait_for(lambda: all(not item.ticket.open for item in server.service.engine.scheduler._waiting))
        go_on.set()
        assert server.post({"inputs": "the film"}).status_code == 200
    assert seen == [1, 1]


def test_too_many_texts_before_the_tokenizer_are_turned_away(server, monkeypatch):
    monkeypatch.setattr(type(server.service.engine.encoder), "backlog_s", 5.0)
    response = server.post({"inputs": "bad"}, {"X-Deadline-Ms": "100"})
    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")


def health(running):
    return httpx.get(f"{running.url}/health").status_code


def test_a_model_whose_process_is_killed_is_loaded_again_once(served_root):
    with Running(served_root / "checkpoint") as running:
        engine = running.service.engine
        before = running.post({"inputs": "the film is great"}).json()
        os.kill(engine.processes[0].number, signal.SIGKILL)
        wait_for(lambda: not running.service.ready)
        assert health(running) == 503
        unanswered = running.post({"inputs": "bad"})
        assert (unanswered.status_code, unanswered.json()["error_type"]) == (503, "Unhealthy")
        wait_for(lambda: running.service.ready)
        assert health(running) == 200
        assert running.post({"inputs": "the film is great"}).json() == before
        os.kill(engine.processes[0].number, signal.SIGKILL)
        wait_for(lambda: running.failures)
    assert "ended with code -9, less than 60 s after another" in str(running.failures[0])
