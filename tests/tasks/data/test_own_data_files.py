"""Data that people bring: files of any format, a data set on the hub, labels that nobody named."""

import json

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, load_dataset

from latadj.config import TaskConfig
from latadj.config.compose import compose, typed
from latadj.tasks.data.classification import load_labelled_texts

TEXTS = [f"review number {number}" for number in range(120)]
STARS = [(5, 1, 10)[number % 3] for number in range(120)]
TABLE = pd.DataFrame({"review": TEXTS, "stars": STARS})
NAMES = {1: "bad", 5: "fine", 10: "good"}


def write(path, table=TABLE):
    name = path.name
    if ".csv" in name:
        table.to_csv(path, index=False)
    elif ".tsv" in name:
        table.to_csv(path, index=False, sep="\t")
    elif ".json" in name or ".ndjson" in name:
        table.to_json(path, orient="records", lines=".json" not in name.removesuffix("l") or name.endswith("jsonl"))
    else:
        table.to_parquet(path)
    return str(path)


def task(files, name="text_classification", *more):
    given = ["task.text=review", "task.label=stars"] if isinstance(files, str) else []
    own = [f"task.data_files={files}"] if isinstance(files, str) else files
    return typed("finetune", compose("finetune", [f"task={name}", *given, *own, *more])).task


def everything(splits):
    return pd.concat([split.to_pandas() for split in (splits.train, splits.validation, *splits.tests.values())])


@pytest.mark.parametrize(
    "name", ["r.csv", "r.tsv", "r.jsonl", "r.ndjson", "r.json", "r.parquet", "r.csv.gz", "r.tsv.bz2", "r.v2.CSV.xz"]
)
def test_every_format_gives_the_same_examples(tmp_path, name):
    path = tmp_path / name
    write(tmp_path / name.lower())
    (tmp_path / name.lower()).rename(path)
    found = load_labelled_texts(task(str(path)))
    assert found.labels == ["1", "5", "10"]
    rows = everything(found)
    assert dict(zip(rows["review"], [found.labels[label] for label in rows["label"]], strict=True)) == {
        text: str(star) for text, star in zip(TEXTS, STARS, strict=True)
    }


def test_an_array_of_objects_may_span_lines_or_not(tmp_path):
    rows = TABLE.to_dict("records")
    for number, indent in enumerate((None, 1)):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(rows, indent=indent))
        assert len(everything(load_labelled_texts(task(str(path))))) == 120


@pytest.mark.parametrize("name", ["r.csv", "r.tsv"])
def test_quotes_hold_separators_and_line_breaks(tmp_path, name):
    odd = ['a "b", c\td', "two\nlines", *TEXTS[2:]]
    path = write(tmp_path / name, TABLE.assign(review=odd))
    assert set(everything(load_labelled_texts(task(path)))["review"]) == set(odd)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([10, 9, 1], ["1", "9", "10"]),
        ([1.0, 3.0, None], ["1", "3"]),
        ([0.5, -1, 2], ["-1", "0.5", "2"]),
        (["class 10", "class 9", "Class 1"], ["Class 1", "class 9", "class 10"]),
        ([True, False, True], ["False", "True"]),
        ([" yes", "no ", "None"], ["no", "None", "yes"]),
        (["-", "x", "nan"], ["-", "nan", "x"]),
    ],
)
@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_labels_are_found_and_sorted(tmp_path, name, values, labels):
    path = write(tmp_path / name, TABLE.assign(stars=values * 40))
    found = load_labelled_texts(task(path))
    # CSV has no difference between nothing and the text of nothing.
    assert sorted(found.labels) == sorted(labels) if "-" in values else found.labels == labels


def test_labels_that_the_task_names_keep_their_order(tmp_path):
    path = write(tmp_path / "r.csv", TABLE.assign(stars=TABLE["stars"].map(NAMES)))
    found = load_labelled_texts(task(path, "text_classification", "task.labels=[good,fine,bad]"))
    rows = everything(found)
    assert found.labels == ["good", "fine", "bad"]
    assert set(rows[rows["label"] == 0]["review"]) == set(TABLE[TABLE["stars"] == 10]["review"])


def test_a_number_that_is_a_label_is_no_class_number(tmp_path):
    path = write(tmp_path / "r.csv", TABLE.assign(stars=[number % 2 + 1 for number in range(120)]))
    train, test = write(tmp_path / "train.csv", pd.read_csv(path)), write(tmp_path / "t.csv", TABLE.assign(stars=0))
    with pytest.raises(ValueError, match=r"label '0' in its test examples: expected one of 1, 2$"):
        load_labelled_texts(task(f"{{train:{train},test:{test}}}", "text_classification", "task.labels=['1','2']"))


def test_two_text_columns(tmp_path):
    path = write(tmp_path / "r.csv", TABLE.assign(title=""))
    found = load_labelled_texts(task([f"task.data_files={path}", "task.text=[title,review]", "task.label=stars"]))
    assert set(found.train.column_names) == {"title", "review", "label"}
    assert len(everything(found)) == 120


def test_a_regression_reads_numbers(tmp_path):
    path = write(tmp_path / "r.csv", TABLE.assign(stars=[number / 7 for number in range(120)]))
    found = load_labelled_texts(task(path, "text_regression"))
    rows = everything(found)
    assert found.labels == []
    assert sorted(rows["label"]) == pytest.approx([number / 7 for number in range(120)])


def test_one_file_is_split_by_its_texts(tmp_path):
    path = write(tmp_path / "r.csv", pd.concat([TABLE, TABLE]))
    found = load_labelled_texts(task(path))
    again = load_labelled_texts(task(write(tmp_path / "back.csv", TABLE[::-1])))
    assert [set(split["review"]) for split in (found.train, found.validation, found.tests["test"])] == [
        set(split["review"]) for split in (again.train, again.validation, again.tests["test"])
    ]
    assert len(everything(found)) == 120
    assert 65 <= len(found.train) <= 100
    assert 10 <= len(found.tests["test"]) <= 40


def test_each_split_may_have_its_own_files(tmp_path):
    parts = {"a": TABLE[:60], "b": TABLE[60:80], "v": TABLE[80:90], "near": TABLE[90:100], "far": TABLE[100:]}
    p = {name: write(tmp_path / f"{name}.csv", part) for name, part in parts.items()}
    files = f"{{train:[{p['a']},{p['b']}],validation:{p['v']},test:[{p['near']},{p['far']}]}}"
    found = load_labelled_texts(task(files))
    assert (len(found.train), len(found.validation)) == (80, 10)
    assert {name: len(test) for name, test in found.tests.items()} == {"near": 10, "far": 20}
    named = load_labelled_texts(task(f"{{train:{p['a']},test:{{old:{p['near']},new.1:{p['far']}}}}}"))
    assert list(named.tests) == ["old", "new.1"]
    assert len(named.train) + len(named.validation) == 60
    assert list(load_labelled_texts(task(f"{{train:{p['a']},test:{p['far']}}}")).tests) == ["test"]


def test_a_pattern_is_all_files_that_fit(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / f"part-{number}.csv", TABLE[number * 40 : number * 40 + 40])
    assert len(everything(load_labelled_texts(task(f"'{tmp_path}/part-*.csv'")))) == 120
    monkeypatch.chdir(tmp_path)
    assert len(everything(load_labelled_texts(task("'part-[01].csv'")))) == 80


def test_a_column_may_say_the_split(tmp_path):
    table = TABLE.assign(part=["train"] * 80 + ["Dev"] * 15 + ["test"] * 25)
    found = load_labelled_texts(
        task(write(tmp_path / "r.parquet", table), "text_classification", "task.split_column=part")
    )
    assert [len(found.train), len(found.validation), len(found.tests["test"])] == [80, 15, 25]


def test_a_validation_split_of_the_task_is_used(tmp_path):
    for name, part in {"train": TABLE[:60], "dev": TABLE[60:75], "test": TABLE[75:]}.items():
        numbers = part["stars"].map({1: 0, 5: 2, 10: 4})
        part.assign(label=numbers, text=part["review"]).to_json(
            tmp_path / f"{name}.jsonl", orient="records", lines=True
        )
    found = load_labelled_texts(task([f"task.data_dir={tmp_path}"], "sst5"))
    assert [len(found.train), len(found.validation), len(found.tests["test"])] == [60, 15, 45]
    assert found.labels[2] == "neutral"


def test_official_files_number_their_classes_from_one(tmp_path):
    for name in ("train.csv", "test.csv"):
        rows = [f'"{number % 4 + 1}","Title {number}","About ""{name}"" {number}"\n' for number in range(80)]
        (tmp_path / name).write_text("".join(rows))
    found = load_labelled_texts(task([f"task.data_dir={tmp_path}"], "ag_news"))
    assert found.tests["test"][7] == {"text": 'Title 7 About "test.csv" 7', "label": 3}
    assert found.labels[3] == "Sci/Tech"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    def publish(**splits):
        for name, rows in splits.items():
            (tmp_path / "hub" / name).mkdir(parents=True)
            rows.to_parquet(tmp_path / "hub" / name / "0.parquet")
        files = {name: str(tmp_path / "hub" / name / "0.parquet") for name in splits}
        monkeypatch.setattr(
            "datasets.load_dataset",
            lambda path, name, revision, **_: load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "c")),
        )

    return publish


def rows(names=("fine", "bad", "good"), start=0, count=60, hidden=False):
    numbers = [-1 if hidden else number % 3 for number in range(count)]
    data = Dataset.from_dict({"review": TEXTS[start : start + count], "stars": numbers})
    return data.cast_column("stars", ClassLabel(names=list(names)))


ON_HUB = ["task.hub.path=some/reviews", "task.text=review", "task.label=stars"]


def test_a_hub_data_set_has_its_own_splits_and_names(hub):
    more = rows(count=9, hidden=True)
    hub(train=rows(), validation=rows(start=60, count=20), test=rows(start=80, count=40), unlabelled=more)
    found = load_labelled_texts(task(ON_HUB))
    assert found.labels == ["bad", "fine", "good"]
    assert [len(found.train), len(found.validation), len(found.tests["test"])] == [60, 20, 40]
    assert found.train[0] == {"review": "review number 0", "label": 1}


def test_a_hub_data_set_with_train_alone_is_cut(hub):
    hub(train=rows(count=120))
    found = load_labelled_texts(task(ON_HUB))
    assert len(everything(found)) == 120
    assert list(found.tests) == ["test"]


def test_a_hub_test_split_with_hidden_labels_says_what_to_do(hub):
    hub(train=rows(), validation=rows(start=60, count=20), test=rows(start=80, count=40, hidden=True))
    with pytest.raises(ValueError, match=r"its test split is empty; name splits with labels: .*task.hub.*test="):
        load_labelled_texts(task(ON_HUB))
    found = load_labelled_texts(task([*ON_HUB, "task.hub.test=validation"]))
    assert len(found.tests["validation"]) == 20
    with pytest.raises(ValueError, match="has no split 'extra'; there are train, validation, test"):
        load_labelled_texts(task([*ON_HUB, "task.hub.train=extra"]))


def test_known_labels_need_no_training_examples(tmp_path):
    path = write(tmp_path / "new.csv", TABLE[TABLE["stars"] != 5])
    found = load_labelled_texts(task(f"{{test:{path}}}"), ["10", "5", "1"], train=False)
    assert (len(found.train), len(found.validation), found.labels) == (0, 0, ["10", "5", "1"])
    assert set(found.tests["test"]["label"]) == {0, 2}


def test_a_validation_file_alone_is_nothing_to_evaluate(tmp_path):
    with pytest.raises(ValueError, match="it has no training examples"):
        load_labelled_texts(task(f"{{validation:{write(tmp_path / 'r.csv')}}}"), ["1", "5", "10"], train=False)


def test_what_is_left_out_is_counted(tmp_path, caplog):
    table = TABLE.assign(review=[" ", None, *TEXTS[2:]], stars=[*STARS[:-3], None, None, None])
    load_labelled_texts(task(write(tmp_path / "r.jsonl", table)))
    assert "left out 3 of 120 training examples without a label" in caplog.text
    assert "left out 2 of 117 training examples without text" in caplog.text


def test_gaps_and_leaks_are_said(tmp_path, caplog):
    train = write(tmp_path / "train.csv", pd.concat([TABLE[:60], pd.DataFrame({"review": ["x"], "stars": [7]})]))
    test = write(tmp_path / "test.csv", TABLE[TABLE["stars"] != 5][20:50])
    load_labelled_texts(task(f"{{train:{train},test:{test}}}"))
    assert "only one example has the label '7'" in caplog.text
    assert "no test example has the labels '5', '7'" in caplog.text
    assert "18 of 30 test texts stand in training too" in caplog.text


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, ["task.text=body"], "r.csv: column 'body' is missing; there are review, stars"),
        ({}, ["task.label=mark"], "r.csv: column 'mark' is missing; there are review, stars"),
        ({"stars": [1] * 120}, [], "all .* training examples have the label 1; there is nothing to learn"),
        (
            {"stars": [n / 7 for n in range(120)]},
            [],
            "120 different numbers with decimals .* take task=text_regression",
        ),
        ({"stars": [f"id {n}" for n in range(120)]}, [], "each of its 120 values stands in one example only: name an"),
        ({"stars": [n // 1 for n in range(120)]}, [], "one example only: .* take task=text_regression"),
        ({"stars": list("abc") * 40}, ["task=text_regression"], "label 'a' in its training .*: expected a number"),
        ({"stars": ["1", "inf", "2"] * 40}, ["task=text_regression"], "label 'inf' in its training"),
        ({"review": [""] * 120}, [], "training split is empty"),
        ({}, ["task.split={train:1,validation:0,test:1}"], "expected a share above 0 for each of train, validation"),
        ({}, ["task.split_column=stars"], "task.split_column=stars: '5': expected train, training, validation"),
    ],
)
def test_data_that_cannot_be_used_is_one_line(tmp_path, change, options, message):
    path = write(tmp_path / "r.csv", TABLE.assign(**change))
    with pytest.raises(ValueError, match=message) as error:
        load_labelled_texts(task(path, "text_classification", *options))
    assert "\n" not in str(error.value)


def test_a_thousand_classes_are_hardly_classes(tmp_path):
    labels = [f"user {number // 2}" for number in range(2002)]
    path = write(tmp_path / "r.csv", pd.DataFrame({"review": [str(n) for n in range(2002)], "stars": labels}))
    with pytest.raises(ValueError, match=r"task.label=stars: it has 1001 different values, hardly classes: name"):
        load_labelled_texts(task(path))
    assert len(load_labelled_texts(task(path), [f"user {number}" for number in range(1001)]).labels) == 1001


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_several_labels_for_one_text_are_refused(tmp_path, name):
    path = write(tmp_path / name, TABLE.assign(stars=[["a", "b"]] * 120))
    with pytest.raises(ValueError, match=r"task.label=stars: .*multi-label\) are not supported, give each example one"):
        load_labelled_texts(task(path))
    path = write(tmp_path / name, TABLE.assign(review=[["a", "b"]] * 120))
    with pytest.raises(ValueError, match=r"task.text=review: .* holds a list or an object, expected text"):
        load_labelled_texts(task(path))


def test_a_label_that_training_never_had_is_named(tmp_path):
    train, test = write(tmp_path / "a.csv"), write(tmp_path / "b.csv", TABLE.assign(stars=[3, 4, 5] * 40))
    message = (
        r"80 test examples have the labels '3', '4', which training never had \(it had the labels '1', '5', '10'\)"
    )
    with pytest.raises(ValueError, match=message):
        load_labelled_texts(task(f"{{train:{train},test:{test}}}"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            "r.doc",
            r"r.doc: expected a file that ends in .csv, .tsv, .jsonl, .*packed ones, such as .csv.gz, in .gz, .bz2",
        ),
        ("r.txt", "r.txt: expected a file that ends in .csv"),
        ("r.parquet.gz", "r.parquet.gz: expected a file"),
        ("none.csv", "none.csv: no such file; task text_classification needs it"),
        ("no-*.csv", r"no-\*.csv: no file fits this pattern"),
        (".", "this is a folder; name files in it, such as "),
        ("{dev:r.csv}", "dev: expected some of train, validation, test"),
        ("{test:r.csv}", "it has no training examples"),
        ("{validation:r.csv}", "it has no training examples"),
        ("{train:r.csv,test:[r.csv,x/r.csv]}", "two tests are called 'r'; name them with 'test:"),
        ("{train:r.csv,test:empty.csv}", "its test split is empty; give each its own file"),
        ("broken.csv", "broken.csv: cannot be read as csv: its rows have more than the 2 columns"),
        ("ragged.csv", "ragged.csv: cannot be read as csv: Error tokenizing data"),
        ("latin.csv", "latin.csv: cannot be read as csv: 'utf-8' codec"),
        ("broken.json", "broken.json: cannot be read as json: "),
        ("[]", "task.data_files: it is empty"),
    ],
)
def test_files_that_cannot_be_used_are_one_line(tmp_path, monkeypatch, files, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "r.csv")
    (tmp_path / "empty.csv").write_text("review,stars\n")
    (tmp_path / "broken.csv").write_text("review,stars\ngood,1,x\nbad,2,y\n")
    (tmp_path / "ragged.csv").write_text("review,stars\ngood,1\nbad,2,y\n")
    (tmp_path / "latin.csv").write_bytes("review,stars\ndéjà,1\n".encode("latin-1"))
    (tmp_path / "broken.json").write_text('[{"review": "a"')
    with pytest.raises(ValueError, match=message) as error:
        load_labelled_texts(task(files))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "text_classification",
            [],
            "names no data: give a .csv, .* file with task.data_files=FILE, or a data set on the",
        ),
        ("imdb", ["task.data_dir=."], "task.data_dir=.: expected FOLDER/SPLIT/CLASS/"),
    ],
)
def test_a_task_without_data_says_what_to_give(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_labelled_texts(task(options, name))


def test_a_test_may_not_be_called_like_a_path():
    with pytest.raises(ValueError, match="a test called 'a/b': expected letters"):
        load_labelled_texts(
            TaskConfig(name="mine", text=["t"], data_files={"train": "a.csv", "test": {"a/b": "a.csv"}})
        )


def test_a_class_that_the_split_left_out_of_training_is_said(tmp_path, caplog):
    stars = ["a", "b", "once", *["a", "b", "a"] * 39]  # the hash of the third text puts it into test
    found = load_labelled_texts(task(write(tmp_path / "r.csv", TABLE.assign(stars=stars))))
    assert (found.labels, 2 in found.tests["test"]["label"]) == (["a", "b", "once"], True)
    assert "no training example has the label 'once'" in caplog.text


def test_a_label_less_task_of_ones_own_finds_them():
    assert TaskConfig(name="mine", text=["t"]).labels is None
