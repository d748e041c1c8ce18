"""Caches, compilers and attention implementations: each works, or is refused with a reason."""

import io
import warnings
from contextlib import suppress

import pytest
import torch
from helpers.tiny_models import CUT, DECODERS, FULL, LENGTHS, Case, batch_of, near, tiny
from torch._dynamo.exc import Unsupported
from torch.onnx import OnnxExporterError
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import QuantizedCache

from latadj.elimination.attach import attach, detach
from latadj.elimination.current_setting import at_profile
from latadj.elimination.decoding import Decoding
from latadj.elimination.profiles import Profile

BATCH = {name: tensor for name, tensor in batch_of([14, 9], side="left").items() if name != "position_ids"}


@pytest.fixture(params=DECODERS)
def architecture(request):
    return request.param


def generate(model, batch=BATCH, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.generate(**batch, max_new_tokens=6, eos_token_id=None, do_sample=False, **options)


def other_caches(config):
    caches = {r"StaticCache of Static\w*Layer": StaticCache(config=config, max_cache_len=40)}
    with suppress(ValueError):  # a backend that older transformers does not know; their others need more packages
        caches["QuantizedCache of Fp8QuantizedLayer"] = QuantizedCache("fp8", config)
    if torch.version.cuda is None or torch.cuda.is_available():  # a build for CUDA offloads by streams, which need one
        caches["offloaded DynamicCache"] = DynamicCache(config=config, offloading=True)
    return caches


def test_a_static_cache_works_as_long_as_nothing_is_eliminated(architecture):
    model = tiny(architecture, "language")
    plain = generate(model, cache_implementation="static")
    assert torch.equal(generate(attach(model), cache_implementation="static"), plain)


def test_caches_that_cannot_be_shortened_are_refused(architecture):
    model = attach(tiny(architecture, "language"))
    for name, cache in other_caches(model.config).items():
        message = f"^{name}.* cannot be shortened by elimination: take transformers' DynamicCache .*, or speedup=1$"
        with pytest.raises(ValueError, match=message), at_profile(model, CUT):
            generate(model, past_key_values=cache)


def test_the_static_cache_of_an_encoder_decoder_holds_survivors_through_its_cross_attention():
    model = attach(tiny("t5", "language"))
    with at_profile(model, CUT):
        assert torch.equal(generate(model, cache_implementation="static"), generate(model))


def test_a_prompt_in_chunks_counts_its_first_chunk_as_the_prompt(architecture):
    model, batch = attach(tiny(architecture, "language")), batch_of([14, 14])
    del batch["position_ids"]
    with at_profile(model, CUT):
        found = generate(model, batch, prefill_chunk_size=6)
    with torch.no_grad(), at_profile(model, CUT, prompt=[6, 6]):
        best = model(found[:, :-1]).logits.argmax(dim=-1)
    assert torch.equal(best[:, 13:], found[:, 14:])


def short_cache(model, batch):
    """A cache of 9 columns, the last three of them no prompt."""
    with torch.no_grad(), at_profile(model, CUT, prompt=[6] * len(batch["input_ids"])):
        return model(**batch, use_cache=True).past_key_values


def test_a_short_cache_forgets_what_is_no_prompt(architecture):
    model, batch = attach(tiny(architecture, "language")), batch_of([12])
    first = {name: tensor[:, :9] for name, tensor in batch.items()}
    with torch.no_grad():
        expected = short_cache(model, first)
        cache = short_cache(model, first)
        steps = {**{name: tensor[:, 9:] for name, tensor in batch.items()}, "attention_mask": batch["attention_mask"]}
        model(**steps, past_key_values=cache, use_cache=True)
        cache.crop(-5)
        again = {name: tensor[:, 7:9] for name, tensor in first.items()} | {"attention_mask": first["attention_mask"]}
        model(**again, past_key_values=cache, use_cache=True)
    for found, layer in zip(cache.layers, expected.layers, strict=True):
        assert torch.allclose(found.keys, layer.keys, atol=1e-5)
        assert torch.allclose(found.values, layer.values, atol=1e-5)


def test_after_it_forgot_a_short_cache_knows_which_columns_are_new():
    model, batch = attach(tiny("llama", "language")), batch_of([9])
    cache = short_cache(model, batch)
    cache.crop(-2)
    mask = torch.tensor([[1] * 7 + [0, 1]])
    hidden = Decoding(cache, mask.bool(), 2, "sdpa", torch.float32).mask(3, None)
    assert hidden[0, 0, :, -2:].tolist() == [[False, False], [False, True]]
    with pytest.raises(ValueError, match="cannot forget 3 tokens"):
        cache.crop(-3)


@torch.no_grad()
def test_the_last_prompt_token_is_decoded_as_it_was_prefilled(architecture):
    model, ids = attach(tiny(architecture, "language")), batch_of([12])["input_ids"]
    with at_profile(model, CUT):
        prefill = model(ids, use_cache=True, logits_to_keep=1)
        prefill.past_key_values.crop(-1)
        again = model(ids[:, -1:], past_key_values=prefill.past_key_values)
    assert near([again.logits], [prefill.logits])
    with pytest.raises(ValueError, match="cannot forget 2 tokens: 1 were decoded"):
        prefill.past_key_values.crop(-2)


@torch.no_grad()
def test_texts_of_a_short_cache_can_be_reordered_and_picked(architecture):
    """As a search does that lets one text take the place of another."""
    model = attach(tiny(architecture, "language"))
    batch = batch_of([12, 7], side="left")
    prompt = {name: tensor[:, :11] for name, tensor in batch.items()}
    step = {name: tensor if name == "attention_mask" else tensor[:, 11:] for name, tensor in batch.items()}
    swapped, second = torch.tensor([1, 0]), torch.tensor([1])
    with at_profile(model, CUT):
        caches = [model(**prompt, use_cache=True, logits_to_keep=1).past_key_values for _ in range(3)]
    expected = model(**step, past_key_values=caches[0]).logits
    caches[1].reorder_cache(swapped)
    found = model(**{name: tensor[swapped] for name, tensor in step.items()}, past_key_values=caches[1]).logits
    assert near([found], [expected[swapped]])
    caches[2].batch_select_indices(second)
    caches[2].batch_repeat_interleave(2)
    both = {name: tensor[second].repeat(2, 1) for name, tensor in step.items()}
    assert near([model(**both, past_key_values=caches[2]).logits], [expected[second].repeat(2, 1, 1)])


def test_a_short_cache_cannot_forget_some_of_its_prompt_nor_start_again(architecture):
    model = attach(tiny(architecture, "language"))
    cache = short_cache(model, batch_of([9]))
    with pytest.raises(ValueError, match="cannot forget 5 tokens: 0 were decoded"):
        cache.crop(-5)
    with pytest.raises(ValueError, match="belongs to one prompt: make a new one"):
        cache.reset()


def test_eager_attention_decodes_what_sdpa_decodes(architecture):
    model = attach(tiny(architecture, "language"))
    eager = attach(tiny(architecture, "language"))
    eager.set_attn_implementation("eager")
    for profile in (FULL, CUT):
        with at_profile(model, profile), at_profile(eager, profile):
            assert torch.equal(generate(eager), generate(model))


def test_an_attention_that_takes_no_mask_is_refused_where_one_is_needed():
    model = attach(tiny("llama", "language"))
    with torch.no_grad(), at_profile(model, CUT):
        cache = model(**BATCH, use_cache=True, logits_to_keep=1).past_key_values
    step = Decoding(cache, None, 1, "flash_attention_2", torch.float32)
    assert step.mask(0, None) is None
    with pytest.raises(ValueError, match=r"attn_implementation=flash_attention_2: .* attn_implementation='sdpa'"):
        step.mask(2, None)


@pytest.mark.parametrize("case", [Case("bert", "classifier"), Case("t5", "language")], ids=str)
def test_attention_probabilities_are_refused_where_they_are_not_kept(case):
    model, batch = case.make(attn_implementation="eager"), case.batch(LENGTHS)
    attach(model)
    with pytest.raises(ValueError, match="output_attentions=True: elimination does not keep"), at_profile(model, CUT):
        model(**batch, output_attentions=True)
    assert len(detach(model)(**batch, output_attentions=True)[-1]) == 4


COMPILED = [Case("bert", "classifier"), Case("bert", "tagger"), Case("gpt2", "classifier"), Case("llama", "language")]


@pytest.mark.parametrize("case", [*COMPILED, Case("t5", "tagger")], ids=str)
def test_a_compiled_model_follows_the_dial(case):
    torch._dynamo.reset()
    model = attach(case.make())
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        for profile in (FULL, CUT, Profile((0.5, 0.5, 0.25, 0.25)), FULL):
            for lengths in (LENGTHS, [9, 9]):
                batch = case.batch(lengths)
                with at_profile(model, profile):
                    assert near(case.outputs(compiled, batch), case.outputs(model, batch))


@pytest.mark.parametrize("case", [*COMPILED, Case("t5", "language")], ids=str)
def test_one_graph_of_the_whole_model_is_refused(case):
    torch._dynamo.reset()
    model = attach(case.make())
    with pytest.raises(Unsupported, match="elimination runs eagerly: leave fullgraph=True out, or detach the model"):
        torch.compile(model, backend="eager", fullgraph=True)(**case.batch(LENGTHS))


RECORDED = [Case("bert", "classifier"), Case("bert", "tagger"), Case("gpt2", "classifier"), Case("t5", "language")]
RECORDERS = {
    "torch.export": lambda model, batch: torch.export.export(model, (), batch),
    "jit": lambda model, batch: torch.jit.trace(model, example_kwarg_inputs=batch, strict=False),
    "ONNX": lambda model, batch: torch.onnx.export(model, (), kwargs=batch, dynamo=True, verbose=False),
    "old ONNX": lambda model, batch: torch.onnx.export(model, (batch,), io.BytesIO(), dynamo=False),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("record", RECORDERS.values(), ids=RECORDERS)
@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_an_export_of_an_attached_model_says_to_detach_it(case, record):
    if record is RECORDERS["ONNX"]:
        pytest.importorskip("onnxscript")
    model, batch = attach(case.make()), case.batch([9, 9])
    # The newer ONNX exporter wraps what torch.export raised.
    with pytest.raises((ValueError, OnnxExporterError)) as raised:
        record(model, batch)
    message = f"{raised.value} {raised.value.__cause__}"
    assert "has elimination attached, which torch.export, torch.jit.trace and ONNX cannot record" in message
    assert "call latadj.detach(model) before the export" in message


def test_a_detached_model_exports():
    case = Case("bert", "classifier")
    model, batch = detach(attach(case.make())), case.batch([9, 9])
    exported = torch.export.export(model, (), batch).module()
    assert near([exported(**batch).logits], [model(**batch).logits])
