"""ALBERT: one module is several layers. What each keeps differs by layer, and none can be narrower than another."""

from itertools import pairwise

import pytest
import torch
from helpers.masked_reference import masked, survivors_of
from helpers.tiny_models import CUT, FULL, LENGTHS, Case, dial_for, near
from torch.utils.checkpoint import checkpoint

from latadj.benchmark.timer import time_layers
from latadj.checkpoints.extraction import extract
from latadj.elimination.architectures import distinct_layers, layer_shapes, layers_of
from latadj.elimination.attach import attach, detach
from latadj.elimination.cost import whole_level
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Anchor, Profile
from latadj.elimination.topk_setting import TopKAttention
from latadj.kernels.linear import KernelSpec
from latadj.kernels.lowering import lower
from latadj.pruning import PruningUnit, Significance, order_by, remove

# (modules, options) of models of four layers.
KINDS = {
    "one module": (1, {}),
    "two in turn": (2, {"num_hidden_groups": 2}),
    "two by two": (2, {"num_hidden_layers": 2, "inner_group_num": 2}),
    "four": (4, {"num_hidden_groups": 4}),
}
SHARE = "its layers share their weights, so that no layer can have fewer heads or neurons than another"


@pytest.fixture(params=["classifier", "tagger"])
def case(request):
    return Case("albert", request.param)


@torch.no_grad()
def outputs(case, model, batch):
    return case.outputs(model, batch)


@pytest.mark.parametrize(("modules", "options"), KINDS.values(), ids=KINDS)
def test_layers_run_in_their_order_whatever_modules_they_are(case, modules, options):
    model, batch = case.make(**options), case.batch(LENGTHS, width=26)
    assert len(layers_of(model)) == 4
    assert len(distinct_layers(model)) == modules
    plain = outputs(case, model, batch)
    attach(model)
    with at_profile(model, FULL, score_observer=lambda *_: None):  # so that our own layers run, whatever the head reads
        assert near(outputs(case, model, batch), plain)
    ours, alive = survivors_of(model, batch["attention_mask"], CUT, lambda: outputs(case, model, batch))
    kept = [int(everyone.sum()) for everyone in alive[:-1]]  # a classifier's last layer runs for one token only
    assert all(later < before for before, later in pairwise(kept))
    detach(model)
    assert near(outputs(case, model, batch), plain, atol=0)
    with masked(model, alive):
        assert near(ours, outputs(case, model, batch))


@pytest.mark.parametrize(("modules", "options"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("spec", [KernelSpec("fp32", "plain"), KernelSpec("fp32", "onednn")], ids=["plain", "packed"])
def test_a_lowered_model_computes_the_same_and_lays_out_each_module_once(case, modules, options, spec, monkeypatch):
    model, batch = attach(case.make(**options)), case.batch(LENGTHS)
    expected = []
    for profile in (FULL, CUT):
        with at_profile(model, profile):
            expected.append(outputs(case, model, batch))
    weights = sum(linear.weight.numel() for layer in distinct_layers(model) for linear in _linears(layer))
    packed, pack = [], KernelSpec.pack

    def noted(spec, *linears, **settings):
        packed.extend(linear.weight.numel() for linear in linears)
        return pack(spec, *linears, **settings)

    monkeypatch.setattr(KernelSpec, "pack", noted)
    lower(model, spec)
    assert sum(packed) == weights
    for profile, before in zip((FULL, CUT), expected, strict=True):
        with at_profile(model, profile):
            assert near(outputs(case, model, batch), before)


def _linears(layer):
    return [module for module in layer.modules() if isinstance(module, torch.nn.Linear)]


def test_each_layer_has_a_topk_attention_of_its_own(case):
    """One module that is several layers computes what modules of their own with its weights compute."""
    topk = TopKAttention((None, 3, 0.5, 2))
    model, batch = case.make(), case.batch(LENGTHS)
    apart = case.make(num_hidden_groups=4)
    shared = model.state_dict()
    group = "albert_layer_groups."
    weights = {
        name: shared[name.replace(f"{group}{name.split(group)[1][0]}", f"{group}0") if group in name else name]
        for name in apart.state_dict()
    }
    apart.load_state_dict(weights)
    attach(model, topk=topk)
    attach(apart, topk=topk)
    for profile in (FULL, CUT):
        with at_profile(model, profile), at_profile(apart, profile):
            assert near(outputs(case, model, batch), outputs(case, apart, batch))


def test_the_time_of_a_pass_is_that_of_each_of_its_layers():
    case = Case("albert", "tagger")
    model, batch = attach(case.make()), case.batch(LENGTHS)
    seconds = time_layers(model, lambda: outputs(case, model, batch), torch.device("cpu"))
    assert seconds.shape == (5,)
    assert (seconds > 0).all()


def test_a_speedup_of_its_dial_can_be_extracted():
    case = Case("albert", "classifier")
    model, batch = case.make(), case.batch(LENGTHS)
    attach(model, dial_for(model), speedup=2.0)
    assert near(outputs(case, extract(model, 2.0), batch), outputs(case, model, batch))


@pytest.mark.parametrize(
    "narrow",
    [
        lambda model: remove(model, [PruningUnit("head", 0, 1)]),
        lambda model: order_by(model, Significance(model)),
        lambda model: attach(
            model,
            dial_for(
                model,
                profile_type="searched",
                anchors=(Anchor(2.0, FULL.keep, level=whole_level(layer_shapes(model)).scaled([0.5] * 4, [0.5] * 4)),),
            ),
        ),
    ],
    ids=["pruning", "order", "dial of levels"],
)
@pytest.mark.parametrize(("modules", "options"), KINDS.values(), ids=KINDS)
def test_fewer_heads_or_neurons_are_refused_with_the_reason(modules, options, narrow):
    model = Case("albert", "classifier").make(**options)
    with pytest.raises(ValueError, match=f"AlbertForSequenceClassification: {SHARE}: turn its dial over tokens alone"):
        narrow(model)


def test_a_level_is_refused_in_the_pass():
    case = Case("albert", "classifier")
    model = attach(case.make())
    level = whole_level(layer_shapes(model)).scaled([0.5] * 4, [0.5] * 4)
    with at_profile(model, Profile(FULL.keep, level=level)), pytest.raises(ValueError, match=f"AlbertLayer: {SHARE}"):
        outputs(case, model, case.batch(LENGTHS))


def test_a_layer_that_is_run_again_after_the_pass_says_why_it_cannot_be(case):
    model = attach(case.make()).train()
    encoder = model.albert.encoder
    group, run = encoder.albert_layer_groups[0], encoder.albert_layer_groups[0].forward
    group.forward = lambda *args, **kwargs: checkpoint(run, *args, use_reentrant=False, **kwargs)
    with at_profile(model, CUT):
        loss = torch.stack([output.sum() for output in case.outputs(model, case.batch(LENGTHS))]).sum()
    with pytest.raises(ValueError, match=r"run again after the pass.*turn checkpointing of its gradients off"):
        loss.backward()
