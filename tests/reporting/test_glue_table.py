"""GLUE's tables, word by word, and its average."""

import csv
import io
import json

import pytest

from latadj.reporting.results.dial_sweep import Measured
from latadj.reporting.results.glue import Glue, GlueResult
from latadj.reporting.results.sweep import OWN, Row


def row(speedup, scores, timed=True):
    splits = {f"dev{place}": one for place, one in enumerate(scores)}
    first = next(iter(scores[0].values()))
    measured = {OWN: Measured(speedup, (speedup, speedup)), "bucketed": Measured(2 * speedup, (speedup, speedup))}
    return Row(
        speedup=speedup,
        keep=[0.5],
        profile=[0.5],
        profile_type="searched",
        metric=first,
        metric_ci=(first - 0.02, first + 0.03),
        scores=splits,
        drop=0.01 * speedup,
        drop_ci=(-0.005, 0.02 * speedup),
        agreement=0.9,
        flops_speedup=1.2 * speedup,
        measured=measured if timed else {},
    )


SCORES = {
    "sst2": [{"accuracy": 0.9}],
    "cola": [{"matthews_correlation": 0.4}],
    "mrpc": [{"f1": 0.88, "accuracy": 0.82}],
    "stsb": [{"pearson": 0.87, "spearman": 0.85}],
    "qqp": [{"f1": 0.86, "accuracy": 0.9}],
    "mnli": [{"accuracy": 0.8}, {"accuracy": 0.81}],
    "qnli": [{"accuracy": 0.89}],
    "rte": [{"accuracy": 0.66}],
    "wnli": [{"accuracy": 0.5}],
}


def result(task, speedups=(1.0, 2.0), timed=True, **options):
    scores = SCORES[task]
    lower = [{name: value - 0.1 for name, value in one.items()} for one in scores]
    return GlueResult(
        task=task,
        metric=next(iter(scores[0])),
        examples={"train": 90, "validation": 10, "dev": 20},
        plain_scores={f"dev{place}": one for place, one in enumerate(scores)},
        rows=[row(speedup, scores if speedup == 1 else lower, timed) for speedup in speedups],
        unreachable=[],
        reach=5.0,
        seconds={"finetune": 10.0, "calibrate": 5.0, "sweep": 2.5},
        **options,
    )


def glue(*tasks, model="my_model", **options):
    return Glue(
        model=model,
        speedups=[1.0, 2.0],
        tasks=[result(task) if isinstance(task, str) else task for task in tasks],
        environment={"processor": "a processor", "threads": 2, "precision": "fp32"},
        config={"task": {}},
        **options,
    )


MARKDOWN = """\
### my_model on GLUE

| my_model | CoLA | MRPC | average | FLOPs | measured |
| :--- | ---: | ---: | ---: | ---: | ---: |
| plain model | 40.0 | 88.0/82.0 | 62.5 | – | – |
| dial at 1x | 40.0 | 88.0/82.0 | 62.5 | 1.20x | 1.00x |
| dial at 2x | 30.0 | 78.0/72.0 | 52.5 | 2.40x | 2.00x |

### my_model on GLUE, dial at 1x

|  | CoLA | MRPC | average |
| :--- | ---: | ---: | ---: |
| plain model | 40.0 | 88.0/82.0 | 62.5 |
| dial at 1x | 40.0 | 88.0/82.0 | 62.5 |
| 95%, first score | 38.0 to 43.0 | 86.0 to 91.0 |  |
| drop, first score | +1.0 | +1.0 | +1.0 |
| 95% of the drop | -0.5 to +2.0 | -0.5 to +2.0 |  |
| FLOPs | 1.20x | 1.20x | 1.20x |
| measured over 1x | 1.00x | 1.00x | 1.00x |
| measured over bucketed | 2.00x | 2.00x | 2.00x |

### my_model on GLUE, dial at 2x
"""

LATEX = r"""
\begin{table}
\centering
\caption{my\_model on GLUE}
\begin{tabular}{lrrrrr}
\toprule
my\_model & CoLA & MRPC & average & FLOPs & measured \\
\midrule
plain model & 40.0 & 88.0/82.0 & 62.5 & -- & -- \\
dial at 1x & 40.0 & 88.0/82.0 & 62.5 & 1.20x & 1.00x \\
dial at 2x & 30.0 & 78.0/72.0 & 52.5 & 2.40x & 2.00x \\
\bottomrule
\end{tabular}
\end{table}
"""


def test_markdown_is_as_papers_print_it():
    assert glue("mrpc", "cola").document().markdown().startswith(MARKDOWN)


def test_latex_is_booktabs_with_every_sign_escaped():
    text = glue("mrpc", "cola").document().latex()
    assert LATEX in text
    assert r"95\%, first score & 38.0 to 43.0" in text
    assert text.startswith(r"% \usepackage{booktabs}")
    assert all(line.startswith("%") for line in text.split(r"\end{table}")[-1].splitlines() if line)
    assert r"\caption{a\&b\textasciicircum{}2\$ on GLUE}" in glue("cola", model="a&b^2$").document().latex()


def test_columns_stand_in_glues_order_whatever_was_asked_for():
    header = [column.name for column in glue(*SCORES).document().tables[0].columns]
    assert header[1:-3] == ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-(m/mm)", "QNLI", "RTE", "WNLI"]
    cells = glue(*SCORES).document().tables[0].rows[0]
    assert cells[6] == "80.0/81.0"


def test_the_average_counts_each_task_once_and_wnli_never():
    by_hand = (0.4 + 0.9 + 0.85 + 0.86 + 0.88 + 0.805 + 0.89 + 0.66) / 8
    full = glue(*SCORES)
    assert full.average(None) == pytest.approx(by_hand)
    assert full.average(2.0) == pytest.approx(by_hand - 0.1)
    assert full.to_json()["averages"] == {
        "plain": pytest.approx(by_hand),
        "1": pytest.approx(by_hand),
        "2": pytest.approx(by_hand - 0.1),
    }
    text = full.document().markdown()
    assert "were not run" not in text
    assert "WNLI is never in it, as is custom." in text
    assert glue("wnli").average(None) is None


def test_an_incomplete_list_says_what_its_average_covers():
    text = glue("sst2", "cola", "wnli").document().markdown()
    assert "The average covers CoLA, SST-2, each once with the mean of its scores; MRPC, STS-B, QQP" in text
    assert "QNLI, RTE were not run, so it is not GLUE's own average" in text


def test_a_speedup_out_of_reach_of_one_task_has_no_average():
    short = result("cola", speedups=(1.0,))
    short.unreachable, short.reach = [2.0], 1.8
    text = glue("sst2", short).document().markdown()
    assert "| dial at 2x | – | 80.0 | – | – | – |" in text
    assert "CoLA: 2x out of reach on this device, its dial ends at 1.80x." in text


def test_a_run_without_the_clock_or_the_plain_model_leaves_cells_empty():
    bare = result("sst2", timed=False)
    bare.plain_scores = None
    overview = glue(bare).document().tables[0]
    assert overview.rows[0] == ["plain model", "–", "–", "–", "–"]
    assert overview.rows[2] == ["dial at 2x", "80.0", "80.0", "2.40x", "–"]


def test_csv_has_unrounded_numbers_and_as_many_cells_in_each_row():
    rows = list(csv.reader(io.StringIO(glue("mnli", "mrpc", "sst2").csv_table().csv())))
    assert {len(row) for row in rows} == {len(rows[0])}
    plain, _, two = [dict(zip(rows[0][:-4], row[:-4], strict=True)) for row in rows[1:]]
    assert plain["MNLI-(m/mm) accuracy mismatched"] == "0.81"
    assert (plain["SST-2 drop"], plain["speedup"]) == ("", "plain")
    assert float(two["MRPC f1"]) == 0.88 - 0.1
    assert (two["SST-2 drop"], two["SST-2 measured"], two["SST-2 vs_bucketed"]) == ("0.02", "2.0", "4.0")
    assert rows[0][-4:] == ["average", "flops_speedup", "measured", "vs_bucketed"]
    assert [float(cell) for cell in rows[3][-4:]] == pytest.approx([(0.705 + 0.75 + 0.8) / 3, 2.4, 2.0, 4.0])


def test_what_to_beware_of_stands_under_the_tables():
    noisy = glue(result("sst2", warning="other processes used 37% of the cores"))
    noisy.config["task"] = {"max_train": 200, "max_test": 100}
    text = noisy.document().markdown()
    assert "Warning, SST-2: other processes used 37% of the cores." in text
    assert "At most 200 training examples a task, so these are not GLUE's own numbers." in text


def test_json_is_the_one_truth():
    full = glue(*SCORES)
    again = Glue.from_json(json.loads(json.dumps(full.to_json())))
    assert json.dumps(again.to_json()) == json.dumps(full.to_json())
    with pytest.raises(ValueError, match="schema 'other'"):
        Glue.from_json({"schema": "other"})
