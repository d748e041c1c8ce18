"""How a model's answer to a batch is read, and compared: the logits of its head, or the scores of label words."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from latadj.tasks.encoding.batches import Batch
from latadj.tasks.outputs.predictions import agreement, predictions_of

# What `Positions` pads labels with, and no loss counts.
IGNORED = -100


class Outputs:
    """The logits of a model's classification (or regression, if there is one output only) head.

    prior : encoded examples whose mean outputs `latadj.tasks.outputs.predict.predict` takes off; none of a head
    targets : columns of the encoded examples that ``loss`` compares with
    own_loss : whether transformers computes ``loss`` itself, if it is given ``targets``
    """

    prior: Sequence[dict[str, Any]] = ()
    targets: tuple[str, ...] = ("labels",)
    own_loss = True

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """(batch, outputs) of one forward pass; ``batch`` holds (batch, length) tensors on the model's device."""
        return model(**batch).logits

    def split_targets(self, batch: Batch) -> tuple[Batch, Batch]:
        """What a model reads of a batch, and the ``targets``."""
        inputs = dict(batch)
        return inputs, {name: inputs.pop(name) for name in self.targets}

    def raw(self) -> "Outputs":
        """The same without ``prior``: what a call gives, and so what training sees."""
        return self

    def per_example(self, outputs: Tensor, asked: Tensor | None) -> Sequence[Tensor] | Tensor:
        """The outputs of a call, row by row.

        Parameters
        ----------
        asked : as `latadj.tasks.encoding.batches.position_mask` gives it for the batch
        """
        return outputs

    def stack(self, rows: list[np.ndarray]) -> Any:
        """The answers of a data set, from what ``per_example`` gave for its rows: (examples, outputs)."""
        return np.stack(rows)

    def loss(self, outputs: Tensor, targets: Batch) -> Tensor:
        """Task loss of what a call gave, a scalar: cross-entropy, or of a regression the squared error."""
        labels = targets["labels"]
        if outputs.shape[-1] == 1:
            return functional.mse_loss(outputs.squeeze(-1), labels.float())
        return functional.cross_entropy(outputs, labels)

    def divergence(self, found: Any, wanted: Any) -> Tensor:
        """How far answers are from others, a scalar, 0 where they are the same.

        The mean Kullback-Leibler divergence of ``found`` from ``wanted`` in nats; of a regression the squared error.

        Parameters
        ----------
        found, wanted : as ``per_example`` gives them
        """
        if wanted.shape[-1] == 1:
            return functional.mse_loss(found, wanted)
        return divergences(wanted, found).mean()

    def agreement(self, ours: Any, full: Any) -> float:
        """Share of the decisions in ``full`` that are made in ``ours`` too; both as ``stack`` gives them."""
        regression = full.shape[-1] == 1
        return agreement(predictions_of(ours, regression), predictions_of(full, regression), regression)


class Positions(Outputs):
    """The logits of a head that says something of every token, at the tokens that are asked about.

    Answers are a list, for each row of (positions, outputs).
    """

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """(batch, length, outputs) of one forward pass."""
        return model(**batch).logits

    def per_example(self, outputs: Tensor, asked: Tensor | None) -> list[Tensor]:
        if asked is None:
            raise TypeError("a head that reads every token needs rows that name the positions asked about")
        return [row[real] for row, real in zip(outputs, asked, strict=True)]

    def stack(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        return rows

    def loss(self, outputs: Tensor, targets: Batch) -> Tensor:
        """Cross-entropy over all tokens that have a label; (batch, length) ``labels``."""
        return functional.cross_entropy(outputs.flatten(0, 1), targets["labels"].flatten(), ignore_index=IGNORED)

    def divergence(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Mean Kullback-Leibler divergence over all positions."""
        return divergences(torch.cat(list(wanted)), torch.cat(list(found))).mean()

    def agreement(self, ours: Sequence[np.ndarray], full: Sequence[np.ndarray]) -> float:
        return super().agreement(np.concatenate(list(ours)), np.concatenate(list(full)))


class LabelWords(Outputs):
    """Mean log-likelihood of each label word's tokens after a prompt, in nats a token.

    The prompt is run once; only label words of several tokens need steps of their own, which go on from copies of
    its cache.

    Parameters
    ----------
    tokens : token ids of each label word, in the order of the labels
    prior : encoded prompts whose mean scores are taken off: what the prompt says before it has seen the query
    """

    own_loss = False

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


def divergences(full: Tensor, cut: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each row's distribution from the full model's: two (n, classes) logits to (n,)."""
    student, teacher = cut.float().log_softmax(-1), full.float().log_softmax(-1)
    return functional.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
