"""The sub-network of one speedup, taken away as a smaller model, computes what the dial computes there."""

from dataclasses import replace

import pytest
import torch
from helpers import toy_project as toy
from helpers.narrowed_reference import level_of
from helpers.tiny_models import LENGTHS, REPRESENTATIVES, Case, dial_for, near

import latadj
from latadj.checkpoints.metadata import CheckpointMetadata, Device, read_metadata
from latadj.elimination.architectures import layers_of
from latadj.elimination.attach import attached, dial_of
from latadj.elimination.drops import MeasuredDrop
from latadj.elimination.latency_model import LatencyModel, Ramp
from latadj.elimination.profiles import Anchor, Profile
from latadj.elimination.topk_setting import TopKAttention
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.pruning import PruningUnit, parameter_count, remove, structure_of

NARROW = [0.5, 0.5, 0.25, 0.25]
SHORT = [1.0, 0.0, 0.5, 0.5]
FIRST_OUT = [0.0, 0.5, 0.5, 0.5]
KEEP = (0.85, 0.6, 0.6, 0.35)


def with_level(model, shares, keep=KEEP):
    """The model with a dial that has one level, and the speedup at which it stands."""
    dial = dial_for(model, max_speedup=50.0, max_flops=50.0)
    level = None if shares is None else level_of(model, shares)
    profile = Profile(keep, 2.0, level).held([shares is None or share > 0 for share in shares or keep])
    anchor = Anchor(dial.speedup_of(profile), profile.keep, profile.short_length, level)
    dial = latadj.Dial(**{**vars(dial), "profile_type": "searched", "anchors": (anchor,)})
    return latadj.attach(model, dial), anchor.speedup


@torch.no_grad()
def at_speedup(case, model, speedup):
    with latadj.at_speedup(model, speedup):
        return case.outputs(model, case.batch(LENGTHS))


@torch.no_grad()
def as_it_stands(case, model):
    return case.outputs(model, case.batch(LENGTHS))


@pytest.mark.parametrize("shares", [SHORT, FIRST_OUT], ids=["short", "first out"])
@pytest.mark.parametrize("case", REPRESENTATIVES, ids=str)
def test_the_sub_network_computes_what_the_dial_computes_at_its_speedup(case, shares):
    model, speedup = with_level(case.make(), shares)
    small = latadj.extract(model, speedup)
    assert near(as_it_stands(case, small), at_speedup(case, model, speedup), atol=1e-5)
    assert parameter_count(small) < 0.75 * parameter_count(model)


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_the_model_stays_as_it_is(architecture):
    case = Case(architecture, "classifier")
    model, speedup = with_level(case.make(), FIRST_OUT)
    before = as_it_stands(case, model)
    latadj.extract(model, speedup)
    assert near(as_it_stands(case, model), before, atol=0)


@pytest.mark.parametrize(("architecture", "layers"), [("bert", 3), ("llama", 3), ("qwen3", 3), ("gpt2", 3), ("t5", 4)])
def test_a_layer_that_is_left_out_is_gone_but_for_one_that_others_need(architecture, layers):
    model, speedup = with_level(Case(architecture, "classifier").make(), FIRST_OUT)
    small = latadj.extract(model, speedup)
    config = attached(small).architecture.base(small).config
    assert len(layers_of(small)) == small.config.num_hidden_layers == config.num_hidden_layers == layers
    assert len(getattr(config, "layer_types", None) or range(layers)) == layers
    if (found := attached(small).architecture).causal:
        assert [found.attention_block(layer).layer_idx for layer in layers_of(small)] == [0, 1, 2]


def test_layers_whose_number_is_in_their_attention_keep_it():
    case = Case("gpt2", "language")
    model, speedup = with_level(case.make(scale_attn_by_inverse_layer_idx=True), SHORT)
    small = latadj.extract(model, speedup)
    assert len(layers_of(small)) == 4
    assert near(as_it_stands(case, small), at_speedup(case, model, speedup), atol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5"])
def test_a_sub_network_generates_what_the_dial_generates(architecture):
    case = Case(architecture, "language")
    model, speedup = with_level(case.make(), FIRST_OUT)
    batch = {name: case.batch([14, 9])[name] for name in ("input_ids", "attention_mask")}
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    small = latadj.extract(model, speedup)
    with latadj.at_speedup(model, speedup):
        assert torch.equal(small.generate(**batch, **options), model.generate(**batch, **options))


def test_its_dial_ends_at_the_profile_that_was_taken_away():
    model, speedup = with_level(Case("bert", "tagger").make(), SHORT)
    small = latadj.extract(model, speedup)
    dial = dial_of(small)
    with latadj.at_speedup(model, speedup):
        profile = latadj.profile_of(model)
    assert latadj.speedup_of(small) == dial.reach() == dial.speedup_of(latadj.profile_of(small))
    kept = tuple(ratio for layer, ratio in enumerate(profile.keep) if layer != 1)
    assert latadj.profile_of(small).keep == pytest.approx(kept, abs=1e-9)
    assert dial.profile(1.0).is_full
    assert (dial.widths, dial.levels) == ((), [])
    with pytest.raises(ValueError, match="out of reach"):
        dial.profile(1.1 * dial.reach())


def test_drops_that_were_measured_of_the_whole_model_are_left_behind():
    model, speedup = with_level(Case("bert", "classifier").make(), SHORT)
    dial = dial_of(model)
    lost = MeasuredDrop(dial.profile(speedup), 0.01, 0.0, 0.02)
    latadj.attach(model, replace(dial, drops=(lost,)))
    assert dial_of(latadj.extract(model, speedup)).drops == ()


def test_a_speedup_without_a_level_takes_the_profile_alone():
    case = Case("bert", "classifier")
    model, speedup = with_level(case.make(), None)
    small = latadj.extract(model, speedup)
    assert parameter_count(small) == parameter_count(model)
    assert near(as_it_stands(case, small), at_speedup(case, model, speedup), atol=1e-5)
    assert not near(as_it_stands(case, small), at_speedup(case, small, 1.0))


def test_nothing_is_eliminated_where_the_dial_eliminates_nothing():
    case = Case("bert", "tagger")
    model, speedup = with_level(case.make(), NARROW, keep=(1.0,) * 4)
    small = latadj.extract(model, speedup)
    assert dial_of(small).reach() == 1.0
    assert near(as_it_stands(case, small), at_speedup(case, model, speedup), atol=1e-5)


def test_a_pruned_model_with_top_k_attention_is_cut_further():
    case = Case("bert", "classifier")
    model = case.make()
    remove(model, [PruningUnit("head", 2, 0), PruningUnit("neurons", 0, 0, tuple(range(1, 64, 2)))])
    latadj.attach(model, topk=TopKAttention((None, 3, 0.5, None)))
    model, speedup = with_level(model, SHORT)
    small = latadj.extract(model, speedup)
    assert near(as_it_stands(case, small), at_speedup(case, model, speedup), atol=1e-5)
    assert attached(small).topk.layers == (None, 0.5, None)
    assert structure_of(small).layers[1].heads == (1, 2)


@pytest.mark.parametrize("spec", [KernelSpec("fp32", "plain"), KernelSpec("fp32", "onednn")], ids=["plain", "packed"])
@pytest.mark.parametrize("architecture", ["bert", "llama", "t5"])
def test_a_sub_network_can_be_lowered(architecture, spec):
    case = Case(architecture, "classifier")
    model, speedup = with_level(case.make(), FIRST_OUT)
    small = latadj.extract(model, speedup)
    lower(small, spec, attached(small).reads)
    assert near(as_it_stands(case, small), at_speedup(case, model, speedup))
    with pytest.raises(ValueError, match="lowered for serving and holds no weights to take away: load it with"):
        latadj.extract(small, 1.0)


@pytest.mark.parametrize("shares", [NARROW, FIRST_OUT], ids=["narrow", "first out"])
def test_a_saved_sub_network_is_smaller_and_loads_with_its_dial(tmp_path, shares):
    folder = toy.write_model(tmp_path / "model")
    model, tokenizer = latadj.load(folder, precision=None)
    model, speedup = with_level(model, shares)
    attached(model).origin = CheckpointMetadata("toy", devices={"cpu": Device()}, notes={"run": "mine"})
    small = latadj.extract(model, speedup)
    latadj.save(small, tokenizer, tmp_path / "small")
    size, whole = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "model"))
    assert size < 0.75 * whole
    found = read_metadata(tmp_path / "small")
    assert (found.task, found.devices, found.notes["run"]) == ("toy", {}, "mine")
    assert found.notes["extracted"] == {"speedup": speedup, "target": "flops"}
    again, _ = latadj.load(tmp_path / "small", precision=None, speedup=found.dial.reach())
    texts = ["a good film", "the very long story about people and music is awful"]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad(), latadj.at_speedup(model, speedup):
        assert near(list(again(**inputs).logits), list(model(**inputs).logits), atol=1e-5)
    assert latadj.profile_of(again) == latadj.profile_of(small)


def test_a_speedup_in_time_is_taken_and_the_clock_left():
    ramp = Ramp(1e-3, (1.0, 64.0), (1.0,))
    latency = LatencyModel(batch=1, entering=ramp, choosing=ramp, leaving=ramp, last=ramp, outside=ramp)
    case = Case("bert", "tagger")
    model, _ = with_level(case.make(), SHORT)
    timed = dial_of(model).on(latency)
    latadj.attach(model, timed)
    speedup = timed.predicted(timed.profile(timed.reach()))
    small = latadj.extract(model, speedup)
    assert dial_of(small).latency is None
    assert attached(small).origin.notes["extracted"]["target"] == "latency"
    assert near(as_it_stands(case, small), at_speedup(case, model, speedup), atol=1e-5)


@pytest.mark.parametrize(
    ("speedup", "message"), [(0.5, "expected a number from 1"), (60, "beyond this dial, which goes to 50")]
)
def test_a_speedup_off_the_dial_is_refused(speedup, message):
    model, _ = with_level(Case("bert", "classifier").make(), NARROW)
    with pytest.raises(ValueError, match=message):
        latadj.extract(model, speedup)


def test_a_model_without_a_dial_is_refused():
    with pytest.raises(ValueError, match="this model has no dial"):
        latadj.extract(latadj.attach(Case("bert", "classifier").make()), 2.0)
