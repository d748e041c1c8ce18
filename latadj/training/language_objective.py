"""Training of language models on the continuations of prompts: batches, distillation and the loss."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from latadj.config import AdjustConfig, TaskConfig
from latadj.devices import ranks
from latadj.elimination.attach import attached
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.tasks.encoding.batches import Batch, bucketed
from latadj.tasks.metrics.metric import metric_of
from latadj.tasks.outputs.likelihood import padded
from latadj.training.objective import Loss, ProfileSampler, TrainingObjective, unwrapped
from latadj.training.shares import likelihoods_in_shares

# Column of a teacher's final hidden states at the scored positions.
STATES = "teacher_states"


class Continuations:
    """Collates prompts and continuations.

    A decoder reads both, prompts padded on the left and continuations on the right, so that the scored positions are
    the same columns of every row. The encoder of an encoder-decoder reads the prompts, its decoder the continuations.

    Columns of a batch: ``input_ids`` and ``attention_mask`` of what is read, ``prompt`` (batch,) tokens of each
    prompt, ``continuation`` (batch, longest) token ids, ``scored`` (batch, longest) True where there is one, and
    ``STATES`` (batch, longest, width) of the teacher where the rows have them.
    """

    def __init__(self, encoder_decoder: bool) -> None:
        self.encoder_decoder = encoder_decoder

    def __call__(self, rows: list[dict[str, Any]]) -> Batch:
        cpu = torch.device("cpu")
        read, mask = padded([row["input_ids"] for row in rows], cpu, left=not self.encoder_decoder)
        continuation, scored = padded([row["continuation"] for row in rows], cpu, left=False)
        batch = {"prompt": mask.sum(dim=1), "continuation": continuation, "scored": scored.bool()}
        if not self.encoder_decoder:
            # Nothing that is scored comes after the last token of a continuation, so it need not be read.
            read = torch.cat([read, continuation[:, :-1]], dim=1)
            mask = torch.cat([mask, scored[:, 1:]], dim=1)
        batch |= {"input_ids": read, "attention_mask": mask}
        if STATES in rows[0]:
            batch[STATES] = torch.nn.utils.rnn.pad_sequence([row[STATES] for row in rows], batch_first=True)
        return batch


def scored_logits(model: Any, batch: Batch) -> Tensor:
    """Logits of every scored position, (scored, vocabulary) in float32; the head computes no other."""
    mask, scored = batch["attention_mask"], batch["scored"]
    # Without a mask most devices have a faster kernel.
    extra = {} if bool(mask.all()) else {"attention_mask": mask}
    inner = unwrapped(model)
    if inner.config.is_encoder_decoder:
        decoder_input_ids = inner.prepare_decoder_input_ids_from_labels(labels=batch["continuation"])
        logits = model(
            input_ids=batch["input_ids"], decoder_input_ids=decoder_input_ids, use_cache=False, **extra
        ).logits
    else:
        if extra:
            extra["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
        columns = scored.shape[1]
        logits = model(input_ids=batch["input_ids"], use_cache=False, logits_to_keep=columns, **extra).logits
    return logits[scored].float()


@torch.no_grad()
def cache_teacher_states(
    model: PreTrainedModel,
    rows: Sequence[dict[str, Any]],
    *,
    batch_size: int,
    autocast: torch.dtype | None = None,
    advance: Callable[[int], None] = lambda examples: None,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """A frozen copy of a teacher's head, and rows with its final hidden states at every token of their continuations.

    So the teacher is run once, not in every step, and each of several processes runs it for a share of the rows. The
    copy does not change when the model is trained on.

    Parameters
    ----------
    model : as it is now, without elimination
    rows : with ``input_ids`` (the prompt) and ``continuation``
    autocast : type in which the model runs and the states are kept; None: its own
    advance : called after every batch with its number of examples

    Returns
    -------
    the head, and copies of the rows, in their order, with the column ``STATES``: (tokens, width) on the CPU
    """
    head = model.get_output_embeddings()
    collate = Continuations(model.config.is_encoder_decoder)
    own = ranks.own_share(len(rows))
    kept: dict[int, Tensor] = {}
    captured: list[Tensor] = []
    was_training = model.training
    model.eval()
    hook = head.register_forward_pre_hook(lambda module, arguments: captured.append(arguments[0]))
    try:
        for shares in bucketed([rows[place] for place in own], batch_size):
            index = [own[int(place)] for place in shares]
            batch = {name: tensor.to(model.device) for name, tensor in collate([rows[row] for row in index]).items()}
            with torch.autocast(model.device.type, dtype=autocast, enabled=autocast is not None):
                scored_logits(model, batch)
            states = captured.pop().to("cpu", dtype=autocast or model.dtype)
            for row, hidden, scored in zip(index, states, batch["scored"].cpu(), strict=True):
                kept[row] = hidden[scored].clone()
            advance(len(index))
    finally:
        hook.remove()
        model.train(was_training)
    kept = {place: states for share in ranks.gathered(kept) for place, states in share.items()}
    frozen = copy.deepcopy(head).requires_grad_(False).to(autocast)
    return frozen, [{**row, STATES: kept[place]} for place, row in enumerate(rows)]


def language_objective(
    model: PreTrainedModel,
    validation: Sequence[dict[str, Any]],
    task: TaskConfig,
    *,
    loss: Loss | None = None,
    autocast: torch.dtype | None = None,
) -> TrainingObjective:
    """The objective of a language model: the perplexity of the validation split's continuations.

    Parameters
    ----------
    validation : rows with ``input_ids`` (the prompt) and ``continuation``
    loss : cross-entropy of the continuations when left out
    autocast : type in which validation runs; None: the model's own
    """
    metric = metric_of(task.metric)

    def score(model: PreTrainedModel) -> float:
        with torch.autocast(model.device.type, dtype=autocast, enabled=autocast is not None):
            scored = likelihoods_in_shares(model, list(validation), batch_size=task.batch_size)
        return float(metric.compute(predictions=scored.nll, references=scored.tokens)[task.metric])

    return TrainingObjective(
        metric=task.metric,
        score=score,
        collate=Continuations(model.config.is_encoder_decoder),
        loss=loss or language_loss,
        greater_is_better=metric.greater_is_better,
    )


def language_loss(model: Any, batch: Batch) -> Tensor:
    """Mean cross-entropy of the continuations' tokens."""
    return functional.cross_entropy(scored_logits(model, batch), batch["continuation"][batch["scored"]])


class AdjustableLanguageLoss(ProfileSampler):
    """Loss of the full model, of a profile at a speedup drawn anew for each batch, or of both.

    ``task loss + divergence from the teacher's distribution`` of every continuation token, for each pass. A decoder's
    prompt is eliminated by the attached dial's score and window; its continuation is not.
    """

    def __init__(self, dial: Dial, config: AdjustConfig, teacher_head: nn.Module) -> None:
        super().__init__(dial, config)
        self.teacher_head = teacher_head

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        inner, scored = unwrapped(model), batch["scored"]
        targets = batch["continuation"][scored]
        with torch.no_grad():
            teacher = self.teacher_head(batch[STATES][scored]).float().log_softmax(-1)
        prompt = batch["prompt"].tolist() if attached(inner).architecture.causal else None
        total = teacher.new_zeros(())
        for profile in self.passes():
            with at_profile(inner, profile, prompt=prompt):
                student = scored_logits(model, batch).log_softmax(-1)
            divergence = functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
            total = total + self.config.task_loss_weight * functional.nll_loss(student, targets)
            total = total + self.config.distillation_loss_weight * divergence
        return total
