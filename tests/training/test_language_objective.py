"""Losses of language models, and the teacher that they are taught by."""

import random

import pytest
import torch
from conftest import use_checkpointing
from helpers.tiny_language_models import DECODERS, LANGUAGE_MODELS, rows_of_lengths

from latadj.config import AdjustConfig, TaskConfig
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attach, attached
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.profiles import Profile
from latadj.tasks.outputs.likelihood import continuation_logits, likelihoods
from latadj.training.language_objective import (
    STATES,
    AdjustableLanguageLoss,
    Continuations,
    cache_teacher_states,
    language_loss,
    language_objective,
    scored_logits,
)

RAGGED = rows_of_lengths([9, 4, 12, 9], [5, 1, 3, 6])
EVEN = rows_of_lengths([12] * 6, [5] * 6)
CUT = Profile((0.8, 0.5, 0.4))


@pytest.fixture(params=LANGUAGE_MODELS)
def model(request):
    return LANGUAGE_MODELS[request.param]()


def dial_for(model, window=ObservationWindow(window_size=4, sink_tokens=1, recent_ratio=0.3)):  # noqa: B008 frozen
    attach(model)
    return Dial(
        (0.7, 0.6, 0.5), (12,), layer_shapes(model), attached(model).reads, profile_type="geometric", window=window
    )


def moved(model):
    """Another model, not far from this one."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@torch.no_grad()
def log_probabilities(model, rows):
    """Of each row's continuation: (tokens, vocabulary), out of a prefill and what follows it."""
    found = dict(continuation_logits(model, rows, batch_size=1))
    return [found[place].float().log_softmax(-1) for place in range(len(rows))]


def cross_entropy(log_probabilities, rows):
    """Mean over all tokens."""
    tokens = torch.cat([torch.tensor(row["continuation"]) for row in rows])
    return float(-log_probabilities[torch.arange(len(tokens)), tokens].mean())


def by_hand(student, teacher, rows, task_loss_weight, distillation_loss_weight):
    """Means over all tokens of the cross-entropy and of the divergence from the teacher, weighed."""
    found, wanted = torch.cat(student), torch.cat(teacher)
    divergence = (wanted.exp() * (wanted - found)).sum(-1).mean()
    assert divergence > 1e-3
    return task_loss_weight * cross_entropy(found, rows) + distillation_loss_weight * float(divergence)


def batch_of(model, rows):
    return Continuations(model.config.is_encoder_decoder)(rows)


@pytest.mark.parametrize("rows", [EVEN, RAGGED], ids=["even", "ragged"])
def test_logits_are_those_of_a_prefill_and_what_follows_it(model, rows):
    expected = torch.cat(log_probabilities(model, rows))
    with torch.no_grad():
        found = scored_logits(model, batch_of(model, rows)).log_softmax(-1)
    assert torch.allclose(found, expected, atol=2e-3)
    with torch.no_grad():
        loss = language_loss(model, batch_of(model, rows))
    assert float(loss) == pytest.approx(cross_entropy(expected, rows), abs=1e-3)


def test_remembered_states_give_the_teachers_distribution_after_the_model_moved_on(model):
    expected = log_probabilities(model, RAGGED)
    shown = []
    teacher, rows = cache_teacher_states(model, RAGGED, batch_size=2, advance=shown.append)
    assert shown == [2, 2]
    assert [row["continuation"] for row in rows] == [row["continuation"] for row in RAGGED]
    moved(model)
    for row, wanted in zip(rows, expected, strict=True):
        assert row[STATES].shape == (len(row["continuation"]), 32)
        assert torch.allclose(teacher(row[STATES]).float().log_softmax(-1), wanted, atol=2e-3)
    assert not torch.allclose(log_probabilities(model, RAGGED)[0], expected[0], atol=2e-3)


@pytest.mark.parametrize("rows", [EVEN, RAGGED], ids=["even", "ragged"])
@pytest.mark.parametrize("share", [1.0, 0.0], ids=["full", "cut"])
def test_the_loss_of_one_pass_is_that_by_hand(model, rows, share, monkeypatch):
    wanted = log_probabilities(model, rows)
    teacher, rows = cache_teacher_states(model, rows, batch_size=2)
    dial = dial_for(moved(model))
    attach(model, dial)
    config = AdjustConfig(full_share=share, task_loss_weight=0.5, distillation_loss_weight=2.0, profiles=["geometric"])
    loss = AdjustableLanguageLoss(dial, config, teacher)
    monkeypatch.setattr(loss, "draw", lambda: CUT)
    with at_profile(model, CUT if share == 0.0 else Profile.full(3)):
        found = log_probabilities(model, rows)
    with torch.no_grad():
        total = float(loss(model, batch_of(model, rows)))
    assert total == pytest.approx(by_hand(found, wanted, rows, 0.5, 2.0), rel=2e-3)


def test_without_a_share_each_batch_goes_through_both(model, monkeypatch):
    teacher, rows = cache_teacher_states(model, EVEN, batch_size=6)
    dial = dial_for(moved(model))
    attach(model, dial)
    batch, losses = batch_of(model, rows), {}
    for share in (None, 0.0, 1.0):
        loss = AdjustableLanguageLoss(dial, AdjustConfig(full_share=share, profiles=["geometric"]), teacher)
        monkeypatch.setattr(loss, "draw", lambda: CUT)
        with torch.no_grad():
            losses[share] = float(loss(model, batch))
    assert losses[None] == pytest.approx(losses[0.0] + losses[1.0], rel=1e-4)
    assert losses[0.0] != pytest.approx(losses[1.0], rel=1e-4)


def test_the_share_of_full_batches_is_as_asked(monkeypatch):
    loss = AdjustableLanguageLoss(dial_for(DECODERS["llama"]()), AdjustConfig(full_share=0.25), None)
    monkeypatch.setattr(loss, "draw", lambda: CUT)
    random.seed(0)
    passes = [loss.passes() for _ in range(400)]
    assert 0.2 < passes.count([loss.full]) / 400 < 0.3
    assert passes.count([loss.full]) + passes.count([CUT]) == 400


def test_all_families_are_drawn():
    config = AdjustConfig(profiles=["geometric", "flat"], max_speedup=3.0)
    loss = AdjustableLanguageLoss(dial_for(DECODERS["llama"]()), config, None)
    random.seed(0)
    drawn = [profile.keep for profile in (loss.draw() for _ in range(200)) if profile.eliminates]
    # A flat profile keeps as many in every layer, a geometric one fewer and fewer.
    assert 0.35 < sum(keep[0] == keep[-1] for keep in drawn) / len(drawn) < 0.65


def test_a_speedup_beyond_a_familys_reach_is_drawn_where_it_ends():
    model = DECODERS["llama"]()
    dial = Dial((0.7, 0.6, 0.5), (30,), layer_shapes(attach(model)), attached(model).reads, max_flops=2.5)
    loss = AdjustableLanguageLoss(dial, AdjustConfig(profiles=["geometric"], max_speedup=5.0), None)
    random.seed(0)
    assert max(dial.speedup_of(loss.draw()) for _ in range(50)) == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_gradient_checkpointing_gives_the_same_gradients(kind, monkeypatch):
    gradients = []
    for checkpointing in (False, True):
        model = LANGUAGE_MODELS[kind]()
        teacher, rows = cache_teacher_states(model, RAGGED, batch_size=4)
        dial = dial_for(moved(model))
        attach(model, dial)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "dropout") and isinstance(module.dropout, float):  # T5's attention
                module.dropout = 0.0
        if checkpointing:
            use_checkpointing(model)
        loss = AdjustableLanguageLoss(dial, AdjustConfig(profiles=["geometric"]), teacher)
        monkeypatch.setattr(loss, "draw", lambda: CUT)
        model.train()
        loss(model, batch_of(model, rows)).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        assert torch.allclose(gradient, checkpointed[name], atol=1e-4 * float(gradient.abs().max()))


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_training_lowers_the_perplexity_of_the_cut_model(kind):
    model = LANGUAGE_MODELS[kind]()
    teacher, rows = cache_teacher_states(model, EVEN, batch_size=6)
    dial = dial_for(model)
    attach(model, dial)
    loss = AdjustableLanguageLoss(dial, AdjustConfig(full_share=0.25, profiles=["geometric"], max_speedup=3.0), teacher)
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with at_profile(model, dial.profile(2.0)):
        before = likelihoods(model, EVEN).nll.sum()
    batch = batch_of(model, rows)
    for _ in range(30):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
    with at_profile(model, dial.profile(2.0)):
        assert likelihoods(model, EVEN).nll.sum() < 0.8 * before


def test_validation_is_the_perplexity_where_the_model_stands():
    model = DECODERS["llama"]()
    goal = language_objective(
        model, RAGGED, TaskConfig(name="toy", type="generation", text=["text"], metric="perplexity")
    )
    found = likelihoods(model, RAGGED)
    assert goal.score(model) == pytest.approx(float(torch.tensor(found.nll.sum() / found.tokens.sum()).exp()))
    assert (goal.metric, goal.greater_is_better) == ("perplexity", False)
    assert goal.mean_score([10.0, 40.0]) == pytest.approx(20.0)
    dial = dial_for(model)
    attach(model, dial)
    with at_profile(model, CUT):
        assert goal.score(model) != pytest.approx(goal.mean_score([float(found.nll.sum())]), rel=1e-3)
