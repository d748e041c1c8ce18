"""Makes a dial from a fine-tuned model and text: the mean ACC of each layer, the profile type, searched profiles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from latadj.calibration.calibration_set import CalibrationSet
from latadj.calibration.candidates import RandomChanges, StrategyOf
from latadj.calibration.profile_search import search_anchors
from latadj.config import CalibrationConfig
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attached
from latadj.elimination.cost import POOLED, full_flops
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.observation_window import WHOLE, ObservationWindow
from latadj.elimination.profiles import Profile
from latadj.elimination.scores import effective_fraction

RANKS = 50
# Profile types that need no measurement: `choose_window` tries windows with them.
PLAIN_PROFILE_TYPES = ("geometric", "flat")
# Observation windows that are tried if a config leaves them open: their size, and the share of recent tokens.
WINDOW_SIZES, RECENT_RATIOS = (16, 64), (0.0, 0.5, 0.75, 0.9, 1.0)
MOST_LENGTHS = 256
# Quality floors, where a config leaves them open: tokens alone lose most of their accuracy at the first.
MAX_FLOPS, WIDE_MAX_FLOPS = 8.0, 16.0
# Up to how many tokens a text is not cut, where a config leaves it open: so few cost next to no time.
SHORT_LENGTH = 8.0
# Of what texts diverge on average, how much those of a few words may where tokens alone are cut: they can be spared.
SHORT_SHARE = 0.25
# Narrower layers read all texts alike: there what those of a few words diverge counts beside the others, so much.
NARROW_SHORT_WEIGHT = 0.25


@dataclass
class Contribution:
    """Attention context contributions over a calibration set.

    layer_acc : (layers,) effective fraction of tokens, averaged over sequences
    by_rank : (layers, RANKS) mean ACC from the strongest to the weakest token, 1 = an equal share
    lengths : (sequences,) real tokens
    protected : of them that the task never eliminates, on the mean
    """

    layer_acc: np.ndarray
    by_rank: np.ndarray
    lengths: np.ndarray
    protected: int = 0


@dataclass
class WindowTrial:
    """One choice of profile type and window, and the divergence of its outputs from the full model's."""

    profile_type: str
    window: ObservationWindow
    divergence: float


def windows_to_try(config: CalibrationConfig) -> list[ObservationWindow]:
    """The windows that a config leaves open for a decoder: a single one where it names all."""
    sizes = WINDOW_SIZES if config.window_size is None else (config.window_size,)
    ratios = RECENT_RATIOS if config.recent_ratio is None else (config.recent_ratio,)
    # If only recent tokens are kept, no query decides.
    return [
        ObservationWindow(size, config.sink_tokens, ratio, config.kernel_size)
        for ratio in ratios
        for size in (sizes if ratio < 1.0 else sizes[:1])
    ]


def measure_contribution(
    model: PreTrainedModel, examples: CalibrationSet, *, score: str = "acc", window: ObservationWindow = WHOLE
) -> Contribution:
    """Run the full model over a calibration set and watch every layer's scores.

    Parameters
    ----------
    model : with elimination attached
    examples : of the training split
    window : the queries that score the tokens of a decoder's prompt
    """
    layers = len(attached(model).default.profile.keep)
    fractions: list[list[Tensor]] = [[] for _ in range(layers)]
    curves: list[list[np.ndarray]] = [[] for _ in range(layers)]

    def observe(layer: int, scores: Tensor, mask: Tensor | None, lengths: Tensor) -> None:
        fractions[layer].append(effective_fraction(scores, lengths.to(scores.device)).cpu())
        for row, length in zip(scores.float().cpu().numpy(), lengths.tolist(), strict=True):
            ranked = np.sort(row)[::-1][:length] * length
            curves[layer].append(np.interp(np.linspace(0, length - 1, RANKS), np.arange(length), ranked))

    with at_profile(model, Profile.full(layers), score=score, window=window, score_observer=observe):
        examples.outputs(model)
    return Contribution(
        # A layer without attention has no scores, so all tokens count alike there.
        layer_acc=np.array([float(torch.cat(layer).mean()) if layer else 1.0 for layer in fractions]),
        by_rank=np.array([np.mean(layer, axis=0) if layer else np.ones(RANKS) for layer in curves]),
        lengths=examples.lengths,
        protected=examples.protected,
    )


def make_dial(
    model: PreTrainedModel,
    contribution: Contribution,
    config: CalibrationConfig,
    window: ObservationWindow = WHOLE,
    widths: Sequence[float] = (),
) -> Dial:
    """A dial of the profile types that need no search, set to ``acc``.

    Parameters
    ----------
    widths : that the model was trained at, as in :class:`~latadj.elimination.dial.Dial`

    Raises
    ------
    ValueError
        if no layer has anything left to cut.
    """
    lengths = np.sort(contribution.lengths)
    if len(lengths) > MOST_LENGTHS:
        # Evenly spaced order statistics keep the distribution and a short file.
        lengths = lengths[np.linspace(0, len(lengths) - 1, MOST_LENGTHS).round().astype(int)]
    shapes = layer_shapes(model)
    if not full_flops(shapes, lengths).any():
        raise ValueError(
            "every layer of this model was pruned away, so that there is nothing to cut: a dial needs layers that read "
            "the text; prune less, or look at how good the full model is"
        )
    dial = Dial(
        layer_acc=tuple(float(value) for value in contribution.layer_acc),
        lengths=tuple(int(length) for length in lengths),
        shapes=shapes,
        reads=attached(model).reads,
        protected=contribution.protected,
        max_speedup=config.max_speedup,
        max_flops=config.max_flops or (WIDE_MAX_FLOPS if widths else MAX_FLOPS),
        every=config.every,
        profile_type="acc",
        widths=tuple(widths),
        score=config.score,
        window=window,
    )
    short_length = _affordable(dial, SHORT_LENGTH) if config.short_length is None else float(config.short_length)
    return replace(dial, short_length=short_length)


def _affordable(dial: Dial, wanted: float) -> float:
    """The largest ``short_length`` up to the one wanted with which a dial in FLOPs goes as far as without."""
    reach = dial.reach() * (1 - 1e-3)
    if replace(dial, short_length=wanted).reach() >= reach:
        return wanted
    low, high = 0.0, wanted
    for _ in range(12):
        middle = (low + high) / 2
        if replace(dial, short_length=middle).reach() >= reach:
            low = middle
        else:
            high = middle
    return low


def choose_window(
    dial: Dial,
    model: PreTrainedModel,
    examples: CalibrationSet,
    windows: Sequence[ObservationWindow],
    *,
    speedup: float = 2.0,
    advance: Callable[[str], object] = lambda note: None,
) -> tuple[Dial, list[WindowTrial]]:
    """The dial with the window and the plain profile type whose outputs stay closest to the full model's.

    Parameters
    ----------
    dial : in FLOPs
    examples : of the training split
    windows : to choose from
    speedup : in FLOPs, at which they are tried
    advance : called after every trial with what it gave

    Returns
    -------
    the dial, and all trials, best first
    """
    full = _outputs(model, examples, Profile.full(dial.layers), dial)
    trials = []
    for profile_type in PLAIN_PROFILE_TYPES:
        for window in windows:
            tried = replace(dial, profile_type=profile_type, window=window)
            cut = _outputs(model, examples, tried.profile(min(speedup, tried.reach())), tried)
            trials.append(WindowTrial(profile_type, window, examples.divergence(full, cut)))
            advance(f"{profile_type} {window.text()} divergence {trials[-1].divergence:.4f}")
    trials.sort(key=lambda trial: trial.divergence)
    return replace(dial, profile_type=trials[0].profile_type, window=trials[0].window), trials


def add_search(
    dial: Dial,
    model: PreTrainedModel,
    examples: CalibrationSet,
    *,
    speedups: Sequence[float],
    trials: int,
    seed: int,
    levels: int | None = None,
    short: CalibrationSet | None = None,
    advance: Callable[[float, float], object] = lambda speedup, best: None,
    strategy: StrategyOf = RandomChanges,
) -> Dial:
    """The dial with searched profiles added, set to ``searched``.

    Parameters
    ----------
    examples : that the model was not trained on; the divergence from the full model is measured on these
    short : texts cut to a few words, which are to diverge by at most ``SHORT_SHARE`` of what the others do; at a
        level they count by ``NARROW_SHORT_WEIGHT``. They are too few in the data to be heard there, and cost next to
        nothing
    speedups, trials, seed, levels, advance, strategy : as in
        :func:`latadj.calibration.profile_search.search_anchors`
    """
    of_all, of_few = Divergence(model, examples, dial), None if short is None else Divergence(model, short, dial)

    def divergence(profile: Profile) -> float:
        found = of_all(profile)
        if of_few is None:
            return found
        of_short = of_few(profile)
        if profile.level is not None:
            return found + NARROW_SHORT_WEIGHT * of_short
        return found + max(of_short - SHORT_SHARE * found, 0.0) / SHORT_SHARE

    anchors = search_anchors(
        dial,
        divergence,
        [speedup for speedup in speedups if speedup <= dial.max_speedup],
        trials,
        seed,
        advance,
        levels,
        strategy,
    )
    return replace(dial, profile_type="searched", anchors=anchors) if anchors else dial


class Divergence:
    """How far a model's outputs on examples are from its own at speedup 1, by profile.

    Parameters
    ----------
    model, examples, dial : as of :func:`add_search`
    """

    def __init__(self, model: PreTrainedModel, examples: CalibrationSet, dial: Dial) -> None:
        self.model, self.examples, self.dial = model, examples, dial
        # Examples that are longer than a `whole_length`, and the full model's outputs on them.
        self._longer: dict[float, tuple[CalibrationSet, Any]] = {}

    def __call__(self, profile: Profile) -> float:
        # Texts that use the whole model do not diverge: of few words, running them would be most of the time. Where
        # every token has an output, a text weighs by its length.
        skips = profile.level is not None and self.dial.reads == POOLED
        examples, full = self._longer_than(profile.whole_length if skips else 0.0)
        if not examples.rows:
            return 0.0
        share = len(examples.rows) / len(self.examples.rows)
        return share * examples.divergence(full, _outputs(self.model, examples, profile, self.dial))

    def _longer_than(self, tokens: float) -> tuple[CalibrationSet, Any]:
        if tokens not in self._longer:
            longer = self.examples.longer_than(tokens) if tokens else self.examples
            full = _outputs(self.model, longer, Profile.full(self.dial.layers), self.dial) if longer.rows else None
            self._longer[tokens] = longer, full
        return self._longer[tokens]


def _outputs(model: PreTrainedModel, examples: CalibrationSet, profile: Profile, dial: Dial) -> Any:
    with at_profile(model, profile, score=dial.score, window=dial.window):
        return examples.outputs(model)
