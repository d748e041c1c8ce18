"""What decoders have in common: the prefill is read at its last token, and leaves a shortened cache."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.architectures.base import LAST, MARK, Architecture, parameter_names
from latadj.elimination.architectures.recording import eager, refuse_recording
from latadj.elimination.cost import POOLED


class Decoder(Architecture):
    """Causal decoders; the pooled position is the last."""

    pooled_heads = ("ForSequenceClassification", "ForCausalLM", "LMHeadModel")
    causal = True

    def prefill(self, model: PreTrainedModel, input_ids: Tensor, mask: Tensor | None = None) -> Any:
        if _generates(model):
            return model(input_ids=input_ids, attention_mask=mask, use_cache=True, logits_to_keep=1)
        return model(input_ids=input_ids, attention_mask=mask, use_cache=False)

    def heads(self, model: PreTrainedModel, reads: str) -> Iterator[tuple[nn.Module, str, Any]]:
        if model is self.base(model) or self.reads(model) != POOLED:
            return
        if _generates(model):
            yield model, "forward", tell_last
            yield model, "generate", generate
        else:
            yield model, "forward", partial(read_last, parameter_names(type(model).forward))


def _generates(model: PreTrainedModel) -> bool:
    return type(model).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def tell_last(model: Any, *args: Any, **kwargs: Any) -> Any:
    """A language model's forward that tells the base how many of the last positions are read."""
    last = kwargs.get("logits_to_keep", 0)
    if not isinstance(last, Tensor) and last > 0:
        kwargs[LAST] = last
    return type(model).forward(model, *args, **kwargs)


def generate(model: Any, *args: Any, **kwargs: Any) -> Any:
    """A language model's own `generate`; without a cache nobody could tell the prompt from what was generated.

    Raises
    ------
    ValueError
        if the model eliminates and is not to use a cache.
    """
    asked = kwargs.get("use_cache")
    if asked is None:
        given = args[1] if len(args) > 1 else kwargs.get("generation_config")
        asked = (given or model.generation_config).use_cache
    if asked is False and getattr(model.base_model, MARK).options().profile.eliminates:
        raise ValueError(
            "use_cache=False: without a cache every step would eliminate again, among generated tokens too: leave "
            "use_cache out, or generate at speedup 1"
        )
    return type(model).generate(model, *args, **kwargs)


def read_last(names: Sequence[str], model: Any, *args: Any, **kwargs: Any) -> Any:
    """A classifier's forward: it reads one position of each text.

    Parameters
    ----------
    names : of the parameters of the class's forward
    """
    arguments = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
    arguments["attention_mask"] = _up_to_read(model, arguments)
    return type(model).forward(model, **arguments, **{LAST: 0})


@eager
def _up_to_read(model: Any, arguments: Mapping[str, Any]) -> Tensor | None:
    """The mask of a classifier's pass, with the position that is read as the last real one.

    transformers reads the last token that is not padding by its id, whatever the mask says, and the last column where
    it sees no ids. A causal model computes the same there without what follows.

    Raises
    ------
    ValueError
        if the mask hides the position that is read.
    """
    refuse_recording(model)
    ids, mask, pad = arguments.get("input_ids"), arguments.get("attention_mask"), model.config.pad_token_id
    inputs = ids if ids is not None else arguments.get("inputs_embeds")
    if inputs is None or (mask is not None and mask.shape != inputs.shape[:2]):
        return mask
    columns = torch.arange(inputs.shape[1], device=inputs.device)
    by_id = ids is not None and pad is not None
    read = ((ids != pad) * columns).argmax(dim=1) if by_id else columns[-1].expand(len(inputs))
    if mask is None:
        return None if bool((read == columns[-1]).all()) else (columns <= read[:, None]).long()
    if not bool(mask.gather(1, read[:, None]).all()):
        where = f"the last token that is not pad_token_id={pad}" if by_id else "the last column"
        advice = "pad with that token" if by_id else "pad on the left"
        raise ValueError(f"attention_mask hides {where}, where {type(model).__name__} reads a text: {advice}")
    return mask * (columns <= read[:, None])
