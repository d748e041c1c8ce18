"""Windows over long contexts, and where an answer stands in them."""

from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from latadj.tasks.encoding.question_windows import WindowLimits, first_answers, windows_of

WORDS = ["who", "won", "the", "cup", "##s", "in", "1998", "?", "."] + [f"w{number}" for number in range(40)]
CONTEXT = " ".join(f"w{number}" for number in range(40))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    vocabulary = tmp_path_factory.mktemp("bert") / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    return BertTokenizerFast(str(vocabulary))


@pytest.fixture(scope="module")
def ending():
    """A tokenizer that ends a text with </s>, pads on the left and has no token to pool."""
    names = {name: place for place, name in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(names, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="left"
    )


def span(word, context=CONTEXT):
    start = context.index(word)
    return start, start + len(word)


def cut_out(window, context):
    first = window.context[0]
    begin, end = window.offsets[window.start - first, 0], window.offsets[window.end - first, 1]
    return context[begin:end]


def test_a_short_context_is_one_window(bert):
    context = "the cups in 1998 ."
    (window,) = windows_of(["who won ?"], [context], [span("cups in", context)], bert, WindowLimits(32, 4, 8))
    tokens = bert.convert_ids_to_tokens(window.inputs["input_ids"])
    assert tokens == ["[CLS]", "who", "won", "?", "[SEP]", "the", "cup", "##s", "in", "1998", ".", "[SEP]"]
    assert (window.question, window.context, window.null) == ((1, 4), (5, 11), 0)
    assert (window.start, window.end) == (6, 8)
    assert cut_out(window, context) == "cups in"
    assert window.offsets.tolist() == [[0, 3], [4, 7], [7, 8], [9, 11], [12, 16], [17, 18]]


def test_a_long_context_is_covered_by_windows_that_overlap(bert):
    windows = windows_of(["who won ?", "who ?"], [CONTEXT] * 2, [None, None], bert, WindowLimits(20, 5, 8))
    ours = [window for window in windows if window.example == 0]
    assert {window.example for window in windows} == {0, 1}
    covered = [window.offsets[:, 0].tolist() for window in ours]
    for one, next_one in pairwise(covered):
        assert one[-5:] == next_one[:5]
    assert sorted({begin for window in covered for begin in window}) == [span(f"w{n}")[0] for n in range(10)] + [
        CONTEXT.index(f" w{n}") + 1 for n in range(10, 40)
    ]
    assert all(len(window.inputs["input_ids"]) <= 20 for window in windows)


def test_an_answer_is_learnt_where_it_stands_whole_and_nowhere_else(bert):
    answer = (CONTEXT.index("w16"), CONTEXT.index("w17") + 3)
    windows = windows_of(["who won ?"], [CONTEXT], [answer], bert, WindowLimits(20, 5, 8))
    assert len(windows) == 4
    whole = [window.offsets[0, 0] <= answer[0] and window.offsets[-1, 1] >= answer[1] for window in windows]
    assert whole == [False, True, False, False]
    for window, holds in zip(windows, whole, strict=True):
        if holds:
            assert cut_out(window, CONTEXT) == "w16 w17"
        else:
            assert window.start == window.end == window.null == 0


@pytest.mark.parametrize(("first", "holders"), [(8, 1), (9, 2), (10, 1)])
def test_an_answer_that_a_window_cuts_through_is_not_in_it(bert, first, holders):
    # Windows of 14 words that share 5: 0 to 13, 9 to 22, ...
    answer = (CONTEXT.index(f"w{first} "), CONTEXT.index(f"w{first + 4} ") + len(f"w{first + 4}"))
    windows = windows_of(["who won ?"], [CONTEXT], [answer], bert, WindowLimits(20, 5, 8))
    found = [cut_out(window, CONTEXT) for window in windows if window.start != window.null]
    assert found == [CONTEXT[slice(*answer)]] * holders


def test_characters_inside_a_token_take_the_whole_token(bert):
    context = "w1 w22 w3"
    (window,) = windows_of(["who ?"], [context], [(4, 5)], bert, WindowLimits(20, 5, 8))
    assert cut_out(window, context) == "w22"


def test_no_answer_stands_at_the_pooled_position(bert):
    (window,) = windows_of(["who ?"], ["w1 w2"], [None], bert, WindowLimits(20, 5, 8))
    assert (window.start, window.end, window.null) == (0, 0, 0)


def test_long_questions_are_shortened_and_lose_the_space_before_them(bert):
    question = "   who won " + "in " * 30
    (window,) = windows_of([question], ["w1"], [None], bert, WindowLimits(20, 5, 4))
    tokens = bert.convert_ids_to_tokens(window.inputs["input_ids"])
    assert tokens == ["[CLS]", "who", "won", "in", "in", "[SEP]", "w1", "[SEP]"]


def test_a_tokenizer_without_a_pooled_token_has_no_answer_at_its_end(ending):
    context = "w1 w2 w3"
    (window,) = windows_of(["who won"], [context], [span("w3", context)], ending, WindowLimits(20, 5, 8))
    assert ending.convert_ids_to_tokens(window.inputs["input_ids"]) == ["who", "won", "</s>", "w1", "w2", "w3", "</s>"]
    assert (window.question, window.context, window.null) == ((0, 2), (3, 6), 6)
    assert (window.start, window.end) == (5, 5)


def test_answers_that_are_not_in_the_context_are_not_learnt():
    assert first_answers([["a", "bc"], [], ["x"]], [[-1, 3], [], [-1]]) == [(3, 5), None, None]


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({"max_length": 20, "doc_stride": 9, "max_query_length": 8}, "holds 9 tokens of context, which must be more"),
        ({"max_length": 8, "doc_stride": 0, "max_query_length": 8}, "holds -3 tokens of context"),
    ],
)
def test_windows_that_would_not_move_on_are_refused(bert, cut, message):
    with pytest.raises(ValueError, match=message):
        windows_of(["who ?"], [CONTEXT], [None], bert, WindowLimits(**cut))


def test_the_narrowest_windows_that_move_on_still_cover_all(bert):
    windows = windows_of(["who won in 1998 ? the cup ."], [CONTEXT], [None], bert, WindowLimits(12, 0, 8))
    assert np.concatenate([window.offsets for window in windows])[:, 0].tolist() == sorted(
        CONTEXT.index(f"w{n} ") if n < 39 else CONTEXT.index("w39") for n in range(40)
    )
