"""A saved model: a transformers folder plus ``latadj.json``, which holds its dial and what it was made for.

The folder loads in plain transformers as the full model; one that was pruned does not, see ``latadj.pruning``, and one
with hard attention loads without it. Weights are read from safetensors only; nothing is unpickled.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from latadj.checkpoints.gguf import converted
from latadj.checkpoints.metadata import CheckpointMetadata, check, read_metadata, write_metadata
from latadj.checkpoints.model_class import auto_class, fresh_head, natural_head, prepare_tokenizer, saved_head
from latadj.checkpoints.weight_files import weight_files
from latadj.config import ModelConfig
from latadj.elimination.attach import attach, is_attached, set_speedup, topk_attention_of
from latadj.inference.serving import make_ready
from latadj.pruning import structure_of
from latadj.pruning.loading import load_pruned
from latadj.utils import hub
from latadj.utils.files import write_folder


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, sidecar: CheckpointMetadata) -> None:
    """Save a model, its tokenizer, its dial, its pruning map and its hard attention as one folder, or not at all.

    A model that nothing is attached to has the hard attention that the sidecar says.
    """
    hard = topk_attention_of(model) if is_attached(model) else sidecar.topk_attention
    sidecar = replace(sidecar, pruning=structure_of(model), topk_attention=hard)

    def fill(target: Path) -> None:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        write_metadata(target, sidecar)

    write_folder(folder, fill)


def load(
    folder: Path | str,
    *,
    speedup: float | None = None,
    precision: str | None = None,
    device: str = "cpu",
    head: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a saved model with its dial attached, ready to run.

    Parameters
    ----------
    folder : what `latadj finetune` or `latadj calibrate` made, or any fine-tuned transformers folder
    speedup : where the dial stands; 1 when left out
    precision : ``fp32``, ``bf16``, ``int8`` or ``auto``: serve in this precision by the fastest kernel, for
        inference only, with the dial marked in this device's time if `latadj calibrate` measured it. None leaves
        the weights in fp32, to be trained and saved, and the dial marked in FLOPs.
    device : where the model is to be
    head : one of ``latadj.checkpoints.model_class.HEADS``; the one that was saved when left out

    Returns
    -------
    model (an ordinary transformers model, in eval mode) and tokenizer

    Raises
    ------
    ValueError
        if the folder is missing or damaged, holds a model with another head, has no dial while a speedup above 1 is
        wanted, or its dial does not fit the model.
    """
    folder = Path(folder)
    sidecar = check(folder)
    model, tokenizer = _pretrained(str(folder), head, local=True)
    try:
        start = 1.0 if sidecar.dial is None or speedup is None else speedup
        attach(model, sidecar.dial, speedup=start, hard=sidecar.topk_attention)
    except ValueError as error:
        raise ValueError(f"checkpoint {folder}: {error}") from error
    if sidecar.dial is None and speedup is not None and speedup != 1.0:
        raise ValueError(f"checkpoint {folder} has no dial: make one with `{sidecar.calibrate(folder)}`")
    model.eval().to(device)
    if precision is not None:
        make_ready(model, sidecar, sidecar.dial, model.device, precision=precision)
        if speedup is not None and sidecar.dial is not None:
            set_speedup(model, speedup)
    return model, tokenizer


def load_pretrained(
    config: ModelConfig,
    labels: Sequence[str] = (),
    regression: bool = False,
    *,
    head: str = "classification",
    keep_head: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pretrained model in fp32, from a folder, a GGUF file or the hub; attached only if it has hard attention.

    Parameters
    ----------
    labels, regression : what a classification's head is for
    head : one of ``latadj.checkpoints.model_class.HEADS``
    keep_head : whether the model has to come with a head that fits; else one is made where there is none

    Raises
    ------
    ValueError
        if the model cannot be had, is damaged, its kind cannot have the head, or there is none to keep.
    """
    path, local = _source(config.path)
    fresh = fresh_head(head, labels, regression)
    trust = config.trust_remote_code
    model, tokenizer = _pretrained(path, head, local=local, trust_remote_code=trust, fresh=fresh, keep_head=keep_head)
    hard = read_metadata(Path(path)).topk_attention if local else None
    return attach(model, hard=hard) if hard else model, tokenizer


def _source(path: str) -> tuple[str, bool]:
    """Where ``from_pretrained`` is to look, and whether at local files only."""
    found, local = hub.model_source(path)
    return (str(converted(found)), True) if hub.is_gguf(found) else (found, local)


def _pretrained(
    path: str,
    head: str | None,
    *,
    local: bool,
    trust_remote_code: bool = False,
    fresh: dict[str, Any] | None = None,
    keep_head: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer; with ``fresh``, which is what a config has to say about it, a head may be a new one."""
    options = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(path, **options, **(fresh or {}))
    except (OSError, ValueError, KeyError) as error:
        raise _unloadable(path, error) from error
    saved = saved_head(config)
    wanted = head or saved or natural_head(config)
    auto = auto_class(config, wanted)
    if fresh is None and saved not in (None, wanted):
        raise ValueError(f"the model in {path} is made for {saved}, not for {wanted}: it is for another kind of task")
    structure = read_metadata(Path(path)).pruning if local else None
    try:
        if structure is not None:
            files, other_head = weight_files(Path(path)), fresh is not None
            model, missing = load_pruned(auto, config, Path(path), files, structure, ignore_mismatched_sizes=other_head)
            unlike = False  # its files do not hold what is unlike
        else:
            model, found = auto.from_pretrained(
                path,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=fresh is not None,
                output_loading_info=True,
                **options,
            )
            missing, unlike = set(found["missing_keys"]), bool(found["mismatched_keys"])
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as error:
        raise _unloadable(path, error) from error
    if fresh is None and missing:
        names = ", ".join(sorted(missing)[:3])
        raise ValueError(f"the model in {path} is not fine-tuned for {wanted}: it has no weights for {names}")
    if keep_head and (missing or unlike):
        raise ValueError(
            f"the model in {path} has no head for {wanted} with {model.config.num_labels} outputs, and plain.epochs=0 "
            "trains none: name a fine-tuned model with model.path=FOLDER, or leave plain.epochs=0 out"
        )
    prepare_tokenizer(tokenizer, model.config, wanted)
    return model, tokenizer


def _unloadable(path: str, error: Exception) -> ValueError:
    reason = str(error).strip().split("\n")[0]
    return ValueError(f"the model in {path} cannot be loaded, it may be cut short: {reason}")


def random_model(config: ModelConfig, seed: int) -> PreTrainedModel:
    """A model of a shape with random weights, in eval mode: all that a clock needs.

    An encoder is a classifier; decoders and encoder-decoders have their language-modelling head.

    Raises
    ------
    ValueError
        if neither ``shape`` nor a folder says what that is, or the folder's model is pruned.
    """
    if config.shape:
        if "model_type" not in config.shape:
            raise ValueError(f"model.shape={config.shape}: expected a model_type, such as bert, among them")
        options = {str(key): value for key, value in config.shape.items()}
        shape = AutoConfig.for_model(options.pop("model_type"), **options)
    else:
        path, local = _source(config.path)
        if local and read_metadata(Path(path)).pruning is not None:
            raise ValueError(
                f"model.path={path}: this model is pruned, and one with random weights is whole: name the full model"
            )
        shape = AutoConfig.from_pretrained(path, local_files_only=local)
    set_seed(seed)
    return auto_class(shape, natural_head(shape)).from_config(shape, dtype=torch.float32).eval()
