"""Whose attention scores the tokens of a layer, how many queries see each token, and who stays whatever its score."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.profiles import rounded_up
from latadj.elimination.sliding_window import SlidingWindow
from latadj.elimination.survivors import Survivors

# Above every score: the most recent and the sinks, which give way to each other only where places are few.
RECENT, SINK = 1e30, 2e30


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


def visible_to_window(
    entering: Survivors, prompts: np.ndarray, size: int, sliding: SlidingWindow | None = None
) -> Tensor:
    """(batch, width) how many queries of a decoder's observation window see each token, 0 on fillers.

    Parameters
    ----------
    prompts : (batch,) tokens of each prompt that enter the layer
    size : queries in the window
    sliding : how far back they see; None: to the first token
    """
    # Of queries that follow each other, those at a key or after it.
    places = torch.arange(entering.width, device=entering.device)
    ends = torch.from_numpy(prompts).to(entering.device)[:, None]
    last = ends if sliding is None else ends.minimum(sliding.seers_end())
    visible = (last - places.maximum(ends - size)).clamp(min=0)
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
