import numpy as np
import pytest
from datasets import Dataset
from helpers import word_tokenizer as words

from latadj.config import PromptConfig, TaskConfig
from latadj.tasks.prompts import Prompts, draw

TASK = TaskConfig(
    name="toy",
    text=["text"],
    labels=["0", "1"],
    label_words=["bad", "very good"],
    input="Review: {text}",
    max_length=20,
)
TRAIN = Dataset.from_list([{"text": f"a film, number {number}", "label": number % 2} for number in range(40)])
QUERIES = Dataset.from_list([{"text": "a very long one", "label": 1}, {"text": "dull", "label": 0}])


def prompts(shots=2, context=200, tokenizer=None, task=TASK, **options):
    config = {
        "name": "mine",
        "instruction": "Say what it is: {label_words}.\n\n",
        "shot": "{input}\n{answer}: {label}\n\n",
        "query": "{input}\n{answer}:",
        "shots": shots,
    }
    decoder = {key: options.pop(key) for key in ("seed", "encoder_decoder") if key in options}
    config = PromptConfig(**{**config, **options})
    return Prompts(config, task, TRAIN, tokenizer or words.tokenizer(), context=context, **decoder)


def text_of(made, ids):
    return made.tokenizer.decode(ids)


def test_tokens_are_those_of_the_whole_text():
    made = prompts()
    row = made.encode(QUERIES)[0]
    whole = made.instruction + made.shots + "Review: a very long one\nAnswer:"
    assert row["input_ids"] == made.tokenizer(whole)["input_ids"]
    assert row["attention_mask"] == [1] * len(row["input_ids"])
    assert (row["labels"], row["length"]) == (1, len(row["input_ids"]))


@pytest.mark.parametrize("ends", [False, True])
def test_regions_cover_the_tokens_of_their_text(ends):
    made = prompts(tokenizer=words.tokenizer(ends))
    row = made.encode(QUERIES)[0]
    spans = {region["name"]: (region["start"], region["stop"]) for region in row["regions"]}
    assert list(spans) == ["instruction", "shots", "query"]
    assert [start for start, _ in spans.values()] == [0, *(stop for _, stop in spans.values())][:3]
    assert spans["query"][1] == len(row["input_ids"])
    shown = {name: text_of(made, row["input_ids"][start:stop]) for name, (start, stop) in spans.items()}
    assert shown["instruction"] == "Say what it is: bad or very good.\n\n"
    assert shown["shots"] == made.shots
    assert shown["query"] == "Review: a very long one\nAnswer:" + ("</s>" if ends else "")


def test_a_prompt_without_instruction_and_shots_is_all_query():
    row = prompts(shots=0, instruction="").encode(QUERIES)[1]
    assert row["regions"] == [{"name": "query", "start": 0, "stop": row["length"]}]


def test_shots_are_the_same_for_all_and_chosen_by_seed():
    first, again, other = prompts(shots=4), prompts(shots=4), prompts(shots=4, seed=1)
    assert first.shots == again.shots != other.shots
    assert all(first.shots in text_of(first, row["input_ids"]) for row in first.encode(QUERIES))
    assert first.shots.count("Answer: bad\n") == first.shots.count("Answer: very good\n") == 2


def test_draws_are_balanced_and_nested():
    few, many = draw(TRAIN, 3, seed=5), draw(TRAIN, 11, seed=5)
    assert many["text"][:3] == few["text"][:]
    assert sorted(np.bincount(many["label"])) == [5, 6]
    assert len(set(many["text"])) == 11


def test_a_label_that_is_used_up_is_passed_over():
    train = Dataset.from_list([{"text": str(number), "label": int(number == 0)} for number in range(6)])
    assert sorted(draw(train, 6, seed=0)["label"]) == [0, 0, 0, 0, 0, 1]
    with pytest.raises(ValueError, match="7 examples to show or to calibrate on, but the training split has 6"):
        draw(train, 7, seed=0)


def test_no_shot_is_calibrated_on():
    made = prompts(shots=4, calibrate=20)
    assert len(made.prior) == 20
    assert sum(made.prior["label"]) == 10
    assert not any(f"{text}\n" in made.shots for text in made.prior["text"])


def test_a_long_text_is_cut_and_the_template_is_not():
    made = prompts(shots=1)
    row = made.encode(Dataset.from_list([{"text": "terribly dull " * 50, "label": 0}]))[0]
    query = row["regions"][-1]
    shown = text_of(made, row["input_ids"][query["start"] : query["stop"]])
    assert shown.startswith("Review: terribly dull terribly")
    assert shown.endswith("\nAnswer:")
    kept = shown.removeprefix("Review: ").removesuffix("\nAnswer:")
    assert len(made.tokenizer(kept)["input_ids"]) == TASK.max_length
    assert row["length"] <= made.limit


def test_the_context_bounds_a_prompt_where_it_is_less_than_the_task_allows():
    task = TaskConfig(**{**vars(TASK), "max_length": 190})
    made = prompts(shots=1, context=130, task=task)
    row = made.encode(Dataset.from_list([{"text": "terribly dull " * 80, "label": 0}]))[0]
    assert row["length"] <= made.limit == 130 - max(map(len, made.answers))
    assert row["length"] > made.limit - 3
    assert text_of(made, row["input_ids"]).endswith("\nAnswer:")


def test_of_several_texts_the_longest_is_cut():
    task = TaskConfig(name="pair", text=["one", "two"], labels=["no", "yes"], max_length=20)
    train = Dataset.from_list([{"one": "a", "two": "b", "label": number} for number in (0, 1)])
    config = PromptConfig(name="mine", query="{input}\n{answer}:")
    made = Prompts(config, task, train, words.tokenizer(), context=200)
    row = made.encode(Dataset.from_list([{"one": "a good film", "two": "terribly dull " * 50, "label": 0}]))[0]
    assert text_of(made, row["input_ids"]).startswith("One: a good film\nTwo: terribly dull terribly")
    assert row["length"] <= made.limit


def test_more_shots_than_fit_say_how_many_would():
    with pytest.raises(ValueError, match=r"prompt.shots=30: they take \d+ tokens, of 200 .*; (\d+) would fit") as found:
        prompts(shots=30)
    fitting = int(str(found.value).split("; ")[1].split()[0])
    assert fitting > 0
    prompts(shots=fitting)
    with pytest.raises(ValueError, match=f"; {fitting} would fit"):
        prompts(shots=fitting + 1)


def test_a_template_longer_than_the_context_is_refused():
    with pytest.raises(ValueError, match=r"prompt=mine: its text takes \d+ tokens, of 30 that the model has"):
        prompts(shots=0, context=30)


def test_label_words_are_tokens_as_they_follow_the_prompt():
    made = prompts()
    (row, _) = made.encode(QUERIES)
    whole = text_of(made, row["input_ids"]) + " very good"
    assert made.tokenizer(whole)["input_ids"] == row["input_ids"] + made.answers[1]
    assert [text_of(made, answer) for answer in made.answers] == [" bad", " very good"]


def test_an_encoder_decoders_label_words_begin_anew():
    made = prompts(tokenizer=words.tokenizer(ends=True), encoder_decoder=True)
    assert [text_of(made, answer) for answer in made.answers] == ["bad", "very good"]


def test_a_label_word_may_begin_a_line():
    made = prompts(query="{input}\n{answer}:\n", shots=0)
    assert [text_of(made, answer) for answer in made.answers] == ["bad", "very good"]


def test_a_prompt_that_ends_in_a_space_the_label_word_needs_is_refused():
    task = TaskConfig(**{**vars(TASK), "label_words": ["yes", "no"]})
    with pytest.raises(
        ValueError, match=r"prompt.query ends in '.*Answer: ', which runs into .*: end it before the space"
    ):
        prompts(task=task, query="{input}\n{answer}: ", shots=0)
