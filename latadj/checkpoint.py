"""A saved model: a transformers folder plus ``latadj.json``, which holds its dial and what it was made for.

The folder loads in plain transformers as the full model. Weights are read from safetensors only; nothing is
unpickled.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from latadj import hub
from latadj.config import ModelConfig, TaskConfig
from latadj.elimination.attach import attach, detach, is_attached
from latadj.elimination.profile import Dial
from latadj.files import read_json, write_folder, write_json

SIDECAR = "latadj.json"
SCHEMA = "latadj.checkpoint/1"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass
class Sidecar:
    """What ``latadj.json`` holds.

    task : name of the task that the model was fine-tuned for; None if latadj does not know
    dial : None until `latadj calibrate`
    notes : where the numbers come from (calibration set, seed, versions)
    """

    task: str | None = None
    dial: Dial | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        dial = self.dial.to_json() if self.dial else None
        return {"schema": SCHEMA, **asdict(self), "dial": dial}


def read_sidecar(folder: Path) -> Sidecar:
    """What ``latadj.json`` in a model's folder holds; an empty one if the model was not made by latadj.

    Raises
    ------
    ValueError
        if the file is damaged or of another schema.
    """
    path = folder / SIDECAR
    if not path.exists():
        return Sidecar()
    mend = "make it anew with `latadj calibrate`"
    data = read_json(path, "dial file", mend)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"{path}: schema {found!r}, this latadj reads {SCHEMA!r}; {mend}")
    try:
        dial = Dial.from_json(data["dial"]) if data.get("dial") else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {mend}") from error
    return Sidecar(data.get("task"), dial, data.get("notes") or {})


def write_sidecar(folder: Path, sidecar: Sidecar) -> None:
    """Write ``latadj.json`` beside a model."""
    write_json(folder / SIDECAR, sidecar.to_json())


def check(folder: Path, task: TaskConfig | None = None) -> Sidecar:
    """Check that a folder holds a whole model, made for ``task`` if that is known, without loading it.

    Raises
    ------
    ValueError
        if it is missing, cut short or for another task.
    """
    make = "make it with `latadj finetune` (same model= and task=), or name another with checkpoint=FOLDER"
    if not folder.is_dir():
        raise ValueError(f"checkpoint {folder}: no such folder; {make}")
    read_json(folder / "config.json", "transformers model", make)
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise ValueError(f"checkpoint {folder}: no {' or '.join(WEIGHTS)} (other formats are not read); {make}")
    sidecar = read_sidecar(folder)
    if task is not None and sidecar.task not in (None, task.name):
        raise ValueError(
            f"checkpoint {folder} is for task={sidecar.task}, not task={task.name}: "
            f"run with task={sidecar.task}, or fine-tune one for {task.name}"
        )
    return sidecar


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, sidecar: Sidecar) -> None:
    """Save a model, its tokenizer and its dial as one folder, whole or not at all."""

    def fill(target: Path) -> None:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        write_sidecar(target, sidecar)

    write_folder(folder, fill)


def load(folder: Path | str, *, speedup: float | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a saved model with its dial attached, ready to run.

    Parameters
    ----------
    folder : what `latadj finetune` or `latadj calibrate` made, or any fine-tuned transformers folder
    speedup : where the dial stands; 1 when left out

    Returns
    -------
    model (an ordinary transformers model, in eval mode) and tokenizer

    Raises
    ------
    ValueError
        if the folder is missing or damaged, has no dial while a speedup above 1 is wanted, or its dial does not
        fit the model.
    """
    folder = Path(folder)
    sidecar = check(folder)
    model, tokenizer = _pretrained(AutoModelForSequenceClassification, str(folder), local=True)
    try:
        attach(model, sidecar.dial, speedup=1.0 if sidecar.dial is None else speedup or 1.0)
    except ValueError as error:
        raise ValueError(f"checkpoint {folder}: {error}") from error
    if sidecar.dial is None and speedup is not None and speedup != 1.0:
        raise ValueError(f"checkpoint {folder} has no dial: make one with `latadj calibrate checkpoint={folder}`")
    return model.eval(), tokenizer


def load_pretrained(
    config: ModelConfig, labels: list[str], regression: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pretrained model with a fresh head for a task, from a folder or the hub."""
    path, local = hub.model_source(config.path)
    head: dict[str, Any] = {"num_labels": 1, "problem_type": "regression"}
    if not regression:
        names = dict(enumerate(labels))
        head = {"num_labels": len(labels), "id2label": names, "label2id": {name: i for i, name in names.items()}}
    return _pretrained(
        AutoModelForSequenceClassification, path, local=local, trust_remote_code=config.trust_remote_code, head=head
    )


def _pretrained(
    auto: Any, path: str, *, local: bool, trust_remote_code: bool = False, head: dict[str, Any] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    options = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(path, **options, **(head or {}))
        model = auto.from_pretrained(
            path, config=config, use_safetensors=True, ignore_mismatched_sizes=head is not None, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"the model in {path} cannot be loaded, it may be cut short: {reason}") from error
    return model, tokenizer


def plain_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model, detached: the full model as transformers runs it."""
    import copy

    twin = copy.deepcopy(model)
    return detach(twin) if is_attached(twin) else twin
