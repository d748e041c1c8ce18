"""The page that follows the server, and the numbers that it shows."""

import json

import httpx
import pytest
from helpers.browser import Browser
from helpers.served_model import wait_for

from latadj.elimination.drops import MeasuredDrop
from latadj.elimination.profiles import Profile
from latadj.server.live_numbers import LiveNumbers

LITTLE, MORE = MeasuredDrop(Profile.full(2), 0.01, 0.0, 0.02), MeasuredDrop(Profile.full(2), 0.03, 0.01, 0.05)


@pytest.fixture
def numbers():
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    return LiveNumbers(0.05, Clock())


def test_rates_are_those_of_the_last_two_seconds_and_latencies_those_of_ten(numbers):
    numbers._clock.now = 100.0
    for _ in range(10):
        numbers.request(200, 0.1)
    numbers._clock.now = 105.0
    for _ in range(30):
        numbers.request(200, 0.02)
    for _ in range(10):
        numbers.request(429, 0.0)
    found = numbers.now(4, 1.5)
    assert (found.offered, found.answered, found.shed) == (20.0, 15.0, 5.0)
    assert (found.p50_ms, found.in_time) == (pytest.approx(20.0), 30 / 50)
    assert (found.waiting, found.correction) == (4, 1.5)
    numbers._clock.now = 111.0
    assert numbers.now(0, 1.0).in_time == 30 / 40
    numbers._clock.now = 120.0
    assert numbers.now(0, 1.0).p50_ms is None


def test_the_dial_is_the_mean_over_texts(numbers):
    assert numbers.now(0, 1.0).speedup is None
    numbers.batch(3, 2.0, LITTLE)
    numbers.batch(1, 3.0, MORE)
    found = numbers.now(0, 1.0)
    assert found.speedup == pytest.approx(2.25)
    assert (found.drop, found.low, found.high) == (pytest.approx(1.5), pytest.approx(0.25), pytest.approx(2.75))
    numbers.batch(1, 1.0, None)  # where nobody measured
    assert numbers.now(0, 1.0).drop is None


def test_events_tell_the_present(server):
    server.post({"inputs": "the film is great"})
    with httpx.stream("GET", f"{server.url}/events", timeout=30) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        line = next(line for line in stream.iter_lines() if line.startswith("data:"))
    found = json.loads(line.removeprefix("data:"))
    assert found["answered"] > 0
    assert found["speedup"] == 1.0


@pytest.mark.parametrize(("size", "dark"), [((1280, 900), False), ((390, 844), True)])
def test_the_page_shows_it_and_tries_a_text(server, chromium: Browser, size, dark, tmp_path):
    chromium.open(f"{server.url}/", size, dark=dark, touch=size[0] < 500)
    wait_for(lambda: chromium.run("document.getElementById('state').textContent") == "live")
    chromium.run("document.querySelector('button').click()")
    wait_for(lambda: chromium.run("document.querySelectorAll('#answer li').length") == 2)
    assert "at 1.000x" in chromium.run("document.getElementById('answer').textContent")
    wait_for(lambda: chromium.run("document.getElementById('speedup').textContent") == "1.00x")
    assert chromium.overflow() == 0
    assert chromium.contrast(".tile .note") > 4.5
    assert chromium.contrast("button") > 4.5
    assert not chromium.errors
    assert all(url.startswith(server.url) for url in chromium.requests if not url.startswith("data:"))
    chromium.screenshot(tmp_path / "page.png")
    chromium.open("about:blank")  # ends the stream of events


def test_a_server_may_have_no_page(served_root):
    from helpers.served_model import Running

    with Running(served_root / "checkpoint", "page=false") as running:
        assert httpx.get(running.url).status_code == 405
        assert httpx.get(f"{running.url}/events").status_code == 404
