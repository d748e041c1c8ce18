"""A saved model: a transformers folder plus ``latadj.json``, which holds its dial and what it was made for.

The folder loads in plain transformers as the full model. Weights are read from safetensors only; nothing is
unpickled.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from latadj import hub
from latadj.config import ModelConfig
from latadj.elimination.attach import attach, set_speedup
from latadj.files import write_folder
from latadj.serving import make_ready
from latadj.sidecar import Sidecar, check, write_sidecar


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, sidecar: Sidecar) -> None:
    """Save a model, its tokenizer and its dial as one folder, whole or not at all."""

    def fill(target: Path) -> None:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        write_sidecar(target, sidecar)

    write_folder(folder, fill)


def load(
    folder: Path | str,
    *,
    speedup: float | None = None,
    precision: str | None = None,
    device: str = "cpu",
    head: str = "classification",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a saved model with its dial attached, ready to run.

    Parameters
    ----------
    folder : what `latadj finetune` or `latadj calibrate` made, or any fine-tuned transformers folder
    speedup : where the dial stands; 1 when left out
    precision : ``fp32``, ``bf16``, ``int8`` or ``auto``: serve in this precision by the fastest kernel, for
        inference only, with the dial marked in this device's time if `latadj calibrate` measured it. None leaves
        the weights as they are, to be trained and saved, and the dial marked in FLOPs.
    device : where the model is to be
    head : ``classification``, or ``generation``, which writes text

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
    model, tokenizer = _pretrained(str(folder), local=True, generation=head == "generation")
    try:
        attach(model, sidecar.dial, speedup=1.0 if sidecar.dial is None else 1.0 if speedup is None else speedup)
    except ValueError as error:
        raise ValueError(f"checkpoint {folder}: {error}") from error
    if sidecar.dial is None and speedup is not None and speedup != 1.0:
        raise ValueError(f"checkpoint {folder} has no dial: make one with `latadj calibrate checkpoint={folder}`")
    model.eval().to(device)
    if precision is not None:
        make_ready(model, sidecar, sidecar.dial, model.device, precision=precision)
        if speedup is not None and sidecar.dial is not None:
            set_speedup(model, speedup)
    return model, tokenizer


def load_pretrained(
    config: ModelConfig, labels: list[str], regression: bool, head: str = "classification"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pretrained model with a fresh head for a task, or with ``generation`` its own, from a folder or the hub."""
    path, local = hub.model_source(config.path)
    trust = config.trust_remote_code
    if head == "generation":
        return _pretrained(path, local=local, trust_remote_code=trust, generation=True)
    outputs: dict[str, Any] = {"num_labels": 1, "problem_type": "regression"}
    if not regression:
        names = dict(enumerate(labels))
        outputs = {"num_labels": len(labels), "id2label": names, "label2id": {name: i for i, name in names.items()}}
    return _pretrained(path, local=local, trust_remote_code=trust, outputs=outputs)


def _pretrained(
    path: str,
    *,
    local: bool,
    trust_remote_code: bool = False,
    outputs: dict[str, Any] | None = None,
    generation: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    options = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(path, **options, **(outputs or {}))
        auto = AutoModelForSequenceClassification
        if generation:
            auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, found = auto.from_pretrained(
            path,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=outputs is not None,
            output_loading_info=True,
            **options,
        )
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"the model in {path} cannot be loaded, it may be cut short: {reason}") from error
    if outputs is None and found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        purpose = "a language model" if generation else "fine-tuned for classification"
        raise ValueError(f"the model in {path} is not {purpose}: it has no weights for {missing}")
    if generation and tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def random_model(config: ModelConfig, seed: int) -> PreTrainedModel:
    """A classifier of a model's shape with random weights, in eval mode: all that a clock needs.

    Raises
    ------
    ValueError
        if neither ``shape`` nor a folder says what that is.
    """
    if config.shape:
        if "model_type" not in config.shape:
            raise ValueError(f"model.shape={config.shape}: expected a model_type, such as bert, among them")
        options = {str(key): value for key, value in config.shape.items()}
        shape = AutoConfig.for_model(options.pop("model_type"), **options)
    else:
        path, local = hub.model_source(config.path)
        shape = AutoConfig.from_pretrained(path, local_files_only=local)
    set_seed(seed)
    return AutoModelForSequenceClassification.from_config(shape).eval()
