"""A lowered model computes what the model computes, whatever the route."""

import copy
import threading
from functools import partial

import pytest
import torch
from conftest import batch_of, tiny_bert
from tiny import ENCODERS, tiny

from latadj.elimination.attach import at_profile, at_speedup, attach, detach
from latadj.elimination.cost import LayerShape
from latadj.elimination.lower import is_lowered, lower, route_of
from latadj.elimination.maps import FEW_ROWS, Route
from latadj.elimination.profile import Dial, Profile
from latadj.precision import kernels

CPU = torch.device("cpu")
EXACT = [Route("fp32", "plain"), Route("fp32", "onednn")]
INT8 = [Route("int8", "onednn"), Route("int8", "x86")]
ROUTES = [*EXACT, Route("bf16", "plain"), Route("bf16", "onednn"), *INT8]
# How far rounded logits may lie from exact ones, as a share of the largest logit.
NEAR = {"bf16": 0.1, "int8": 0.15}
FULL, CUT = Profile.full(4), Profile((0.9, 0.6, 0.4, 0.2))
LENGTHS = [17, 9, 23, 4]
BATCHES = {
    "alike": batch_of([12, 12]),
    "padded right": batch_of(LENGTHS, width=30),
    "padded left": batch_of(LENGTHS, width=30, side="left"),
}


def name(route):
    return f"{route.precision}-{route.kernel}"


@pytest.fixture(params=ROUTES, ids=name)
def route(request):
    if request.param.kernel not in kernels(request.param.precision, CPU):
        pytest.skip(f"this torch has no {request.param.precision} by {request.param.kernel} on this processor")
    return request.param


MODELS = {
    "pooled": tiny_bert,
    "all": partial(tiny, "bert", "tagger"),
    **{f"{family}-pooled": partial(tiny, family) for family in ENCODERS[1:]},
    "distilbert-all": partial(tiny, "distilbert", "tagger", initializer_range=0.2),
}


@torch.inference_mode()
def logits(model, batch):
    """Logits at real positions."""
    found = model(**batch).logits.float()
    return found if found.ndim == 2 else found[batch["attention_mask"].bool()]


def assert_near(found, exact, route):
    if route in EXACT:
        assert torch.allclose(found, exact, atol=1e-5)
    else:
        assert (found - exact).abs().max() < NEAR[route.precision] * exact.abs().max()


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("profile", [FULL, CUT], ids=["full", "cut"])
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_a_lowered_model_computes_what_the_model_computes(route, make, profile, batch):
    model = attach(make())
    with at_profile(model, profile):
        exact = logits(model, batch)
    lower(model, route)
    with at_profile(model, profile):
        found = logits(model, batch)
    if profile is FULL or route in EXACT:
        assert_near(found, exact, route)
    else:  # rounding may choose another survivor
        assert torch.corrcoef(torch.stack([found.flatten(), exact.flatten()]))[0, 1] > 0.9


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_keeping_all_equals_the_plain_model(route, make):
    model = make()
    plain = logits(model, BATCHES["padded right"])
    lower(attach(model), route)
    assert_near(logits(model, BATCHES["padded right"]), plain, route)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_without_elimination_transformers_own_forward_runs_the_lowered_maps(route, make):
    batch = BATCHES["padded right"]
    model = make()
    plain = logits(model, batch)
    lower(attach(model), route)
    assert_near(logits(detach(model), batch), plain, route)
    never = lower(make(), route)
    assert torch.equal(logits(never, batch), logits(model, batch))


def test_elimination_can_be_attached_after_lowering(route):
    before, after = lower(attach(tiny_bert()), route), attach(lower(tiny_bert(), route))
    with at_profile(before, CUT), at_profile(after, CUT):
        assert torch.equal(logits(before, BATCHES["padded right"]), logits(after, BATCHES["padded right"]))


@pytest.mark.parametrize("activation", [None, "GELUActivation", "NewGELUActivation"])
@pytest.mark.parametrize("route", INT8[:1], indirect=True, ids=name)
def test_int8_gives_the_same_for_few_rows_as_for_many(monkeypatch, route, activation):
    torch.manual_seed(0)
    packed = route.pack(torch.nn.Linear(32, 48), activation=activation)
    rows = torch.randn(FEW_ROWS, 32)
    few = packed(rows)
    monkeypatch.setattr("latadj.elimination.maps.FEW_ROWS", 0)
    many = packed(rows)
    assert (few.dtype, few.shape) == (many.dtype, many.shape)
    assert torch.allclose(few, many, atol=0.01 * many.abs().max().item())


@pytest.mark.parametrize("route", INT8, indirect=True, ids=name)
def test_int8_maps_give_the_type_that_is_asked_for(route):
    packed = route.pack(torch.nn.Linear(32, 48))
    for count in (FEW_ROWS, FEW_ROWS + 1):
        rows = torch.randn(count, 32)
        assert packed(rows, torch.bfloat16).dtype == torch.bfloat16
        assert packed(rows).dtype == packed(rows.bfloat16()).dtype == torch.float32
        assert torch.allclose(packed(rows, torch.bfloat16).float(), packed(rows), atol=0.05)


@pytest.mark.parametrize("route", [*EXACT, *INT8], indirect=True, ids=name)
def test_maps_of_one_input_run_as_one(route):
    torch.manual_seed(0)
    first, second = torch.nn.Linear(32, 16), torch.nn.Linear(32, 24)
    rows = torch.randn(50, 32)
    expected = torch.cat([first(rows), second(rows)], dim=1)
    assert_near(route.pack(first, second)(rows), expected, route)


@pytest.mark.parametrize("route", INT8, indirect=True, ids=name)
def test_long_texts_attend_in_bf16_beside_int8_and_stay_near(monkeypatch, route):
    monkeypatch.setattr("latadj.elimination.maps.BF16_ATTENTION_FROM", 10)
    model = attach(tiny_bert())
    exact = logits(model, BATCHES["padded right"])
    lower(model, route)
    assert_near(logits(model, BATCHES["padded right"]), exact, route)


def test_lowering_is_for_inference_and_frees_the_weights(route):
    model = tiny_bert().train()
    names = {key for key, _ in model.named_parameters()}
    lower(model, route)
    assert not model.training
    assert (is_lowered(model), route_of(model)) == (True, route)
    left = dict(model.named_parameters())
    assert not any(parameter.requires_grad for parameter in left.values())
    assert not [key for key in left if "encoder" in key and "LayerNorm" not in key]
    assert set(left) < names


def test_a_model_that_was_not_lowered_runs_plain():
    model = tiny_bert()
    assert (is_lowered(model), route_of(model)) == (False, Route("fp32", "plain"))


def test_lowering_twice_is_refused(route):
    model = lower(tiny_bert(), route)
    with pytest.raises(ValueError, match=f"lowered to {route.precision} already: load it again"):
        lower(model, route)


def test_saving_is_refused_also_for_a_copy(route, tmp_path):
    model = lower(tiny_bert(), route)
    for one in (model, copy.deepcopy(model)):
        with pytest.raises(ValueError, match=f"lowered to {route.precision} and holds no weights to save: save the"):
            one.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_packed_kernels_are_refused_elsewhere_than_on_a_cpu():
    model = tiny_bert().to("meta")
    with pytest.raises(ValueError, match="precision int8 by onednn runs on a CPU, this model is on meta"):
        lower(model, Route("int8", "onednn"))
    assert not is_lowered(model)


def dial_for(model):
    layers = model.config.num_hidden_layers
    shape = LayerShape(32 * 32, 2 * 32 * 32, 32 * 32, 2 * 32 * 64, 32)
    return Dial(layer_acc=(0.8,) * layers, lengths=tuple(LENGTHS), shapes=(shape,) * layers)


def test_a_deep_copy_of_a_lowered_model_has_a_dial_of_its_own(route):
    batch = BATCHES["padded right"]
    model = tiny_bert()
    lower(attach(model, dial_for(model)), route)
    full = logits(model, batch)
    twin = copy.deepcopy(model)
    assert (is_lowered(twin), route_of(twin)) == (True, route)
    assert torch.equal(logits(twin, batch), full)
    with at_speedup(twin, 4.0):
        cut = logits(twin, batch)
        assert torch.equal(logits(model, batch), full)
    with at_speedup(model, 4.0):
        assert torch.equal(logits(model, batch), cut)
    assert not torch.equal(cut, full)
    detach(twin)
    assert torch.equal(logits(model, batch), full)


def test_two_threads_at_two_speedups_do_not_meet(route):
    batch = BATCHES["padded right"]
    model = tiny_bert()
    lower(attach(model, dial_for(model)), route)
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
