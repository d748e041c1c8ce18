"""Requests whose client hangs up, whose model fails, dies or is replaced, or that come too fast for the tokenizer."""

import os
import shutil
import signal
import threading

import httpx
import pytest
from helpers.served_model import Running, spoil, wait_for, write_served


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


def test_a_checkpoint_that_changed_is_loaded_beside_the_one_before(served_root):
    folder = shutil.copytree(served_root / "checkpoint", served_root / "changing")
    other = write_served(served_root, "other", labels=("poor", "fine", "great"))
    with Running(folder, "reload=true") as running:
        before = running.post({"inputs": "the film"}).json()
        spoil(folder)
        refused = running.post({}, path="/reload")
        assert (refused.status_code, refused.json()["error_type"]) == (424, "Backend")
        assert "the model before goes on" in refused.json()["error"]
        assert running.post({"inputs": "the film"}).json() == before
        shutil.copytree(other, folder, dirs_exist_ok=True)
        ended, statuses = threading.Event(), []

        def ask():
            while not ended.is_set():
                statuses.append(running.post({"inputs": [["the film"]] * 8}).status_code)

        client = threading.Thread(target=ask)
        client.start()
        info = running.post({}, path="/reload")
        ended.set()
        client.join()
        assert info.json()["model_type"]["classifier"]["label2id"] == {"poor": 0, "fine": 1, "great": 2}
        assert {one["label"] for one in running.post({"inputs": "the film"}).json()} == {"poor", "fine", "great"}
        assert set(statuses) == {200}


def test_nobody_reloads_unless_it_is_allowed(server):
    assert server.post({}, path="/reload").status_code == 404
