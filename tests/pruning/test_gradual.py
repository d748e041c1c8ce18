import json
from dataclasses import asdict

import pytest
from helpers.fake_pruning_model import Fake

from latadj.pruning.gradual import GradualState, choose_units, prune_gradually
from latadj.pruning.units import PruningUnit
from latadj.utils.serialization import structure


class Budget:
    """Parameters of a fake; the first ``late`` times that a budget seems to be met, the clock disagrees."""

    def __init__(self, fake, late=0):
        self.fake, self.late, self.slack = fake, late, 1.0
        self.total = float(fake.remaining)
        self.savings = {unit: float(cost.parameters) for unit, cost in fake.costs.items()}

    def remaining(self):
        return float(self.fake.remaining)

    def allowed(self, target):
        return target * self.total * self.slack

    def met(self, target):
        if self.late:
            self.late -= 1
            self.slack *= 0.9
            return False
        return True


HARM = {f"layer {layer} head {head}": 1.0 + head for layer in (1, 2) for head in (1, 2, 3, 4)}
HARM |= {f"layer {layer} neurons {group}": 1.5 * group for layer in (1, 2) for group in (1, 2)}


def fake():
    return Fake(2, HARM, heads=4)


def pruned(model, targets, state=None, **options):
    state = state or GradualState()
    budget = options.pop("budget", None) or Budget(model)
    prune_gradually(model, model.criterion(), budget, targets, state, share=0.1, **options)
    return state


def chosen(model, amount, harm=None, gone=()):
    harm = harm or {unit: sum(HARM.get(other.name, 0.0) for other in model.inside(unit)) for unit in model.units}
    found = choose_units(model.units, set(gone), harm, Budget(model).savings, amount)
    return [unit.name for unit in found]


def test_the_least_harm_for_what_it_saves_is_chosen():
    # 200 parameters for 1.5 beat 100 for 2.
    assert chosen(fake(), 100) == ["layer 1 neurons 1"]
    # The block saves what stands around its neurons too.
    assert chosen(fake(), 600) == ["layer 2 neurons 1", "layer 1 feed-forward"]


def test_a_block_that_is_not_missed_goes_whole_though_its_parts_are():
    model = fake()
    harm = {unit: 0.0 if unit == PruningUnit("attention", 1) else 1.0 for unit in model.units}
    assert chosen(model, 100, harm) == ["layer 2 attention"]


def test_what_need_not_go_after_all_stays():
    model = fake()
    harm = {unit: 9.0 for unit in model.units if unit.kind == "neurons"}
    harm |= {PruningUnit("head", 0, 0): 0.001, PruningUnit("head", 0, 1): -1.0, PruningUnit("attention", 1): 0.1}
    # 410 parameters of the block are enough, and the head that seemed to help by its absence may be chance.
    assert chosen(model, 400, harm) == ["layer 2 attention"]
    assert chosen(model, 450, harm) == ["layer 1 head 2", "layer 2 attention"]


def test_a_block_that_saves_far_more_than_is_wanted_stays_where_less_would_do():
    model = fake()
    harm = {unit: sum(HARM.get(other.name, 0.0) for other in model.inside(unit)) for unit in model.units}
    harm |= {unit: 2.0 for unit in model.units if unit.kind == "feed_forward"}
    # Each of them costs less for what it saves than any neurons: 2 for 500 against 1.5 for 200.
    assert chosen(model, 400, harm) == ["layer 1 feed-forward"]
    assert chosen(model, 200, harm) == ["layer 1 neurons 1"]


def test_what_helps_by_its_absence_goes_first():
    model = fake()
    harm = dict.fromkeys(model.units, 0.0) | {PruningUnit("head", 0, 2): -1.0, PruningUnit("neurons", 1, 0, (0,)): -0.5}
    assert chosen(model, 250, harm) == ["layer 1 head 3", "layer 2 neurons 1"]


def test_what_was_not_asked_about_stays():
    model = fake()
    harm = {unit: 1.0 for unit in model.units if unit.kind == "head" and unit.layer == 0}
    assert chosen(model, 1e9, harm) == ["layer 1 head 1", "layer 1 head 2", "layer 1 head 3"]


def test_each_step_asks_about_all_blocks_and_the_half_of_the_rest_that_gradients_say_least_of():
    model = fake()
    probed, whole = [], model.without

    def without(units):
        probed.extend(unit.name for unit in units)
        return whole(units)

    model.without = without
    state = pruned(model, [0.92])
    assert state.step == 1
    assert sum("head" in name or "neurons" in name for name in probed) == 6
    assert {name for name in probed if "attention" in name or "forward" in name} == {
        f"layer {n} {block}" for n in (1, 2) for block in ("attention", "feed-forward")
    }
    assert "layer 1 head 4" not in probed


def test_the_last_of_a_block_goes_with_its_block():
    model = fake()
    gone = {unit for unit in model.units if unit.kind == "neurons" and unit.layer == 0 and unit.index == 0}
    assert "layer 1 neurons 2" not in chosen(model, 10_000, gone=gone)
    assert "layer 1 feed-forward" in chosen(model, 10_000, gone=gone)


def test_all_goes_where_all_is_asked_for():
    assert set(chosen(fake(), 1e9)) == {f"layer {n} {block}" for n in (1, 2) for block in ("attention", "feed-forward")}


@pytest.mark.parametrize("target", [0.8, 0.5, 0.2])
def test_a_budget_is_met_and_hardly_undershot(target):
    model = fake()
    total = model.remaining
    pruned(model, [target])
    assert target * total - 211 <= model.remaining <= target * total


def test_it_recovers_after_every_step_and_long_at_each_budget():
    model, seen = fake(), []
    state = pruned(model, [0.7, 0.4], on_reached=lambda target, evaluation: seen.append((target, evaluation.metric)))
    assert [target for target, _ in seen] == [0.7, 0.4] == state.reached
    assert [step for step, _ in model.recovered] == list(range(1, state.step + 1))
    assert [last for _, last in model.recovered].count(True) == 2
    assert model.recovered[-1] == (state.step, True)
    assert seen[0][1] > seen[1][1]


def test_records_say_in_which_step_a_part_went():
    model = fake()
    state = pruned(model, [0.5])
    assert {record.step for record in state.candidates} == set(range(1, state.step + 1))
    assert not any(record.kept for record in state.candidates)
    first, last = state.candidates[0], state.candidates[-1]
    assert first.metric_before == 0.9
    assert last.metric_after < first.metric_before
    assert last.difference == pytest.approx(last.metric_after - 0.9)


def test_a_clock_that_disagrees_makes_it_go_further():
    predicted, slower = fake(), fake()
    pruned(predicted, [0.6])
    pruned(slower, [0.6], budget=Budget(slower, late=2))
    assert slower.remaining < predicted.remaining


def test_a_budget_beyond_all_that_can_go_is_refused():
    with pytest.raises(ValueError, match=r"prune.budget=0.4: nothing is left that could go; give a milder one"):
        pruned(model := fake(), [0.4], budget=Budget(model, late=10**6))


def test_it_ends_where_nothing_that_is_left_saves_anything():
    model = fake()
    budget = Budget(model)
    budget.savings = dict.fromkeys(budget.savings, 0.0)
    with pytest.raises(ValueError, match="nothing is left that could go"):
        pruned(model, [0.5], budget=budget)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("moment", ["on_pending", "save"])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_what_was_killed_goes_on_to_the_same_end(after, moment):
    whole = pruned(fake(), [0.7, 0.3])
    state, written = GradualState(), []

    def write():
        written.append(json.dumps(asdict(state)))
        if len(written) == after:
            raise KilledError

    with pytest.raises(KilledError):
        pruned(fake(), [0.7, 0.3], state, **{moment: write})
    again = structure(GradualState, json.loads(written[-1]))
    assert (again.pending is not None) == (moment == "on_pending")
    model = fake()
    criterion, budget = model.criterion(), Budget(model)
    model.remove([unit for unit in model.units if unit.name in again.removed])
    prune_gradually(model, criterion, budget, [0.7, 0.3], again, share=0.1)
    assert again == whole
