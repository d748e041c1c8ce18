"""A lowered model computes what the model computes, whatever the spec."""

import copy
import pickle
import threading

import pytest
import torch
from conftest import batch_of, tiny_bert
from helpers.kernel_support import needs
from helpers.tiny_models import CUT, DECODERS, FULL, LENGTHS, Case, dial_for

from latadj.devices.device import vnni
from latadj.elimination.attach import attach, detach
from latadj.elimination.current_setting import at_profile, at_speedup
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowered_layers import LinearModule
from latadj.kernels.lowered_linear import PlainLinear
from latadj.kernels.lowering import is_lowered, kernel_of, lower

EXACT = [KernelSpec("fp32", "plain"), KernelSpec("fp32", "onednn")]
INT8 = [KernelSpec("int8", "onednn"), KernelSpec("int8", "x86")]
SPECS = [*EXACT, KernelSpec("bf16", "plain"), KernelSpec("bf16", "onednn"), *INT8]
# How far rounded logits may lie from exact ones, as a share of the largest logit.
NEAR = {"bf16": 0.1, "int8": 0.15}
# What weights that are kept from overflowing may cost a correlation, where the processor has no VNNI.
SPARED = 0.005
BATCHES = {
    "alike": batch_of([12, 12]),
    "padded right": batch_of(LENGTHS, width=30),
    "padded left": batch_of(LENGTHS, width=30, side="left"),
}


def name(spec):
    return f"{spec.precision}-{spec.kernel}"


@pytest.fixture(params=SPECS, ids=name)
def spec(request):
    needs(request.param.precision, request.param.kernel)
    return request.param


@torch.inference_mode()
def said(case, model, batch):
    """All that a model says of a batch."""
    return torch.cat([row.float().flatten() for row in case.outputs(model, batch)])


@torch.inference_mode()
def logits(model, batch):
    return model(**batch).logits


def assert_near(found, exact, spec):
    if spec in EXACT:
        assert torch.allclose(found, exact, atol=1e-5)
    else:
        assert (found - exact).abs().max() < NEAR[spec.precision] * exact.abs().max()


def assert_alike(found, exact, spec, at_least=0.98):
    """Equal where nothing is rounded; else correlated."""
    if spec in EXACT:
        assert torch.allclose(found, exact, atol=5e-5)
    else:
        at_least -= SPARED if spec.precision == "int8" and not vnni() else 0
        assert torch.corrcoef(torch.stack([found, exact]))[0, 1] > at_least


PICKLED = [Case("bert", "classifier"), Case("llama", "language"), Case("t5", "language")]


@pytest.mark.parametrize("case", PICKLED, ids=str)
def test_a_pickled_model_computes_the_same(case, spec):
    model, batch = lower(attach(case.make()), spec), case.batch(LENGTHS)
    twin = pickle.loads(pickle.dumps(model))
    with torch.inference_mode(), at_profile(model, CUT), at_profile(twin, CUT):
        assert torch.equal(said(case, twin, batch), said(case, model, batch))
    with pytest.raises(ValueError, match="holds no weights to save"):
        twin.save_pretrained("nowhere")


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
def test_a_lowered_model_computes_what_the_model_computes(spec, case, profile):
    near = 0.98 if profile is FULL else 0.75  # rounding may choose another survivor, whose words are then others
    model = attach(case.make())
    lowered = lower(copy.deepcopy(model), spec)
    for side in (None, *case.sides):
        batch = case.batch([12, 12]) if side is None else case.batch(LENGTHS, width=30, side=side)
        with at_profile(model, profile), at_profile(lowered, profile):
            assert_alike(said(case, lowered, batch), said(case, model, batch), spec, near)


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "modernbert", "gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("lengths", [[12], LENGTHS], ids=["one text", "of many lengths"])
def test_a_model_lowered_for_all_positions_may_be_read_at_the_pooled_one(architecture, lengths):
    case = Case(architecture, "classifier")
    model, batch = case.make(), case.batch(lengths)
    lowered = attach(lower(copy.deepcopy(model), EXACT[0], reads="all"), reads="pooled")
    attach(model)
    for profile in (FULL, CUT):
        with at_profile(model, profile), at_profile(lowered, profile):
            assert torch.allclose(logits(lowered, batch), logits(model, batch), atol=5e-5)


def test_without_elimination_transformers_own_forward_runs_the_lowered_layers(spec, case):
    batch = case.batch(LENGTHS, width=30)
    model = case.make()
    plain = said(case, model, batch)
    never = lower(copy.deepcopy(model), spec)
    assert_alike(said(case, never, batch), plain, spec)
    lowered = lower(attach(model), spec)
    assert_alike(said(case, lowered, batch), plain, spec)
    assert torch.allclose(said(case, detach(lowered), batch), said(case, never, batch), atol=1e-6)


@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
@pytest.mark.parametrize("spec", EXACT, indirect=True, ids=name)
@pytest.mark.parametrize("architecture", [*DECODERS, "t5"])
def test_a_lowered_model_generates_the_same_tokens(spec, architecture, profile):
    case = Case(architecture, "language")
    batch = case.batch(LENGTHS, width=30)
    prompt = {name: batch[name] for name in ("input_ids", "attention_mask")}
    said = []
    model = attach(case.make())
    for one in (model, lower(copy.deepcopy(model), spec)):
        with at_profile(one, profile):
            said.append(one.generate(**prompt, max_new_tokens=8, do_sample=False))
    assert torch.equal(*said)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5"])
def test_every_map_of_a_decoding_step_runs_once(monkeypatch, architecture):
    case, called = Case(architecture, "language"), []
    model = lower(case.make(), KernelSpec("fp32", "plain"))
    run = PlainLinear.__call__
    monkeypatch.setattr(PlainLinear, "__call__", lambda self, *given: (called.append(self), run(self, *given))[1])
    batch = case.batch([12])
    with torch.inference_mode():
        output = model(**batch, use_cache=True)
        prefill = len(called)
        assert len(set(called)) == prefill
        called.clear()
        if architecture == "t5":
            states = (output.encoder_last_hidden_state,)
            model(encoder_outputs=states, decoder_input_ids=torch.tensor([[7]]), past_key_values=output.past_key_values)
        else:
            model(input_ids=torch.tensor([[7]]), past_key_values=output.past_key_values)
    # A T5's decoding step leaves the encoder alone, and has the keys and values of its output.
    assert len(set(called)) == len(called) == (prefill if architecture != "t5" else 2 * 6 + 1)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5"])
def test_an_embedding_that_shared_its_weights_with_the_head_keeps_them(spec, architecture):
    model = Case(architecture, "language").make(tie_word_embeddings=True)
    embedding = model.get_input_embeddings().weight.detach().clone()
    lower(model, spec)
    assert torch.equal(model.get_input_embeddings().weight, embedding.to(model.dtype))
    assert isinstance(model.lm_head, LinearModule)


def test_elimination_can_be_attached_after_lowering(spec):
    before, after = lower(attach(tiny_bert()), spec), attach(lower(tiny_bert(), spec))
    with at_profile(before, CUT), at_profile(after, CUT):
        assert torch.equal(logits(before, BATCHES["padded right"]), logits(after, BATCHES["padded right"]))


@pytest.mark.parametrize("spec", INT8, indirect=True, ids=name)
def test_long_texts_attend_in_bf16_beside_int8_and_stay_near(monkeypatch, spec):
    monkeypatch.setattr("latadj.kernels.lowered_layers.BF16_ATTENTION_FROM", 10)
    model = attach(tiny_bert())
    exact = logits(model, BATCHES["padded right"])
    lower(model, spec)
    assert_near(logits(model, BATCHES["padded right"]), exact, spec)


def test_lowering_is_for_inference_and_frees_the_weights(spec):
    model = tiny_bert().train()
    names = {key for key, _ in model.named_parameters()}
    lower(model, spec)
    assert not model.training
    assert (is_lowered(model), kernel_of(model)) == (True, spec)
    left = dict(model.named_parameters())
    assert not any(parameter.requires_grad for parameter in left.values())
    assert not [key for key in left if "encoder" in key and "LayerNorm" not in key]
    assert set(left) < names


def test_a_model_that_was_not_lowered_runs_plain():
    model = tiny_bert()
    assert (is_lowered(model), kernel_of(model)) == (False, KernelSpec("fp32", "plain"))


def test_lowering_twice_is_refused(spec):
    model = lower(tiny_bert(), spec)
    with pytest.raises(ValueError, match=f"lowered to {spec.precision} already: load it again"):
        lower(model, spec)


def test_saving_is_refused_also_for_a_copy(spec, tmp_path):
    model = lower(tiny_bert(), spec)
    for one in (model, copy.deepcopy(model)):
        with pytest.raises(ValueError, match=f"lowered to {spec.precision} and holds no weights to save: save the"):
            one.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_packed_kernels_are_refused_elsewhere_than_on_a_cpu():
    model = tiny_bert().to("meta")
    with pytest.raises(ValueError, match="precision int8 by onednn runs on a CPU, this model is on meta"):
        lower(model, KernelSpec("int8", "onednn"))
    assert not is_lowered(model)


def test_a_deep_copy_of_a_lowered_model_has_a_dial_of_its_own(spec):
    batch = BATCHES["padded right"]
    model = tiny_bert()
    lower(attach(model, dial_for(model)), spec)
    full = logits(model, batch)
    twin = copy.deepcopy(model)
    assert (is_lowered(twin), kernel_of(twin)) == (True, spec)
    assert torch.equal(logits(twin, batch), full)
    with at_speedup(twin, 4.0):
        cut = logits(twin, batch)
        assert torch.equal(logits(model, batch), full)
    with at_speedup(model, 4.0):
        assert torch.equal(logits(model, batch), cut)
    assert not torch.equal(cut, full)
    detach(twin)
    assert torch.equal(logits(model, batch), full)


@pytest.mark.parametrize("case", [Case("bert", "classifier"), Case("llama", "language")], ids=str)
def test_two_threads_at_two_speedups_do_not_meet(spec, case):
    batch = case.batch(LENGTHS, width=30)
    model = case.make()
    lower(attach(model, dial_for(model)), spec)
    expected = {}
    for speedup in (1.0, 3.0):
        with at_speedup(model, speedup):
            expected[speedup] = logits(model, batch)
    start, wrong = threading.Barrier(2), []

    def work(speedup):
        with at_speedup(model, speedup):
            start.wait()
            wrong.extend(speedup for _ in range(20) if not torch.equal(logits(model, batch), expected[speedup]))

    threads = [threading.Thread(target=work, args=(speedup,)) for speedup in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
