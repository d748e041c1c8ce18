"""An attached model goes through pickle, as it goes through deepcopy."""

import copy
import inspect
import io
import multiprocessing
import pickle
from typing import Any

import pytest
import torch
from conftest import tiny_bert
from helpers.tiny_models import CASES, CUT, LENGTHS, Case, batch_of, dial_for, near
from transformers import PreTrainedModel

from latadj.elimination.attach import attach, detach, is_attached
from latadj.elimination.current_setting import at_profile


def by_pickle(model: PreTrainedModel) -> Any:
    return pickle.loads(pickle.dumps(model))


def by_torch(model: PreTrainedModel) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@torch.no_grad()
def outputs(case, model, batch):
    return case.outputs(model, batch)


@pytest.mark.parametrize("copied", [by_pickle, by_torch, copy.deepcopy])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_copy_computes_the_same_and_detaches_alone(case, copied):
    model, batch = case.make(), case.batch(LENGTHS)
    plain = outputs(case, model, batch)
    attach(model, dial_for(model), speedup=2.0)
    cut = outputs(case, model, batch)
    twin = copied(model)
    modules = set(map(id, model.modules()))
    assert not any(id(getattr(module.forward, "module", module)) in modules for module in twin.modules())
    assert near(outputs(case, twin, batch), cut, atol=0)
    assert near(outputs(case, detach(twin), batch), plain, atol=0)
    assert is_attached(model)
    assert near(outputs(case, model, batch), cut, atol=0)


def _answer(model: PreTrainedModel, queue: Any) -> None:
    torch.set_num_threads(1)
    with torch.no_grad(), at_profile(model, CUT):
        queue.put(model(**batch_of(LENGTHS)).logits.tolist())


def test_a_spawned_process_computes_the_same():
    model = attach(tiny_bert())
    with torch.no_grad(), at_profile(model, CUT):
        expected = model(**batch_of(LENGTHS)).logits
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_answer, args=(model, queue))
    process.start()
    try:
        assert near([torch.tensor(queue.get(timeout=120))], [expected], atol=0)
    finally:
        process.join()


SEEN = [Case("llama", "language"), Case("t5", "language"), Case("gpt2", "classifier"), Case("bert", "classifier")]


@pytest.mark.parametrize("case", SEEN, ids=str)
def test_forward_keeps_the_signature_that_others_look_at(case):
    model = case.make()
    before = inspect.signature(model.forward)
    assert inspect.signature(attach(model).forward) == before
