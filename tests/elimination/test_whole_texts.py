"""Texts of a few tokens use the whole model, whatever the level of the others in their batch."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.narrowed_reference import level_of
from helpers.tiny_models import CUT, ENCODERS, FULL, LENGTHS, NARROWABLE, Case, dial_for, near

from latadj.elimination.attach import attach
from latadj.elimination.cost import ALL, POOLED, full_flops, layer_flops, schedule
from latadj.elimination.current_setting import at_profile, protecting
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.profiles import Anchor, Profile
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.utils.serialization import structure, unstructure

NARROW = [0.5, 0.5, 0.25, 0.25]
OUT = [0.0, 0.5, 0.5, 0.5]
# Of LENGTHS, 17, 9, 23 and 4.
SHORT, WHOLE = 10.0, [False, True, False, True]
ENCODER_CASES = [case for case in NARROWABLE if case.architecture in ENCODERS]


def cut_at(model, shares=NARROW, **options):
    return Profile(CUT.keep, level=level_of(model, shares), **options)


@pytest.mark.parametrize("shares", [NARROW, OUT], ids=["narrow", "first layer out"])
@pytest.mark.parametrize("case", ENCODER_CASES, ids=str)
@torch.no_grad()
def test_short_texts_are_read_as_at_1x_and_the_others_at_the_level(case, shares):
    model, batch = attach(case.make()), case.batch(LENGTHS)
    at_1x = case.outputs(model, batch)
    with at_profile(model, cut_at(model, shares)):
        narrow = case.outputs(model, batch)
    with at_profile(model, cut_at(model, shares, whole_length=SHORT)):
        found = case.outputs(model, batch)
        rows = [case.outputs(model, case.row(batch, row))[0] for row in range(len(LENGTHS))]
    expected = [one if whole else other for one, other, whole in zip(at_1x, narrow, WHOLE, strict=True)]
    assert near(found, expected)
    assert near(found, rows)
    assert not near(found, narrow)


@pytest.mark.parametrize("longest", [3.0, 23.0], ids=["nobody", "everybody"])
@torch.no_grad()
def test_a_batch_of_one_kind_runs_at_once(longest):
    case = Case("bert", "classifier")
    model, batch = attach(case.make()), case.batch(LENGTHS)
    profile = FULL if longest > 20 else cut_at(model)
    with at_profile(model, profile):
        expected = case.outputs(model, batch)
    calls = []
    model.bert.embeddings.register_forward_hook(lambda *_: calls.append(1))
    with at_profile(model, cut_at(model, whole_length=longest)):
        assert near(case.outputs(model, batch), expected, atol=0)
    assert len(calls) == 1


@pytest.mark.parametrize("side", ["right", "left"])
@torch.no_grad()
def test_tags_of_both_kinds_come_back_in_order_wherever_padding_is(side):
    case = Case("distilbert", "tagger")
    model, batch = attach(case.make()), case.batch(LENGTHS, width=26, side=side)
    del batch["position_ids"]  # DistilBERT counts columns
    with at_profile(model, cut_at(model, whole_length=SHORT)):
        together = model(**batch).logits
        for row, real in enumerate(batch["attention_mask"].bool()):
            one = {name: values[row : row + 1] for name, values in batch.items()}
            assert torch.allclose(together[row][real], model(**one).logits[0][real], atol=5e-5)


@torch.no_grad()
def test_protected_tokens_belong_to_their_texts_in_both_parts():
    case = Case("bert", "tagger")
    model, batch = attach(case.make()), case.batch(LENGTHS)
    protect = torch.zeros_like(batch["attention_mask"], dtype=torch.bool)
    protect[0, 9:12] = protect[2, 2:8] = True
    profile = cut_at(model, whole_length=SHORT)
    with at_profile(model, profile), protecting(model, protect):
        together = case.outputs(model, batch)
    for row, length in enumerate(LENGTHS):
        with at_profile(model, profile), protecting(model, protect[row : row + 1, :length]):
            assert near(case.outputs(model, case.row(batch, row)), together[row : row + 1])


@torch.no_grad()
def test_a_lowered_model_reads_both_kinds():
    case = Case("bert", "classifier")
    model, batch = attach(case.make()), case.batch(LENGTHS)
    profile = cut_at(model, whole_length=SHORT)
    with at_profile(model, profile):
        expected = case.outputs(model, batch)
    lower(model, KernelSpec("fp32", "plain"), levels=[profile.level])
    with at_profile(model, profile):
        assert near(case.outputs(model, batch), expected)


def test_gradients_flow_through_both_parts():
    case = Case("bert", "classifier")
    model, batch = attach(case.make()).train(), case.batch(LENGTHS)
    with at_profile(model, cut_at(model, whole_length=SHORT)):
        model(**batch, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    assert all(weight.grad is not None for name, weight in model.named_parameters() if "word_embeddings" in name)


@torch.no_grad()
def test_threads_with_other_limits_do_not_meet():
    case = Case("bert", "classifier")
    model, batch = attach(case.make()), case.batch(LENGTHS)
    profiles = [cut_at(model, whole_length=longest) for longest in (0.0, 5.0, SHORT)]
    alone = []
    for profile in profiles:
        with at_profile(model, profile):
            alone.append(case.outputs(model, batch))
    met = []

    @torch.no_grad()
    def run(profile, expected):
        for _ in range(8):
            with at_profile(model, profile):
                met.append(near(case.outputs(model, batch), expected))

    threads = [threading.Thread(target=run, args=pair) for pair in zip(profiles, alone, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == [True] * 24


@pytest.mark.parametrize("reads", [POOLED, ALL])
def test_short_texts_cost_what_they_cost_at_1x(reads):
    dial = replace(dial_for(Case("bert", "classifier").make()), reads=reads)
    lengths = np.array([4, 40, 10, 11])
    profile = cut_at(attach(Case("bert", "classifier").make()), whole_length=SHORT)
    without = replace(profile, whole_length=0.0)
    short = profile.whole(lengths)
    assert short.tolist() == [True, False, True, False]
    full = layer_flops(dial.shapes, FULL, lengths, reads)
    narrow = layer_flops(dial.shapes, without, lengths, reads)
    assert layer_flops(dial.shapes, profile, lengths, reads) == pytest.approx(np.where(short, full, narrow))
    assert (schedule(profile, lengths, ALL)[:, short] == lengths[short]).all()
    ramp = Ramp(1e-4, (1.0, 64.0), (6e-3,))
    timed = dial.on(LatencyModel(8, ramp, ramp, ramp, ramp, ramp))
    expected = np.where(short, timed.seconds(FULL, lengths), timed.seconds(without, lengths))
    assert timed.seconds(profile, lengths) == pytest.approx(expected)
    assert full_flops(dial.shapes, lengths).sum() > layer_flops(dial.shapes, profile, lengths, reads).sum()


@pytest.mark.parametrize(
    "case", [Case("gpt2", "classifier"), Case("llama", "language"), Case("t5", "language")], ids=str
)
def test_one_level_holds_for_all_texts_of_a_decoder(case):
    model = attach(case.make())
    profile = cut_at(model, whole_length=SHORT)
    with pytest.raises(ValueError, match="whole_length: a level holds for all texts"), at_profile(model, profile):
        pass
    with pytest.raises(ValueError, match="whole_length: a level holds for all texts"):
        anchor = Anchor(2.0, profile.keep, 0.0, profile.level, SHORT)
        replace(dial_for(model), profile_type="searched", anchors=(anchor,))


@pytest.mark.parametrize("length", [-1.0, float("inf"), float("nan")])
def test_a_length_that_is_none_is_refused(length):
    with pytest.raises(ValueError, match="whole_length="):
        Profile(CUT.keep, whole_length=length)


def test_files_of_before_have_no_such_texts():
    anchor = Anchor(2.0, CUT.keep, 3.0, None, 12.0)
    saved = unstructure(anchor)
    assert structure(Anchor, saved) == anchor
    del saved["whole_length"]
    assert structure(Anchor, saved).whole_length == 0.0
