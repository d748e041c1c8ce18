"""What a folder is to say of an attached model, however it is saved: by latadj, by transformers or by a `Trainer`."""

from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata, write_metadata
from latadj.checkpoints.replaceable import check_replaceable
from latadj.checkpoints.weight_order import checksum_beside
from latadj.elimination.attach import topk_attention_of
from latadj.elimination.patching import elimination_of
from latadj.elimination.saving import write_beside_weights
from latadj.pruning import structure_of


def metadata_of(model: PreTrainedModel) -> CheckpointMetadata:
    """What is attached to a model, and what the folder that it was loaded from says of it: its task and its clocks."""
    elimination = elimination_of(model)
    if elimination is None:
        return CheckpointMetadata()
    origin: CheckpointMetadata = elimination.origin or CheckpointMetadata()
    dial = elimination.dial
    if dial is not None and dial.latency is not None:
        # The clock stands under the device; a workload's length is of one service.
        dial = replace(dial, latency=None, lengths=origin.dial.lengths if origin.dial else dial.lengths)
    return replace(origin, dial=dial, pruning=structure_of(model), topk_attention=topk_attention_of(model))


@write_beside_weights
def write_attached(model: PreTrainedModel, folder: Path) -> None:
    """Write ``latadj.json`` beside the weights of an attached model that has something to say there."""
    metadata = metadata_of(model)
    if metadata != CheckpointMetadata():
        write_metadata(folder, replace(metadata, order_checksum=checksum_beside(model, metadata)))


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path | str) -> None:
    """Save a model, its tokenizer and its dial as one folder for :func:`latadj.load`, or not at all.

    Plain transformers loads the folder as the full model. `model.save_pretrained` and `model.push_to_hub` keep the dial
    too; this function also saves the tokenizer, and leaves what was in the folder if it fails.

    Parameters
    ----------
    folder : new, empty, or one that holds nothing but a model that latadj saved, which is replaced

    Raises
    ------
    ValueError
        if the model was loaded to serve and has no weights to save, a weight is not finite, or the folder holds
        something else.
    """
    check_replaceable("folder", str(folder), [])
    checkpoint.save(model, tokenizer, Path(folder), metadata_of(model))
