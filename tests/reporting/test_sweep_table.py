import csv
import io
import json

import pytest
from rich.console import Console

from latadj.reporting import table
from latadj.reporting.plots import plot_sweep
from latadj.reporting.results.dial_sweep import Measured
from latadj.reporting.results.sweep import OWN, Row, Sweep, seeds


def row(speedup, metric, timed=True):
    measured = {name: Measured(speedup * factor, (speedup, speedup * factor + 1)) for name, factor in FACTORS.items()}
    return Row(
        speedup=speedup,
        keep=[0.9, 0.5],
        profile=[0.9, 0.5],
        profile_type="searched",
        metric=metric,
        metric_ci=(metric - 0.01, metric + 0.01),
        scores={"test": {"accuracy": metric}},
        drop=0.9 - metric,
        drop_ci=(0.89 - metric, 0.91 - metric),
        agreement=0.95,
        flops_speedup=speedup,
        measured=measured if timed else {},
        latency_ms={"p50": 10.0, "p95": 12.5} if timed else {},
    )


FACTORS = {"bucketed": 1.0, "batch_padded": 1.5, "max_padded": 4.0}


def sweep(seed=0, timed=True):
    return Sweep(
        model="minilm",
        task="toy",
        metric="accuracy",
        greater_is_better=True,
        baseline_metric=0.9,
        plain_metric=0.89,
        test_examples=100,
        rows=[row(1.0, 0.9, timed), row(2.0, 0.875, timed)],
        environment={"processor": "a processor", "threads": 2, "precision": "fp32"},
        config={"seed": seed, "task": {"batch_size": 32}},
    )


def test_markdown_names_baselines_and_signs_drops():
    text = sweep().document().markdown()
    assert "| vs bucketed | 95% | vs batch_padded | vs max_padded |" in text
    assert (
        "| 2x | 87.50 | 86.5–88.5 | +2.50 | +1.50 to +3.50 | 95.0% | 2.00x | 2.00x | 2.00–3.00 | 3.00x | 8.00x |"
        in text
    )
    assert "Plain model 89.00, this checkpoint at 1x 90.00" in text


def test_a_noisy_machine_is_named_under_the_table():
    noisy = sweep()
    assert "Warning" not in noisy.document().markdown()
    noisy.environment["quiet"] = {"warning": None}
    assert "Warning" not in noisy.document().markdown()
    noisy.environment["quiet"] = {"warning": "other processes used 37% of the cores"}
    assert noisy.document().markdown().rstrip().endswith("Warning: other processes used 37% of the cores.")


def test_a_sweep_without_the_clock_has_no_columns_for_it():
    assert "bucketed" not in sweep(timed=False).document().markdown().splitlines()[2]


def test_csv_has_unrounded_numbers():
    found = list(csv.DictReader(io.StringIO(sweep().document().tables[0].csv())))
    assert float(found[1]["drop"]) == sweep().rows[1].drop
    assert float(found[1]["max_padded"]) == 8.0


def test_seeds_stand_side_by_side():
    text = seeds([sweep(0), sweep(1)]).markdown()
    assert "| speedup | seed 0 | seed 1 | mean drop |" in text
    assert "| 2x | 87.50 (+2.50) | 87.50 (+2.50) | +2.50 |" in text


def test_a_dial_that_ends_before_anothers_has_a_gap():
    short = sweep(1)
    gone = short.rows.pop()
    (line,) = [
        line for line in seeds([sweep(0), short]).markdown().splitlines() if line.startswith(f"| {gone.speedup:g}x")
    ]
    assert line.endswith("| out of reach |  |")


def test_json_is_the_one_truth():
    again = Sweep.from_json(json.loads(json.dumps(sweep().to_json())))
    assert again.document().markdown() == sweep().document().markdown()
    with pytest.raises(ValueError, match="schema 'other'"):
        Sweep.from_json({"schema": "other"})


@pytest.mark.parametrize("timed", [True, False])
def test_the_picture_is_drawn_with_and_without_the_clock(tmp_path, timed):
    plot_sweep(sweep(timed=timed), tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


@pytest.mark.parametrize("width", [80, 240])
def test_a_terminal_is_told_what_it_holds_and_nothing_is_cut_off(monkeypatch, width):
    told = Console(width=width, file=io.StringIO())
    monkeypatch.setattr(table, "console", told)
    found = sweep()
    for each in found.rows:
        each.measured[OWN] = Measured(each.speedup, (each.speedup, each.speedup))
    found.show()
    text = told.file.getvalue()
    assert "…" not in text
    assert all(name in text for name in ("speedup", "accuracy", "drop, points", "measured", "vs bucketed", "p50 ms"))
    assert ("vs max_padded" in text) == ("95%" in text) == (width == 240)
