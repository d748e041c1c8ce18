"""Tokens that a task protects: they survive every layer, whatever the score says."""

import threading

import numpy as np
import pytest
import torch
from conftest import use_checkpointing
from helpers.masked_reference import masked, survivors_of
from helpers.tiny_models import CASES, CUT, DECODERS, LENGTHS, Case, dial_for, near

from latadj.elimination.attach import attach, attached, detach
from latadj.elimination.cost import ALL, POOLED, flops_speedup, schedule
from latadj.elimination.current_setting import at_profile, at_speedup, protecting
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.utils.serialization import structure, unstructure

HARSH = Profile((0.3, 0.2, 0.1, 0.05))


@pytest.fixture(params=[case for case in CASES if case.head == "tagger" and case.architecture != "t5"], ids=str)
def tagger(request):
    return request.param


def marks(batch, first=1, last=4):
    """The real tokens number ``first`` to ``last`` of each text, wherever its padding is."""
    mask = batch["attention_mask"]
    number = mask.cumsum(dim=1) - 1
    return mask.bool() & (number >= first) & (number < last)


@torch.no_grad()
def outputs(case, model, batch):
    return case.outputs(model, batch)


@pytest.mark.parametrize("side", ["right", "left"])
def test_protected_word_vectors_survive_every_layer_and_counts_hold_them(tagger, side):
    model = attach(tagger.make())
    batch = tagger.batch(LENGTHS, width=26, side=side)
    protect = marks(batch, 2, 7)
    with protecting(model, protect):
        _, alive = survivors_of(model, batch["attention_mask"], HARSH, lambda: outputs(tagger, model, batch))
    pooled = 1  # no protected one, in any row of these lengths, but of the shortest of a decoder
    least = np.array([5 + pooled, 5 + pooled, 5 + pooled, 2 + (tagger.architecture not in DECODERS)])
    expected = schedule(HARSH, np.array(LENGTHS), ALL, least)
    for layer, survivors in enumerate(alive):
        assert survivors[protect].all()
        assert survivors.sum(dim=1).tolist() == expected[layer].tolist()


def test_protection_equals_masking_the_plain_model(tagger):
    model = tagger.make()
    for side in tagger.sides:
        batch = tagger.batch(LENGTHS, width=26, side=side)
        attach(model)
        with protecting(model, marks(batch)):
            ours, alive = survivors_of(model, batch["attention_mask"], HARSH, lambda b=batch: outputs(tagger, model, b))
        unprotected, _ = survivors_of(model, batch["attention_mask"], HARSH, lambda b=batch: outputs(tagger, model, b))
        detach(model)
        with masked(model, alive):
            assert near(ours, outputs(tagger, model, batch))
        assert not near(ours, unprotected)


def test_a_row_alone_equals_the_row_in_a_ragged_batch_wherever_its_padding_is(tagger):
    model = attach(tagger.make())
    for side in tagger.sides:
        batch = tagger.batch(LENGTHS, width=26, side=side)
        protect = marks(batch)
        with at_profile(model, CUT), protecting(model, protect):
            together = outputs(tagger, model, batch)
        for row in range(len(LENGTHS)):
            alone = tagger.row(batch, row)
            with protecting(model, protect[row : row + 1, batch["attention_mask"][row].bool()]), at_profile(model, CUT):
                assert near(outputs(tagger, model, alone), [together[row]])


def test_keeping_all_and_protecting_all_equal_the_plain_model(tagger):
    model, batch = tagger.make(), tagger.batch(LENGTHS)
    plain = outputs(tagger, model, batch)
    attach(model)
    with protecting(model, marks(batch)):
        assert near(outputs(tagger, model, batch), plain, atol=0)
    with at_profile(model, HARSH), protecting(model, torch.ones_like(batch["attention_mask"])):
        assert near(outputs(tagger, model, batch), plain)


def test_protecting_nobody_changes_nothing(tagger):
    model, batch = attach(tagger.make()), tagger.batch(LENGTHS)
    with at_profile(model, CUT):
        expected = outputs(tagger, model, batch)
        for protect in (None, torch.zeros_like(batch["attention_mask"])):
            with protecting(model, protect):
                assert near(outputs(tagger, model, batch), expected, atol=0)


def test_the_pooled_position_is_still_trimmed_to(classifier):
    model, batch = attach(classifier.make()), classifier.batch(LENGTHS)
    full = outputs(classifier, model, batch)
    with protecting(model, marks(batch)):
        assert near(outputs(classifier, model, batch), full)
        with at_profile(model, HARSH):
            cut = outputs(classifier, model, batch)
        seen = []
        with at_profile(model, HARSH, score_observer=lambda layer, *_: seen.append(layer)):
            assert near(outputs(classifier, model, batch), cut)
    assert seen == [0, 1, 2, 3]


def test_threads_with_batches_of_their_own_do_not_meet():
    case = Case("bert", "tagger")
    model = case.make()
    attach(model, dial_for(model))
    batches = [case.batch(lengths) for lengths in ([20, 12], [9, 23, 15])]
    masks = [marks(batch, first, first + 5) for batch, first in zip(batches, (1, 3), strict=True)]

    def ask(number):
        with at_speedup(model, 2.5), protecting(model, masks[number]):
            return outputs(case, model, batches[number])

    expected = [ask(number) for number in range(2)]
    found = [[], []]
    start = threading.Barrier(2)

    def work(number):
        start.wait()
        for _ in range(20):
            found[number].append(ask(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        assert len(found[number]) == 20
        assert all(near(one, expected[number]) for one in found[number])
    assert attached(model).options().protect is None


def test_gradient_checkpointing_gives_the_same_gradients():
    case = Case("bert", "tagger")
    batch = case.batch(LENGTHS)
    gradients = []
    for checkpointing in (False, True):
        model = attach(case.make()).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            use_checkpointing(model)
        with at_profile(model, CUT), protecting(model, marks(batch)):
            sum(row.square().mean() for row in case.outputs(model, batch)).backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert gradients[0] and near(*gradients, atol=1e-6)


def test_a_mask_of_another_shape_is_refused():
    case = Case("bert", "tagger")
    model, batch = attach(case.make()), case.batch(LENGTHS)
    with (
        at_profile(model, CUT),
        protecting(model, torch.ones(2, 3)),
        pytest.raises(ValueError, match=r"protect= of shape \(2, 3\): expected a mark for each of \(4, 23\)"),
    ):
        outputs(case, model, batch)


@pytest.mark.parametrize(
    ("reads", "expected"),
    [(ALL, [[10, 5, 1], [5, 4, 1], [4, 4, 1]]), (POOLED, [[10, 5, 1], [5, 4, 1], [1, 1, 1]])],
)
def test_no_layer_keeps_fewer_than_the_protected(reads, expected):
    assert schedule(Profile((0.5, 0.1)), np.array([10, 5, 1]), reads, 4).tolist() == expected
    assert schedule(Profile((0.5, 0.1)), np.array([10, 5, 1]), reads, np.array([4, 4, 4])).tolist() == expected


def test_a_dial_counts_the_protected():
    model = Case("bert", "tagger").make()
    free = dial_for(model)
    bound = Dial(**{**vars(free), "protected": 6})
    lengths = np.array(free.lengths)
    for speedup in (1.3, 1.6):
        profile = bound.profile(speedup)
        assert flops_speedup(bound.shapes, profile, lengths, ALL, 6) == pytest.approx(speedup, rel=0.02)
        assert sum(profile.keep) < sum(free.profile(speedup).keep)
    assert bound.reach() < free.reach()
    assert structure(Dial, unstructure(bound)) == bound
    assert structure(Dial, {key: value for key, value in unstructure(free).items() if key != "protected"}) == free
