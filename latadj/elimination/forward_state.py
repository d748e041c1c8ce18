"""State of one forward pass: who is alive in each layer, and how the survivors are chosen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latadj.elimination.cost import POOLED, schedule
from latadj.elimination.observation_window import WHOLE, ObservationWindow
from latadj.elimination.scores import Score, shares
from latadj.elimination.scoring import (
    protected_marks,
    raise_window,
    smoothed,
    visible_to_all,
    visible_to_window,
    window_columns,
)
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk.setting import TopKAttention

# Called as observer(layer, scores, real, lengths) for every layer of an observed pass.
ScoreObserver = Callable[[int, Tensor, Tensor | None, Tensor], None]
# Called as observer(layer, survivors) with those that leave every layer.
SurvivorObserver = Callable[[int, Survivors], None]


@dataclass
class HiddenStateCache:
    """What enters a layer in one batch: noted by a first pass, and where later ones start.

    A pass that starts there gives the same, bit by bit, as long as nothing below the layer has changed.

    layer : counted from 0
    hidden : as the layer before it gave it; None before the first pass
    """

    layer: int
    hidden: Tensor | None = None

    def skips(self, layer: int) -> bool:
        """Whether a layer need not run."""
        return self.hidden is not None and layer < self.layer

    def enter(self, layer: int, hidden: Tensor) -> Tensor:
        """What a layer is to read in the place of ``hidden``."""
        if layer != self.layer:
            return hidden
        if self.hidden is None:
            self.hidden = hidden
        return self.hidden


@dataclass(frozen=True)
class EliminationOptions:
    """How a pass eliminates, besides how many.

    score : ranks tokens
    window : whose attention is scored, and who is protected; decoders only
    score_observer : called with the scores of every layer
    survivor_observer : called with the survivors of every layer
    prompt : prompt tokens of each sequence, where a continuation that is never eliminated follows; None: all are
    protect : (batch, n_0) True on tokens that a task never lets go; None: it names none
    hidden_states : where the pass starts, or is to be started from later; None: with the first layer
    """

    score: Score
    window: ObservationWindow = WHOLE
    score_observer: ScoreObserver | None = None
    survivor_observer: SurvivorObserver | None = None
    prompt: tuple[int, ...] | None = None
    protect: Tensor | None = None
    hidden_states: HiddenStateCache | None = None


class ForwardState:
    """State of one forward pass: it travels with the call's arguments and is never kept on the model.

    Gradient checkpointing runs a layer again from the same arguments, and threads have states of their own, so
    neither can meet another pass.

    Parameters
    ----------
    keep : keep ratio of each layer
    mask : (batch, n_0) True on real tokens; None if all are
    shape : (batch, n_0)
    reads : ``pooled``, ``all`` or ``survivors``
    causal : whether the pooled position is the last, and tokens see those before them only
    topk : to how many keys the queries of each layer attend; None: to all in every layer

    Raises
    ------
    ValueError
        if ``options.prompt`` or ``options.protect`` does not fit the batch.
    """

    def __init__(
        self,
        keep: Sequence[float],
        mask: Tensor | None,
        shape: tuple[int, int],
        device: torch.device,
        reads: str,
        options: EliminationOptions,
        causal: bool = False,
        topk: TopKAttention | None = None,
    ) -> None:
        batch, length = shape
        self.reads, self.options, self.causal = reads, options, causal
        self.topk = topk or TopKAttention.full(len(keep))
        self.entering = {0: _entering(mask, batch, length, device)}
        lengths = self.entering[0].counts
        prompts = lengths if options.prompt is None else _prompts(options.prompt, lengths)
        self._after = lengths - prompts
        self._protected, least = protected_marks(options.protect, shape, self.entering[0], prompts, causal)
        self._prompts = schedule(keep, prompts, reads, least)
        self._falls = [bool(falls.any()) for falls in self._prompts[1:] < self._prompts[:-1]]

    @property
    def layers(self) -> int:
        return len(self._falls)

    @property
    def after(self) -> int:
        """Tokens at the end of every sequence that are no prompt."""
        return int(self._after.min()) if len(self._after) else 0

    def trims(self, layer: int) -> bool:
        """Whether only the pooled position leaves this layer, so that it alone needs computing."""
        # An observer wants every query's attention, so there the pooled position is chosen like any survivor.
        return self._last_read(layer) and self.options.score_observer is None and not self._after.any()

    def eliminates(self, layer: int) -> bool:
        return self._falls[layer] and not self.trims(layer)

    def wants_scores(self, layer: int) -> bool:
        """Whether somebody needs to know what a layer's tokens receive."""
        # Where every place goes to the most recent, no score decides.
        all_recent = self.causal and self.options.window.recent_ratio >= 1.0
        scored = self.eliminates(layer) and not self._last_read(layer) and not all_recent
        return scored or self.options.score_observer is not None

    def window_columns(self, layer: int) -> Tensor | None:
        """(batch, window) columns of the queries whose attention is scored, below 0 = nobody; None: all real ones."""
        if not self.causal:
            return None
        return window_columns(self.options.window, self.entering[layer], self._prompts[layer])

    @torch.no_grad()
    def score(self, layer: int, window: Tensor | None, received: Tensor, values: Tensor) -> Tensor:
        """Scores of the tokens that enter a layer, (batch, width).

        Parameters
        ----------
        window : columns of the queries that attention was received from, as of :meth:`window_columns`
        received : (batch, key heads, keys) attention that each token receives
        values : (batch, key heads, keys, head_dim)
        """
        entering, options = self.entering[layer], self.options
        if window is None:
            visible = visible_to_all(entering)
        else:
            visible = visible_to_window(entering, self._prompts[layer], window.shape[1])
        scores = options.score(received, values, visible)
        if options.window.kernel_size > 1:
            scores = smoothed(scores, entering.real, options.window.kernel_size)
        if options.score_observer is not None:
            options.score_observer(layer, shares(scores), entering.real, torch.from_numpy(entering.counts))
        return scores

    def choose(self, layer: int, scores: Tensor | None) -> tuple[Survivors, Tensor]:
        """Who leaves a layer that eliminates, and their rows among those that entered it.

        Parameters
        ----------
        scores : as of :meth:`score`, overwritten; None where places alone decide
        """
        entering = self.entering[layer]
        counts = self._prompts[layer + 1] + self._after
        if scores is None:
            scores = torch.zeros(entering.batch, entering.width, device=entering.device)
        # What is no number counts as nothing. It would rank above those that must stay, and then be eliminated: the
        # pooled position reads it, so the output shows it.
        scores = scores.masked_fill_(scores.isnan(), torch.finfo(scores.dtype).min)
        if self._protected is not None and not self._last_read(layer):
            # Marked at their places in the input, so that whoever is alive finds its own mark.
            scores.masked_fill_(entering.at_origin(self._protected)[..., 0], torch.inf)
        if self.causal:
            raise_window(scores, self.options.window, entering.width, *self._prompts[layer : layer + 2])
        else:
            scores[:, 0] = torch.inf
        rows = entering.best(scores, counts)
        return entering.chosen(rows, counts), rows

    def leave(self, layer: int, leaving: Survivors) -> None:
        """Note who enters the next layer."""
        self.entering[layer + 1] = leaving
        if self.options.survivor_observer is not None:
            self.options.survivor_observer(layer, leaving)

    def leaving_mask(self) -> Tensor:
        """(batch, width) 1 on the tokens that left the last layer, 0 on fillers."""
        last = self.entering[self.layers]
        real = last.real
        if real is None:
            real = torch.ones(last.batch, last.width, dtype=torch.bool, device=last.device)
        return real.long()

    def _last_read(self, layer: int) -> bool:
        return self.reads == POOLED and layer == self.layers - 1


def _prompts(prompt: Sequence[int], lengths: np.ndarray) -> np.ndarray:
    prompts = np.asarray(prompt, dtype=np.int64)
    if prompts.shape != lengths.shape or (prompts < 1).any() or (prompts > lengths).any():
        raise ValueError(
            f"prompt={list(prompt)}: expected a number for each of {len(lengths)} sequences, from 1 to its length"
        )
    return prompts


def _entering(mask: Tensor | None, batch: int, length: int, device: torch.device) -> Survivors:
    if mask is not None:
        # The one moment at which the host waits for the device.
        counts = np.asarray(mask.sum(dim=1).tolist(), dtype=np.int64)
        if int(counts.min(initial=length)) < length:
            return Survivors(counts, mask.flatten().nonzero().squeeze(1), length, device)
    return Survivors(np.full(batch, length, dtype=np.int64), None, length, device)
