"""latadj explain: which words of a text survive to which layer, and what is answered, along the dial."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.model_class import label_names
from latadj.checkpoints.task_spec import QUESTION_COLUMNS, question_task, type_of
from latadj.commands.checks import GENERATES, check_explain
from latadj.commands.common.opening import begin
from latadj.config import GENERATION, ExplainConfig
from latadj.devices import device
from latadj.devices.environment import environment
from latadj.elimination.attach import dial_of
from latadj.elimination.dial import Dial
from latadj.inference.explain import Explanation, pooled_column, read
from latadj.inference.explained_answers import Answers, ExplainedTask, Labels, Tags
from latadj.inference.explained_text import Text
from latadj.inference.serving import make_ready
from latadj.kernels.lowering import kernel_of
from latadj.reporting.explain import print_explanation
from latadj.reporting.html.explain_page import explain_page
from latadj.tasks.encoding.batches import max_input_length
from latadj.utils.console import progress
from latadj.utils.files import write_json, write_text

log = logging.getLogger("latadj")
# What every page begins with.
PAGE = b"<!doctype html>"


@dataclass
class Ready:
    """A model with its dial, and the text that it is to read at these speedups."""

    config: ExplainConfig
    metadata: CheckpointMetadata
    model: PreTrainedModel
    task_type: str
    task: ExplainedTask
    text: Text
    speedups: list[float]
    html: Path | None


def prepare(
    config: ExplainConfig, texts: Sequence[str], html: Path | None, checked: CheckpointMetadata | None = None
) -> Ready:
    """Load the model, encode the text, and find the speedups that the dial reaches here.

    Parameters
    ----------
    texts : one, or the two of a pair
    html : where the page is to be; None for none
    checked : the checkpoint's metadata, if the early check has read them

    Raises
    ------
    ValueError
        if the checkpoint generates or has no dial, it reads another number of texts, a text is empty, or the
        speedup is off the dial.
    """
    begin(config)
    if html is not None:
        _check_page(html)
    where, wanted = device.choose(config.device), config.speedup
    metadata = checked or check_explain(config)
    task_type, task_spec = type_of(Path(config.checkpoint), metadata.task_spec), metadata.task_spec
    columns = QUESTION_COLUMNS if task_type == "question_answering" else task_spec.text if task_spec else None
    _check_texts(texts, columns)
    if checkpoint.head_of(config.checkpoint) == GENERATION:
        raise ValueError(f"checkpoint {config.checkpoint} {GENERATES}")
    model, tokenizer = checkpoint.load(config.checkpoint, head=task_type, metadata=metadata)
    model.eval().to(where)
    limit = max_input_length(model.config, tokenizer)
    limit = min(limit, task_spec.max_length) if task_spec else limit
    task: ExplainedTask = Labels(regression=model.config.num_labels == 1)
    if task_type == "token_classification":
        task = Tags(label_names(model.config, task_spec.labels if task_spec else ()))
    elif task_type == "question_answering":
        protected = metadata.dial is not None and metadata.dial.protected > 0
        task = Answers(question_task(task_spec, metadata.task, limit, protect_query=protected), tokenizer)
    text = task.encode(texts, tokenizer, limit)
    make_ready(
        model,
        metadata,
        metadata.dial,
        model.device,
        precision=config.device.precision,
        target=config.dial.target,
        batch=task_spec.batch_size if task_spec else None,
    )
    dial_of(model).profile(wanted)  # marked in this device's time it may end earlier
    speedups = grid(dial_of(model), wanted, config.step) if html else sorted({1.0, wanted})
    return Ready(config, metadata, model, task_type, task, text, speedups, html)


def run(ready: Ready) -> dict[str, Any]:
    """Read the text at every speedup, print what survives at the one asked for, and write page and result.

    Returns
    -------
    what ``explain/explain.json`` holds
    """
    config, model, text = ready.config, ready.model, ready.text
    readings = []
    with progress("reading", len(ready.speedups)) as steps:
        for speedup in ready.speedups:
            readings.append(read(model, text, speedup, ready.task))
            steps.advance(note=f"{speedup:g}x")
    pooled = pooled_column(model, text)
    explanation = Explanation(
        model=config.model.name,
        task=ready.metadata.task,
        type=ready.task_type,
        labels=label_names(model.config, ready.metadata.task_spec.labels if ready.metadata.task_spec else ()),
        words=text.words,
        tokens=text.tokens,
        pooled=pooled,
        target=dial_of(model).target,
        readings=tuple(readings),
        selected=ready.speedups.index(config.speedup),
        words_beyond=text.words_beyond,
    )
    print_explanation(explanation)
    result = {
        "schema": "latadj.explain/2",
        **asdict(explanation),
        "environment": environment(model.device, kernel_of(model).precision),
        "config": asdict(config),
    }
    folder = Path(config.folder) / "explain"
    write_json(folder / "explain.json", result)
    if ready.html is not None:
        write_text(ready.html, explain_page(explanation))
        log.info("wrote %s and %s", ready.html, folder / "explain.json")
    return result


def grid(dial: Dial, wanted: float, step: float) -> list[float]:
    """Speedups of the slider: from 1 up in steps, the one asked for among them, and the dial's reach at the end."""
    reach = dial.reach()
    steps = [round(1 + step * number, 4) for number in range(int((reach - 1) / step + 1e-9) + 1)]
    end = int(100 * reach) / 100
    return sorted({*steps, wanted, *([end] if end > steps[-1] + step / 2 else [])})


def _check_page(path: Path) -> None:
    """Refuse a page in whose place there is something else, such as the text itself."""
    if path.is_dir():
        raise ValueError(f"--html {path}: this is a folder; give the name of a file")
    with path.open("rb") if path.is_file() else nullcontext() as file:
        start = file.read(len(PAGE)) if file else b""
    if start not in (b"", PAGE):
        raise ValueError(f"--html {path}: there is another file here, which is no page; give another name")


def _check_texts(texts: Sequence[str], columns: Sequence[str] | None) -> None:
    """Refuse texts that the model cannot be asked about.

    Parameters
    ----------
    columns : the texts that it reads; None where nobody knows
    """
    if columns and len(columns) != len(texts):
        names = " and ".join(columns)
        if len(texts) == 1:
            raise ValueError(f"this model reads a pair ({names}), and there is one text: give the second with --text2")
        raise ValueError(f"this model reads one text ({names}), and there are two: leave out --text2")
    for text in texts:
        if not text.strip():
            raise ValueError('the text is empty: give one, as in `latadj explain "a fine film"`, or --file FILE')
