"""Loads a saved model: ready to serve, as `latadj.load` does, or as transformers runs it."""

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.elimination.attach import as_plain, set_speedup
from latadj.inference.serving import make_ready
from latadj.kernels.linear import DTYPES


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
    speedup : the dial's setting; 1 when left out
    precision : ``fp32``, ``bf16``, ``int8`` or ``auto``: serve in this precision by the fastest kernel, for
        inference only, with the dial in this device's time if `latadj calibrate` measured it. None leaves
        the weights in fp32, to be trained and saved, and the dial in FLOPs.
    device : where the model runs
    head : one of ``latadj.checkpoints.model_class.HEADS``; the saved one when left out

    Returns
    -------
    model (an ordinary transformers model, in eval mode) and tokenizer

    Raises
    ------
    ValueError
        if the folder is missing or damaged, holds a model with another head, has no dial and a speedup above 1 is
        given, or its dial does not fit the model.
    """
    folder = Path(folder)
    metadata = check(folder)
    model, tokenizer = checkpoint.load(folder, head=head, metadata=metadata)
    if metadata.dial is None and speedup not in (None, 1.0):
        raise ValueError(f"checkpoint {folder} has no dial: make one with `{metadata.calibrate(folder)}`")
    if speedup is not None and metadata.dial is not None:
        try:
            set_speedup(model, speedup)
        except ValueError as error:
            raise ValueError(f"checkpoint {folder}: {error}") from error
    model.to(device)
    if precision is not None:
        make_ready(model, metadata, metadata.dial, model.device, precision=precision)
        if speedup is not None and metadata.dial is not None:
            set_speedup(model, speedup)
    return model, tokenizer


def load_plain(
    folder: Path, *, head: str, device: torch.device, precision: str, metadata: CheckpointMetadata | None = None
) -> PreTrainedModel:
    """The full model of a folder as transformers runs it: in bf16 beside a bf16 dial, else in fp32.

    Parameters
    ----------
    metadata : of the folder, if they have been read already

    Raises
    ------
    ValueError
        as :func:`latadj.checkpoints.checkpoint.load`.
    """
    model, _ = checkpoint.load(folder, head=head, metadata=metadata)
    return as_plain(model).to(device=device, dtype=DTYPES[precision])
