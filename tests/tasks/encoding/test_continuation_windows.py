import pytest
from datasets import Dataset
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import GPT2Config, PreTrainedTokenizerFast, T5Config

from latadj.config import TaskConfig
from latadj.tasks.types.text import context_length, cut

BOS, EOS = 0, 1


def tokenizer(frame: str = "$A") -> PreTrainedTokenizerFast:
    """A tokenizer for which ``w7`` is the id 7, and that frames texts as ``frame`` says."""
    vocab = {"<bos>": BOS, "<eos>": EOS, "a": 2, **{f"w{number}": number for number in range(3, 200)}}
    made = Tokenizer(WordLevel(vocab))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single=frame, special_tokens=[("<bos>", BOS), ("<eos>", EOS)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="<eos>")


def documents(*lengths: int) -> Dataset:
    rows = [" ".join(f"w{3 + number}" for number in range(length)) for length in lengths]
    return Dataset.from_dict({"text": rows, "document": [10 + number for number in range(len(rows))]})


def task(**options) -> TaskConfig:
    return TaskConfig(**{"name": "toy", "type": "generation", "prompt_length": 6, "continuation_length": 2, **options})


def test_a_document_gives_as_many_windows_as_fit_one_after_the_other():
    found = cut(documents(17, 7, 8), tokenizer(), task(), None)
    assert found["input_ids"][:] == [[3, 4, 5, 6, 7, 8], [11, 12, 13, 14, 15, 16], [3, 4, 5, 6, 7, 8]]
    assert found["continuation"][:] == [[9, 10], [17, 18], [9, 10]]
    assert found["document"][:] == [10, 10, 12]
    assert found["length"][:] == [6, 6, 6]


def test_a_stride_lets_windows_overlap_and_windows_limits_them():
    found = cut(documents(17), tokenizer(), task(stride=3), None)
    assert [ids[0] for ids in found["input_ids"]] == [3, 6, 9, 12]
    assert len(cut(documents(17), tokenizer(), task(stride=3, windows=2), None)) == 2


def test_a_decoders_bos_opens_every_prompt_and_counts():
    found = cut(documents(14), tokenizer("<bos> $A"), task(), None)
    assert found["input_ids"][:] == [[BOS, 3, 4, 5, 6, 7], [BOS, 10, 11, 12, 13, 14]]
    assert found["continuation"][:] == [[8, 9], [15, 16]]


def test_an_encoders_eos_ends_every_prompt_and_the_last_continuation_only():
    found = cut(documents(13), tokenizer("$A <eos>"), task(), None)
    assert found["input_ids"][:] == [[3, 4, 5, 6, 7, EOS], [10, 11, 12, 13, 14, EOS]]
    assert found["continuation"][:] == [[8, 9], [15, EOS]]


def test_the_last_word_is_asked_after_all_that_stands_before_it():
    config = task(continuation="last_word", prompt_length=4)
    found = cut(documents(4, 9, 1), tokenizer("<bos> $A"), config, None)
    assert found["input_ids"][:] == [[BOS, 3, 4, 5], [BOS, 8, 9, 10]]
    assert found["continuation"][:] == [[6], [11]]
    assert found["document"][:] == [10, 11]
    assert found["length"][:] == [4, 4]


def test_a_prompt_longer_than_the_context_is_refused():
    limit = context_length_of(GPT2Config(n_positions=7))
    with pytest.raises(ValueError, match=r"prompt_length=6 and .*=2 make 8 tokens, the model's context has 7: lower"):
        cut(documents(20), tokenizer(), task(), limit)
    assert len(cut(documents(20), tokenizer(), task(), 8)) == 2


def test_t5_has_no_longest_context():
    assert context_length_of(T5Config(n_positions=512)) is None


def context_length_of(config):
    return context_length(type("Model", (), {"config": config})())


def test_documents_that_are_all_too_short_say_how_long_they_are():
    with pytest.raises(ValueError, match=r"none of its 2 documents .*\(8 tokens\), they have 3 to 7 tokens: lower"):
        cut(documents(3, 7), tokenizer(), task(), None)
    with pytest.raises(ValueError, match="none of its 1 documents has a last word"):
        cut(documents(1), tokenizer(), task(continuation="last_word"), None)


def test_a_prompt_needs_room_for_more_than_the_frame():
    with pytest.raises(ValueError, match="expected more than the tokenizer's own tokens"):
        cut(documents(20), tokenizer("<bos> $A <eos>"), task(prompt_length=2), None)


def test_a_recalled_passage_stands_in_the_prompts_first_half_and_is_quoted_at_its_end():
    wanted = task(continuation="recall", prompt_length=24, continuation_length=3, cue=2)
    found = cut(documents(70), tokenizer(), wanted, None)
    assert len(found) == 3
    for prompt, continuation in zip(found["input_ids"][:], found["continuation"][:], strict=True):
        text, cue = prompt[:22], prompt[22:]
        place = text.index(cue[0])
        assert text[place : place + 5] == [*cue, *continuation]
        assert place + 5 <= 11


def test_a_prompt_too_short_to_recall_from_is_refused():
    with pytest.raises(ValueError, match=r"task.prompt_length=14: a passage of .* needs at least 15"):
        cut(
            documents(70),
            tokenizer(),
            task(continuation="recall", prompt_length=14, continuation_length=3, cue=2),
            None,
        )
