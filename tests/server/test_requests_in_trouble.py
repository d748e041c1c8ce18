"""Requests whose client hangs up, whose model fails, or that come too fast for the tokenizer."""

import threading

import httpx
import pytest
from helpers.served_model import wait_for


def test_a_model_that_fails_says_so_and_the_next_is_answered(server, monkeypatch):
    def fails(rows, place):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(server.service.dispatcher, "_run", fails)
        response = server.post({"inputs": "a"})
    assert (response.status_code, response.json()["error_type"]) == (424, "Backend")
    assert "out of memory" in response.json()["error"]
    assert server.post({"inputs": "a"}).status_code == 200


def test_who_hangs_up_is_forgotten(server, monkeypatch):
    dispatcher, seen = server.service.dispatcher, []
    entered, go_on = threading.Event(), threading.Event()
    original = dispatcher._run

    def slow(rows, place):
        seen.append(len(rows))
        entered.set()
        go_on.wait(60)
        return original(rows, place)

    with monkeypatch.context() as patched:
        patched.setattr(dispatcher, "_run", slow)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/predict", json={"inputs": "bad"}, timeout=0.5)  # runs, and nobody waits for it
        entered.wait(60)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/predict", json={"inputs": [["good"]] * 7}, timeout=0.5)  # waits behind it
        wait_for(lambda: all(not item.ticket.open for item in server.service.scheduler._waiting))
        go_on.set()
        assert server.post({"inputs": "the film"}).status_code == 200
    assert seen == [1, 1]


def test_too_many_texts_before_the_tokenizer_are_turned_away(server, monkeypatch):
    monkeypatch.setattr(type(server.service.encoder), "backlog_s", 5.0)
    response = server.post({"inputs": "bad"}, {"X-Deadline-Ms": "100"})
    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
