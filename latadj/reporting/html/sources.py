"""What a run's folder holds that a report can be made from."""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from latadj.reporting.html.changed import Changed, changed
from latadj.reporting.results import written
from latadj.reporting.results.comparison import Comparison
from latadj.reporting.results.generation import GenerationSweep
from latadj.reporting.results.pruning import PruneResult
from latadj.reporting.results.sweep import Sweep
from latadj.utils.files import load_json

Read = TypeVar("Read")
# Where each command leaves its result, and the schemas of it that can be shown.
FILES = {
    "sweep": ("sweep/sweep.json", (Sweep.SCHEMA, GenerationSweep.SCHEMA)),
    "calibrate": ("calibrate/calibrate.json", ("latadj.calibrate/2",)),
    "eval": ("eval/eval.json", ("latadj.eval/2", "latadj.eval.generation/2")),
    "finetune": ("finetune/finetune.json", ("latadj.finetune/1",)),
    "prune": ("prune/prune.json", (PruneResult.SCHEMA,)),
    "compare": ("compare/comparison.json", (Comparison.SCHEMA,)),
}
PREDICTIONS = "sweep/predictions.csv"


@dataclass
class Sources:
    """Results of a run, each None where its command was not run or its file cannot be read.

    changed : test examples whose prediction at some speedup is not the full model's
    read : files that were read, inside the folder
    left_out : file -> why it was not
    """

    folder: Path
    sweep: Sweep | GenerationSweep | None = None
    calibrate: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    finetune: dict[str, Any] | None = None
    prune: PruneResult | None = None
    compare: Comparison | None = None
    changed: list[Changed] | None = None
    read: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Sources":
        """Read a run's folder.

        Raises
        ------
        ValueError
            if nothing in it can be shown.
        """
        if not folder.is_dir():
            raise ValueError(f"folder {folder}: no such folder; name a run's with folder=FOLDER, or give model=, task=")
        sources = cls(folder)
        sources.sweep = sources._result("sweep", _sweep)
        sources.calibrate = sources._result("calibrate", written.calibrated)
        sources.evaluation = sources._result("eval", written.evaluated)
        sources.finetune = sources._result("finetune", written.finetuned)
        sources.prune = sources._result("prune", PruneResult.from_json)
        sources.compare = sources._result("compare", Comparison.from_json)
        if not sources.read:
            damage = "".join(f"; {file} {why}" for file, why in sources.left_out.items() if why != MISSING)
            raise ValueError(
                f"folder {folder}: nothing to report, there is no {', '.join(file for file, _ in FILES.values())}"
                f"{damage}; run `latadj sweep` (same options) first"
            )
        if isinstance(sources.sweep, Sweep):
            sources.changed = sources._take(PREDICTIONS, _changed)
        return sources

    @property
    def named(self) -> dict[str, Any]:
        """The result that says which model and task the folder is about; empty where none does."""
        swept, compared, pruned = (vars(one) if one else None for one in (self.sweep, self.compare, self.prune))
        return swept or self.evaluation or compared or self.calibrate or self.finetune or pruned or {}

    @property
    def generates(self) -> bool:
        """Whether `latadj eval` scored a language model, by its perplexity."""
        return self.evaluation is not None and self.evaluation["schema"].startswith("latadj.eval.generation/")

    @property
    def environment(self) -> dict[str, Any]:
        """Where the headline's numbers were measured."""
        return self.named.get("environment") or {}

    def _result(self, command: str, typed: Callable[[dict[str, Any]], Read]) -> Read | None:
        file, schemas = FILES[command]

        def read(path: Path) -> Read:
            try:
                data = load_json(path)
            except ValueError as error:
                raise ValueError(f"is damaged or was cut short ({error})") from error
            schema = data.get("schema") if isinstance(data, dict) else None
            if schema not in schemas:
                shows = " or ".join(map(repr, schemas))
                raise ValueError(f"has schema {reprlib.repr(schema)}, this latadj shows {shows}")
            try:
                return typed(data)
            except ValueError as error:
                raise ValueError(f"is damaged, or of another version of latadj ({error})") from error

        return self._take(file, read)

    def _take(self, file: str, read: Callable[[Path], Read]) -> Read | None:
        """What ``read`` makes of a file; notes it, or why it is left out."""
        path = self.folder / file
        try:
            content = read(path)
        except FileNotFoundError:
            self.left_out[file] = MISSING
            return None
        except (OSError, pd.errors.ParserError) as error:
            self.left_out[file] = f"is damaged or was cut short ({' '.join(str(error).split())})"
            return None
        except ValueError as error:
            self.left_out[file] = " ".join(str(error).split())
            return None
        self.read.append(file)
        return content


MISSING = "is not there"


def _sweep(data: dict[str, Any]) -> Sweep | GenerationSweep:
    sweep = GenerationSweep.from_json(data) if data["schema"] == GenerationSweep.SCHEMA else Sweep.from_json(data)
    if not sweep.rows:
        raise ValueError("no rows")
    return sweep


def _changed(path: Path) -> list[Changed]:
    # As text: a review may say "NA" or "1e5".
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    if "label" not in frame or "prediction_1x" not in frame:
        raise ValueError("has no columns label and prediction_1x: it is not what `latadj sweep` writes")
    return changed(frame)
