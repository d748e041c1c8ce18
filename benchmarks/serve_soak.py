"""`latadj serve` under load with clients that misbehave: right answers, no 5xx, steady memory, nobody lost at the end.

    .venv/bin/python benchmarks/serve_soak.py outputs/minilm-rotten_tomatoes/checkpoint --minutes 15

Requests of one test text each come as a Poisson process at a share of what the full model answers. Beside them, clients
hang up, send their bodies slowly, send what is not JSON or far too much, and are killed in the middle. The deadline is
a second, so that the dial stays at 1x and every answer can be held against the full model's score of its own text. At
the end the server gets SIGTERM under full load: whoever was let in is answered. With `--steal 30` the server is kept
from all cores but one for so many seconds in the middle, and the deadline is three times what a text takes.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from serve_load import arrival_times, full_model, replies, served, test_texts

from latadj.utils.files import write_json

# Scores of a text alone and in a batch differ by rounding.
CLOSE = 2e-3
KILLED = """
import sys, threading, urllib.request
def ask():
    while True:
        body = b'{"inputs": "a film that nobody waits for", "truncate": true}'
        request = urllib.request.Request(sys.argv[1] + "/predict", body, {"content-type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=5).read()
        except OSError:
            pass
for _ in range(2):
    threading.Thread(target=ask, daemon=True).start()
threading.Event().wait()
"""


def memory_mib(pid: int) -> float:
    """Resident memory of a process and of all that it started."""
    pages = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in processes(pid)]
    return sum(pages) * 4096 / 2**20


def processes(pid: int) -> list[int]:
    """A process and those that any thread of it started."""
    children = [one for path in Path(f"/proc/{pid}/task").glob("*/children") for one in path.read_text().split()]
    return [pid, *map(int, children)]


async def steady(
    url: str, texts: Sequence[str], scores: np.ndarray, first: str, rate: float, end: float, seen: Counter[str]
) -> None:
    """Requests whose answers are checked."""
    rng = np.random.default_rng(0)
    pending: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(place: int) -> None:
            try:
                async with session.post(f"{url}/predict", json={"inputs": texts[place], "truncate": True}) as answer:
                    body = await answer.json()
            except aiohttp.ClientError:
                seen["lost"] += 1
                return
            seen[str(answer.status)] += 1
            if answer.status == 200 and answer.headers["X-Latadj-Speedup"] == "1.000":
                score = next(one["score"] for one in body if one["label"] == first)
                seen["right" if abs(score - scores[place]) < CLOSE else "WRONG"] += 1

        while time.monotonic() < end:
            await asyncio.sleep(float(rng.exponential(1 / rate)))
            task = asyncio.create_task(ask(int(rng.integers(len(texts)))))
            pending.add(task)
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)


async def trouble(url: str, end: float, seen: Counter[str]) -> None:
    """Clients that misbehave, several a second."""
    host, port = url.removeprefix("http://").split(":")
    rng = random.Random(0)
    good = json.dumps({"inputs": "a film that takes its time", "truncate": True}).encode()

    async def raw(parts: Sequence[bytes], pause: float, length: int, wait: bool) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            head = ["POST /predict HTTP/1.1", "host: a", "content-type: application/json", f"content-length: {length}"]
            writer.write("\r\n".join([*head, "", ""]).encode())
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
            if wait:
                status = (await asyncio.wait_for(reader.readline(), 30)).split()
                seen[f"trouble {status[1].decode() if len(status) > 1 else 'closed'}"] += 1
        except OSError:
            seen["trouble closed"] += 1
        finally:
            writer.close()

    while time.monotonic() < end:
        kind = rng.choice(["hang up", "hang up late", "slow", "malformed", "oversized"])
        seen[kind] += 1
        with contextlib.suppress(asyncio.TimeoutError):
            if kind == "hang up":
                await raw([good[:10]], 0.0, len(good), False)
            elif kind == "hang up late":
                await raw([good], 0.004, len(good), False)
            elif kind == "slow":
                await raw([good[place : place + 8] for place in range(0, len(good), 8)], 0.1, len(good), True)
            elif kind == "malformed":
                await raw([bytes(rng.randrange(256) for _ in range(60))], 0.0, 60, True)
            else:
                await raw([b" " * 100_000] * 30, 0.0, 3_000_000, True)
        await asyncio.sleep(0.1)


async def killed(url: str, end: float, seen: Counter[str]) -> None:
    """Client processes that are killed in the middle of a request."""
    while time.monotonic() < end:
        client = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, url)
        await asyncio.sleep(2)
        client.kill()
        await client.wait()
        seen["killed"] += 1
        await asyncio.sleep(3)


async def watched(pid: int, end: float, memory: list[float]) -> None:
    """The server's memory, every five seconds."""
    while time.monotonic() < end:
        memory.append(memory_mib(pid))
        await asyncio.sleep(5)


async def at_the_end(url: str, server: subprocess.Popen[str], texts: Sequence[str], rate: float) -> Counter[str]:
    """What becomes of those who ask while the server gets SIGTERM."""
    seen: Counter[str] = Counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> None:
            await asyncio.sleep(number / rate)
            try:
                async with session.post(f"{url}/predict", json={"inputs": texts[number], "truncate": True}) as answer:
                    await answer.read()
                    seen[str(answer.status)] += 1
            except aiohttp.ClientConnectorError:
                seen["not let in"] += 1
            except aiohttp.ClientError:
                seen["lost"] += 1

        tasks = [asyncio.create_task(ask(number)) for number in range(int(2 * rate))]
        await asyncio.sleep(1)
        server.send_signal(signal.SIGTERM)
        await asyncio.gather(*tasks)
    seen["exit code"] = await asyncio.to_thread(server.wait, 60)
    return seen


async def soak(
    url: str, server: subprocess.Popen[str], texts: Sequence[str], scores: np.ndarray, first: str, **options: float
) -> dict[str, Any]:
    """All of it."""
    seen: Counter[str] = Counter()
    memory: list[float] = []
    end = time.monotonic() + options["seconds"]
    rate = options["rate"]
    await asyncio.gather(
        steady(url, texts, scores, first, rate, end, seen),
        trouble(url, end, seen),
        killed(url, end, seen),
        watched(server.pid, end, memory),
    )
    half = memory[len(memory) // 2 :] or memory
    found = {"replies": dict(seen), "memory_mib": memory, "growth": memory[-1] / half[0] - 1}
    return {**found, "sigterm": dict(await at_the_end(url, server, texts, rate))}


def keep_on(pid: int, cpus: set[int]) -> None:
    """Let a process and all that it started run on some CPUs only."""
    for one in processes(pid):
        for thread in Path(f"/proc/{one}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cpus)


async def stolen(
    url: str, server: subprocess.Popen[str], texts: Sequence[str], rate: float, deadline_s: float, steal_s: float
) -> list[float]:
    """Share of the requests of each second that is in time, while the server has one core only in the middle."""
    times = arrival_times("Poisson", rate, 2 * steal_s, 0)
    task = asyncio.create_task(replies(url, texts, times, deadline_s, 0))
    every = os.sched_getaffinity(0)
    await asyncio.sleep(steal_s / 2)
    keep_on(server.pid, {min(every)})
    await asyncio.sleep(steal_s)
    keep_on(server.pid, every)
    in_time = np.array([reply.status == 200 and reply.seconds <= deadline_s for reply in await task])
    return [float(in_time[(times >= second) & (times < second + 1)].mean()) for second in range(int(2 * steal_s))]


def main() -> None:
    """Run it, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--load", type=float, default=0.9, help="share of what the full model answers one at a time")
    parser.add_argument("--steal", type=float, help="seconds in which the server has one core only; no soak then")
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, default=Path("outputs/serve/soak.json"))
    options = parser.parse_args()
    texts, _ = (part[: options.texts] for part in test_texts(options.checkpoint))
    p50, answers, scores = full_model(options, texts)
    first = answers[int(scores.argmax())]
    rate = options.load / p50
    deadline_s = 3 * p50 if options.steal else 1.0
    with served(options, deadline_s, ["policy=slack", "max_drop=null"]) as (url, server):
        if options.steal:
            seconds = asyncio.run(stolen(url, server, texts, rate, deadline_s, options.steal))
            found: dict[str, Any] = {"in_time_by_second": seconds}
        else:
            found = asyncio.run(soak(url, server, texts, scores, first, seconds=60 * options.minutes, rate=rate))
    write_json(
        options.json, {"schema": "latadj.serve-soak/1", "rate_per_s": rate, "deadline_ms": 1e3 * deadline_s, **found}
    )
    print(json.dumps({name: value for name, value in found.items() if name != "memory_mib"}, indent=1))


if __name__ == "__main__":
    main()
