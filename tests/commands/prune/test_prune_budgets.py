"""latadj prune down to budgets of size and of measured speed, through the real command line."""

import numpy as np
import pytest
from helpers.pruning_runs import killed, killed_after, killed_in, plain_project, pruned, same, same_weights
from helpers.tiny_models import LENGTHS, Case

import latadj
from latadj.benchmark.timer import Interval
from latadj.commands.prune.speed import Clock
from latadj.elimination.attach import attach
from latadj.pruning.budgets import LatencyBudget, LatencyFeatures, TimeModel
from latadj.pruning.surgery import parameter_count
from latadj.training import fit


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return plain_project(tmp_path_factory)


SIZES = ["prune.objective=size", "prune.budget=[0.6,0.4]", "prune.step=0.2", "recover.eval_steps=2"]
SPEED = ["prune.objective=speed", "prune.budget=1.5", "prune.step_epochs=0.5"]
TIMES = TimeModel(0.1, 0.0, 0.0, 0.15, 0.3)


@pytest.fixture(scope="module")
def small(root):
    return pruned(root, root / "small", *SIZES)


def test_one_run_makes_a_model_of_each_budget(root, small):
    full = small["full"]["parameters"]
    assert [model["budget"] for model in small["frontier"]] == [0.6, 0.4]
    for model in small["frontier"]:
        assert model["size"]["parameters"] <= model["budget"] * full
        ours, _ = latadj.load(root / "small" / f"pruned-{model['budget']:g}", precision=None)
        assert parameter_count(ours) == model["size"]["parameters"]
        assert model["recovered"]
    assert {record["step"] for record in small["candidates"]} >= {1, 2}


def test_a_slash_behind_the_output_is_none_of_its_name(root, tmp_path):
    options = ["prune.objective=size", "prune.budget=0.7", "prune.recover_epochs=0", "prune.step_epochs=0"]
    pruned(root, tmp_path, *options, f"output={tmp_path}/small/")
    assert (tmp_path / "small-0.7" / "latadj.json").is_file()


def test_shrinking_that_was_killed_goes_on_to_the_same_weights(root, small, tmp_path, monkeypatch):
    with killed(monkeypatch, lambda state: state.progress.step == 2):
        pruned(root, tmp_path / "out", *SIZES)
    assert same(pruned(root, tmp_path / "out", *SIZES, "resume=true"), small)
    assert same_weights(tmp_path / "out" / "pruned-0.4", root / "small" / "pruned-0.4")
    assert not list((tmp_path / "out" / "prune").glob("weights-*"))


def test_a_run_killed_in_a_recovery_goes_on_to_the_same_weights(root, small, tmp_path, monkeypatch):
    with killed_in(monkeypatch, "recovery 2", step=3):
        pruned(root, tmp_path / "out", *SIZES)
    assert list((tmp_path / "out" / "prune" / "recovery-2").glob("checkpoint-*"))
    assert same(pruned(root, tmp_path / "out", *SIZES, "resume=true"), small)
    assert "recovery 2: going on from" in (tmp_path / "out" / "prune" / "prune.log").read_text()
    assert same_weights(tmp_path / "out" / "pruned-0.4", root / "small" / "pruned-0.4")


def test_a_run_killed_after_its_last_recovery_does_not_train_again(root, small, tmp_path, monkeypatch):
    with killed_after(monkeypatch, recoveries=2):
        pruned(root, tmp_path / "out", *SIZES)
    monkeypatch.setattr(fit.LatadjTrainer, "training_step", None)
    assert same(pruned(root, tmp_path / "out", *SIZES, "resume=true"), small)
    assert not list((tmp_path / "out" / "prune").glob("recovery-*"))


def test_each_recovery_has_all_the_steps_that_it_may(root, tmp_path, monkeypatch):
    whole, found = fit.total_steps, []
    monkeypatch.setattr(fit, "total_steps", lambda *given: found.append(whole(*given)) or found[-1])
    pruned(root, tmp_path, *SIZES, "recover.max_steps=3", "prune.step_epochs=0.25")
    assert len(found) > 2
    assert set(found) == {3}


def measured_a_fifth_slower(monkeypatch):
    """A clock that always says a fifth less than the time model foresees."""

    def speedup(clock):
        found = 0.8 / TIMES.time(LatencyFeatures.of(clock.session.model, clock.model.evaluator.lengths))
        return Interval(found, found, found)

    monkeypatch.setattr(Clock, "fit", lambda clock: TIMES)
    monkeypatch.setattr(Clock, "speedup", speedup)


@pytest.fixture
def slower(monkeypatch):
    measured_a_fifth_slower(monkeypatch)


TWICE = [*SPEED, "prune.budget=[1.3,1.8]", "prune.step=0.15"]


@pytest.fixture(scope="module")
def fast(root):
    with pytest.MonkeyPatch.context() as patch:
        measured_a_fifth_slower(patch)
        return pruned(root, root / "fast", *TWICE)


def test_pruning_to_a_speedup_that_was_killed_goes_on_by_the_same_times(root, fast, slower, tmp_path, monkeypatch):
    with killed(monkeypatch, lambda state: len(state.models) == 1 and state.correction < 1):
        pruned(root, tmp_path / "out", *TWICE)
    monkeypatch.setattr(Clock, "fit", None)  # what was measured is not measured again
    assert same(pruned(root, tmp_path / "out", *TWICE, "resume=true"), fast)


def test_what_a_clock_said_before_a_kill_holds_after_it(root, fast, slower, tmp_path, monkeypatch):
    def met(state):
        return len(state.models) == 1 and state.progress.pending is not None and state.progress.pending.last

    with killed(monkeypatch, met):
        pruned(root, tmp_path / "out", *TWICE)
    monkeypatch.setattr(LatencyBudget, "met", None)  # the clock is not asked again
    assert same(pruned(root, tmp_path / "out", *TWICE, "resume=true"), fast)


def test_the_times_of_one_device_are_none_of_anothers(root, slower, tmp_path, monkeypatch):
    with killed(monkeypatch, lambda state: state.progress.step == 1):
        pruned(root, tmp_path / "out", *SPEED)
    result = pruned(root, tmp_path / "out", *SPEED, "resume=true", "device.precision=bf16", expect=2)
    assert "was started with other settings (device)" in result.stderr


def test_a_pass_without_anything_is_timed_too_so_that_no_budget_is_beyond_it(root, tmp_path, monkeypatch):
    measured = []

    def speedup(clock):
        features = LatencyFeatures.of(clock.session.model, clock.model.evaluator.lengths)
        measured.append(features.attention_blocks + features.feed_forward_blocks)
        clock.served()(**clock.batches[0])
        return Interval(*[1 / TIMES.time(features)] * 3)

    monkeypatch.setattr(Clock, "speedup", speedup)
    result = pruned(root, tmp_path, *SPEED, "prune.budget=[1.5,40]", expect=2)
    assert 0 in measured
    assert "without any of the layers that can be pruned this model would be 10.0 times as fast here" in result.stderr
    assert not (tmp_path / "prune").exists()


@pytest.mark.parametrize(("answers", "met"), [([1.2, 1.8, 1.9], True), ([1.2, 1.9, 1.3], False)])
def test_one_slow_answer_of_a_clock_takes_nothing_more_out(answers, met):
    case, said = Case("bert", "classifier"), iter(answers)
    model = attach(case.make())
    budget = LatencyBudget(model, {}, np.array(LENGTHS), TIMES, lambda: next(said))
    assert budget.met(1.8) == met
    assert budget.correction == pytest.approx(1.0 if met else min(1.3 * budget.remaining(), 0.99))


def test_a_clock_that_takes_back_what_another_said_is_warned_about(root, slower, tmp_path, monkeypatch):
    monkeypatch.setattr(LatencyBudget, "met", lambda budget, target: True)
    monkeypatch.setattr(Clock, "speedup", lambda clock: Interval(1.3, 1.2, 1.4))
    pruned(root, tmp_path, *SPEED, "prune.recover_epochs=0", "prune.step_epochs=0")
    log = (tmp_path / "prune" / "prune.log").read_text()
    assert "prune.budget=1.5 was met by one clock, and another now says 1.30x (1.20 to 1.40)" in log


def test_a_speedup_is_measured_of_the_model_as_it_is_served(root, tmp_path, monkeypatch):
    served, whole = [], Clock.served

    def noted(clock):
        model = whole(clock)
        served.append("_original_forward" in vars(model))
        return model

    monkeypatch.setattr(Clock, "served", noted)
    # The clock says what it foresaw, so that the way does not depend on the machine.
    monkeypatch.setattr(Clock, "fit", lambda clock: TIMES)
    monkeypatch.setattr(LatencyBudget, "met", lambda budget, target: True)
    found = pruned(root, tmp_path, *SPEED, "device.train_precision=bf16")
    assert [record for record in found["candidates"] if not record["kept"]]
    # The full model and the pruned one; mixed precision of the training before does not run along.
    assert served == [False, False]
    (model,) = found["frontier"]
    low, high = model["measured_ci"]
    assert low <= model["measured_speedup"] <= high
    assert (tmp_path / "pruned-1.5" / "latadj.json").is_file()


def test_damaged_weights_of_a_run_are_one_clear_line(root, tmp_path, monkeypatch):
    with killed(monkeypatch, lambda state: state.progress.step == 1):
        pruned(root, tmp_path / "out", *SIZES)
    (weights,) = (tmp_path / "out" / "prune").glob("weights-1.safetensors")
    for damage in (lambda: weights.write_bytes(b"cut short"), weights.unlink):
        damage()
        result = pruned(root, tmp_path / "out", *SIZES, "resume=true", expect=2)
        assert "weights-1.safetensors: these weights are missing or damaged" in result.stderr
        assert result.stderr.strip().endswith("start anew without resume=true")
