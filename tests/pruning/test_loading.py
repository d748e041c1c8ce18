"""Pruned models in files, back in whole layers, and what their units are worth."""

import json

import pytest
import torch
from helpers.tiny_models import LENGTHS, Case, near
from helpers.word_tokenizer import few_words
from helpers.zeroed_reference import FIRST, SOME, zeroed
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import METADATA_FILE, CheckpointMetadata, read_metadata
from latadj.checkpoints.weight_files import weight_files
from latadj.config import ModelConfig
from latadj.elimination.attach import attach, detach
from latadj.elimination.layer_structure import LayerStructure, ModelStructure
from latadj.elimination.topk_setting import TopKAttention
from latadj.pruning import Significance, remove, structure_of, units_of, zero_fill_pruned
from latadj.pruning.loading import load_pruned


def pruned(case, units=SOME):
    model = case.make()
    remove(model, units)
    return model


def said(case, model):
    with torch.no_grad():
        return case.outputs(model, case.batch(LENGTHS))


@pytest.mark.parametrize("units", [SOME, FIRST], ids=["some", "first"])
def test_a_pruned_model_is_saved_and_loaded_exactly(classifier, tmp_path, units):
    model = pruned(classifier, units)
    checkpoint.save(model, few_words(), tmp_path / "model", CheckpointMetadata())
    found, _ = checkpoint.load(tmp_path / "model")
    assert structure_of(found) == structure_of(model) == read_metadata(tmp_path / "model").pruning
    assert near(said(classifier, found), said(classifier, attach(model)), atol=0)
    size = sum(weight.numel() for weight in model.parameters()) * 4
    assert size <= (tmp_path / "model" / "model.safetensors").stat().st_size < size + 20_000


@pytest.mark.parametrize("head", ["language", "tagger"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5"])
def test_other_heads_are_loaded_too(architecture, head, tmp_path):
    if (architecture, head) == ("t5", "tagger"):
        pytest.skip("a T5 that tags is not among the heads that latadj loads")
    case = Case(architecture, head)
    model = pruned(case)
    checkpoint.save(model, few_words(), tmp_path / "model", CheckpointMetadata())
    found, _ = checkpoint.load(tmp_path / "model")
    assert near(said(case, found), said(case, attach(model)), atol=0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5"])
def test_a_pruned_language_model_stops_and_samples_as_it_did(architecture, tmp_path):
    model = pruned(Case(architecture, "language"))
    model.generation_config.update(eos_token_id=[2, 3], pad_token_id=0, max_new_tokens=7, repetition_penalty=1.5)
    checkpoint.save(model, few_words(), tmp_path / "model", CheckpointMetadata())
    for found in (checkpoint.load(tmp_path / "model")[0], zero_fill_pruned(model)):
        wanted, ours = model.generation_config, found.generation_config
        assert (ours.eos_token_id, ours.pad_token_id) == (wanted.eos_token_id, wanted.pad_token_id) == ([2, 3], 0)
        assert (ours.max_new_tokens, ours.repetition_penalty) == (7, 1.5)


def test_a_pruned_model_gets_a_fresh_head_for_other_labels(tmp_path):
    checkpoint.save(pruned(Case("bert", "classifier")), few_words(), tmp_path / "model", CheckpointMetadata())
    config = ModelConfig(name="m", path=str(tmp_path / "model"))
    found, _ = checkpoint.load_pretrained(config, ["a", "b", "c", "d", "e"])
    assert found.config.num_labels == 5
    assert structure_of(found) is not None
    assert found.classifier.weight.std() > 0
    assert torch.equal(found.classifier.bias, torch.zeros(5))
    assert not any(weight.is_meta for weight in found.parameters())


def test_a_weight_that_no_file_holds_is_drawn_and_the_others_stay_as_saved(classifier, tmp_path):
    model = pruned(classifier)
    checkpoint.save(model, few_words(), tmp_path, CheckpointMetadata())
    saved = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in saved if "norm" in name.lower() or "ln_" in name)
    save_file({name: weight for name, weight in saved.items() if name != gone}, tmp_path / "model.safetensors")
    found, missing = load_pruned(
        AutoModelForSequenceClassification, model.config, tmp_path, weight_files(tmp_path), structure_of(model)
    )
    assert missing == {gone}
    weights = found.state_dict()
    assert weights[gone].tolist() in ([0] * len(saved[gone]), [1] * len(saved[gone]))  # as every norm begins
    assert all(torch.equal(weights[name], saved[name]) for name in saved.keys() - missing)


@pytest.mark.parametrize("architecture", ["bert", "llama"])
def test_loading_a_pruned_model_draws_no_weights_to_throw_away(architecture, tmp_path):
    checkpoint.save(pruned(Case(architecture, "classifier")), few_words(), tmp_path / "model", CheckpointMetadata())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    checkpoint.load(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)


def test_plain_transformers_refuses_a_pruned_folder(tmp_path):
    checkpoint.save(pruned(Case("bert", "classifier")), few_words(), tmp_path / "model", CheckpointMetadata())
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")


def test_made_whole_it_computes_the_same_and_loads_anywhere(case, tmp_path):
    model = pruned(case)
    whole = zero_fill_pruned(model)
    assert structure_of(whole) is None
    assert near(said(case, whole), said(case, model), atol=1e-5)
    whole.save_pretrained(tmp_path / "whole")
    again = type(whole).from_pretrained(tmp_path / "whole")
    assert near(said(case, again), said(case, whole), atol=0)


def test_a_model_with_hard_attention_cannot_be_made_whole_for_others():
    model = attach(pruned(Case("bert", "classifier")), topk=TopKAttention((None, 3, None, None)))
    with pytest.raises(ValueError, match=r"has top-k attention \(layer 2: 3 keys\), which plain transformers"):
        zero_fill_pruned(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: layers.pop(), "a model of 3 layers"),
        (lambda layers: layers[0].update(heads=[0, 9]), "heads of layer 1 are not rising numbers below 4"),
        (lambda layers: layers[0].update(heads=[2, 1]), "heads of layer 1"),
        (lambda layers: layers[1].pop("neurons"), r"pruning: layers\[1\].neurons: required field missing"),
        (lambda layers: layers[0].update(neurons=[[0, 7]]), "by its pruning map it should have"),
        (lambda layers: layers[0].update(neurons=[[0, 10**5]]), r"\[0, 100000\) is no part of"),
        (lambda layers: layers[0].update(neurons=[[0, 10**9]], of_neurons=10**9), "at most 1,048,576"),
        (lambda layers: layers[0].update(neurons=[[0, 8]] * 10**5), "is no part of|rising numbers"),
        (
            lambda layers: layers.extend([{**layers[0], "neurons": [[0, 2**20]], "of_neurons": 2**20}] * 9),
            "neurons in all layers: expected at most 8,388,608",
        ),
    ],
    ids=[
        *("layers", "heads", "order", "missing", "weights"),
        *("memory", "memory of as many", "memory again and again", "memory of all layers"),
    ],
)
def test_a_pruning_map_that_does_not_fit_is_one_clear_line(tmp_path, change, message):
    checkpoint.save(pruned(Case("bert", "classifier")), few_words(), tmp_path / "model", CheckpointMetadata())
    path = tmp_path / "model" / METADATA_FILE
    data = json.loads(path.read_text())
    change(data["pruning"]["layers"])
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message) as error:
        checkpoint.load(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_a_pruning_map_is_the_same_after_json():
    structure = ModelStructure((LayerStructure((0, 2), (0, 1, 2, 9), 4, 10), LayerStructure((), (), 4, 10)))
    assert ModelStructure.from_json(json.loads(json.dumps(structure.to_json()))) == structure
    assert structure.to_json()["layers"][0]["neurons"] == [[0, 3], [9, 10]]


def test_significance_is_how_the_loss_would_change(classifier):
    model = detach(attach(classifier.make()))
    batch = classifier.batch(LENGTHS)
    significance = Significance(model)
    torch.stack(classifier.outputs(model, batch)).square().mean().backward()
    significance.add(model)
    units = [unit for unit in units_of(model, 8) if unit.index is not None]
    step = 1e-3

    def loss_with(unit, share):
        """The loss with a share of a unit taken out."""
        with torch.no_grad():
            gone = {name: weight.clone() for name, weight in model.state_dict().items()}
            zeroed(model, [unit])
            for name, weight in model.state_dict().items():
                weight.lerp_(gone[name], 1 - share)
            found = torch.stack(classifier.outputs(model, batch)).double().square().mean()
            model.load_state_dict(gone)
        return float(found)

    for unit in (units[0], units[5], units[-1]):
        slope = abs(loss_with(unit, step) - loss_with(unit, -step)) / (2 * step)
        if unit.kind == "neurons":  # signs do not cancel within a group
            assert significance.of(unit) >= 0.98 * slope
        else:
            assert significance.of(unit) == pytest.approx(slope, rel=0.05, abs=1e-3)
