"""Predictions on GLUE's unlabelled test sets, in a zip as its server takes it."""

import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset

from latadj.commands.checks import require_dial
from latadj.commands.common.served_models import open_served
from latadj.config import SweepConfig, TaskConfig
from latadj.elimination.attach import dial_of
from latadj.elimination.current_setting import at_speedup
from latadj.tasks.glue import GLUE, official_file, read_test, submission_text
from latadj.tasks.outputs.logits import decisions
from latadj.tasks.outputs.predict import predict
from latadj.utils.files import atomic_write

log = logging.getLogger("latadj")
# Any will do, so long as the same answers make the same zip.
WHEN = (1980, 1, 1, 0, 0, 0)


def there(name: str, task: TaskConfig) -> list[str]:
    """Files of a submission that a task has test examples for: those in its folder; on the hub, all."""
    return [f"{part.file}.tsv" for part in GLUE[name].parts if not task.data_dir or official_file(task, part)]


def answers(name: str, config: SweepConfig, speedups: Sequence[float]) -> dict[float, dict[str, str]]:
    """A task's files of a submission at each speedup: name -> text; none that it cannot make.

    Parameters
    ----------
    config : of the sweep of the task's checkpoint
    """
    read = {part.file: read_test(config.task, part) for part in GLUE[name].parts}
    tests = {file: frame for file, frame in read.items() if frame is not None}
    files: dict[float, dict[str, str]] = {speedup: {} for speedup in speedups}
    if not tests:
        return files
    session = open_served(config, require_dial(config, []))
    encoded = {
        file: session.encoded(Dataset.from_pandas(frame[config.task.text].assign(label=0), preserve_index=False))
        for file, frame in tests.items()
    }
    for speedup, texts in files.items():
        if not dial_of(session.model).reaches(speedup):
            log.warning("submission: %s does not reach %gx on this device and is left out", name, speedup)
            continue
        for file, frame in tests.items():
            with at_speedup(session.model, speedup):
                logits = predict(session.model, session.tokenizer, encoded[file], outputs=session.outputs)
            predictions = decisions(logits, not config.task.labels).tolist()
            texts[f"{file}.tsv"] = submission_text(name, frame["index"].tolist(), predictions, config.task.labels or [])
    return files


def write_zip(path: Path, texts: Mapping[str, str]) -> None:
    """Write files of these names and texts into one zip, whole or not at all."""
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in sorted(texts.items()):
            packed.writestr(zipfile.ZipInfo(name, WHEN), text, zipfile.ZIP_DEFLATED)
