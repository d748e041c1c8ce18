import time
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from conftest import batch_of, tiny_bert

from latadj.benchmark.timer import time_layers
from latadj.calibration.latency_fit import Pass, fit, measure
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attach, attached
from latadj.elimination.cost import ALL, POOLED, schedule
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.profiles import Profile
from latadj.pruning import PruningUnit, remove

CPU = torch.device("cpu")
LAYERS = 6
KNOTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


def ramp(base, curve):
    heights = curve(np.array(KNOTS))
    return Ramp(base, KNOTS, tuple(np.diff(heights).tolist()))


# Kernels get more efficient with many rows, and attention is quadratic.
# What the time of a pass is made of.
PARTS = ("entering", "choosing", "leaving", "last", "outside")
TRUTH = LatencyModel(
    batch=8,
    entering=ramp(2e-4, lambda n: 1.2e-5 * n**0.9 + 2e-8 * n**2),
    choosing=ramp(1e-4, lambda n: 1e-6 * n),
    leaving=ramp(1e-4, lambda n: 2.5e-5 * n**0.9),
    last=ramp(2e-4, lambda n: 6e-6 * n),
    outside=ramp(3e-4, lambda n: 3e-6 * n),
)


def profiles(strengths):
    return [Profile(tuple(np.exp(-strength * np.arange(1, LAYERS + 1)))) for strength in strengths]


# A pruned model's layers: whole, without attention, half, and without a feed-forward block.
UNLIKE = ((1.0, 1.0), (0.0, 0.8), (0.5, 0.5), (1.0, 0.3), (0.25, 1.0), (1.0, 1.0))


def passes(reads, noise=0.0, truth=TRUTH):
    """Passes as ``truth`` makes them, each number off by a factor drawn around 1."""
    rng = np.random.default_rng(0)
    found = []
    for length in (24, 60, 130, 220):
        for profile in profiles((0, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0)):
            counts = schedule(profile, np.array([length]), reads)
            layers = [float(truth.layer_seconds(counts, layer, reads)[0]) for layer in range(LAYERS)]
            seconds = np.array([*layers, float(truth.outside(counts[0])[0])])
            found.append(Pass((length,), profile, seconds * rng.normal(1, noise, len(seconds))))
    return found


@pytest.mark.parametrize("reads", [POOLED, ALL])
@pytest.mark.parametrize(("noise", "near"), [(0.0, 0.03), (0.05, 0.06)])
def test_a_fit_foresees_passes_that_it_has_not_seen(reads, noise, near):
    found = fit(passes(reads, noise), TRUTH.batch, reads)
    assert found.batch == 8
    lengths = np.array([30, 45, 100, 180, 210])
    for profile in profiles((0, 0.08, 0.15, 0.28, 0.5, 0.8)):
        expected = TRUTH.seconds(profile, lengths, reads)
        assert found.seconds(profile, lengths, reads) == pytest.approx(expected, rel=near)


@pytest.mark.parametrize("reads", [POOLED, ALL])
def test_layers_of_a_pruned_model_count_by_their_size(reads):
    truth = replace(TRUTH, scales=UNLIKE)
    found = fit(passes(reads, truth=truth), truth.batch, reads, UNLIKE)
    lengths = np.array([45, 180])
    for profile in profiles((0, 0.15, 0.5)):
        expected = truth.seconds(profile, lengths, reads)
        assert found.seconds(profile, lengths, reads) == pytest.approx(expected, rel=0.05)
    assert found.seconds(Profile.full(6), lengths, reads)[0] < 0.8 * TRUTH.seconds(Profile.full(6), lengths, reads)[0]


@pytest.mark.parametrize("reads", [POOLED, ALL])
@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_a_fit_never_falls_however_noisy_the_clock(reads, noise):
    found = fit(passes(reads, noise), TRUTH.batch, reads)
    counts = np.arange(1, 600)
    for part in PARTS:
        heights = getattr(found, part)(counts)
        assert heights[0] >= 0
        assert (np.diff(heights) >= -1e-12).all()


def test_passes_that_eliminate_nothing_make_a_model_too():
    full = [one for one in passes(POOLED) if not one.profile.eliminates]
    found = fit(full, 1, POOLED)
    expected = TRUTH.seconds(Profile.full(LAYERS), np.array([60, 130]), POOLED)
    assert found.seconds(Profile.full(LAYERS), np.array([60, 130]), POOLED) == pytest.approx(expected, rel=0.02)


@pytest.fixture
def model():
    return attach(tiny_bert())


def dial_for(model, **options):
    return Dial(layer_acc=(0.9,) * 4, lengths=(8, 20, 40), shapes=layer_shapes(model), **options)


def hooks(model):
    return [hook for module in model.modules() for hook in (*module._forward_pre_hooks, *module._forward_hooks)]


def test_a_measured_model_covers_the_workload_and_leaves_nothing_behind(model):
    setting, logits = attached(model).default, model(**batch_of([9])).logits
    rounds = []
    found = measure(
        *(model, dial_for(model)), batch=2, lengths=(8, 20, 40), device=CPU, rounds=3, advance=lambda: rounds.append(1)
    )
    assert (found.batch, len(rounds)) == (2, 3)
    for part in PARTS:
        knots = getattr(found, part).knots
        assert knots[0] == 1
        assert knots[-1] >= 32
    assert found.entering.knots[-1] >= 40
    assert found.outside.knots[-1] >= 40
    assert (found.seconds(Profile.full(4), np.array([8, 40]), POOLED) > 0).all()
    assert found.error >= 0
    assert hooks(model) == []
    assert attached(model).default is setting
    assert torch.equal(model(**batch_of([9])).logits, logits)


def test_a_budget_ends_measuring_after_the_third_round(model):
    rounds = []
    measure(
        *(model, dial_for(model)),
        **{"batch": 1, "lengths": [8], "device": CPU, "rounds": 9, "budget_s": 0},
        advance=lambda: rounds.append(1),
    )
    assert len(rounds) == 3


def test_all_families_are_measured_at_a_few_lengths_that_stand_for_many(model, monkeypatch):
    seen = set()

    def time_nothing(model, run, device):
        seen.add((run.args[1].shape, attached(model).options().profile))
        return np.ones(5)

    monkeypatch.setattr("latadj.calibration.latency_fit.time_layers", time_nothing)
    measure(model, dial_for(model), batch=3, lengths=range(5, 50), device=CPU, rounds=2)
    assert {shape[0] for shape, _ in seen} == {3}
    assert len({shape[1] for shape, _ in seen}) == 4
    ratios = np.array([profile.keep for _, profile in seen])
    assert ratios.max() == 1.0
    assert ratios.min() < 0.3


@pytest.mark.parametrize(("batch", "spread"), [(1, 0), (4, 1)])
def test_texts_of_a_batch_are_as_unlike_as_sorted_ones_are(model, monkeypatch, batch, spread):
    seen = []

    def time_nothing(model, run, device):
        ids, mask = run.args[1:]
        counts = torch.full((batch,), ids.shape[1]) if mask is None else mask.sum(dim=1)
        seen.append((ids.shape[1] - int(counts.max()), int(counts.max() - counts.min())))
        return np.ones(5)

    monkeypatch.setattr("latadj.calibration.latency_fit.time_layers", time_nothing)
    measure(model, dial_for(model), batch=batch, lengths=[8, 20], device=CPU, rounds=2)
    assert set(seen) == {(0, spread)}


@pytest.mark.parametrize(("pruned", "runs"), [([], 0), ([PruningUnit("head", 1, 0)], 1)])
def test_a_pass_of_uneven_layers_is_warm_before_it_is_timed(model, monkeypatch, pruned, runs):
    remove(model, pruned)
    before, timed = [], []
    model.register_forward_hook(lambda *_: before.append(1))

    def time_nothing(model, run, device):
        timed.append(len(before))
        return np.ones(5)

    monkeypatch.setattr("latadj.calibration.latency_fit.time_layers", time_nothing)
    measure(model, dial_for(model), batch=1, lengths=[8], device=CPU, rounds=2)
    assert timed == [runs * (place + 1) for place in range(len(timed))]


def test_the_times_of_layers_and_rest_sum_to_the_pass(model, monkeypatch):
    ticks = count()
    with monkeypatch.context() as patch, torch.inference_mode():
        patch.setattr(time, "perf_counter", lambda: float(next(ticks)))
        found = time_layers(model, partial(model, **batch_of([9, 5])), CPU)
    # The clock is read when the pass starts and ends, and as each layer is entered and left.
    assert found.tolist() == [1.0, 1.0, 1.0, 1.0, 5.0]
    assert found.sum() == next(ticks) - 1
    assert hooks(model) == []


def test_a_pass_that_fails_leaves_no_hooks_behind(model):
    with pytest.raises(ValueError), at_profile(model, Profile.full(4)):
        time_layers(model, partial(model, attention_mask=torch.ones(2)), CPU)
    assert hooks(model) == []
