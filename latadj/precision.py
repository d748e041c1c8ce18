"""Which kernel runs a precision fastest on this device, and which precision is the fastest that still agrees."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from latadj.elimination.attach import at_profile, attached
from latadj.elimination.families import family_of, layers_of
from latadj.elimination.lower import lower
from latadj.elimination.maps import DTYPES, PRECISIONS, Route, engines, packs_bf16, vnni, weight_of
from latadj.elimination.profile import Profile
from latadj.measure.clock import take_turns
from latadj.questions import Questions

# Rows at which kernels are compared: one short text, a batch of them, and one of long texts; and most seconds for it.
ROWS = (24, 384, 1536)
BUDGET_S = 15.0
EQUAL = 1e-5
AGREEMENT = 0.995


@dataclass(frozen=True)
class Trial:
    """How one precision did on the calibration set.

    agreement : share of examples with fp32's prediction (of a regression: correlation with it)
    ms : median milliseconds a batch
    """

    route: Route
    agreement: float
    ms: float


def kernels(precision: str, device: torch.device) -> list[str]:
    """The kernels that could run a precision on a device.

    Raises
    ------
    ValueError
        if there is none, or the precision is none of ours.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision}: expected one of {', '.join(PRECISIONS)}, auto")
    packs = device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if precision == "int8":
        found: list[str] = [name for name in ("x86", "fbgemm") if name in engines()]
        if not found and "qnnpack" in engines():  # where another is there it is the slowest by far
            found = ["qnnpack"]
        if device.type != "cpu":
            raise ValueError(f"device.precision=int8 runs on CPUs, not on {device.type}: take fp32 or bf16")
        if not found:
            raise ValueError("device.precision=int8 needs an engine that this PyTorch lacks: take fp32 or bf16")
        # oneDNN multiplies full 8-bit numbers, which only VNNI adds without overflow.
        return ["onednn", *found] if packs and vnni() else found
    return ["plain", "onednn"] if packs and (precision == "fp32" or packs_bf16()) else ["plain"]


def fastest_route(model: PreTrainedModel, precision: str, device: torch.device) -> Route:
    """The fastest kernel for a precision, measured on the model's largest layer without its attention products.

    A map by itself would not do: an engine that runs activations apart, in another number format, may be as fast on
    maps alone and half as fast in a model. A packed fp32 kernel counts only if it equals the plain one to ``EQUAL``.

    Parameters
    ----------
    model : in fp32, not lowered
    """
    routes = [Route(precision, name) for name in kernels(precision, device)]
    if len(routes) == 1:
        return routes[0]
    family = family_of(model)
    # Of all layers: of the first a pruned model may have nothing left.
    largest = max(layers_of(model), key=lambda layer: sum(part.numel() for part in layer.parameters()))
    layer = copy.deepcopy(largest).eval()  # the model's own stays as it is
    width, heads = weight_of(attrgetter(family.anatomy(layer).output)(layer)).shape
    generator = torch.Generator().manual_seed(0)
    rows = [
        tuple(torch.randn(count, size, generator=generator).to(DTYPES[precision]) for size in (heads, width))
        for count in ROWS
    ]

    def run(layer: nn.Module, context: Tensor, residual: Tensor) -> Tensor:
        with torch.inference_mode():
            return family.feed_forward(layer, family.project(layer, context, residual))

    layers: dict[Route, nn.Module] = {}
    for route in routes:
        layers[route] = copy.deepcopy(layer).to(DTYPES[precision])  # lowering frees the weights it was given
        family.lower(layers[route], route, trims=False)
    if precision == "fp32":
        exact = [run(layer, *part) for part in rows]
        layers = {
            route: lowered
            for route, lowered in layers.items()
            if all(
                torch.allclose(run(lowered, *part), want, atol=EQUAL) for part, want in zip(rows, exact, strict=True)
            )
        }
    work: dict[str, Any] = {
        route.kernel: [partial(run, lowered, *part) for part in rows] for route, lowered in layers.items()
    }
    seconds = take_turns(work, rounds=9, warmup=3, device=device, budget_s=BUDGET_S, settle=True)
    best = min(work, key=lambda name: float(np.log(np.median(seconds[name], axis=0)).sum()))
    return Route(precision, best)


def compare(
    model: PreTrainedModel,
    questions: Questions,
    device: torch.device,
    *,
    batch_size: int,
    precisions: Sequence[str] = PRECISIONS,
    seed: int = 0,
) -> dict[str, Trial]:
    """Each precision's agreement with fp32 and its time, at speedup 1, on the calibration set.

    Parameters
    ----------
    model : in fp32, with elimination attached, not lowered; it is left as it is
    questions : of the training split
    batch_size : at which the time is taken
    """
    full = Profile.full(len(attached(model).default.profile.keep))
    work: dict[str, list[Any]] = {}
    answers: dict[str, Any] = {}
    routes = {}
    for precision in precisions:
        try:
            routes[precision] = fastest_route(model, precision, device)
        except ValueError:  # int8 does not run everywhere
            continue
        twin = lower(copy.deepcopy(model), routes[precision])
        with at_profile(twin, full):
            answers[precision] = questions.ask(twin)

        def run(one: Any, twin: PreTrainedModel = twin) -> object:
            with torch.inference_mode(), at_profile(twin, full):
                return one()

        work[precision] = [partial(run, one) for one in questions.passes(twin, batch_size, 4)]
    seconds = take_turns(work, rounds=5, warmup=1, device=device, seed=seed)
    return {
        name: Trial(
            routes[name],
            questions.agreement(answers[name], answers["fp32"]),
            float(np.median(seconds[name]) * 1000),
        )
        for name in routes
    }


def fastest_that_agrees(trials: dict[str, Trial]) -> str:
    """The fastest precision whose predictions agree with fp32's on at least ``AGREEMENT`` of the calibration set."""
    agreeing = [name for name, trial in trials.items() if trial.agreement >= AGREEMENT]
    return min(agreeing, key=lambda name: trials[name].ms)
