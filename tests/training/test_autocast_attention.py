"""Attention in mixed-precision training."""

import pytest
import torch
from helpers import toy_project as toy
from helpers.command_line import run
from torch.nn.functional import scaled_dot_product_attention as attend
from torch.overrides import TorchFunctionMode

from latadj.devices.autocast_attention import AttentionInFloat32


def halves():
    """Queries, keys and values in bf16, of which gradients are asked."""
    torch.manual_seed(0)
    return [torch.randn(2, 3, 8, 4).bfloat16().requires_grad_() for _ in range(3)]


def gradients(attention, parts):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention(*parts)
    assert found.dtype == torch.bfloat16
    return [found, *torch.autograd.grad(found.sum(), parts)]


@pytest.mark.parametrize("kind", ["boolean", "added", "none"])
def test_gradients_are_those_of_float32_rounded(kind):
    masks = {"boolean": torch.ones(8, 8, dtype=torch.bool).tril(), "none": None}
    mask = masks.get(kind, torch.randn(8, 8).bfloat16())
    parts = halves()
    with AttentionInFloat32():
        found = gradients(lambda q, k, v: attend(q, k, value=v, attn_mask=mask), parts)
    whole = [part.detach().float().requires_grad_() for part in parts]
    wanted = attend(*whole, attn_mask=mask.float() if kind == "added" else mask)
    wanted = [wanted, *torch.autograd.grad(wanted.sum(), whole)]
    assert all(torch.equal(one, other.bfloat16()) for one, other in zip(found, wanted, strict=True))


@torch.no_grad()
def test_a_pass_without_gradients_is_left_alone():
    parts = halves()
    with AttentionInFloat32():
        found = attend(*parts)
    assert torch.equal(found, attend(*parts))


class Types(TorchFunctionMode):
    """What attention is computed in, in turn."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is attend:
            self.seen.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("saving", [False, True], ids=["kept", "checkpointed"])
def test_training_in_bf16_attends_in_float32_and_validates_in_bf16(tmp_path, saving):
    toy.write_model(tmp_path / "model", layers=1)
    toy.write_task(tmp_path / "data", 64)
    with Types() as types:
        run(
            "finetune",
            *toy.overrides(tmp_path),
            "adjustable=false",
            "device.train_precision=bf16",
            "plain.max_steps=2",
            f"plain.gradient_checkpointing={saving}",
        )
    # Two steps of the one layer, then validation. A pass that is made again for its activations is out of sight here,
    # but PyTorch refuses one that is computed in another type than the first.
    assert types.seen[:2] == [torch.float32] * 2
    assert set(types.seen[2:]) == {torch.bfloat16}
