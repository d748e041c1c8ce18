"""sweep and eval of a generation task, on a tiny decoder in whose prompts tokens are eliminated."""

import csv
import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers.tiny_language_models import rows_of_lengths, tiny_llama, tiny_tokenizer

from latadj.commands.common.session import Session
from latadj.commands.evaluation import continuation_scorer, evaluate, sweep
from latadj.config import EvalConfig, EvalMeasureConfig, ModelConfig, SweepConfig, SweepMeasureConfig, TaskConfig
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attach, attached, dial_of
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.observation_window import ObservationWindow
from latadj.tasks.data.splits import Splits
from latadj.tasks.outputs.likelihood import likelihoods

LENGTH, CONTINUATION, DOCUMENTS = 24, 6, 5
ROWS = rows_of_lengths([LENGTH] * 2 * DOCUMENTS, [CONTINUATION] * 2 * DOCUMENTS)
ENCODED = Dataset.from_list([{**row, "document": place // 2, "length": LENGTH} for place, row in enumerate(ROWS)])
TASK = TaskConfig(
    name="toy", type="generation", text=["text"], metric="perplexity", continuation_length=CONTINUATION, batch_size=4
)


class EncodedSession(Session):
    """A session whose examples are token ids already."""

    def encoded(self, examples):
        return examples


def session_of(config):
    model = attach(tiny_llama())
    dial = Dial(
        layer_acc=(0.7, 0.6, 0.5),
        lengths=(LENGTH,),
        shapes=layer_shapes(model),
        reads=attached(model).reads,
        profile_type="geometric",
        window=ObservationWindow(window_size=8, sink_tokens=2, recent_ratio=0.3),
    )
    splits = Splits(ENCODED, ENCODED, {"test": ENCODED})
    return EncodedSession(config, torch.device("cpu"), splits, attach(model, dial), tiny_tokenizer())


@pytest.fixture(scope="module", autouse=True)
def plain():
    """The full model, in place of the one that a checkpoint holds."""
    model = tiny_llama()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(continuation_scorer, "plain_model", lambda session: model)
        yield model


def options(tmp_path, **more):
    return {
        "model": ModelConfig(name="tiny", path="nowhere"),
        "task": TASK,
        "folder": str(tmp_path),
        "checkpoint": str(tmp_path / "checkpoint"),
        **more,
    }


@pytest.fixture(scope="module")
def swept(tmp_path_factory, plain):
    """The session, the result and the folder of a sweep."""
    folder, measure = tmp_path_factory.mktemp("swept"), SweepMeasureConfig(prompts=2, repeats=3, warmup=1)
    session = session_of(SweepConfig(**options(folder, speedup=[1, 1.5, 2], measure=measure)))
    return session, sweep.run(session), folder / "sweep"


def test_rows_have_perplexity_clock_cache_and_controls(swept):
    _, _, folder = swept
    found = json.loads((folder / "sweep.json").read_text())
    assert found["schema"] == "latadj.sweep.generation/2"
    assert (found["test_examples"], found["documents"]) == (2 * DOCUMENTS, DOCUMENTS)
    assert [row["speedup"] for row in found["rows"]] == [1.0, 1.5, 2.0]
    best = min(found["baseline_metric"], found["plain_metric"])
    for row in found["rows"]:
        assert row["metric_ci"][0] <= row["metric"] <= row["metric_ci"][1]
        assert row["increase"] == pytest.approx(row["metric"] / best - 1)
        assert row["increase_ci"][0] <= row["increase"] <= row["increase_ci"][1]
        assert set(row["controls"]) == {"recent", "random"}
        for name, control in row["controls"].items():
            assert row["over_controls"][name] == pytest.approx(row["metric"] / control - 1)
        assert row["ttft_ci"][0] <= row["ttft_speedup"] <= row["ttft_ci"][1]
        assert row["decode_ci"][0] <= row["decode_speedup"] <= row["decode_ci"][1]
        assert row["ttft_ms"] > 0 < row["decode_tokens_per_s"]
    assert {name for part in found["samples_s"].values() for name in part} == {"plain", "1x", "1.5x", "2x"}
    assert np.shape(found["samples_s"]["decode"]["2x"]) == (3, 2)
    assert found["environment"]["attention"] == "sdpa"
    for name in ("sweep.csv", "sweep.md", "sweep.png"):
        assert (folder / name).stat().st_size > 0


def test_perplexities_are_those_of_the_profile_and_score_they_stand_under(swept, plain):
    session, result, _ = swept
    tokens = len(ROWS) * CONTINUATION
    assert result.plain_metric == pytest.approx(np.exp(likelihoods(plain, ROWS).nll.sum() / tokens))
    assert result.baseline_metric == pytest.approx(result.plain_metric, rel=1e-4)
    profile = dial_of(session.model).profile(2.0)
    with at_profile(session.model, profile):
        ours = likelihoods(session.model, ROWS).nll
    with at_profile(session.model, profile, score="recent", window=ObservationWindow(sink_tokens=2)):
        recent = likelihoods(session.model, ROWS).nll
    assert result.rows[-1].metric == pytest.approx(np.exp(ours.sum() / tokens), rel=1e-4)
    assert result.rows[-1].controls["recent"] == pytest.approx(np.exp(recent.sum() / tokens), rel=1e-4)
    assert len({result.rows[-1].metric, *result.rows[-1].controls.values()}) == 3


def test_a_cut_prompt_leaves_a_smaller_cache_and_costs_less(swept):
    _, result, _ = swept
    ratios = [row.cache_bytes_ratio for row in result.rows]
    assert ratios[0] == 1.0
    assert ratios[0] > ratios[1] > ratios[2]
    assert result.plain_cache_bytes == 3 * 2 * 2 * LENGTH * 8 * 4
    # The first layer holds the whole prompt, each later one what left the layer before.
    held = [1.0, *result.rows[-1].keep[:-1]]
    assert ratios[-1] == pytest.approx(np.mean(held))
    assert [row.flops_speedup for row in result.rows[1:]] == pytest.approx([1.5, 2.0], rel=0.1)


def test_without_prompts_to_time_the_clock_is_left_out(tmp_path):
    session = session_of(SweepConfig(**options(tmp_path, speedup=[2], measure=SweepMeasureConfig(prompts=0))))
    result = sweep.run(session)
    assert result.rows[0].ttft_speedup is None
    assert (tmp_path / "sweep" / "sweep.png").stat().st_size > 10_000


def test_eval_gives_one_position_and_every_example(tmp_path):
    session = session_of(EvalConfig(**options(tmp_path, speedup=2, measure=EvalMeasureConfig(prompts=2))))
    evaluate.run(session)
    found = json.loads((tmp_path / "eval" / "eval.json").read_text())
    assert found["schema"] == "latadj.eval.generation/2"
    perplexity = found["scores"]["test"]["perplexity"]
    assert found["metric_ci"]["test"][0] <= perplexity <= found["metric_ci"]["test"][1]
    assert found["increase"] == pytest.approx(perplexity / min(found["plain_metric"], found["baseline_metric"]) - 1)
    percentiles = found["ttft_percentiles_ms"]
    assert percentiles["p50"] <= percentiles["p95"] <= percentiles["p99"]
    assert found["ttft_ms"] == pytest.approx(percentiles["p50"])
    with (tmp_path / "eval" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(ROWS)
    total = sum(float(row["negative_log_likelihood"]) for row in rows)
    assert np.exp(total / (len(ROWS) * CONTINUATION)) == pytest.approx(perplexity)
