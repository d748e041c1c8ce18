"""State of one forward pass: who is alive in each layer, and how the survivors are chosen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latadj.elimination.attention import Listener
from latadj.elimination.cost import POOLED, kept, schedule
from latadj.elimination.observation_window import WHOLE, ObservationWindow
from latadj.elimination.scores import Score, shares, smoothed
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk.setting import TopKAttention

# Called as observer(layer, scores, real, lengths) for every layer of an observed pass.
ScoreObserver = Callable[[int, Tensor, Tensor | None, Tensor], None]
# Called as witness(layer, survivors) with those that leave every layer.
SurvivorObserver = Callable[[int, Survivors], None]
# Above every score: the most recent and the sinks, which give way to each other only where places are few.
RECENT, SINK = 1e30, 2e30


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
    window : who is asked, and who is protected; decoders only
    observer : called with the scores of every layer
    witness : called with the survivors of every layer
    prompt : prompt tokens of each sequence, where a continuation that is never eliminated follows; None: all are
    protect : (batch, n_0) True on tokens that a task never lets go; None: it names none
    entry : where the pass starts, or is to be started from later; None: with the first layer
    """

    score: Score
    window: ObservationWindow = WHOLE
    observer: ScoreObserver | None = None
    witness: SurvivorObserver | None = None
    prompt: tuple[int, ...] | None = None
    protect: Tensor | None = None
    entry: HiddenStateCache | None = None


class ForwardState:
    """State of one forward pass: it travels with the call's arguments and is never kept on the model.

    Gradient checkpointing runs a layer again from the same arguments, and threads have calls of their own, so
    neither can meet another pass.

    Parameters
    ----------
    keep : keep ratio of each layer
    mask : (batch, n_0) True on real tokens; None if all are
    shape : (batch, n_0)
    reads : ``pooled``, ``all`` or ``survivors``
    causal : whether the pooled position is the last, and tokens see those before them only
    hard : to how many keys the queries of each layer attend; None: to all in every layer

    Raises
    ------
    ValueError
        if ``manner.prompt`` or ``manner.protect`` does not fit the batch.
    """

    def __init__(
        self,
        keep: Sequence[float],
        mask: Tensor | None,
        shape: tuple[int, int],
        device: torch.device,
        reads: str,
        manner: EliminationOptions,
        causal: bool = False,
        hard: TopKAttention | None = None,
    ) -> None:
        batch, length = shape
        self.reads, self.manner, self.causal = reads, manner, causal
        self.hard = hard or TopKAttention.soft(len(keep))
        self.entering = {0: _entering(mask, batch, length, device)}
        lengths = self.entering[0].counts
        prompts = lengths if manner.prompt is None else _prompts(manner.prompt, lengths)
        self._after = lengths - prompts
        self._protected, least = _protected(manner.protect, shape, self.entering[0], prompts, causal)
        self._prompts = schedule(keep, prompts, reads, least)
        self._falls = [bool(falls.any()) for falls in self._prompts[1:] < self._prompts[:-1]]
        self._scores: dict[int, Tensor] = {}

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
        return self._last_read(layer) and self.manner.observer is None and not self._after.any()

    def eliminates(self, layer: int) -> bool:
        return self._falls[layer] and not self.trims(layer)

    def listener(self, layer: int) -> Listener | None:
        """Who is asked in a layer what its tokens contribute; None if nobody wants to know."""
        # Where every place goes to the most recent, no score decides.
        all_recent = self.causal and self.manner.window.recent_ratio >= 1.0
        chosen = self.eliminates(layer) and not self._last_read(layer) and not all_recent
        if self.manner.observer is None and not chosen:
            return None
        entering, prompts = self.entering[layer], self._prompts[layer]
        queries: Tensor | None = None
        if self.causal:
            # Column of the frame in which the last, the one before it, ... of each prompt stands; -1 beyond its first.
            most = min(self.manner.window.window_size or entering.width, int(prompts.max(initial=1)))
            slots = np.maximum(prompts[:, None] - np.arange(most, 0, -1), -1)
            queries = torch.from_numpy(slots).to(entering.device)
        return Listener(queries, lambda received, values: self._receive(layer, queries, received, values))

    @torch.no_grad()
    def _receive(self, layer: int, queries: Tensor | None, received: Tensor, values: Tensor) -> None:
        """Score a layer's tokens by the attention that each receives, (batch, key heads, keys)."""
        entering = self.entering[layer]
        visible: Tensor | None = None
        if queries is not None:
            # Of queries that follow each other, those at a key or after it.
            places = torch.arange(entering.width, device=entering.device)
            prompts = torch.from_numpy(self._prompts[layer]).to(entering.device)[:, None]
            visible = (prompts - places.maximum(prompts - queries.shape[1])).clamp(min=0)
            if entering.real is not None:
                visible = visible * entering.real
        elif entering.real is not None:
            visible = entering.real * torch.from_numpy(entering.counts).to(entering.device)[:, None]
        scores = self.manner.score(received, values, visible)
        if self.manner.window.kernel_size > 1:
            scores = smoothed(scores, entering.real, self.manner.window.kernel_size)
        self._scores[layer] = scores
        if self.manner.observer is not None:
            self.manner.observer(layer, shares(scores), entering.real, torch.from_numpy(entering.counts))

    def choose(self, layer: int) -> tuple[Survivors, Tensor]:
        """Who leaves a layer that eliminates, and their rows among those that entered it."""
        entering = self.entering[layer]
        counts = self._prompts[layer + 1] + self._after
        scores = self._scores.pop(layer, None)
        if scores is None:
            scores = torch.zeros(entering.batch, entering.width, device=entering.device)
        self._protect(scores, layer)
        rows = entering.best(scores, counts)
        leaving = entering.chosen(rows, counts)
        return leaving, rows

    def leave(self, layer: int, leaving: Survivors) -> None:
        """Note who enters the next layer."""
        self.entering[layer + 1] = leaving
        if self.manner.witness is not None:
            self.manner.witness(layer, leaving)

    def leaving_mask(self) -> Tensor:
        """(batch, width) 1 on the tokens that left the last layer, 0 on fillers."""
        last = self.entering[self.layers]
        real = last.real
        if real is None:
            real = torch.ones(last.batch, last.width, dtype=torch.bool, device=last.device)
        return real.long()

    def _last_read(self, layer: int) -> bool:
        return self.reads == POOLED and layer == self.layers - 1

    def _protect(self, scores: Tensor, layer: int) -> None:
        """Raise the scores of those that must stay above all others."""
        entering, window = self.entering[layer], self.manner.window
        if self._protected is not None and not self._last_read(layer):
            # Marked at their places in the input, so that whoever is alive finds its own mark.
            scores.masked_fill_(entering.at_origin(self._protected)[..., 0], torch.inf)
        if not self.causal:
            scores[:, 0] = torch.inf
            return
        places = torch.arange(entering.width, device=scores.device)
        ends = torch.from_numpy(self._prompts[layer]).to(scores.device)[:, None]
        share = kept(np.array(window.recent_ratio), self._prompts[layer + 1], at_least=0)
        recent = places >= ends - torch.from_numpy(share).to(scores.device)[:, None]
        # The nearer, the higher: where there are fewer places than protected ones, the last of them stay.
        by_place = torch.where(recent, RECENT * (1 + places / entering.width), scores)
        by_place[:, : window.sink_tokens] = SINK
        torch.maximum(scores, by_place, out=scores)
        scores.masked_fill_(places >= ends - 1, torch.inf)


def _prompts(prompt: Sequence[int], lengths: np.ndarray) -> np.ndarray:
    found = np.asarray(prompt, dtype=np.int64)
    if found.shape != lengths.shape or (found < 1).any() or (found > lengths).any():
        raise ValueError(
            f"prompt={list(prompt)}: expected a number for each of {len(lengths)} sequences, from 1 to its length"
        )
    return found


def _protected(
    protect: Tensor | None, shape: tuple[int, int], entering: Survivors, prompts: np.ndarray, causal: bool
) -> tuple[Tensor | None, np.ndarray | int]:
    """The marks of those that a task protects, (batch, n_0, 1), and how many each sequence has of them.

    The pooled position counts as one of them, so that it never takes the place of another; what follows a prompt
    does not, since it has places of its own.
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


def _entering(mask: Tensor | None, batch: int, length: int, device: torch.device) -> Survivors:
    if mask is not None:
        # The one moment at which the host waits for the device.
        counts = np.asarray(mask.sum(dim=1).tolist(), dtype=np.int64)
        if int(counts.min(initial=length)) < length:
            return Survivors(counts, mask.flatten().nonzero().squeeze(1), length, device)
    return Survivors(np.full(batch, length, dtype=np.int64), None, length, device)
