import pytest

from latadj.config import FilesConfig, TaskConfig
from latadj.config.compose import compose, typed
from latadj.tasks.data.classification import load_labelled_texts

LINES = [f"sentence number {number}\t{number % 2}" for number in range(200)]


def task(folder, train, dev=("good\t1", "bad\t0"), **options):
    (folder / "train.tsv").write_text("\n".join(["sentence\tlabel", *train]) + "\n", encoding="utf-8")
    (folder / "dev.tsv").write_text("\n".join(["sentence\tlabel", *dev]) + "\n", encoding="utf-8")
    columns = {"sentence": "sentence", "label": "label"}
    files = FilesConfig(train="train.tsv", test=["dev.tsv"], columns=columns)
    options = {"labels": ["no", "yes"], "data_dir": str(folder), "files": files, **options}
    return TaskConfig(name="toy", text=["sentence"], **options)


def builtin(name, **options):
    config = typed("finetune", compose("finetune", [f"task={name}", *(f"task.{k}={v}" for k, v in options.items())]))
    return load_labelled_texts(config.task)


def texts(dataset):
    return set(dataset["text"])


def test_rotten_tomatoes_is_split_seventy_ten_twenty_with_no_sentence_twice():
    splits = builtin("rotten_tomatoes")
    sizes = [len(splits.train), len(splits.validation), len(splits.tests["test"])]
    assert sizes == [8940, 1289, 2523]
    assert len(texts(splits.train) | texts(splits.validation) | texts(splits.tests["test"])) == sum(sizes)


def test_newsgroups_has_its_twenty_classes():
    splits = builtin("newsgroups")
    (test,) = splits.tests.values()
    assert (len(splits.train) + len(splits.validation), len(test)) == (11293, 7528)
    assert set(splits.train["label"]) == set(test["label"]) == set(range(20))


@pytest.mark.parametrize("name", ["rotten_tomatoes", "newsgroups"])
def test_data_dir_goes_before_the_package(name, tmp_path):
    with pytest.raises(ValueError, match=rf"^{tmp_path}/.*: no such file; task {name} needs it"):
        builtin(name, data_dir=tmp_path)


def test_a_split_does_not_depend_on_the_order_of_the_file(tmp_path):
    first = load_labelled_texts(task(tmp_path, LINES))
    second = load_labelled_texts(task(tmp_path, LINES[::-1]))
    assert set(first.validation["sentence"]) == set(second.validation["sentence"])


def test_equal_texts_stay_in_one_split(tmp_path):
    splits = load_labelled_texts(task(tmp_path, LINES * 3))
    assert not set(splits.train["sentence"]) & set(splits.validation["sentence"])


def test_a_quote_is_a_plain_character(tmp_path):
    splits = load_labelled_texts(task(tmp_path, ['"a quote that never ends\t1', "another\t0", *LINES]))
    assert '"a quote that never ends' in {*splits.train["sentence"], *splits.validation["sentence"]}
    assert len(splits.train) + len(splits.validation) == 202


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    config = task(tmp_path, LINES)
    path = tmp_path / "train.tsv"
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert len(load_labelled_texts(config).train) > 0


def test_files_without_header_are_read_by_column_number(tmp_path):
    files = FilesConfig(train="train.tsv", test=["dev.tsv"], columns={"sentence": 3, "label": 1}, header=False)
    config = task(tmp_path, [], files=files)
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("".join(f"x\t{i % 2}\t\ttext {i}\n" for i in range(100)))
    splits = load_labelled_texts(config)
    assert splits.train[0]["sentence"].startswith("text ")


def test_labels_may_be_names(tmp_path):
    splits = load_labelled_texts(task(tmp_path, [f"{i}\t{['no', 'yes'][i % 2]}" for i in range(100)]))
    assert set(splits.train["label"]) == {0, 1}


def test_a_regression_has_floats_and_leaves_out_what_has_no_label(tmp_path):
    splits = load_labelled_texts(task(tmp_path, [f"{i}\t{i / 10}" for i in range(50)] + ["none\t"], labels=[]))
    assert all(isinstance(label, float) for label in splits.train["label"])
    assert "none" not in splits.train["sentence"]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([], "training split is empty"),
        (["a\t1", "b\t1", "c\t1"], "all 3 training examples have the label 1|there is nothing to learn"),
        (["a\t1", "b\t7", *LINES], "label '7' in its training examples: expected one of no, yes or 0 to 1"),
        (["a\t1", "b\t-1", *LINES], "label '-1'"),
    ],
)
def test_bad_examples_are_refused(tmp_path, train, message):
    with pytest.raises(ValueError, match=message):
        load_labelled_texts(task(tmp_path, train))


def test_a_missing_column_says_which_there_are(tmp_path):
    config = task(tmp_path, LINES)
    config.files.columns = {"sentence": "text", "label": "label"}
    with pytest.raises(ValueError, match="column 'text' is missing; there are sentence, label"):
        load_labelled_texts(config)


def test_a_missing_file_is_named(tmp_path):
    config = task(tmp_path, LINES)
    (tmp_path / "dev.tsv").unlink()
    with pytest.raises(ValueError, match=r"dev.tsv: no such file; task toy needs it"):
        load_labelled_texts(config)


def test_max_train_and_max_test_take_fewer(tmp_path):
    splits = load_labelled_texts(task(tmp_path, LINES, dev=LINES, max_train=20, max_test=7))
    assert (len(splits.train), len(splits.validation), len(splits.tests["dev"])) == (20, 5, 7)
