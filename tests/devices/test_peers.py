"""The end of one process ends the others at once, in one line, whatever they wait for."""

import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

PROCESS = """
import json, sys, time
from pathlib import Path
from latadj.devices import peers

rank, size, shared = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])

def agreed(value):
    if rank == 0:
        port, token = value
        part = shared.with_suffix(".part")
        part.write_text(json.dumps([port, token.hex()]))
        part.rename(shared)
        return value
    while not shared.exists():
        time.sleep(0.01)
    port, token = json.loads(shared.read_text())
    return port, bytes.fromhex(token)

class Slow:
    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        time.sleep(0.2)
        return self.stream.write(text)

    def flush(self):
        self.stream.flush()

# A process that is about to speak must not end before it has, whatever the others say.
sys.stderr = Slow(sys.stderr)
peers.watch(rank, size, agreed)
print("ready", flush=True)
what = sys.stdin.readline().strip()
if what == "leave":
    peers.leave()
    sys.exit(0)
if what == "speak":
    peers.speak(lambda: print("my mistake", file=sys.stderr, flush=True), 2)
time.sleep(60)
"""


@contextmanager
def three(folder):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", PROCESS]
    started = [subprocess.Popen([*command, str(rank), "3", str(folder / "port")], **pipes) for rank in range(3)]
    try:
        for process in started:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def say(process, what):
    process.stdin.write(f"{what}\n")
    process.stdin.flush()


@pytest.mark.parametrize(("killed", "speaks"), [(2, 0), (0, 1)])
def test_a_killed_process_ends_the_others_in_one_line(tmp_path, killed, speaks):
    with three(tmp_path) as started:
        others = [process for rank, process in enumerate(started) if rank != killed]
        started[killed].kill()
        for process in others:
            assert process.wait(timeout=30) in (1, 2)
        said = {rank: process.stderr.read() for rank, process in enumerate(started) if rank != killed}
    assert said.pop(speaks) == (f"latadj finetune: process {killed} of 3 has ended, so all end; resume=true goes on\n")
    assert set(said.values()) == {""}


@pytest.mark.parametrize("failing", [[0], [2], [0, 1, 2]])
def test_a_mistake_is_said_once(tmp_path, failing):
    with three(tmp_path) as started:
        for rank in failing:
            say(started[rank], "speak")
        assert [process.wait(timeout=30) for process in started] == [2, 2, 2]
        assert [process.stderr.read() for process in started].count("my mistake\n") == 1


def test_a_process_that_is_done_leaves_the_others_alone(tmp_path):
    with three(tmp_path) as started:
        say(started[1], "leave")
        assert started[1].wait(timeout=30) == 0
        time.sleep(0.2)
        assert started[0].poll() is None
        say(started[2], "leave")
        say(started[0], "leave")
        assert [process.wait(timeout=30) for process in started] == [0, 0, 0]
