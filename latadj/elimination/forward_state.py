"""State of one forward pass: who is alive in each layer, and how the survivors are chosen."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from latadj.elimination.cost import POOLED, schedule
from latadj.elimination.observation_window import WHOLE
from latadj.elimination.observed_queries import (
    raise_window,
    smoothed,
    visible_to_all,
    visible_to_window,
    window_columns,
)
from latadj.elimination.patching import EliminationOptions
from latadj.elimination.profiles import Profile
from latadj.elimination.scores import shares
from latadj.elimination.sliding_window import SlidingWindow
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk_setting import TopKAttention


class ForwardState:
    """State of one forward pass: it travels with the call's arguments and is never kept on the model.

    Gradient checkpointing runs a layer again from the same arguments, and threads have states of their own, so
    neither can meet another pass.

    Parameters
    ----------
    attending : whether each layer has attention; those of the profile's layers that run at all
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
        attending: tuple[bool, ...],
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
        self.level = options.profile.level
        self.topk = topk or TopKAttention.full(len(attending))
        self.entering = {0: _entering(mask, batch, length, device)}
        lengths = self.entering[0].counts
        prompts = lengths if options.prompt is None else _prompts(options.prompt, lengths)
        self._after = lengths - prompts
        self._protected, least = protected_marks(options.protect, shape, self.entering[0], prompts, causal)
        plan = (options.profile, attending, tuple(prompts.tolist()), reads)
        self._prompts, self._falls = _planned(*plan) if self._protected is None else _plan(*plan, least)

    @property
    def layers(self) -> int:
        return len(self._falls)

    @property
    def after(self) -> int:
        """Tokens at the end of every sequence that are no prompt."""
        return int(self._after.min()) if len(self._after) else 0

    @property
    def everyone_stays(self) -> bool:
        """Whether every layer has the keys of every column."""
        return self.entering[0].origin is None and not any(self._falls[:-1])

    @property
    def goes_on_plain(self) -> bool:
        """Whether transformers alone decodes after this pass."""
        return self.everyone_stays and self.level is None and not self.topk.selects

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

    def window_columns(self, layer: int, sliding: SlidingWindow | None = None) -> Tensor | None:
        """(batch, window) columns of the queries whose attention is scored, below 0 = nobody; None: all real ones.

        Where queries do not see back to the first token, all are scored: the last ones say nothing of those they do not
        see.
        """
        if not self.causal:
            return None
        window = self.options.window if sliding is None else WHOLE
        return window_columns(window, self.entering[layer], self._prompts[layer])

    def score(
        self,
        layer: int,
        window: Tensor | None,
        received: Tensor,
        values: Tensor,
        sliding: SlidingWindow | None = None,
    ) -> Tensor:
        """Scores of the tokens that enter a layer, (batch, width).

        Parameters
        ----------
        window : columns of the queries that attention was received from, as of :meth:`window_columns`
        received : (batch, key heads, keys) attention that each token receives
        values : (batch, key heads, keys, head_dim), detached
        sliding : how far back queries see; None: to the first token
        """
        entering, options = self.entering[layer], self.options
        if window is None:
            visible = visible_to_all(entering)
        else:
            visible = visible_to_window(entering, self._prompts[layer], window.shape[1], sliding)
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
        scores.nan_to_num_(nan=torch.finfo(scores.dtype).min)
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


def _plan(
    profile: Profile, attending: tuple[bool, ...], prompts: tuple[int, ...], reads: str, protected: np.ndarray | int = 0
) -> tuple[np.ndarray, list[bool]]:
    """How many prompt tokens enter each layer, (layers + 1, batch), and which layers eliminate any."""
    # Assisted generation that exits early runs the first layers only.
    held = replace(profile, keep=profile.keep[: len(attending)], level=None).held(attending)
    counts = schedule(held, np.asarray(prompts, dtype=np.int64), reads, protected)
    return counts, [bool(falls.any()) for falls in counts[1:] < counts[:-1]]


@lru_cache(maxsize=256)
def _planned(
    profile: Profile, attending: tuple[bool, ...], prompts: tuple[int, ...], reads: str
) -> tuple[np.ndarray, list[bool]]:
    """:func:`_plan`, remembered: single texts have a few lengths only. Nobody changes what it returns."""
    return _plan(profile, attending, prompts, reads)


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
        if length and not counts.all():
            rows = ", ".join(map(str, np.flatnonzero(counts == 0)[:8]))
            raise ValueError(
                f"attention_mask hides every token of row {rows} (counted from 0): leave empty texts out of the batch"
            )
        if int(counts.min(initial=length)) < length:
            return Survivors(counts, mask.flatten().nonzero().squeeze(1), length, device)
    return Survivors(np.full(batch, length, dtype=np.int64), None, length, device)


def protected_marks(
    protect: Tensor | None, shape: tuple[int, int], entering: Survivors, prompts: np.ndarray, causal: bool
) -> tuple[Tensor | None, np.ndarray | int]:
    """The marks of those that a task protects, (batch, n_0, 1), and how many each sequence has of them.

    The pooled position counts as one of them, so that it never takes the place of another; what follows a prompt
    does not, since it has places of its own.

    Raises
    ------
    ValueError
        if the marks do not fit the batch.
    """
    if protect is None:
        return None, 0
    if tuple(protect.shape) != shape:
        raise ValueError(f"protect= of shape {tuple(protect.shape)}: expected a mark for each of {shape} tokens")
    marks = protect.to(device=entering.device, dtype=torch.bool)[..., None]
    frame = entering.at_origin(marks)[..., 0]
    places = torch.arange(entering.width, device=entering.device)
    ends = torch.from_numpy(prompts).to(entering.device)[:, None]
    pooled = places == ends - 1 if causal else places == 0
    counts = ((frame | pooled) & (places < ends)).sum(dim=1)
    return marks, np.asarray(counts.tolist(), dtype=np.int64)
