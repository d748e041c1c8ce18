import numpy as np
import pytest
import torch

from latadj.benchmark.timer import (
    EventStopwatch,
    PreparedWork,
    Stopwatch,
    percentiles_ms,
    speedup,
    stopwatch,
    time_interleaved,
    time_once,
)

CPU = torch.device("cpu")


class Time:
    """A clock that only work moves."""

    def __init__(self):
        self.now = 0.0

    def takes(self, *seconds):
        """Work that takes each of these seconds in turn, and the last from then on."""
        left = list(seconds)

        def work():
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return work


@pytest.fixture
def fake(monkeypatch):
    fake = Time()
    monkeypatch.setattr("time.perf_counter", lambda: fake.now)
    return fake


def test_variants_take_turns_piece_by_piece():
    order = []
    work = {name: [lambda n=name, i=i: order.append((n, i)) for i in range(2)] for name in "ab"}
    seconds = time_interleaved(work, rounds=2, warmup=1, device=CPU)
    assert {name: values.shape for name, values in seconds.items()} == {"a": (2, 2), "b": (2, 2)}
    assert len(order) == 12
    for start in range(0, 12, 2):  # both have had a piece before either gets the next
        assert {name for name, _ in order[start : start + 2]} == {"a", "b"}
        assert order[start][1] == order[start + 1][1]
    assert {order[start][0] for start in range(0, 12, 2)} == {"a", "b"}  # neither always goes first


def test_variants_with_different_work_are_refused():
    with pytest.raises(ValueError, match="same number of pieces"):
        time_interleaved({"a": [print], "b": []}, rounds=1, warmup=0, device=CPU)


def test_seconds_stand_under_their_contestant_round_and_piece(fake):
    work = {"a": [fake.takes(1, 2, 3), fake.takes(4)], "b": [fake.takes(5), fake.takes(6)]}
    seconds = time_interleaved(work, rounds=3, warmup=0, device=CPU)
    assert seconds["a"].tolist() == [[1, 4], [2, 4], [3, 4]]
    assert seconds["b"].tolist() == [[5, 6]] * 3


def test_warming_up_ends_once_every_contestant_is_steady(fake):
    work = {"a": [fake.takes(9, 5, 4, 4, 4, 1)], "b": [fake.takes(2)]}
    steps = []
    seconds = time_interleaved(work, rounds=2, warmup=9, device=CPU, advance=lambda: steps.append(fake.now))
    assert seconds["a"].tolist() == [[1], [1]]  # the rounds of 9, 5, 4, 4, 4 went before
    assert len(steps) == 11  # a bar of `rounds + warmup` steps still fills


def test_warming_up_has_an_end_where_nothing_gets_steady(fake):
    restless = fake.takes(*(1 + turn % 2 for turn in range(20)))
    seconds = time_interleaved({"a": [restless]}, rounds=2, warmup=6, device=CPU)
    assert seconds["a"].tolist() == [[1], [2]]
    assert fake.now == 12


@pytest.mark.parametrize(("budget", "rounds"), [(0.0, 3), (39.5, 4), (1000.0, 8)])
def test_a_budget_spares_rounds_but_never_the_first_three(fake, budget, rounds):
    steps = []
    seconds = time_interleaved(
        {"a": [fake.takes(8)]}, rounds=8, warmup=1, device=CPU, budget_s=budget, advance=lambda: steps.append(1)
    )
    assert seconds["a"].shape == (rounds, 1)
    assert len(steps) == 9


def test_a_budget_that_warming_up_exceeds_leaves_three_rounds(fake):
    seconds = time_interleaved({"a": [fake.takes(1, 9, 1, 9, 1, 9, 1)]}, rounds=7, warmup=7, device=CPU, budget_s=5)
    assert seconds["a"].shape == (3, 1)
    assert fake.now == 1 + 9 + 1 + 9 + 1


def test_settling_runs_the_same_piece_untimed_before_each_time(fake):
    order = []

    def piece(name):
        def work():
            order.append(name)
            fake.now += 7 if len(order) % 2 else 1

        return work

    names = {name: [piece(name + "0"), piece(name + "1")] for name in "ab"}
    seconds = time_interleaved(names, rounds=3, warmup=0, device=CPU, settle=True)
    assert order[::2] == order[1::2]
    assert len(order) == 24
    assert all(np.all(values == 1) for values in seconds.values())


@pytest.mark.parametrize("settle", [False, True])
def test_what_is_prepared_is_made_afresh_each_time_and_not_timed(fake, settle):
    made, used = [], []

    def prepare():
        fake.now += 100
        made.append([])
        return made[-1]

    def run(fresh):
        fake.now += 3
        used.append(len(fresh))
        fresh.append("used")

    seconds = time_interleaved({"a": [PreparedWork(prepare, run)] * 2}, rounds=3, warmup=1, device=CPU, settle=settle)
    assert seconds["a"].tolist() == [[3, 3]] * 3
    assert used == [0] * len(made)
    assert len(made) == (16 if settle else 8)


def test_cuda_is_timed_by_events_on_that_device_with_an_empty_queue():
    class Cuda:
        def __init__(self):
            self.calls = []

        def synchronize(self, device):
            self.calls.append(f"wait for {device}")

        def current_stream(self, device):
            return f"stream of {device}"

        def Event(self, enable_timing):  # noqa: N802
            assert enable_timing
            return Event(self.calls)

    class Event:
        def __init__(self, calls):
            self.calls = calls

        def record(self, stream):
            self.calls.append(f"event on {stream}")

        def elapsed_time(self, end):
            return 250.0  # milliseconds

    cuda = Cuda()
    watch = EventStopwatch(torch.device("cuda", 1), cuda)
    assert watch.time(lambda: cuda.calls.append("work")) == 0.25
    event, wait = "event on stream of cuda:1", "wait for cuda:1"
    assert cuda.calls == [wait, event, "work", event, wait]


def test_each_device_has_its_stopwatch(fake):
    assert type(stopwatch(torch.device("cuda"))) is EventStopwatch
    assert type(stopwatch(CPU)) is type(stopwatch(torch.device("mps"))) is Stopwatch
    assert time_once(fake.takes(3), CPU) == 3


def test_a_speedup_is_a_ratio_of_rounds_with_its_interval():
    ours = np.random.default_rng(0).uniform(0.9, 1.1, (9, 4))
    found = speedup(3 * ours, ours)
    assert (found.median, found.low, found.high) == pytest.approx((3, 3, 3))
    noisy = speedup(3 * np.random.default_rng(1).uniform(0.5, 1.5, (9, 4)), ours)
    assert noisy.low < noisy.median < noisy.high
    single = speedup(np.array([[4.0], [6.0], [5.0]]), np.array([[2.0], [2.0], [2.0]]))
    assert (single.median, single.low, single.high) == (2.5, 2, 3)


def test_percentiles_are_milliseconds_by_name():
    assert percentiles_ms(np.linspace(0, 0.1, 101), (50, 99)) == pytest.approx({"p50": 50, "p99": 99})


def test_the_interval_is_one_of_95_percent():
    # Of the medians of nine rounds drawn from these, 3% are 2 or less: below that an interval of 90% would begin.
    ours = np.ones((9, 1))
    found = speedup(np.arange(1.0, 10.0)[:, None] * ours, ours)
    assert (found.low, found.median, found.high) == (2.0, 5.0, 8.0)
