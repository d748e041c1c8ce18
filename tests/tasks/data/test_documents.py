import json

import pandas as pd
import pytest
from datasets import load_dataset

from latadj.config import FilesConfig, HubConfig, TaskConfig
from latadj.config.compose import compose, typed
from latadj.tasks.data import files, paths
from latadj.tasks.data.classification import load_labelled_texts
from latadj.tasks.data.documents import load_texts

SHARES = {"train": 0.5, "validation": 0.2, "test": 0.3}
STORIES = [f"Story number {number} is about the number {number}." for number in range(60)]


def task(**options):
    return TaskConfig(**{"name": "toy", "type": "generation", "text": ["text"], "split": SHARES, **options})


def configured(name, *overrides):
    return typed("finetune", compose("finetune", [f"task={name}", *overrides])).task


def texts(splits):
    return [set(split["text"]) for split in (splits.train, splits.validation, splits.tests["test"])]


def write(path, rows):
    if path.suffix == ".txt":
        path.write_text("\n".join(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": row, "by": row[-3:]}) + "\n" for row in rows), encoding="utf-8")
    else:
        pd.DataFrame({"text": rows, "by": [row[-3:] for row in rows]}).to_parquet(path)
    return str(path)


def test_no_speaker_of_the_speeches_is_in_two_splits():
    config = configured("speeches")
    splits = load_texts(config)
    table = files.read_file(paths.place(config.files.all, config), config.files, config)
    speaker = dict(zip(table["text"].str.strip(), table["speaker"], strict=True))
    speakers = [{speaker[text] for text in split} for split in texts(splits)]
    assert sum(map(len, speakers)) == len(set().union(*speakers))
    assert [len(split) for split in texts(splits)] == [86, 28, 75]


def test_documents_are_numbered_through_all_splits():
    splits = load_texts(configured("speeches"))
    numbers = [*splits.train["document"], *splits.validation["document"], *splits.tests["test"]["document"]]
    assert numbers == list(range(189))


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_one_file_of_any_format_is_split_by_its_documents(tmp_path, suffix):
    path = write(tmp_path / f"stories{suffix}", STORIES)
    found = texts(load_texts(task(data_files=path, documents="row")))
    assert set.union(*found) == set(STORIES)
    assert sum(map(len, found)) == 60
    reversed_ = write(tmp_path / f"reversed{suffix}", STORIES[::-1])
    assert texts(load_texts(task(data_files=reversed_, documents="row"))) == found


def test_several_files_are_read_as_one(tmp_path):
    paths = [write(tmp_path / "a.txt", STORIES[:40]), write(tmp_path / "b.jsonl", STORIES[40:])]
    found = texts(load_texts(task(data_files=paths, documents="row")))
    assert set.union(*found) == set(STORIES)


def test_each_split_may_have_its_own_file(tmp_path):
    parts = {"train": STORIES[:30], "validation": STORIES[30:40], "test": STORIES[40:]}
    paths = {name: write(tmp_path / f"{name}.txt", rows) for name, rows in parts.items()}
    assert texts(load_texts(task(data_files=paths, documents="row"))) == [set(rows) for rows in parts.values()]


def test_a_split_without_a_file_is_cut_out_of_the_first_one_and_said(tmp_path, caplog):
    paths = {"validation": write(tmp_path / "a.txt", STORIES[:40]), "test": write(tmp_path / "b.txt", STORIES[40:])}
    with caplog.at_level("INFO", logger="latadj"):
        train, validation, test = texts(load_texts(task(data_files=paths, documents="row")))
    assert train | validation == set(STORIES[:40])
    assert train and validation
    assert test == set(STORIES[40:])
    assert "no train text of its own, so its 40 validation documents are split into" in caplog.text


def test_a_text_file_is_cut_into_blocks_of_lines(tmp_path):
    path = write(tmp_path / "stories.txt", STORIES)  # 8 words a line
    found = set.union(*texts(load_texts(task(data_files=path, block_words=17))))
    assert found == {"\n".join(STORIES[start : start + 3]) for start in range(0, 60, 3)}


def test_groups_stay_together(tmp_path):
    path = write(tmp_path / "stories.jsonl", STORIES)
    found = texts(load_texts(task(data_files=path, group="by")))
    ends = [{text[-3:] for text in split} for split in found]
    assert sum(map(len, ends)) == len(set.union(*ends))


def test_articles_are_what_stands_between_titles(tmp_path):
    lines = []
    for number in range(40):
        lines += ["", f" = Article {number} = ", "", f" Text {number} . ", " = = Section = = ", " x = 2 ", f" {number}"]
    write(tmp_path / "wiki.valid.raw.txt", lines)
    found = set.union(*texts(load_texts(configured("wikitext", f"task.data_dir={tmp_path}"))))
    assert len(found) == 40
    assert "= Article 7 = \n\n Text 7 . \n = = Section = = \n x = 2 \n 7" in found


def test_equal_documents_count_once(tmp_path):
    path = write(tmp_path / "stories.txt", STORIES * 3)
    assert sum(map(len, texts(load_texts(task(data_files=path, documents="row"))))) == 60


def test_max_train_and_max_test_count_documents(tmp_path):
    path = write(tmp_path / "stories.txt", STORIES)
    found = texts(load_texts(task(data_files=path, documents="row", max_train=8, max_test=5)))
    assert [len(split) for split in found] == [8, 2, 5]


def test_a_hub_data_set_gives_its_own_three_splits(tmp_path, monkeypatch):
    """The layout in which the hub keeps the tables of a script, as `task=ptb` asks for."""
    for split, rows in (("train", STORIES[:30]), ("validation", STORIES[30:40]), ("test", STORIES[40:])):
        folder = tmp_path / "tables" / "penn_treebank" / split
        folder.mkdir(parents=True)
        pd.DataFrame({"sentence": rows}).to_parquet(folder / "0000.parquet")
    asked = configured("ptb", "task.documents=row")
    monkeypatch.setattr(
        "datasets.load_dataset",
        lambda path, name, revision, **_: load_dataset(str(tmp_path / "tables"), name, cache_dir=str(tmp_path / "c")),
    )
    assert texts(load_texts(asked)) == [set(STORIES[:30]), set(STORIES[30:40]), set(STORIES[40:])]
    asked.hub.test = ["extra"]
    with pytest.raises(ValueError, match="has no split 'extra'; there are train, validation, test"):
        load_texts(asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"task toy names no text: give a .txt, .csv, .tsv, .*, .parquet file with task.data_files=FILE"),
        ({"data_files": "{}/none.txt"}, "none.txt: no such file; task toy needs it"),
        ({"data_files": "{}/stories.doc"}, r"stories.doc: expected a file that ends in .txt, .csv, .tsv"),
        ({"data_files": {"dev": "{}/stories.txt"}}, "dev: expected some of train, validation, test"),
        ({"data_files": []}, "task.data_files: it is empty; expected a file, a list"),
        ({"data_files": "{}/stories.jsonl", "text": ["body"]}, "column 'body' is missing; there are text, by"),
        ({"data_files": "{}/stories.txt", "group": "by"}, "group=by"),
        ({"data_files": "{}/broken.jsonl"}, "broken.jsonl: cannot be read as jsonl: "),
        ({"data_files": "{}/broken.parquet"}, "broken.parquet: cannot be read as parquet: "),
        ({"data_files": "{}/latin.txt"}, "latin.txt: cannot be read as text: "),
        ({"data_files": "{}/stories.txt"}, "split is empty, there are too few documents to split"),
        ({"data_files": "{}/empty.txt"}, "split is empty"),
        ({"data_files": "{}/stories.txt", "split": {"train": 1.0}}, "a share above 0 for each of train, validation, t"),
        ({"data_dir": "{}/none", "files": FilesConfig(format="text", train="a")}, "none: no such folder"),
        ({"data_dir": "{}", "files": FilesConfig(format="text", train="a.*", test=["b.*"])}, r"none of a.\*, b.\* is"),
        (
            {"data_dir": "{}", "files": FilesConfig(format="doc", train="stories.txt")},
            "format=doc: expected one of",
        ),
    ],
)
def test_bad_text_is_refused_in_one_line(tmp_path, options, message):
    write(tmp_path / "stories.txt", STORIES)
    write(tmp_path / "stories.jsonl", STORIES)
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text"')
    (tmp_path / "broken.parquet").write_text("PAR1")
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes("déjà vu".encode("latin-1"))

    def filled(value):
        if isinstance(value, dict):
            return {name: filled(part) for name, part in value.items()}
        return value.replace("{}", str(tmp_path)) if isinstance(value, str) else value

    with pytest.raises(ValueError, match=message) as error:
        load_texts(task(**{name: filled(value) for name, value in options.items()}))
    assert "\n" not in str(error.value)


def test_a_hub_that_is_not_there_names_the_built_in_text(monkeypatch, tmp_path):
    monkeypatch.setattr("latadj.utils.hub.reachable", lambda: False)
    with pytest.raises(ValueError, match=r"task.data_dir=FOLDER.*running text: task=speeches"):
        load_texts(task(hub=HubConfig(path=str(tmp_path / "none"))))


def test_jsonl_serves_classification_too(tmp_path):
    rows = [{"body": f"sentence {number}", "mark": number % 2} for number in range(80)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = FilesConfig(format="jsonl", all=str(tmp_path / "all.jsonl"), columns={"sentence": "body", "label": "mark"})
    config = TaskConfig(name="toy", text=["sentence"], labels=["no", "yes"], files=files, split=SHARES)
    splits = load_labelled_texts(config)
    assert set(splits.train["label"]) == {0, 1}
    assert len(splits.train) + len(splits.validation) + len(splits.tests["test"]) == 80
