import csv
import io
import json

import numpy as np
import pytest
from matplotlib.axes import Axes

from latadj.benchmark.generation_timer import GenerationTimes
from latadj.reporting.plots import plot_sweep
from latadj.reporting.results.generation import GenerationRow, GenerationSweep

# Rounds and prompts: the dial at 2 takes half as long as the plain model, and decodes a quarter faster.
TIMES = GenerationTimes(
    steps=16,
    first_token={"plain": np.full((3, 2), 0.4), "1x": np.full((3, 2), 0.38), "2x": np.full((3, 2), 0.2)},
    decoding={"plain": np.full((3, 2), 1.0), "1x": np.full((3, 2), 1.0), "2x": np.full((3, 2), 0.8)},
    cache_bytes={"plain": [3000, 1000], "1x": [3000, 1000], "2x": [1500, 500]},
)


def row(speedup, metric):
    return GenerationRow(
        speedup=speedup,
        keep=[0.9, 0.5],
        profile=[0.9, 0.5],
        profile_type="acc",
        metric=metric,
        metric_ci=(metric - 1, metric + 1),
        increase=metric / 20 - 1,
        increase_ci=(metric / 20 - 1.01, metric / 20 - 0.99),
        flops_speedup=speedup,
        controls={"recent": metric + 0.5, "random": metric * 2},
        over_controls={"recent": -0.02, "random": -0.5},
    )


def sweep(timed=True):
    found = GenerationSweep(
        model="smollm2",
        task="speeches",
        metric="perplexity",
        baseline_metric=20.0,
        plain_metric=20.5,
        test_examples=40,
        documents=12,
        prompt_length=768,
        continuation_length=64,
        rows=[row(1.0, 20.0), row(2.0, 21.0)],
        environment={"processor": "a processor", "threads": 2, "precision": "fp32"},
        config={"seed": 0},
    )
    if timed:
        found.clock(TIMES, seed=0)
    return found


def test_rows_carry_what_the_targets_ask_for():
    found = json.loads(json.dumps(sweep().to_json()))
    assert found["schema"] == "latadj.sweep.generation/2"
    assert found["greater_is_better"] is False
    asked = found["rows"][1]
    expected = {"ttft_speedup": 2.0, "ttft_ms": 200.0, "decode_tokens_per_s": 20.0, "decode_speedup": 1.25}
    assert {name: asked[name] for name in expected} == pytest.approx(expected)
    assert asked["ttft_ci"] == pytest.approx([2.0, 2.0])
    assert asked["ttft_own"] == pytest.approx(1.9)
    assert (asked["cache_bytes"], asked["cache_bytes_ratio"]) == (1000, 0.5)
    assert asked["controls"] == {"recent": 21.5, "random": 42.0}
    assert found["samples_s"]["decode"]["2x"] == [[0.8, 0.8]] * 3


def test_json_is_the_one_truth():
    again = GenerationSweep.from_json(json.loads(json.dumps(sweep().to_json())))
    assert again.document().markdown() == sweep().document().markdown()
    with pytest.raises(ValueError, match="schema 'other'"):
        GenerationSweep.from_json({"schema": "other"})


def test_markdown_has_quality_clock_and_controls_in_one_line():
    text = sweep().document().markdown()
    assert "| speedup | perplexity | 95% | increase | 95% | recent | random | FLOPs | predicted | TTFT ms | vs" in text
    assert "| 2x | 21.00 | 20.00–22.00 | +5.0% | +4.0% to +6.0% | 21.50 | 42.00 | 2.00x |  | 200.0 | 2.00x |" in text
    assert "| 20.0 | 1.25x | 1.25–1.25 | 50% |" in text
    assert "40 prompts of 768 tokens out of 12 documents" in text
    assert "increases count from the better one" in text


def test_without_the_clock_its_columns_are_left_out(capsys):
    text = sweep(timed=False).document().markdown()
    assert "| 42.00 | 2.00x |\n" in text
    assert "TTFT" not in text
    sweep(timed=False).show()
    assert "first token" not in capsys.readouterr().out


@pytest.mark.parametrize("timed", [True, False])
def test_csv_has_unrounded_numbers(timed):
    found = list(csv.DictReader(io.StringIO(sweep(timed).document().tables[0].csv())))[1]
    assert float(found["increase"]) == sweep().rows[1].increase
    assert (float(found["metric_low"]), float(found["recent"]), float(found["over_random"])) == (20.0, 21.5, -0.5)
    assert found["ttft_speedup"] == (str(sweep().rows[1].ttft_speedup) if timed else "")
    assert None not in found.values()


@pytest.mark.parametrize("timed", [True, False])
def test_the_picture_has_the_controls_as_curves_of_their_own(tmp_path, monkeypatch, timed):
    drawn = []
    monkeypatch.setattr(Axes, "plot", lambda axes, x, y, *look, **options: drawn.append((options["label"], x, y)))
    found = sweep(timed)
    plot_sweep(found, tmp_path / "sweep.png")
    assert [label for label, _, _ in drawn] == ["score=recent, same cost", "score=random, same cost"]
    expected = [row.ttft_speedup if timed else row.flops_speedup for row in found.rows]
    assert drawn[0][1:] == (tuple(expected), (20.5, 21.5))
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


def test_the_terminal_shows_every_column_in_80_characters(capsys):
    sweep().show()
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for name in ("perplexity", "increase", "recent", "predicted", "TTFT ms", "vs 1x", "tokens/s", "cache"):
        assert name in shown
