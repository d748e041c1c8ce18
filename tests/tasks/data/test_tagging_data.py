import json

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from latadj.config import FilesConfig, HubConfig, TaskConfig
from latadj.tasks.data import splits
from latadj.tasks.data.tagging import found_labels, load_tagged, read_conll

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP I-ORG
rejects VBZ B-VP O
German JJ B-NP I-MISC

Peter NNP B-NP I-PER
Blackburn NNP I-NP I-PER
"""


def task(**options):
    common = {"name": "mine", "type": "token_classification", "text": ["tokens"], "label": "tags", "labels": None}
    return TaskConfig(**{**common, "metric": "entity_f1", **options})


def sentences(count, tag="B-PER"):
    return [{"tokens": [f"Name{place}", "runs"], "tags": [tag, "O"]} for place in range(count)]


def write_jsonl(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_a_conll_file_is_sentences_of_words_with_the_last_columns_tag(tmp_path):
    path = tmp_path / "eng.train"
    path.write_text(CONLL)
    frame = read_conll(path, {})
    assert frame["tokens"].tolist() == [["EU", "rejects", "German"], ["Peter", "Blackburn"]]
    assert frame["tags"].tolist() == [["I-ORG", "O", "I-MISC"], ["I-PER", "I-PER"]]
    assert read_conll(path, {"tags": 1})["tags"].tolist()[1] == ["NNP", "NNP"]


def test_words_between_tabs_may_hold_spaces(tmp_path):
    path = tmp_path / "w.conll"
    path.write_text("New York\tB-LOC\r\nis\tO\r\n\t\r\nbig\tO")
    frame = read_conll(path, {})
    assert frame["tokens"].tolist() == [["New York", "is"], ["big"]]


@pytest.mark.parametrize("line", ["EU", "EU\t"])
def test_a_line_without_a_tag_is_named(tmp_path, line):
    path = tmp_path / "w.conll"
    path.write_text(f"It O\n{line}\n")
    with pytest.raises(ValueError, match=r"w\.conll, line 2: 'EU': expected a word and its tag"):
        read_conll(path, {})


@pytest.mark.parametrize("suffix", ["conll", "jsonl"])
def test_a_sentence_without_an_end_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(splits, "MOST_CHARACTERS", 20)
    path = tmp_path / f"w.{suffix}"
    if suffix == "conll":
        path.write_text("New B-LOC\n\n" + "word O\n" * 5)
    else:
        write_jsonl(path, [*sentences(1), {"tokens": ["word"] * 5, "tags": ["O"] * 5}])
    message = r"w\.\w+: sentence 2 has 25 characters, and 20 can be read: put an empty line, or a row of its own, after"
    with pytest.raises(ValueError, match=message):
        load_tagged(task(data_files=str(path)))


def test_labels_come_out_before_type_by_type():
    assert found_labels([["I-PER", "B-PER"], ["B-LOC", "O"]]) == ["O", "B-LOC", "B-PER", "I-PER"]


@pytest.mark.parametrize("column", ["tags", "ner_tags"])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_one_table_of_lists_is_split_into_three(tmp_path, column, suffix):
    rows = [{"tokens": row["tokens"], column: row["tags"]} for row in sentences(200)]
    path = tmp_path / f"all.{suffix}"
    if suffix == "jsonl":
        write_jsonl(path, rows)
    else:
        pd.DataFrame(rows).to_parquet(path)
    found = load_tagged(task(data_files=str(path), split={}))
    parts = [found.train, found.validation, found.tests["test"]]
    assert sum(len(part) for part in parts) == 200
    assert len(found.train) > len(found.tests["test"]) > len(found.validation) > 0
    names = [{words[0] for words in part["tokens"]} for part in parts]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    assert found.labels == ["O", "B-PER"]


def test_each_split_may_have_a_file_and_the_checkpoint_its_labels(tmp_path):
    files = {
        name: str(write_jsonl(tmp_path / f"{name}.jsonl", sentences(5))) for name in ("train", "validation", "test")
    }
    found = load_tagged(task(data_files=files), known=["O", "B-PER", "I-PER"])
    assert (len(found.train), len(found.validation), len(found.tests["test"])) == (5, 5, 5)
    assert found.labels == ["O", "B-PER", "I-PER"]
    only = load_tagged(task(data_files={"test": files["test"]}), known=["O", "B-PER"], train=False)
    assert (len(only.train), len(only.tests["test"])) == (0, 5)


def test_official_files_are_read_from_a_folder(tmp_path):
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (tmp_path / name).write_text(CONLL)
    files = FilesConfig(format="conll", train="eng.train", validation="eng.testa", test=["eng.testb"])
    found = load_tagged(task(files=files, hub=HubConfig("some/where"), data_dir=str(tmp_path)))
    assert found.labels == ["O", "I-MISC", "I-ORG", "I-PER"]
    assert list(found.tests) == ["eng.testb"]


def test_a_data_set_of_the_hub_names_its_numbers(monkeypatch):
    tags = List(ClassLabel(names=["O", "B-PER", "I-PER"]))
    rows = {"tokens": [["Anna", "Berg", "runs"]] * 3, "ner_tags": [[1, 2, 0]] * 3}
    split = Dataset.from_dict(rows, features=Features({"tokens": List(Value("string")), "ner_tags": tags}))
    loaded = {"train": split, "validation": split, "test": split}
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: loaded)
    source = HubConfig("some/where", validation="validation", test=["test"])
    found = load_tagged(task(hub=source, label="ner_tags"))
    assert found.train[0] == {"tokens": ["Anna", "Berg", "runs"], "tags": ["B-PER", "I-PER", "O"]}
    assert found.labels == ["O", "B-PER", "I-PER"]


def test_numbers_are_named_by_the_task(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"tokens": [f"a{n}", "b"], "tags": [1, 0]} for n in range(60)])
    found = load_tagged(task(data_files=str(path), labels=["O", "B-PER"]))
    assert found.train[0]["tags"] == ["B-PER", "O"]
    with pytest.raises(ValueError, match=r"the tag 1 is a number: name the tags in their order with task\.labels"):
        load_tagged(task(data_files=str(path)))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"tokens": ["a", "b"], "tags": ["O"]}], {}, "sentence 1 has 2 words and 1 tags"),
        ([{"words": ["a"], "tags": ["O"]}], {}, "column 'tokens' is missing; there are words, tags"),
        ([{"tokens": "a b", "tags": ["O", "O"]}], {}, "column 'tokens': expected a list in each cell"),
        (sentences(60, "O"), {}, "all words of its training sentences have the tag 'O'"),
        (
            sentences(60, "B-LOC"),
            {"labels": ["O", "B-PER"]},
            "tag 'B-LOC' in its training sentences: expected O, B",
        ),
        (sentences(1), {}, "split is empty"),
    ],
)
def test_bad_tables_are_refused(tmp_path, rows, options, message):
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(ValueError, match=message):
        load_tagged(task(data_files=str(path), **options))


def test_a_missing_file_and_no_data_at_all_are_refused():
    with pytest.raises(ValueError, match=r"nowhere\.conll: no such file"):
        load_tagged(task(data_files="nowhere.conll"))
    with pytest.raises(ValueError, match=r"names no data: give a file .*\.conll"):
        load_tagged(task(files=FilesConfig(format="conll", columns={"tokens": 0, "tags": -1})))
