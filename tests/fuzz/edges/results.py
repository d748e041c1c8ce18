"""Result files, as `latadj report` reads them; a damaged one is left out, and said to be."""

import json
from pathlib import Path
from typing import Any

from fuzz.harness import Edge, replaced
from fuzz.mutations import damaged_bytes, damaged_json
from helpers import result_files, run_folders

from latadj.reporting.html.report import html_report
from latadj.reporting.html.sources import Sources

FILES: dict[str, Any] = {
    "sweep": run_folders.sweep(),
    "generation": run_folders.generation(),
    "calibrate": run_folders.calibrate(),
    "eval": run_folders.evaluation(),
    "finetune": run_folders.finetune(),
    "prune": result_files.pruning(),
    "compare": result_files.comparison(),
}
NAMES = {"generation": "sweep/sweep.json", "compare": "compare/comparison.json"}


def _json(name: str) -> Any:
    found = FILES[name]
    return found if isinstance(found, dict) else json.loads(json.dumps(found.to_json()))


def prepare(folder: Path) -> None:
    others = {"finetune": run_folders.finetune(), "predictions": run_folders.predictions()}
    run_folders.write(folder, sweep=run_folders.sweep(), **others)
    for name in ("sweep", "calibrate", "eval", "finetune", "prune", "compare"):
        (folder / name).mkdir(exist_ok=True)


def use_of(file: str):
    def use(folder: Path, material: None, content: bytes) -> None:
        replaced(folder / file, content, lambda: html_report(Sources.of(folder)).encode())

    return use


CSV = "sweep/predictions.csv"
EDGES = [
    Edge(f"result of {name}", prepare, damaged_json(_json(name)), use_of(NAMES.get(name, f"{name}/{name}.json")), 60)
    for name in FILES
]


def _predictions() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run_folders.write(Path(folder), predictions=run_folders.predictions()[:8])
        return (Path(folder) / CSV).read_bytes()


EDGES.append(Edge("predictions of a sweep", prepare, damaged_bytes(_predictions()), use_of(CSV), 60))
