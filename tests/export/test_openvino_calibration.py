"""Ranges of OpenVINO's int8 graphs are measured at settings that the dial comes to."""

import numpy as np
import pytest

pytest.importorskip("onnx")

from latadj.elimination.cost import LayerShape
from latadj.elimination.dial import Dial
from latadj.elimination.level_dials import with_levels
from latadj.export.openvino_files import calibration_batches, counted_graphs
from latadj.runtime.manifest import LEAVING, layers_that_cut

SHAPE = LayerShape(query=6400, key_value=12800, output=6400, feed_forward=51200, attention=80, heads=8, neurons=320)
PLAIN = Dial(layer_acc=(0.9, 0.8, 0.7, 0.6), lengths=(20, 30, 40), shapes=(SHAPE,) * 4, widths=(0.75, 0.5), reads="all")
DIALS = {"tokens alone": PLAIN, "levels": with_levels(PLAIN, [1.5, 2, 3, 4])}


def words_of_eight(texts, **_):
    """Stands in for a tokenizer: eight tokens of each text."""
    return {"attention_mask": np.ones((len(texts), 8), dtype=np.int64)}


@pytest.mark.parametrize("dial", DIALS.values(), ids=DIALS)
def test_a_graph_is_calibrated_over_profiles_between_1x_and_the_dials_end(dial):
    cutting = [graph for graph in counted_graphs(dial) if graph.cuts]
    assert cutting
    asked = [dial.profile(float(speedup)) for speedup in np.geomspace(1, dial.reach(), 200)]
    assert {graph.level for graph in cutting} == {one.level for one in asked if one.eliminates}
    for graph in cutting:
        speedups = [dial.predicted(profile) for profile in graph.profiles]
        assert speedups == sorted(speedups)
        assert 1 < speedups[0] <= speedups[-1] <= dial.reach() * 1.05  # tokens are whole
        assert all(profile.level == graph.level for profile in graph.profiles)
        assert all(set(layers_that_cut(profile, dial)) <= set(graph.cuts) for profile in graph.profiles)


def test_batches_take_the_profiles_in_turn():
    (graph,) = (graph for graph in counted_graphs(PLAIN) if graph.cuts)
    assert len(graph.profiles) > 2
    batches = calibration_batches(["a text"] * 8 * 5, words_of_eight, ["attention_mask"], 8, graph.profiles[:2])
    told = [profile.counts(np.full(8, 8)).tolist() for profile in graph.profiles[:2]]
    assert [batch[LEAVING].tolist() for batch in batches] == [told[0], told[1], told[0], told[1], told[0]]
