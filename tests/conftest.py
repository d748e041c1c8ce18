"""Fixtures of all tests; one thread, so that tests on two cores do not fight."""

import gc
import os
import sys
from contextlib import suppress

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import toy_project as toy
from helpers.browser import Browser
from helpers.compositions import compose_once
from helpers.tiny_models import ARCHITECTURES, REPRESENTATIVES, Case, batch_of, tiny
from transformers import PreTrainedModel

from latadj.commands.common.session import Session
from latadj.commands.finetune import prepare
from latadj.config.compose import compose, typed
from latadj.tasks.metrics import intervals

__all__ = ["batch_of", "tiny_bert", "use_checkpointing"]

torch.set_num_threads(1)
compose_once()
# Bootstraps of 1000 resamples are much of what a search on a toy costs.
intervals.RESAMPLES = 100


@pytest.fixture(scope="session", autouse=True)
def _logging_that_leaves_the_capture_open() -> None:
    """Let absl, which TensorBoard and OpenVINO's tools import, log to the process's own stderr.

    Its handler closes the stream it was made with as soon as Hydra configures logging anew. During a test that
    stream is pytest's capture, and every later test would fail.
    """
    with suppress(ImportError):
        from absl import logging as absl_logging

        absl_logging.get_absl_handler().python_handler.setStream(sys.__stderr__)


@pytest.fixture(autouse=True)
def _one_thread_again() -> Iterator[None]:
    """Take back the threads that a command set, which ran in this process: the clocks of later tests are by thread."""
    yield
    torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Let the collector pass by all that was imported, which lives as long as this process."""
    gc.collect()
    gc.freeze()


def tiny_bert(layers: int = 4, **options: object) -> PreTrainedModel:
    """A random BERT classifier."""
    return tiny("bert", layers=layers, **options)


@pytest.fixture
def model():
    return tiny_bert()


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """The toy project as `latadj finetune` opens it."""
    toy.write_model(tmp_path / "model", layers=1)
    toy.write_task(tmp_path / "data", 64)
    return prepare(typed("finetune", compose("finetune", toy.overrides(tmp_path))))


@pytest.fixture(params=REPRESENTATIVES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Every architecture once, every head with encoders and with decoders."""
    return request.param


@pytest.fixture(params=[Case(architecture, "classifier") for architecture in ARCHITECTURES], ids=str)
def classifier(request: pytest.FixtureRequest) -> Case:
    """A classifier of every architecture."""
    return request.param


def use_checkpointing(model: PreTrainedModel, **options: object) -> None:
    """Turn gradient checkpointing on, under the name that this transformers release has for it; skip who has none."""
    if not model.supports_gradient_checkpointing:
        pytest.skip(f"transformers checkpoints no gradients of a {type(model).__name__}")
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(options or None)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One headless Chromium for all tests of pages; each opens its own page in it."""
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
