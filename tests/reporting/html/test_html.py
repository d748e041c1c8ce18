"""The page of `latadj report`: whole, honest about what is missing, and usable in a browser."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from helpers import run_folders as folders

from latadj.commands.evaluation.sweep import SweepPredictions
from latadj.config import TaskConfig
from latadj.reporting.html.changed import GAINED, LOST, OTHER, changed, counts, worst
from latadj.reporting.html.page import flat, spread
from latadj.reporting.html.report import html_report
from latadj.reporting.html.sources import Sources

FULL = {
    "sweep": folders.sweep(),
    "calibrate": folders.calibrate(),
    "eval": folders.evaluation(),
    "finetune": folders.finetune(),
    "predictions": folders.predictions(),
}


LUCKY = replace(folders.sweep(), rows=[folders.row(1.5, drop=0.02), folders.row(2.0, drop=0.001)])
BETTER = replace(LUCKY, rows=[LUCKY.rows[0], folders.row(2.0, drop=-0.0033)])
BELOW = "1.5x is already 2.00 points below the full model"


class _Text(HTMLParser):
    """What a reader sees of a page."""

    def __init__(self):
        super().__init__()
        self.parts, self.hidden = [], False

    def handle_starttag(self, tag, attrs):
        self.hidden = tag in ("style", "script")

    def handle_endtag(self, tag):
        self.hidden = False

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data)


def seen(html):
    parser = _Text()
    parser.feed(html)
    return " ".join(" ".join(parser.parts).split())


def report(tmp_path, **results):
    return html_report(Sources.of(folders.write(tmp_path / "run", **results)))


def test_the_page_says_what_matters_first(tmp_path):
    found = seen(report(tmp_path, **FULL))
    for part in (
        "minilm on films",
        "Not a quiet machine: others used 50%.",
        "Asked for 2x, it is 2.04 times as fast as at 1x (95%: 1.90 to 2.08) and 4.08 times as fast as the full model "
        "in length-sorted batches. Accuracy is then 78.70, 1.70 points below the better full model's 80.40 "
        "(drop, 95%: +0.30 to +3.30).",
        "Full model 80.40 accuracy; plain model 80.40, this checkpoint at 1x 80.00",
        "Largest speedup within 1 point 1x 0.40 points below the full model, 2.04 times as fast",
        "Dial off by 2.0%",
        "Out of reach on this device: 5x; the dial ends at 3.60x.",
        "plain accuracy 0.8123; 9 s",
        "accuracy, test 76.54 (95%: 74.0 to 79.0)",
        "throughput 321 texts a second",
        "A <Processor>",
        "no: others used 50.0% of the cores",
        "outputs/<films>",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("results", "there", "not_there"),
    [
        ({"sweep": folders.sweep()}, "The model was not calibrated in this folder.", None),
        ({"sweep": folders.untimed(folders.sweep())}, "The clock was left out. Run latadj sweep", "Not a quiet"),
        ({"sweep": folders.untimed(folders.sweep())}, "it needs 45% of the full model's FLOPs", "vs bucketed"),
        ({"calibrate": folders.calibrate()}, "The dial ends at 3.60x profile=acc", "Not a quiet machine: None"),
        ({"calibrate": folders.calibrate(by_rank=False)}, "Contribution by rank is not kept", "strongest"),
        ({"calibrate": folders.calibrate()}, "The dial ends at", "Which axis gives what"),
        ({"calibrate": folders.narrowing()}, "the two lines multiplied are the third", None),
        ({"calibrate": folders.narrowing()}, "tokens alone, 2: 1.41", None),
        ({"calibrate": folders.narrowing()}, "Share of each layer's attention heads. A layer without", None),
        ({"calibrate": folders.narrowing()}, "2x, 3: 12%", None),
        ({"eval": folders.evaluation()}, "accuracy 76.54 at 2x on test", None),
        ({"finetune": folders.finetune()}, "The dial was not swept", None),
        ({"sweep": folders.generation()}, "2.60 times as fast to its first token as the plain model", "Drops"),
        ({"sweep": folders.generation()}, "Perplexity is then 21.00, 4.0% above the better full model's 19.90", None),
        ({"sweep": folders.generation(timed=False)}, "it needs 50% of the full model's FLOPs", "tokens/s"),
        (
            {"sweep": folders.generation()},
            "within 5% 2x a perplexity 4.0% above the full model's, 2.60 times as fast",
            None,
        ),
        ({"sweep": replace(folders.sweep(), rows=[]), "eval": folders.evaluation()}, "The dial was not swept", None),
        (
            {"sweep": LUCKY},
            f"within 1 point none {BELOW}; the best is 2x, 0.10 points below the full model",
            "is nearest",
        ),
        (
            {"sweep": BETTER},
            f"within 1 point none {BELOW}; the best is 2x, 0.33 points above the full model",
            "is nearest",
        ),
        ({"sweep": replace(LUCKY, rows=LUCKY.rows[:1])}, f"within 1 point none {BELOW}", "the best is"),
        ({"sweep": replace(folders.sweep(), plain_metric=None)}, "plain model not kept", None),
        ({"sweep": replace(folders.sweep(), rows=[folders.row(1.0)])}, "Asked for 1x, it is 2.04 times", None),
    ],
)
def test_what_is_missing_leaves_its_section_out(tmp_path, results, there, not_there):
    found = seen(report(tmp_path, **results))
    assert there in found
    assert not_there is None or not_there not in found
    assert "None" not in re.sub("None of these", "", found)
    assert "nan" not in found


def test_a_sweep_of_an_older_latadj_is_shown(tmp_path):
    data = json.loads(json.dumps(folders.sweep().to_json()))
    del data["batch_lengths"], data["batch_texts"]
    found = seen(report(tmp_path, sweep=data))
    assert "Slowest batch first" in found
    assert "tokens at most" not in found


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("calibrate/calibrate.json", '{"schema": "lat', "is damaged or was cut short"),
        ("calibrate/calibrate.json", '{"schema": "other/1"}', "has schema 'other/1'"),
        ("eval/eval.json", "[]", "has schema None"),
        ("sweep/predictions.csv", "text,label\na,good\n", "has no columns label and prediction_1x"),
        ("sweep/predictions.csv", 'text,label\n"a', "left out"),
        ("sweep/predictions.csv", "", "left out"),
        ("sweep/predictions.csv", "text,label,prediction_1x,probability_1x\na,good,good,much\n", "could not convert"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(tmp_path, file, content, why):
    folder = folders.write(tmp_path / "run", **FULL)
    (folder / file).write_text(content)
    found = seen(html_report(Sources.of(folder)))
    assert f"Left out: {file}" in found
    assert why in found or why == "left out"
    assert "Asked for 2x" in found


@pytest.mark.parametrize(
    "damage",
    [lambda data: data["rows"][0].pop("metric"), lambda data: data["batch_lengths"]["bucketed"].clear()],
    ids=["metric", "lengths of batches"],
)
def test_a_sweep_with_missing_fields_is_left_out(tmp_path, damage):
    data = json.loads(json.dumps(folders.sweep().to_json()))
    damage(data)
    found = seen(report(tmp_path, sweep=data, eval=folders.evaluation()))
    assert "Left out: sweep/sweep.json is damaged, or of another version of latadj" in found


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("calibrate/calibrate.json", {**folders.calibrate(), "dial": {"family": "acc"}}),
        ("prune/prune.json", {"schema": "latadj.prune/2", "frontier": [{"hard_attention": None}], "full": {}}),
    ],
)
def test_a_result_with_names_of_an_earlier_version_is_left_out(tmp_path, file, data):
    folder = folders.write(tmp_path / "run", eval=folders.evaluation())
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(data))
    found = seen(html_report(Sources.of(folder)))
    assert f"Left out: {file} is damaged, or of another version of latadj" in found


def test_a_folder_with_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nothing to report, there is no sweep/sweep.json, .*; run `latadj sweep`"):
        Sources.of(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        Sources.of(tmp_path / "nowhere")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match=r"sweep/sweep\.json is damaged or was cut short"):
        Sources.of(tmp_path)


def frame(*rows):
    return pd.DataFrame(rows, dtype=str)


def row(label, *said, text="a"):
    return folders.prediction(text, label, dict(zip(("1", "2", "10"), said, strict=True)))


def test_changes_are_counted_by_speedup_and_kind():
    a, b, c = ("a", 0.9), ("b", 0.8), ("c", 0.7)
    found = changed(frame(row("a", a, a, a), row("a", a, b, a), row("b", a, b, c), row("b", a, a, c)))
    assert len(found) == 3
    assert counts(found) == {
        "1": {LOST: 0, GAINED: 0, OTHER: 0},
        "2": {LOST: 1, GAINED: 1, OTHER: 0},
        "10": {LOST: 0, GAINED: 0, OTHER: 2},
    }


def test_the_most_confident_of_each_kind_come_first():
    sure, unsure = ("b", 0.95), ("b", 0.55)
    rows = [row("a", ("a", 0.9), unsure if number % 2 else sure, sure, text=f"lost {number}") for number in range(9)]
    rows += [row("b", ("a", 0.9), ("b", 0.1 * number), sure, text=f"gained {number}") for number in range(9)]
    found = worst(changed(frame(*rows)), most=10)
    assert [one.kind for one in found] == [LOST] * 7 + [GAINED] * 3
    assert {one.texts["text"] for one in found[:5]} == {f"lost {number}" for number in (0, 2, 4, 6, 8)}
    assert [one.texts["text"] for one in found[7:]] == ["gained 8", "gained 7", "gained 6"]
    assert len(worst(changed(frame(*rows)), most=50)) == 18


def test_numbers_of_a_regression_are_sorted_by_how_far_they_moved(tmp_path):
    rows = [
        {"one": "a", "two": "b", "label": "3.0", "prediction_1x": "3.1", "prediction_2x": "4.5"},
        {"one": "c", "two": "d", "label": "2.0", "prediction_1x": "4.0", "prediction_2x": "2.5"},
        {"one": "e", "two": "f", "label": "2.0", "prediction_1x": "1.0", "prediction_2x": "1.0"},
    ]
    found = changed(frame(*rows))
    assert [(one.texts["one"], one.kind) for one in found] == [("c", GAINED), ("a", LOST)]
    shown = seen(report(tmp_path, sweep=folders.sweep(), predictions=rows))
    assert "further from the label" in shown
    assert "two d" in shown


def test_the_list_is_bounded_however_many_change(tmp_path):
    rows = [folders.predictions()[0] | {"text": f"{number} " + "long " * 1000} for number in range(400)]
    html = report(tmp_path, sweep=folders.sweep(), predictions=rows)
    assert html.count("data-changes=") == 50
    assert "50 of 400 examples" in html
    assert len(html) < 300_000


def test_a_deep_model_is_not_a_huge_page(tmp_path):
    calibrate = folders.calibrate() | {"layer_acc": [0.5] * 40, "by_rank": [[1.0] * 50] * 40}
    assert len(report(tmp_path, sweep=folders.generation(), calibrate=calibrate)) < 500_000


def test_what_the_model_said_is_kept_of_classes_and_numbers_only(tmp_path):
    examples = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1], "idx": [7, 8]})
    kept = SweepPredictions(TaskConfig(name="films", text=["text"], labels=["bad", "good"]), examples)
    kept.add(2.0, np.array([[0.0, 0.0], [0.0, np.log(3)]]))
    kept.add(1.0, np.array([[1.0, 0.0], [0.0, 1.0]]))
    kept.add(3.0, [np.zeros(5), np.zeros(7)])
    kept.add(4.0, np.zeros((2, 9, 3)))
    assert kept.write(tmp_path / "predictions.csv")
    found = pd.read_csv(tmp_path / "predictions.csv")
    columns = ["prediction_1x", "probability_1x", "prediction_2x", "probability_2x"]
    assert list(found) == ["text", "label", *columns]
    assert found["prediction_2x"].tolist() == ["bad", "good"]
    assert found["probability_2x"].tolist() == [0.5, 0.75]
    assert found["label"].tolist() == ["bad", "good"]


def test_a_regression_is_kept_as_numbers_and_a_stale_file_is_taken_away(tmp_path):
    examples = Dataset.from_dict({"text": ["a", "b"], "label": [0.5, 1.5]})
    path = tmp_path / "predictions.csv"
    kept = SweepPredictions(TaskConfig(name="sts", text=["text"]), examples)
    kept.add(1.0, np.array([[0.25], [1.0]], dtype=np.float32))
    assert kept.write(path)
    assert pd.read_csv(path).to_dict("list") == {"text": ["a", "b"], "label": [0.5, 1.5], "prediction_1x": [0.25, 1.0]}
    assert not SweepPredictions(TaskConfig(name="sts", text=["text"]), examples).write(path)
    assert not path.exists()


def test_spread_and_flat():
    assert spread([1, 2, 3], 5) == [1, 2, 3]
    assert spread(list(range(9)), 3) == [0, 4, 8]
    assert flat({"a": {"b": 1, "c": {}}, "d": None}) == {"a.b": "1", "a.c": "{}", "d": "null"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = folders.write(tmp_path_factory.mktemp("page") / "run", **FULL)
    path = folder / "report.html"
    path.write_text(html_report(Sources.of(folder)), encoding="utf-8")
    return path


@pytest.mark.parametrize(("size", "dark"), [((1280, 900), False), ((360, 740), False), ((360, 740), True)])
def test_in_a_browser_nothing_is_fetched_fails_or_sticks_out(chromium, path, size, dark):
    chromium.open(path, size, dark=dark)
    assert chromium.errors == []
    assert chromium.requests == [path.resolve().as_uri()]
    assert chromium.overflow() == 0
    assert chromium.run("document.querySelectorAll('figure.chart svg').length") == 5
    for selector in (".note", ".chip.wrong span", ".chip b", "nav a", ".tile-name", "td"):
        assert chromium.contrast(selector) >= 4.5, selector


def test_numbers_in_the_page_are_those_of_sweep_json(chromium, path):
    chromium.open(path)
    sweep = json.loads((path.parent / "sweep" / "sweep.json").read_text())
    tables = chromium.run(
        "[...document.querySelectorAll('#dial table, #frontier table')]"
        ".map(table => [...table.querySelectorAll('tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent)))"
    )
    dial, quality, clock = tables
    for place, one in enumerate(sweep["rows"]):
        own, full = one["measured"]["dial_1"], one["measured"]["bucketed"]
        assert dial[place][0] == f"{one['speedup']:g}x"
        assert dial[place][1:4] == [
            f"{one['predicted']:.2f}x",
            f"{own['speedup']:.2f}x",
            f"{own['ci'][0]:.2f}–{own['ci'][1]:.2f}",
        ]
        assert float(quality[place][1]) == pytest.approx(100 * one["metric"], abs=0.006)
        assert float(quality[place][3]) == pytest.approx(100 * one["drop"], abs=0.006)
        assert clock[place][1] == f"{full['speedup']:.2f}x"
        assert clock[place][-2:] == [f"{one['latency_ms'][name]:.1f}" for name in ("p50", "p95")]
    dots = chromium.run("document.querySelectorAll('#frontier circle.dot').length")
    assert dots == len(sweep["rows"])


def test_texts_are_shown_as_text(chromium, path):
    chromium.open(path)
    shown = chromium.run("[...document.querySelectorAll('.example')].map(one => one.textContent)")
    assert sorted(shown) == sorted(folders.NASTY[:4])
    assert chromium.run("document.querySelectorAll('.example script, .example b').length") == 0
    assert chromium.run("document.querySelectorAll('script').length") == 1


def choose(chromium, which, value):
    chromium.run(
        f"(() => {{ const one = document.getElementById('{which}'); one.value = '{value}';"
        "one.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def visible(chromium):
    return chromium.run(
        "[...document.querySelectorAll('ol.changed > li')].filter(one => one.offsetParent !== null)"
        ".map(one => one.querySelector('.example').textContent)"
    )


@pytest.mark.parametrize(
    ("at", "kind", "places"),
    [
        ("", "", [0, 1, 2, 3]),
        ("1.5", "", [0]),
        ("2", "", [0, 1, 2]),
        ("2", "lost", [0, 1]),
        ("3", "gained", [2]),
        ("3", "lost", [0, 3]),
        ("1.5", "gained", []),
    ],
)
def test_the_filter_shows_what_changed_there_and_so(chromium, path, at, kind, places):
    chromium.open(path)
    choose(chromium, "at", at)
    choose(chromium, "kind", kind)
    assert sorted(visible(chromium)) == sorted(folders.NASTY[place] for place in places)
    assert chromium.run("document.getElementById('count').value") == f"{len(places)} of {len(places)} shown"
    assert chromium.run("document.getElementById('none').hidden") == bool(places)


def test_a_long_list_opens_on_demand(chromium, tmp_path):
    rows = [folders.predictions()[0] | {"text": f"film {number}"} for number in range(30)]
    path = tmp_path / "long.html"
    path.write_text(report(tmp_path, sweep=folders.sweep(), predictions=rows), encoding="utf-8")
    chromium.open(path)
    assert len(visible(chromium)) == 10
    chromium.run("document.getElementById('more').click()")
    assert len(visible(chromium)) == 30
    assert chromium.run("document.getElementById('more').hidden")


def test_without_scripts_every_example_is_there(path):
    assert path.read_text(encoding="utf-8").count("<li data-changes=") == 4
