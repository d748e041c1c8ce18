"""Whole passes correct a latency model that promises more, or less, than they show."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.tiny_models import Case, dial_for

from latadj.calibration import clock_check
from latadj.calibration.clock_check import checked
from latadj.elimination.attach import attach
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.level_dials import with_levels
from latadj.elimination.profiles import Profile
from latadj.utils.serialization import structure, unstructure

RAMP = Ramp(1e-4, (1.0, 64.0), (6e-3,))
LATENCY = LatencyModel(4, RAMP, RAMP, RAMP, RAMP, RAMP)
CASES = [Case("bert", "classifier"), Case("bert", "tagger"), Case("gpt2", "language")]
LENGTHS = [5, 9, 12, 17, 18, 23, 31, 33, 40, 41]


def dials(case):
    model = attach(case.make())
    tokens = dial_for(model, max_flops=16.0)
    yield model, tokens
    if case.architecture != "t5":
        yield model, replace(tokens, widths=(0.5, 0.25))
        yield model, with_levels(replace(tokens, widths=(0.5, 0.25)), [1.5, 2.0, 3.0])


def clock(monkeypatch, seconds):
    """A clock on which passes take what ``seconds`` says of a profile and the lengths of a batch."""

    def time_interleaved(variants, **options):
        return {name: np.array([[seconds(*piece.args[1:]) for piece in work]] * 3) for name, work in variants.items()}

    monkeypatch.setattr(clock_check, "time_interleaved", time_interleaved)


def lengths_of(ids, mask):
    return np.full(len(ids), ids.shape[1]) if mask is None else mask.sum(dim=1).numpy()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("unsaved", [-0.1, 0.0, 0.06, 0.3])
def test_what_passes_do_not_save_is_found_and_counted(monkeypatch, case, unsaved):
    for model, dial in dials(case):
        true = dial.on(replace(LATENCY, unsaved=unsaved))
        clock(monkeypatch, lambda profile, ids, mask, true=true: true.seconds(profile, lengths_of(ids, mask)).mean())
        found = checked(model, dial, LATENCY, lengths=LENGTHS)
        assert found.unsaved == pytest.approx(unsaved, abs=1e-6)
        assert replace(found, unsaved=0.0) == LATENCY


@pytest.mark.parametrize(("seconds", "expected"), [(1.0, 0.5), (None, 0.0)])
def test_a_clock_that_shows_no_saving_at_all_is_believed_in_part(monkeypatch, seconds, expected):
    case = Case("bert", "classifier")
    model = attach(case.make())
    dial = dial_for(model)
    clock(monkeypatch, lambda *_: seconds)
    if seconds is None:  # where nothing can be cut, nothing is measured
        dial = replace(dial, lengths=(1,), max_speedup=1.0)
        assert checked(model, dial, LATENCY, lengths=[1]).unsaved == expected
    else:
        assert checked(model, dial, LATENCY, lengths=LENGTHS).unsaved == expected


def test_batches_run_for_real():
    case = Case("distilbert", "tagger")
    model = attach(case.make())
    found = checked(model, replace(dial_for(model), widths=(0.5,)), LATENCY, lengths=[3, 7], rounds=3)
    assert -0.5 <= found.unsaved <= 0.5


def test_the_full_model_takes_what_it_took_and_others_between_that_and_what_was_predicted():
    dial = dial_for(Case("bert", "classifier").make())
    lengths, cut = np.array([10, 30]), Profile((0.5,) * 4)
    plain, corrected = (dial.on(replace(LATENCY, unsaved=unsaved)) for unsaved in (0.0, 0.25))
    full = plain.seconds(Profile.full(4), lengths)
    assert corrected.seconds(Profile.full(4), lengths) == pytest.approx(full)
    expected = 0.75 * plain.seconds(cut, lengths) + 0.25 * full
    assert corrected.seconds(cut, lengths) == pytest.approx(expected)
    assert corrected.predicted(cut) < plain.predicted(cut)


def test_between_two_batch_sizes_it_is_interpolated_and_old_files_have_none():
    other = replace(LATENCY, batch=8, unsaved=0.2)
    assert LATENCY.towards(other, 6).unsaved == pytest.approx(0.1)
    saved = unstructure(other)
    assert structure(LatencyModel, saved) == other
    del saved["unsaved"]
    assert structure(LatencyModel, saved).unsaved == 0.0
