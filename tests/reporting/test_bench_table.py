import csv
import io
import json

import pytest

from latadj.reporting.plots import plot_bench
from latadj.reporting.results.bench import BackendTiming, Bench, Cell, DialPoint, Unreachable
from latadj.utils.console import console


def point(speedup, measured, precision="fp32", base=100.0):
    ci = (measured - 0.1, measured + 0.1)
    return DialPoint(precision, speedup, speedup * 1.02, measured, ci, speedup * 1.1, base / measured)


def cell(batch=1, length=128, **parts):
    return Cell(
        batch=batch,
        length=length,
        backends={"sdpa_fp32": BackendTiming(100.0, 110.0), "onnxruntime_int8": BackendTiming(40.0, 44.0)},
        dial=[point(1, 1.0), point(2, 1.9), point(4, 3.0), point(2, 2.1, "bf16", 50.0)],
        **parts,
    )


def bench():
    timed = cell(
        samples_s={"dial_fp32_2x": [0.05] * 10 + [0.06] * 10}, memory_mb={"sdpa_fp32": 1500.0, "dial_fp32_2x": 901.5}
    )
    beyond = cell(8, 32, unreachable=[Unreachable("fp32", 5.0, 4.321)], joules={"sdpa_fp32": 2.5})
    return Bench(
        [timed, beyond],
        {"processor": "a processor", "threads": 1, "precision": "fp32"},
        {"seed": 0},
        ["[sdpa_bf16] took its turn late"],
    )


def test_json_is_the_one_truth():
    data = json.loads(json.dumps(bench().to_json()))
    assert data["schema"] == "latadj.bench/2"
    assert set(data["cells"][0]["dial"][0]) == {
        *("precision", "speedup", "predicted", "measured", "ci", "flops_speedup", "p50_ms")
    }
    assert Bench.from_json(data) == bench()
    with pytest.raises(ValueError, match=r"schema 'latadj\.sweep/2': expected 'latadj\.bench/2'"):
        Bench.from_json({"schema": "latadj.sweep/2"})


def test_accuracy_counts_positions_above_one_by_precision():
    fp32, bf16 = bench().accuracy()
    assert (fp32.precision, fp32.points) == ("fp32", 4)
    assert fp32.median == pytest.approx((0.05 + 0.25) / 2)
    assert fp32.worst == pytest.approx(0.25)
    assert fp32.where == "4x at batch 1, length 128"
    assert (bf16.precision, bf16.points) == ("bf16", 2)
    assert bf16.worst == pytest.approx(0.05)
    assert Bench([], {}, {}).accuracy() == []


def test_markdown_has_a_row_for_all_that_ran():
    text = bench().document().markdown()
    head = "| backend | p50 ms | p95 ms | vs sdpa | speedup | predicted | measured | 95% | FLOPs |"
    assert f"{head} peak MB |" in text  # columns for what was counted only
    assert f"{head} joules |" in text
    assert "| onnxruntime_int8 | 40.0 | 44.0 | 2.50x |  |  |  |  |  |  |" in text
    assert "| dial fp32 | 52.6 | 60.0 | 1.90x | 2x | 2.04x | 1.90x | 1.80–2.00 | 2.20x | 901.5 |" in text
    assert "| dial bf16 | 23.8 |  | 4.20x | 2x | 2.04x | 2.10x | 2.00–2.20 | 2.20x |  |" in text
    assert "Out of reach on this device: fp32 5x (at most 4.32x)." in text
    assert "fp32 dial: measured speedup off the requested one by 15.0% in the median, 25.0% at worst" in text
    assert "- Warning: [sdpa_bf16] took its turn late" in text


def test_the_terminal_shows_the_same():
    with console.capture() as capture:
        console.width, before = 140, console.width
        bench().show()
        console.width = before
    shown = capture.get()
    assert "batch 8, length 32" in shown
    assert "1.80–2.00" in shown
    assert "Warning: [sdpa_bf16] took its turn late" in shown  # brackets are not markup


def test_csv_has_unrounded_numbers():
    found = list(csv.DictReader(io.StringIO(bench().csv_table().csv())))
    assert len(found) == 12
    assert [row["variant"] for row in found[:3]] == ["sdpa_fp32", "onnxruntime_int8", "dial_fp32_1x"]
    assert float(found[3]["p50_ms"]) == 100 / 1.9
    assert float(found[3]["speedup_over_sdpa_fp32"]) == pytest.approx(1.9)
    assert float(found[3]["measured_high"]) == pytest.approx(2.0)
    assert found[0]["speedup"] == found[6]["memory_mb"] == ""
    assert float(found[6]["joules"]) == 2.5


def test_without_the_reference_nothing_is_counted_from_it():
    alone = Cell(1, 16, {}, [point(1, 1.0)])
    assert "| dial fp32 | 100.0 |  |  | 1x |" in Bench([alone], {}, {}).document().markdown()
    assert next(csv.DictReader(io.StringIO(Bench([alone], {}, {}).csv_table().csv())))["speedup_over_sdpa_fp32"] == ""


@pytest.mark.parametrize("cells", [[cell()], [cell(), cell(8, 32)], [Cell(1, 16, {}, [point(1, 1.0)])]])
def test_the_picture_is_drawn_for_any_number_of_cells(tmp_path, cells):
    plot_bench(Bench(cells, {}, {}), tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 10_000
