"""How a model's outputs for a batch are read, trained and compared: logits of its head, or scores of label words."""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from latadj.elimination.attach import is_attached
from latadj.elimination.current_setting import protecting
from latadj.tasks.encoding.batches import IGNORED, PROTECTED, Batch

# What a token is to the answer that is learnt, in the column ``labels``: one of many, its first, its last, or both.
CANDIDATE, START, END = 0, 1, 2


def decisions(logits: np.ndarray, regression: bool) -> np.ndarray:
    """(examples, outputs) logits to (examples,) class numbers, or values for a regression."""
    return logits[:, 0].astype(np.float64) if regression else logits.argmax(axis=-1)


def agreement(ours: np.ndarray, full: np.ndarray, regression: bool) -> float:
    """Share of examples with the full model's prediction; of a regression, correlation with it.

    Parameters
    ----------
    ours, full : (examples,) predictions
    """
    if not regression:
        return float(np.mean(ours == full))
    if np.array_equal(ours, full):
        return 1.0
    return 0.0 if np.ptp(ours) == 0 or np.ptp(full) == 0 else float(np.corrcoef(ours, full)[0, 1])


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
        return self.forward(model, batch).logits

    def forward(self, model: PreTrainedModel, batch: Batch) -> Any:
        """What the model returns for a batch; tokens that the batch marks as protected are not eliminated."""
        inputs = dict(batch)
        marks = inputs.pop(PROTECTED, None)
        inner = getattr(model, "module", model)
        with protecting(inner, marks) if marks is not None and is_attached(inner) else nullcontext():
            return model(**inputs)

    def split_targets(self, batch: Batch) -> tuple[Batch, Batch]:
        """What a model reads of a batch, and the ``targets``."""
        inputs = dict(batch)
        return inputs, {name: inputs.pop(name) for name in self.targets}

    def raw(self) -> "Outputs":
        """The same without ``prior``: what a call gives, and so what training sees."""
        return self

    def per_example(self, outputs: Tensor, positions: Tensor | None) -> Sequence[Tensor] | Tensor:
        """The outputs of a call, row by row.

        Parameters
        ----------
        positions : as `latadj.tasks.encoding.batches.position_mask` gives it for the batch
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

    def divergence(self, outputs: Any, target: Any) -> Tensor:
        """How far answers are from others, a scalar, 0 where they are the same.

        The mean Kullback-Leibler divergence of ``outputs`` from ``target`` in nats; of a regression the squared error.

        Parameters
        ----------
        outputs, target : as ``per_example`` gives them
        """
        if target.shape[-1] == 1:
            return functional.mse_loss(outputs, target)
        return divergences(target, outputs).mean()

    def agreement(self, ours: Any, full: Any) -> float:
        """Share of the decisions in ``full`` that are made in ``ours`` too; both as ``stack`` gives them."""
        regression = full.shape[-1] == 1
        return agreement(decisions(ours, regression), decisions(full, regression), regression)


class TokenOutputs(Outputs):
    """The logits of a head that says something of every token, at the tokens that are read.

    A call gives (batch, length, outputs); answers are a list, for each row of (positions, outputs).
    """

    def per_example(self, outputs: Tensor, positions: Tensor | None) -> list[Tensor]:
        if positions is None:
            raise TypeError("a head that reads every token needs rows that name the positions that are read")
        return [row[real] for row, real in zip(outputs, positions, strict=True)]

    def stack(self, rows: list[np.ndarray]) -> list[np.ndarray]:
        return rows

    def loss(self, outputs: Tensor, targets: Batch) -> Tensor:
        """Cross-entropy over all tokens that have a label; (batch, length) ``labels``."""
        return functional.cross_entropy(outputs.flatten(0, 1), targets["labels"].flatten(), ignore_index=IGNORED)

    def divergence(self, outputs: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """Mean Kullback-Leibler divergence over all positions."""
        return divergences(torch.cat(list(target)), torch.cat(list(outputs))).mean()

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
        logits, continued = (_encoded if model.config.is_encoder_decoder else _prefilled)(model, batch)
        first = logits[:, -1].float().log_softmax(-1)
        scores = []
        for tokens in self.tokens:
            score = first[:, tokens[0]]
            if len(tokens) > 1:
                inputs = torch.tensor(tokens[:-1], device=first.device).expand(len(first), -1)
                targets = torch.tensor(tokens[1:], device=first.device).expand(len(first), -1)
                later = continued(inputs).float().log_softmax(-1)
                score = score + later.gather(-1, targets[..., None]).sum((1, 2))
            scores.append(score / len(tokens))
        return torch.stack(scores, dim=1)


# (batch, tokens) that follow a prompt to the (batch, tokens, vocabulary) logits after each of them.
Continued = Callable[[Tensor], Tensor]


def _prefilled(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Continued]:
    """A decoder's logits after the prompts of a batch, and how it goes on from there."""
    # Left padding, so that the last position is every prompt's last token.
    order = batch["attention_mask"].argsort(dim=1, stable=True)
    mask = batch["attention_mask"].gather(1, order)
    prompt = model(
        input_ids=batch["input_ids"].gather(1, order),
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        use_cache=True,
        logits_to_keep=1,
    )

    def continued(tokens: Tensor) -> Tensor:
        return model(
            input_ids=tokens,
            attention_mask=torch.cat([mask, torch.ones_like(tokens)], dim=1),
            position_ids=mask.sum(1, keepdim=True) + torch.arange(tokens.shape[1], device=tokens.device),
            past_key_values=_copied(prompt.past_key_values),
            use_cache=True,
        ).logits

    return prompt.logits, continued


def _encoded(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Continued]:
    """The same of an encoder-decoder whose encoder reads the prompts, and whose decoder has started."""
    mask = batch["attention_mask"]
    encoded = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=mask)

    def decode(tokens: Tensor, cache: Any) -> Any:
        return model(
            encoder_outputs=encoded,
            attention_mask=mask,
            decoder_input_ids=tokens,
            past_key_values=cache,
            use_cache=True,
        )

    start = decode(torch.full_like(batch["input_ids"][:, :1], model.config.decoder_start_token_id), None)
    return start.logits, lambda tokens: decode(tokens, _copied(start.past_key_values)).logits


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


class SpanOutputs(TokenOutputs):
    """The logits of a question answering head, at the tokens of the context and at that which means "no answer".

    Answers are a list, for each row of (positions, 2): start and end. Softmax is over these positions alone: neither
    the question nor padding is ever an answer.
    """

    own_loss = False

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """(batch, length, 2) of one forward pass."""
        output = self.forward(model, batch)
        return torch.stack([output.start_logits, output.end_logits], dim=-1)

    def loss(self, outputs: Tensor, targets: Batch) -> Tensor:
        """Mean cross-entropy of start and end; (batch, length) ``labels``, ``IGNORED`` where no answer can be."""
        labels = targets["labels"]
        candidate = labels != IGNORED
        logits = outputs.masked_fill(~candidate[..., None], -torch.inf)
        losses = [
            functional.cross_entropy(logits[..., side], (candidate & (labels & bit > 0)).int().argmax(dim=1))
            for side, bit in enumerate((START, END))
        ]
        return torch.stack(losses).mean()

    def divergence(self, outputs: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """Mean Kullback-Leibler divergence of the distributions of start and end."""
        rows = [divergences(theirs.T, ours.T).mean() for ours, theirs in zip(outputs, target, strict=True)]
        return torch.stack(rows).mean()

    def agreement(self, ours: Sequence[np.ndarray], full: Sequence[np.ndarray]) -> float:
        """Share of the rows that start and end at the same tokens."""
        same = [(one.argmax(axis=0) == other.argmax(axis=0)).all() for one, other in zip(ours, full, strict=True)]
        return float(np.mean(same))
