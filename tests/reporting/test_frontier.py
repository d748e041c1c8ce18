"""The picture of ways to be fast, drawn from recorded results."""

import json
from pathlib import Path

import pytest

from latadj.reporting.frontier import MIXED, TOKENS, main, points_of_pruned, points_of_sweep
from latadj.reporting.results.comparison import Comparison
from latadj.reporting.results.sweep import Sweep

DOCS = Path(__file__).parents[2] / "docs"
SWEEP, PRUNED = DOCS / "seed-0.json", DOCS / "axformer-rotten_tomatoes-0.json"


@pytest.fixture
def tokens_alone(tmp_path):
    """The recorded sweep, as that of a dial that never narrows a layer."""
    data = json.loads(SWEEP.read_text())
    for row in data["rows"]:
        row["width"] = 1.0
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps(data))
    return path


def test_speedups_count_from_the_full_model_on_the_same_kernels():
    points = points_of_sweep(Sweep.from_json(json.loads(SWEEP.read_text())))
    assert points[0][0] == pytest.approx(1.0)
    assert [speedup for speedup, _ in points] == sorted(speedup for speedup, _ in points)


def test_of_a_comparison_pruned_models_without_a_dial_are_shown():
    comparison = Comparison.from_json(json.loads(PRUNED.read_text()))
    shown = [row for row in comparison.models if row.precision == "fp32" and row.target is None and row.name != "plain"]
    points = points_of_pruned(comparison)
    assert [metric for _, metric in points] == pytest.approx([100 * row.metric for row in shown])
    assert all(speedup > 1 for speedup, _ in points)


def test_dials_and_pruned_models_stand_in_one_picture(tmp_path, tokens_alone, monkeypatch):
    drawn = []
    monkeypatch.setattr("latadj.reporting.frontier.save", lambda figure, path: drawn.append(figure))
    main([str(tmp_path / "frontier.png"), str(SWEEP), str(SWEEP), str(tokens_alone), str(PRUNED)])
    (axes,) = drawn[0].axes
    labels = [line.get_label() for line in axes.lines]
    assert f"one dial: {MIXED}, 2 seeds" in labels and f"one dial: {TOKENS}" in labels
    assert any("static pruning" in label for label in labels)
    assert {text.get_text() for text in axes.texts} >= {"1x", "2x", "3x"}


@pytest.mark.parametrize("files", [[PRUNED], [SWEEP, DOCS / "newsgroups.json"], [DOCS / "bench.json"]])
def test_what_is_no_picture_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match=r"neither a sweep nor a comparison|expected timed sweeps"):
        main([str(tmp_path / "frontier.png"), *map(str, files)])
    assert not (tmp_path / "frontier.png").exists()
