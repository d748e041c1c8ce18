"""State of one forward pass: who is alive in each layer, and how the survivors are chosen."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latadj.elimination.cost import POOLED, schedule
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.patching import EliminationOptions
from latadj.elimination.profiles import Profile, rounded_up
from latadj.elimination.scores import shares
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk_setting import TopKAttention

# Above every score: the most recent and the sinks, which give way to each other only where places are few.
RECENT, SINK = 1e30, 2e30


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

    def score(self, layer: int, window: Tensor | None, received: Tensor, values: Tensor) -> Tensor:
        """Scores of the tokens that enter a layer, (batch, width).

        Parameters
        ----------
        window : columns of the queries that attention was received from, as of :meth:`window_columns`
        received : (batch, key heads, keys) attention that each token receives
        values : (batch, key heads, keys, head_dim), detached
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


def window_columns(window: ObservationWindow, entering: Survivors, prompts: np.ndarray) -> Tensor:
    """(batch, window) columns of the frame in which each prompt's observation window stands, -1 before its start.

    Parameters
    ----------
    prompts : (batch,) tokens of each prompt that enter the layer
    """
    size = min(window.window_size or entering.width, int(prompts.max(initial=1)))
    columns = np.maximum(prompts[:, None] - np.arange(size, 0, -1), -1)
    return torch.from_numpy(columns).to(entering.device)


def visible_to_all(entering: Survivors) -> Tensor | None:
    """(batch, width) how many real queries see each token of an encoder, 0 on fillers; None where all see all."""
    if entering.real is None:
        return None
    return entering.real * torch.from_numpy(entering.counts).to(entering.device)[:, None]


def visible_to_window(entering: Survivors, prompts: np.ndarray, size: int) -> Tensor:
    """(batch, width) how many queries of a decoder's observation window see each token, 0 on fillers.

    Parameters
    ----------
    prompts : (batch,) tokens of each prompt that enter the layer
    size : queries in the window
    """
    # Of queries that follow each other, those at a key or after it.
    places = torch.arange(entering.width, device=entering.device)
    ends = torch.from_numpy(prompts).to(entering.device)[:, None]
    visible = (ends - places.maximum(ends - size)).clamp(min=0)
    return visible if entering.real is None else visible * entering.real


def smoothed(scores: Tensor, real: Tensor | None, width: int) -> Tensor:
    """Each score's mean with its neighbours': (batch, keys) to the same, 0 on fillers.

    Parameters
    ----------
    real : (batch, keys) True on real tokens, which alone are averaged; None if all are
    width : neighbours, the token itself among them; odd
    """
    present = torch.ones_like(scores) if real is None else real.to(scores.dtype)

    def pooled(values: Tensor) -> Tensor:
        return functional.avg_pool1d(values[:, None], width, stride=1, padding=width // 2)[:, 0]

    means = pooled(scores * present) / pooled(present).clamp(min=1e-20)
    return means if real is None else means * present


def raise_window(
    scores: Tensor, window: ObservationWindow, entering: int, prompts: np.ndarray, leaving: np.ndarray
) -> None:
    """Raise the scores of a decoder's sinks, most recent tokens and last prompt token above all others, in place.

    Parameters
    ----------
    scores : (batch, width)
    entering : width, of the frame
    prompts, leaving : (batch,) tokens of each prompt that enter and leave the layer
    """
    places = torch.arange(entering, device=scores.device)
    ends = torch.from_numpy(prompts).to(scores.device)[:, None]
    share = rounded_up(window.recent_ratio * leaving, leaving, at_least=0)
    recent = places >= ends - torch.from_numpy(share).to(scores.device)[:, None]
    # Where there are fewer places than protected ones, the first sinks and the last of the recent stay. No two are
    # equal, or the width of the batch would break the tie.
    by_place = torch.where(recent, RECENT * (1 + places / entering), scores)
    sinks = min(window.sink_tokens, entering)
    by_place[:, :sinks] = SINK * (2 - places[:sinks] / max(sinks, 1))
    torch.maximum(scores, by_place, out=scores)
    scores.masked_fill_(places >= ends - 1, torch.inf)


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
