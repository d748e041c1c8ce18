import numpy as np
import pytest
import torch

from latadj.measure.baselines import batches_of
from latadj.measure.clock import speedup, take_turns
from latadj.measure.environment import environment
from latadj.measure.intervals import score

CPU = torch.device("cpu")


def test_contestants_take_turns_piece_by_piece():
    order = []
    work = {name: [lambda n=name, i=i: order.append((n, i)) for i in range(2)] for name in "ab"}
    seconds = take_turns(work, rounds=2, warmup=1, device=CPU)
    assert {name: values.shape for name, values in seconds.items()} == {"a": (2, 2), "b": (2, 2)}
    assert len(order) == 12
    for start in range(0, 12, 2):  # both have had a piece before either gets the next
        assert {name for name, _ in order[start : start + 2]} == {"a", "b"}
        assert order[start][1] == order[start + 1][1]
    assert {order[start][0] for start in range(0, 12, 2)} == {"a", "b"}  # neither always goes first


def test_baselines_feed_the_same_examples_in_three_ways():
    class Tokenizer:
        @staticmethod
        def pad(rows, padding, max_length, return_tensors):
            return {"lengths": [len(row["input_ids"]) for row in rows], "padded_to": max_length}

    rows = [{"input_ids": [5] * length} for length in (9, 3, 7, 4, 8, 2, 6, 5, 11, 10)]
    found = batches_of(rows, Tokenizer(), batches=2, batch_size=2, max_length=12)
    lengths = {name: [batch["lengths"] for batch in part] for name, part in found.items()}
    assert lengths["bucketed"] == [[4, 5], [8, 9]]  # whole buckets of all ten rows, spread over the lengths
    assert lengths["batch_padded"] == lengths["max_padded"] == [[9, 4], [8, 5]]  # the same rows in data order
    assert [batch["padded_to"] for batch in found["max_padded"]] == [12, 12]


def test_contestants_with_different_work_are_refused():
    with pytest.raises(ValueError, match="same number of pieces"):
        take_turns({"a": [print], "b": []}, rounds=1, warmup=0, device=CPU)


def test_a_speedup_is_a_ratio_of_rounds_with_its_interval():
    ours = np.random.default_rng(0).uniform(0.9, 1.1, (9, 4))
    found = speedup(3 * ours, ours)
    assert (found.median, found.low, found.high) == pytest.approx((3, 3, 3))
    noisy = speedup(3 * np.random.default_rng(1).uniform(0.5, 1.5, (9, 4)), ours)
    assert noisy.low < noisy.median < noisy.high


def test_intervals_hold_the_value_and_shrink_for_a_paired_drop():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    full = np.where(rng.random(500) < 0.9, labels, 1 - labels)
    cut = full.copy()
    cut[:10] = 1 - labels[:10]
    found = score("accuracy", cut, full, labels, seed=0)
    assert found.metric_ci[0] < found.metric < found.metric_ci[1]
    assert found.drop_ci[0] <= found.drop <= found.drop_ci[1]
    assert found.drop == pytest.approx(np.mean(full == labels) - np.mean(cut == labels))
    assert found.drop_ci[1] - found.drop_ci[0] < found.metric_ci[1] - found.metric_ci[0]


def test_no_drop_from_oneself():
    labels = np.array([0, 1] * 20)
    found = score("f1", labels, labels, labels, seed=0)
    assert (found.drop, found.drop_ci) == (0.0, (0.0, 0.0))


def test_the_environment_says_what_is_needed_to_run_again():
    found = environment(CPU, "fp32")
    assert found["threads"] == torch.get_num_threads()
    assert found["packages"]["torch"] == torch.__version__
