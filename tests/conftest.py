"""Tiny models and texts; one thread, so that tests on two cores do not fight."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

torch.set_num_threads(1)


def tiny_bert(layers: int = 4, **options: object) -> PreTrainedModel:
    """A random BERT classifier whose weights are large enough for logits to differ."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=120,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        num_labels=3,
        **options,
    )
    return BertForSequenceClassification(config).eval()


# One entry a family: every exactness test runs over all of them.
FAMILIES = {"bert": tiny_bert}


@pytest.fixture(params=FAMILIES)
def make_model(request):
    return FAMILIES[request.param]


@pytest.fixture
def model(make_model):
    return make_model()


def batch_of(lengths: list[int], width: int | None = None, side: str = "right") -> dict[str, torch.Tensor]:
    """Random token ids of these lengths, padded to ``width``; positions count from the first real token."""
    generator = torch.Generator().manual_seed(1)
    width = width or max(lengths)
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    positions = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        real = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, real] = torch.randint(1, 120, (length,), generator=generator)
        mask[row, real] = 1
        positions[row, real] = torch.arange(length)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


def use_checkpointing(model: PreTrainedModel, **options: object) -> None:
    """Turn gradient checkpointing on, under the name that this transformers release has for it."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(options or None)
