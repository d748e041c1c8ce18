from pathlib import Path

import numpy as np
import pytest
import torch

from latadj.benchmark.baselines import batches_of
from latadj.devices.affinity import affinity
from latadj.devices.environment import environment
from latadj.tasks.metrics.intervals import score, score_perplexity

CPU = torch.device("cpu")


def test_baselines_feed_the_same_examples_in_three_ways():
    class Tokenizer:
        padding_side, pad_token_id, pad_token_type_id = "right", 0, 0

    rows = [{"input_ids": [5] * length} for length in (9, 3, 7, 4, 8, 2, 6, 5, 11, 10)]
    found = batches_of(rows, Tokenizer(), batches=2, batch_size=2, max_length=12)
    lengths = {name: [batch["attention_mask"].sum(dim=1).tolist() for batch in part] for name, part in found.items()}
    assert lengths["bucketed"] == [[4, 5], [8, 9]]  # whole buckets of all ten rows, spread over the lengths
    assert lengths["batch_padded"] == lengths["max_padded"] == [[9, 4], [8, 5]]  # the same rows in data order
    assert [batch["input_ids"].shape[1] for batch in found["max_padded"]] == [12, 12]


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


def windows(documents, windows, seed=0):
    """Likelihoods of windows whose level is their document's: nll, a reference's, tokens, documents."""
    rng = np.random.default_rng(seed)
    place = np.repeat(np.arange(documents), windows)
    tokens = np.full(len(place), 64)
    nll = 64 * (3 + rng.normal(0, 0.5, documents)[place] + rng.normal(0, 0.01, len(place)))
    return nll, nll - 64 * np.log(1.05), tokens, place


def test_perplexity_counts_tokens_and_its_increase_is_relative():
    nll, reference, tokens, documents = np.array([6.0, 2.0]), np.array([4.0, 2.0]), np.array([3, 1]), np.array([7, 9])
    found = score_perplexity(nll, reference, tokens, documents, seed=0)
    assert found.metric == pytest.approx(np.exp(8 / 4))
    assert found.increase == pytest.approx(np.exp(8 / 4) / np.exp(6 / 4) - 1)


def test_windows_of_one_document_are_drawn_together():
    nll, reference, tokens, documents = windows(20, 10)
    together = score_perplexity(nll, reference, tokens, documents, seed=0)
    apart = score_perplexity(nll, reference, tokens, np.arange(len(nll)), seed=0)
    assert together.metric == pytest.approx(apart.metric)
    assert together.metric_ci[0] < together.metric < together.metric_ci[1]
    width, narrower = (found.metric_ci[1] - found.metric_ci[0] for found in (together, apart))
    assert width > 2 * narrower


def test_an_increase_is_paired_however_much_documents_differ():
    found = score_perplexity(*windows(20, 3), seed=0)
    assert (found.increase, *found.increase_ci) == pytest.approx((0.05, 0.05, 0.05))


def test_one_document_has_no_spread():
    nll, reference, tokens, _ = windows(1, 4)
    found = score_perplexity(nll, reference, tokens, np.zeros(4), seed=0)
    assert found.metric_ci == (found.metric, found.metric)
    assert found.increase_ci == (found.increase, found.increase)


def test_the_environment_says_what_is_needed_to_run_again():
    found = environment(CPU, "fp32")
    assert found["threads"] == torch.get_num_threads()
    assert found["packages"]["torch"] == torch.__version__
    assert found["affinity"] == affinity()


def test_the_environment_names_the_instructions_that_matter(monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: A Processor\nflags\t\t: fpu avx512f amx_tile avx512f_not sse\n")
    monkeypatch.setattr(
        "latadj.devices.hardware_key.Path", lambda path: cpuinfo if path == "/proc/cpuinfo" else Path(path)
    )
    found = environment(CPU, "fp32")
    assert (found["processor"], found["cpu_flags"]) == ("A Processor", ["avx512f", "amx_tile"])
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n")
    assert environment(CPU, "fp32")["cpu_flags"] == ["i8mm", "bf16"]
    cpuinfo.unlink()
    assert environment(CPU, "fp32")["cpu_flags"] is None
