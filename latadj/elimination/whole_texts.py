"""A pass in two parts, where a batch has texts so short that they use the whole model, beside others at a level."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latadj.elimination.patching import Elimination, EliminationOptions, overriding
from latadj.elimination.profiles import Profile


def whole_rows(profile: Profile, mask: Tensor | None, shape: tuple[int, int]) -> np.ndarray:
    """Which texts of a batch use the whole model: (batch,) True where they do.

    Parameters
    ----------
    mask : (batch, n_0) True on real tokens; None if all are
    shape : (batch, n_0)
    """
    lengths = np.full(shape[0], shape[1]) if mask is None else np.asarray(mask.sum(dim=1).tolist())
    return profile.whole(lengths)


def run_in_parts(
    elimination: Elimination,
    options: EliminationOptions,
    whole: np.ndarray,
    arguments: Mapping[str, Any],
    run: Callable[[Mapping[str, Any]], Any],
) -> Any:
    """Outputs of a batch of which some texts use the whole model, in the order of the batch.

    Parameters
    ----------
    options : of the pass
    whole : (batch,) which do, as of :func:`whole_rows`
    arguments : of the base's forward, by name
    run : the base's forward with other arguments
    """
    profiles = {True: Profile.full(len(options.profile.keep)), False: replace(options.profile, whole_length=0.0)}
    kinds = np.unique(whole)
    if len(kinds) == 1:
        with overriding(elimination, profile=profiles[bool(kinds[0])]):
            return run(arguments)
    parts, rows = [], [np.flatnonzero(whole == kind) for kind in kinds]
    for kind, some in zip(kinds, rows, strict=True):
        protect = None if options.protect is None else _rows_of(options.protect, some)
        with overriding(elimination, profile=profiles[bool(kind)], protect=protect):
            parts.append(run(_part(arguments, some, len(whole))))
    return _joined(parts, np.argsort(np.concatenate(rows)))


def _rows_of(tensor: Tensor, rows: np.ndarray) -> Tensor:
    return tensor.index_select(0, torch.from_numpy(rows).to(tensor.device))


def _part(arguments: Mapping[str, Any], rows: np.ndarray, batch: int) -> dict[str, Any]:
    """The arguments of some texts of a batch."""
    return {
        name: _rows_of(value, rows) if isinstance(value, Tensor) and value.ndim and len(value) == batch else value
        for name, value in arguments.items()
    }


def _joined(parts: list[Any], order: np.ndarray) -> Any:
    """Outputs of parts of a batch as those of the batch: tensors, and whatever holds them."""
    first = parts[0]
    if isinstance(first, Tensor):
        return _rows_of(torch.cat(parts), order)
    if isinstance(first, Mapping):  # what transformers' models return, by name
        return type(first)(**{name: _joined([part[name] for part in parts], order) for name in first})
    if isinstance(first, tuple):
        return tuple(_joined(list(pieces), order) for pieces in zip(*parts, strict=True))
    return first
