"""How a model's answer to a batch is read: the logits of its head, or the scores of label words."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from latadj.tasks.encode import Batch


class Outputs:
    """The logits of a model's classification (or regression) head.

    prior : encoded examples whose mean outputs `latadj.predict.predict` takes off; none of a head
    """

    prior: Sequence[dict[str, Any]] = ()

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """(batch, outputs) of one forward pass; ``batch`` holds (batch, length) tensors on the model's device."""
        return model(**batch).logits

    def raw(self) -> "Outputs":
        """The same without ``prior``: what a call gives, and so what training sees."""
        return self


class LabelWords(Outputs):
    """Mean log-likelihood of each label word's tokens after a prompt, in nats a token.

    The prompt is run once; only label words of several tokens need steps of their own, which go on from copies of
    its cache.

    Parameters
    ----------
    tokens : token ids of each label word, in the order of the labels
    prior : encoded prompts whose mean scores are taken off: what the prompt says before it has seen the query
    """

    def __init__(self, tokens: Sequence[Sequence[int]], prior: Sequence[dict[str, Any]] = ()) -> None:
        self.tokens, self.prior = tokens, prior

    def raw(self) -> "LabelWords":
        """The same without ``prior``."""
        return LabelWords(self.tokens)

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """(batch, labels) scores; padding may stand on either side."""
        prompt = _Encoded(model, batch) if model.config.is_encoder_decoder else _Prefilled(model, batch)
        first = prompt.logits[:, -1].float().log_softmax(-1)
        scores = []
        for tokens in self.tokens:
            score = first[:, tokens[0]]
            if len(tokens) > 1:
                given = torch.tensor(tokens[:-1], device=first.device).expand(len(first), -1)
                wanted = torch.tensor(tokens[1:], device=first.device).expand(len(first), -1)
                later = prompt.go_on(given).float().log_softmax(-1)
                score = score + later.gather(-1, wanted[..., None]).sum((1, 2))
            scores.append(score / len(tokens))
        return torch.stack(scores, dim=1)


class _Prefilled:
    """A decoder that has read the prompts of a batch."""

    def __init__(self, model: PreTrainedModel, batch: Batch) -> None:
        # Left padding, so that the last position is every prompt's last token.
        order = batch["attention_mask"].argsort(dim=1, stable=True)
        self.model, self.mask = model, batch["attention_mask"].gather(1, order)
        output = model(
            input_ids=batch["input_ids"].gather(1, order),
            attention_mask=self.mask,
            position_ids=(self.mask.cumsum(1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
        )
        self.logits, self.cache = output.logits, output.past_key_values

    def go_on(self, given: Tensor) -> Tensor:
        """(batch, given, vocabulary) logits after each of the (batch, given) tokens that follow the prompts."""
        steps = torch.arange(given.shape[1], device=given.device)
        return self.model(
            input_ids=given,
            attention_mask=torch.cat([self.mask, torch.ones_like(given)], dim=1),
            position_ids=self.mask.sum(1, keepdim=True) + steps,
            past_key_values=_copied(self.cache),
            use_cache=True,
        ).logits


class _Encoded:
    """An encoder-decoder whose encoder has read the prompts of a batch, and whose decoder has started."""

    def __init__(self, model: PreTrainedModel, batch: Batch) -> None:
        self.model, self.mask = model, batch["attention_mask"]
        self.encoded = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=self.mask)
        start = torch.full_like(batch["input_ids"][:, :1], model.config.decoder_start_token_id)
        output = self._decode(start, None)
        self.logits, self.cache = output.logits, output.past_key_values

    def go_on(self, given: Tensor) -> Tensor:
        """(batch, given, vocabulary) logits after each of the (batch, given) tokens that the decoder wrote."""
        return self._decode(given, _copied(self.cache)).logits

    def _decode(self, tokens: Tensor, cache: Any) -> Any:
        return self.model(
            encoder_outputs=self.encoded,
            attention_mask=self.mask,
            decoder_input_ids=tokens,
            past_key_values=cache,
            use_cache=True,
        )


def _copied(cache: Any) -> Any:
    """A cache that grows on its own. It shares the tensors, which growing replaces and does not change."""
    parts = [getattr(cache, name) for name in ("self_attention_cache", "cross_attention_cache") if hasattr(cache, name)]
    shared = {
        id(tensor): tensor
        for part in parts or [cache]
        for layer in part.layers
        for tensor in (layer.keys, layer.values)
    }
    return copy.deepcopy(cache, shared)
