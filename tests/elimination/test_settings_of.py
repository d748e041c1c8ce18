"""The settings that stand for all that a dial runs."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.tiny_models import dial_for, tiny

from latadj.elimination.dial_solver import settings_of
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.level_dials import with_levels
from latadj.export.openvino_files import counted_graphs
from latadj.runtime.manifest import layers_that_cut

LINE = (0.0, 32.0)
# Hardly anything goes by the number of tokens, so that time lags far behind FLOPs.
SLUGGISH = LatencyModel(8, *(Ramp(1e-3, LINE, (3e-4,)) for _ in range(5)))


@pytest.fixture(scope="module")
def dial():
    model = tiny("bert", layers=4)
    return with_levels(replace(dial_for(model), profile_type="geometric", widths=(0.75, 0.5)), [1.5, 2, 3])


@pytest.mark.parametrize("profile_type", ["searched", "geometric", "flat", "acc"])
def test_a_dial_in_time_cuts_nowhere_else(dial, profile_type):
    dial = dial.with_profile_type(profile_type)
    graphs = {graph.level: set(graph.cuts) for graph in counted_graphs(dial)}
    for marked in (dial, dial.on(SLUGGISH)):
        for speedup in np.linspace(1, marked.reach(), 40):
            profile = marked.profile(float(speedup))
            assert set(layers_that_cut(profile, dial)) <= graphs[profile.level]


def test_the_whole_model_comes_first_and_cuts_nothing(dial):
    assert settings_of(dial)[0].is_full
    first, *_ = counted_graphs(dial)
    assert (first.level, first.cuts) == (None, ())
