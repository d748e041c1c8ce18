"""Labelled texts in a folder for each split and class, such as IMDB as it is published."""

import pytest

from latadj.config.compose import compose, typed
from latadj.tasks.data.classification import load_labelled_texts


def write(root, *places, texts=12):
    """So many texts in each folder."""
    for place in places:
        (root / place).mkdir(parents=True)
        for number in range(texts):
            (root / place / f"{number}_7.txt").write_text(f"{place} review {number} was café")
    return root


def load(root, *options, task="imdb"):
    return load_labelled_texts(
        typed(
            "finetune",
            compose("finetune", [f"task={task}", *options]),
        ).task
    )


def imdb(root):
    return write(root / "aclImdb", "train/neg", "train/pos", "train/unsup", "test/neg", "test/pos")


def told(split, labels):
    return sorted((labels[row["label"]], row["text"].split("/")[1].split()[0]) for row in split)


def test_imdb_is_read_from_its_original_folders(tmp_path):
    found = load(tmp_path, f"task.data_dir={imdb(tmp_path)}")
    assert found.labels == ["negative", "positive"]
    assert set(told(found.train, found.labels)) == {("negative", "neg"), ("positive", "pos")}
    assert len(found.train) + len(found.validation) == 24  # unsup is not read
    assert told(found.tests["test"], found.labels) == [("negative", "neg")] * 12 + [("positive", "pos")] * 12
    assert found.tests["test"][0]["text"].endswith("was café")


@pytest.mark.parametrize(
    ("options", "labels"), [([], ["cold", "odd", "warm"]), (["task.labels=[warm,cold]"], ["warm", "cold"])]
)
def test_any_folders_of_classes_are_read(tmp_path, options, labels):
    root = write(
        tmp_path / "mine", *(f"{split}/{name}" for split in ("train", "dev") for name in ("cold", "odd", "warm"))
    )
    found = load(tmp_path, f"task.data_dir={root}", *options, task="text_classification")
    assert found.labels == labels
    assert all(text.startswith("dev/") for text in found.validation["text"])
    assert len(found.validation) == 12 * len(labels)
    assert len(found.train) + len(found.tests["test"]) == 12 * len(labels)


def broken(root):
    path = write(root, "train/neg", "train/pos", "test/neg", "test/pos") / "train" / "pos" / "0_7.txt"
    path.write_bytes(b"caf\xe9")


@pytest.mark.parametrize(
    ("make", "where", "message"),
    [
        (imdb, "", "did you mean task.data_dir=.*aclImdb"),
        (lambda root: write(root, "good", "bad"), "", "expected FOLDER/SPLIT/CLASS/.*; there are bad, good"),
        (
            lambda root: write(root, "train/pos"),
            "",
            "the folder of the class 'neg' is missing; .* there are pos",
        ),
        (lambda root: write(root, "train/neg", "train/pos", texts=0), "", "train/neg: no .txt file in it"),
        (broken, "", "0_7.txt: not UTF-8: .* at byte 4"),
        (lambda root: None, "nowhere", "task.data_dir=.*nowhere: no such folder"),
    ],
)
def test_another_layout_is_refused_in_one_line(tmp_path, make, where, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path, f"task.data_dir={tmp_path / where}")
    assert "\n" not in str(error.value)
