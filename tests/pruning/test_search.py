import copy
import json
from dataclasses import asdict

import pytest
from helpers.fake_pruning_model import Fake

from latadj.pruning.search import Candidate, SearchState, search, stages
from latadj.utils.serialization import structure


def found(fake, state=None, **options):
    state = state or SearchState()
    search(fake, fake.criterion(), state, **options)
    return state


def test_blocks_of_all_layers_go_before_what_is_in_them_from_above():
    fake = Fake(3, {})
    names = [name for name, _ in stages(fake.units)]
    assert names == [f"{what} of layer {layer}" for what in ("blocks", "inside") for layer in (3, 2, 1)]


def test_what_does_not_hurt_goes_and_the_rest_is_put_back():
    harm = {"layer 1 head 1": 5, "layer 1 neurons 2": 3, "layer 2 neurons 1": 1}
    fake = Fake(2, harm)
    state = found(fake)
    assert set(state.removed) == {"layer 2 attention", "layer 2 neurons 2", "layer 1 head 2", "layer 1 neurons 1"}
    assert fake.loss_increase() == 0
    records = {record.name: record for record in state.candidates}
    hurt = records["layer 1 feed-forward"]
    assert (hurt.kept, hurt.metric_before, hurt.metric_after) == (True, 0.9, 0.885)
    assert hurt.difference == pytest.approx(-0.015)
    assert hurt.difference_ci[0] < hurt.difference < hurt.difference_ci[1]
    assert (hurt.cost_flops, hurt.cost_parameters) == (4100.0, 410)
    assert hurt.loss_after == pytest.approx(hurt.loss_before + 0.003)


def test_nothing_is_tried_inside_a_block_that_went():
    state = found(Fake(2, {"layer 1 head 1": 5}))
    assert not [record.name for record in state.candidates if record.name.startswith("layer 2 head")]


def test_the_last_of_a_block_is_not_tried_again():
    # Both heads alone do no harm to speak of, and the block does: it is the loss that tells.
    fake = Fake(1, {"layer 1 head 1": -1, "layer 1 head 2": 3}, heads=2)
    state = found(fake)
    assert "layer 1 head 1" in state.removed
    assert "layer 1 head 2" not in {record.name for record in state.candidates}


def test_small_losses_do_not_add_up_to_more_than_the_tolerance():
    fake = Fake(4, {f"layer {layer} head {head}": 1 for layer in range(1, 5) for head in (1, 2)}, wrong=20)
    state = SearchState()
    search(fake, fake.criterion(tolerance=0.01), state)
    assert fake.loss_increase() == 2  # of 200 texts: one point
    assert min(record.difference for record in state.candidates if not record.kept) == pytest.approx(-0.01)


def test_of_one_layer_the_least_missed_is_tried_first():
    harm = {f"layer 1 head {head}": missed for head, missed in enumerate([4, 3, 9, 2], start=1)}
    fake = Fake(1, {**harm, "layer 1 neurons 1": 9, "layer 1 neurons 2": 9}, heads=4)
    order = found(fake).orders["inside of layer 1"]
    assert order[:3] == ["layer 1 head 4", "layer 1 head 2", "layer 1 head 1"]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 7, 11])
def test_a_search_that_was_killed_goes_on_to_the_same_end(after):
    harm = {"layer 1 head 1": 5, "layer 2 neurons 1": 1, "layer 3 head 2": 2, "layer 3 neurons 1": -1}
    whole = found(Fake(3, harm))
    state, written = SearchState(), []

    def save():
        written.append(json.dumps(asdict(state)))
        if len(written) == after:
            raise KilledError

    with pytest.raises(KilledError):
        found(Fake(3, harm), state, save=save)
    read = json.loads(written[-1])
    again = SearchState(structure(list[Candidate], read["candidates"]), read["orders"])
    fake = Fake(3, harm)
    done = len(again.candidates)
    assert found(fake, again) == whole
    # What was tried is not asked again: one pass says where the model stands.
    assert len(fake.evaluated) == 1 + len(whole.candidates) - done


def test_every_unit_is_counted_once_in_the_progress():
    fake, steps = Fake(3, {"layer 1 head 1": 5}), []
    found(fake, advance=lambda done, note: steps.append(done))
    assert sum(steps) == len(fake.units)
    again, steps[:] = Fake(3, {"layer 1 head 1": 5}), []
    state = found(copy.deepcopy(again))
    found(again, state, advance=lambda done, note: steps.append(done))
    assert sum(steps) == len(again.units)
