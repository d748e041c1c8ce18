"""How many texts a second `latadj serve` answers when there is always more to do, beside `latadj predict` on the same.

Run alone on a quiet machine, with the checkpoint that `latadj calibrate` measured on it:

    .venv/bin/python benchmarks/serve_saturated.py outputs/minilm-rotten_tomatoes/checkpoint

The server is in a process of its own, fixed at a speedup; requests of 32 texts are all sent at once, from this machine.
predict's engine runs in this process, its tokenising and its writing included. Both have each chunk of texts in turn.
Prints a Markdown table, and writes JSON.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from predict import ModelVariant, by_predict, engine_of
from serve_load import served, test_texts

from latadj.benchmark.noise import NoiseMonitor
from latadj.benchmark.timer import speedup, time_interleaved
from latadj.config import DeviceConfig
from latadj.devices.device import choose
from latadj.devices.environment import environment
from latadj.utils.files import write_json

# So long that nobody is turned away.
DEADLINE_S = 600.0


def by_server(url: str, request_texts: int) -> ModelVariant:
    """A running server, asked for all texts at once."""

    def run(texts: Sequence[str]) -> object:
        return asyncio.run(
            _ask(url, [texts[start : start + request_texts] for start in range(0, len(texts), request_texts)])
        )

    return run


async def _ask(url: str, requests: Sequence[Sequence[str]]) -> list[Any]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), raise_for_status=True) as session:

        async def ask(texts: Sequence[str]) -> Any:
            async with session.post(f"{url}/predict", json={"inputs": [[text] for text in texts]}) as answer:
                return await answer.json()

        return list(await asyncio.gather(*map(ask, requests)))


def main() -> None:
    """Measure both at each speedup, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--chunk", type=int, default=512, help="texts that each has in turn")
    parser.add_argument("--request-texts", type=int, default=32, help="of a request")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, default=Path("outputs/serve/saturated.json"))
    options = parser.parse_args()
    texts, _ = test_texts(options.checkpoint)
    chunks = [texts[start : start + options.chunk] for start in range(0, len(texts), options.chunk)]
    device = choose(DeviceConfig(name="cpu", threads=options.threads))
    engine, layout = engine_of(options.checkpoint, options.precision)
    variants: dict[str, ModelVariant] = {}
    with ExitStack() as servers, NoiseMonitor() as monitor:
        for at in options.speedups:
            fixed = ["policy=fixed", f"speedup={at:g}", "max_drop=null"]
            url, _ = servers.enter_context(served(options, DEADLINE_S, fixed))
            variants[f"serve, {at:g}x"] = by_server(url, options.request_texts)
            variants[f"predict, {at:g}x"] = by_predict(engine, layout, at)
        seconds = time_interleaved(
            {name: [partial(run, chunk) for chunk in chunks] for name, run in variants.items()},
            rounds=options.turns,
            warmup=1,
            device=device,
        )
    ratios = {at: speedup(seconds[f"predict, {at:g}x"], seconds[f"serve, {at:g}x"]) for at in options.speedups}
    rates = {name: len(texts) * options.turns / float(times.sum()) for name, times in seconds.items()}
    write_json(
        options.json,
        {
            "schema": "latadj.serve-saturated/1",
            "texts_per_s": rates,
            "serve_over_predict": {f"{at:g}": asdict(ratio) for at, ratio in ratios.items()},
            "environment": {**environment(device, options.precision), "quiet": asdict(monitor.report(seconds))},
            "options": json.loads(json.dumps(vars(options), default=str)),
        },
    )
    print("| speedup | predict, texts a second | serve | serve over predict |")
    print("| ---: | ---: | ---: | ---: |")
    for at, ratio in ratios.items():
        own = rates[f"predict, {at:g}x"], rates[f"serve, {at:g}x"]
        print(f"| {at:g}x | {own[0]:.0f} | {own[1]:.0f} | {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) |")


if __name__ == "__main__":
    main()
