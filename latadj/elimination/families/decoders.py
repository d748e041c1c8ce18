"""What decoders have in common: the prefill is read at its last word-vector, and leaves a shortened cache."""

from collections.abc import Iterator
from functools import wraps
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.cost import POOLED
from latadj.elimination.families.base import Family

# Argument in which a head tells its base that the last position alone is read.
LAST_ONLY = "latadj_last_only"


class Decoder(Family):
    """Causal decoders; the pooled position is the last."""

    pooled_heads = ("ForSequenceClassification", "ForCausalLM", "LMHeadModel")
    causal = True

    def prefill(self, model: PreTrainedModel, input_ids: Tensor) -> Any:
        if _generates(model):
            return model(input_ids=input_ids, use_cache=True, logits_to_keep=1)
        return model(input_ids=input_ids, use_cache=False)

    def heads(self, model: PreTrainedModel) -> Iterator[tuple[nn.Module, Any]]:
        if model is self.base(model):
            return
        if self.reads(model) == POOLED:
            yield model, _telling if _generates(model) else _always_last


def _generates(model: PreTrainedModel) -> bool:
    return type(model).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def _telling(forward: Any) -> Any:
    """A language model's forward that tells the base whether only the last position is read."""

    @wraps(forward)  # `generate` looks at the signature
    def telling(model: Any, *args: Any, **kwargs: Any) -> Any:
        kept = kwargs.get("logits_to_keep", 0)
        if not isinstance(kept, Tensor) and kept == 1:
            kwargs[LAST_ONLY] = True
        return forward(model, *args, **kwargs)

    return telling


def _always_last(forward: Any) -> Any:
    """A classifier's forward: it reads the last position of each sequence, always."""

    @wraps(forward)
    def reading(model: Any, *args: Any, **kwargs: Any) -> Any:
        return forward(model, *args, **kwargs, **{LAST_ONLY: True})

    return reading


def refuse_sliding(model: PreTrainedModel) -> None:
    """Refuse sliding-window attention, whose windows would be counted in survivors instead of positions.

    Raises
    ------
    ValueError
        if a layer of the model has it.
    """
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in kinds or (not kinds and window is not None)
    if slides:
        raise ValueError(
            f"{type(model).__name__} has sliding-window attention (sliding_window={window}), which elimination does "
            "not support: load it with sliding_window=None if all your texts are shorter than the window"
        )
