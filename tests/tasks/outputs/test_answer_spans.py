"""The best spans over windows, the score of no answer, and texts cut out of the context."""

import numpy as np
import pytest

from latadj.tasks.outputs.answer_spans import best_spans

CONTEXT = "one two three four"
OFFSETS = np.array([[0, 3], [4, 7], [8, 13], [14, 18]])


def spans(starts, ends, *, nulls=None, offsets=None, question=None, questions=1, **limits):
    starts, ends = (np.atleast_2d(np.asarray(part, dtype=np.float32)) for part in (starts, ends))
    return best_spans(
        list(starts),
        list(ends),
        np.zeros(len(starts)) if nulls is None else np.array(nulls),
        offsets or [OFFSETS] * len(starts),
        np.zeros(len(starts), dtype=int) if question is None else np.array(question),
        questions,
        **limits,
    )


def test_the_best_pair_ends_at_or_after_its_start():
    # The best start is behind the best end, so the two do not go together.
    assert spans([1, 0, 5, 0], [6, 0, 1.5, 0]).texts([CONTEXT]) == ["one"]
    found = spans([1, 0, 5, 0], [6, 0, 2.5, 0])
    assert found.texts([CONTEXT]) == ["three"]
    assert found.score[0] == 7.5


def test_spans_are_ranked_by_the_sum_of_their_logits():
    found = spans([3, 0, 0, 0], [1, 2, 0, 0], n_best=3)
    listed = found.n_best([CONTEXT], no_answer=False)[0]
    assert [(one["text"], one["score"]) for one in listed] == [("one two", 5.0), ("one", 4.0), ("one two three", 3.0)]
    weights = np.exp([5.0, 4.0, 3.0])
    assert [one["probability"] for one in listed] == pytest.approx(list(weights / weights.sum()))


def test_a_span_is_not_longer_than_allowed():
    starts, ends = [9, 0, 0, 0], [0, 0, 1, 9]
    assert spans(starts, ends).texts([CONTEXT]) == ["one two three four"]
    assert spans(starts, ends, max_answer_length=3).texts([CONTEXT]) == ["one two three"]
    assert spans(starts, ends, max_answer_length=1).texts([CONTEXT]) == ["one"]
    assert len(spans(starts, ends, max_answer_length=1).score) == 4


def test_the_best_window_wins_and_what_overlaps_is_listed_once():
    offsets = [OFFSETS[:3], OFFSETS[1:]]
    found = spans([[0, 1, 0], [4, 0, 0]], [[0, 1, 0], [4, 0, 0]], offsets=offsets, n_best=4)
    listed = found.n_best([CONTEXT], no_answer=False)[0]
    assert [(one["text"], one["score"]) for one in listed][:2] == [("two", 8.0), ("two three", 4.0)]
    assert len({one["text"] for one in listed}) == 4


def test_no_answer_scores_as_its_least_window():
    found = spans([[2, 0, 0, 0], [1, 0, 0, 0]], [[2, 0, 0, 0], [1, 0, 0, 0]], nulls=[7.0, 5.0])
    assert found.null.tolist() == [5.0]
    assert found.odds.tolist() == [1.0]
    assert found.answers([CONTEXT], 1.0) == ["one"]
    assert found.answers([CONTEXT], 0.9) == [""]
    assert found.answers([CONTEXT], None) == ["one"]


def test_no_answer_is_one_of_the_n_best_where_there_may_be_none():
    found = spans([2, 0, 0, 0], [2, 0.5, 0, 0], nulls=[3.0], n_best=2)
    listed = found.n_best([CONTEXT], no_answer=True)[0]
    assert [(one["text"], one["score"]) for one in listed] == [("one", 4.0), ("", 3.0), ("one two", 2.5)]
    assert sum(one["probability"] for one in listed) == pytest.approx(1.0)


def test_windows_of_several_questions_do_not_mix():
    contexts = [CONTEXT, "five six seven eight"]
    other = np.array([[0, 4], [5, 8], [9, 14], [15, 20]])
    found = spans(
        [[0, 5, 0, 0], [0, 0, 0, 9], [0, 0, 3, 0]],
        [[0, 5, 0, 0], [0, 0, 0, 9], [0, 0, 3, 0]],
        nulls=[1.0, 2.0, 3.0],
        offsets=[other, OFFSETS, other],
        question=[1, 0, 1],
        questions=3,
    )
    assert found.texts([*contexts, "unasked"]) == ["four", "six", ""]
    assert found.null.tolist() == [2.0, 1.0, np.inf]
    assert found.odds.tolist() == [2.0 - 18.0, 1.0 - 10.0, np.inf]
    assert found.answers([*contexts, "unasked"], 0.0) == ["four", "six", ""]
    assert found.n_best([*contexts, "unasked"], no_answer=True)[2] == [{"text": "", "probability": 1.0, "score": 0.0}]


def test_a_window_without_context_has_no_span():
    empty = best_spans([np.zeros(0)], [np.zeros(0)], np.array([1.0]), [np.zeros((0, 2), int)], np.array([0]), 1)
    assert empty.texts([CONTEXT]) == [""]
    assert empty.odds.tolist() == [np.inf]


def test_text_is_cut_out_of_the_original_and_a_leading_space_is_not_part_of_it():
    context = "Él — dijo: «¡Sí!»"
    offsets = [np.array([[0, 2], [2, 4], [4, 10], [10, 17]])]
    found = spans([0, 0, 5, 0], [0, 0, 5, 0], offsets=offsets)
    assert found.texts([context]) == ["dijo:"]


@pytest.mark.parametrize("seed", range(5))
def test_all_pairs_are_weighed(seed):
    rng = np.random.default_rng(seed)
    lengths, n_best, longest = rng.integers(1, 40, 12), int(rng.integers(1, 12)), int(rng.integers(1, 9))
    starts, ends = ([rng.normal(size=size).astype(np.float32) for size in lengths] for _ in range(2))
    question = np.sort(rng.integers(0, 5, 12))
    offsets = [(np.arange(size) + 100 * place)[:, None] * 2 + [0, 1] for place, size in enumerate(lengths)]
    found = best_spans(
        starts, ends, rng.normal(size=12), offsets, question, 5, n_best=n_best, max_answer_length=longest
    )
    for number in range(5):
        slow = sorted(
            (
                (float(starts[w][s] + ends[w][e]), offsets[w][s, 0], offsets[w][e, 1])
                for w in np.flatnonzero(question == number)
                for s in range(lengths[w])
                for e in range(s, min(s + longest, lengths[w]))
            ),
            reverse=True,
        )[:n_best]
        ours = slice(*found.first[number : number + 2])
        assert found.score[ours].tolist() == pytest.approx([score for score, *_ in slow])
        assert found.begin[ours].tolist() == [begin for _, begin, _ in slow]
        assert found.end[ours].tolist() == [end for _, _, end in slow]


def test_windows_weighed_in_parts_give_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    logits = [rng.normal(size=size).astype(np.float32) for size in rng.integers(1, 30, 20)]
    offsets = [np.arange(2 * len(row)).reshape(-1, 2) for row in logits]
    question = np.arange(20) // 2

    def found():
        return best_spans(logits, logits, np.zeros(20), offsets, question, 10, n_best=5)

    whole = found()
    monkeypatch.setattr("latadj.tasks.outputs.answer_spans._PAIRS", 1000)
    parts = found()
    for name in ("question", "begin", "end", "score", "first"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
