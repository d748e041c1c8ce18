"""Requests in and answers out, with a model that is a function."""

import asyncio
import socket
import threading
import time

import numpy as np
import pytest
from helpers.simulated_server import scheduler

from latadj.server.batch_bytes import BatchAnswer
from latadj.server.dispatcher import Dispatcher
from latadj.server.model_process import ModelDiedError
from latadj.server.request_errors import InferenceFailedError, NotReadyError, OverloadedError


class Seen:
    """What an observer is told."""

    def __init__(self):
        self.batches, self.reasons = [], []

    def batch(self, batch, queue_s, run_s):
        assert all(seconds >= 0 for seconds in queue_s)
        self.batches.append(len(batch.items))

    def shed(self, reason):
        self.reasons.append(reason)


def first_tokens(texts):
    return [[text["input_ids"][0]] for text in texts]


class FunctionReplica:
    """A replica that calls a function in a thread."""

    def __init__(self, function):
        self._function = function
        self._near, self._far = socket.socketpair()
        self._answer = None

    def run(self, rows, place):
        def work():
            try:
                self._answer = BatchAnswer(np.array(self._function(rows)), 0.0)
            except Exception as error:
                self._answer = error
            self._far.send(b"!")

        threading.Thread(target=work, daemon=True).start()

    def receive(self):
        self._near.recv(1)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def fileno(self):
        return self._near.fileno()


def rows(count, length=20):
    return [{"input_ids": [number] * length} for number in range(count)]


def with_dispatcher(work, function=first_tokens, replicas=1, lost=lambda number, error: None):
    """What an async function of a running dispatcher gives, and what its observer saw."""
    seen = Seen()

    async def begin():
        parts = [FunctionReplica(function) for _ in range(replicas)]
        dispatcher = Dispatcher(scheduler(30.0, replicas=replicas), parts, seen, lost)
        dispatcher.start()
        try:
            return await work(dispatcher)
        finally:
            dispatcher.stop()

    return asyncio.run(begin()), seen


def ask(dispatcher, texts, deadline_s=30.0):
    return dispatcher.answers(texts, arrived=time.perf_counter(), deadline_s=deadline_s, ceiling=32)


@pytest.mark.parametrize("replicas", [1, 3])
def test_answers_come_in_the_order_of_the_texts(replicas):
    async def work(dispatcher):
        return await asyncio.gather(*(ask(dispatcher, rows(count)) for count in (1, 300, 7)))

    found, seen = with_dispatcher(work, replicas=replicas)
    answers = [[int(answer.output[0]) for answer in answers] for answers in found]
    assert answers == [list(range(count)) for count in (1, 300, 7)]
    assert sum(seen.batches) == 308
    assert all(answer.queue_s >= 0 and answer.run_s >= 0 for answers in found for answer in answers)


def test_a_batch_that_fails_fails_its_requests_and_no_other():
    def function(texts):
        if len(texts[0]["input_ids"]) == 7:
            raise InferenceFailedError("broken")
        return first_tokens(texts)

    async def work(dispatcher):
        return await asyncio.gather(ask(dispatcher, rows(3, 7)), ask(dispatcher, rows(3, 200)), return_exceptions=True)

    (failed, answered), _ = with_dispatcher(work, function)
    assert isinstance(failed, InferenceFailedError)
    assert "broken" in str(failed)
    assert [int(answer.output[0]) for answer in answered] == [0, 1, 2]


def test_what_is_given_up_is_dropped_and_what_is_too_late_is_turned_away():
    go_on = threading.Event()

    def function(texts):
        go_on.wait(30)
        return first_tokens(texts)

    async def work(dispatcher):
        running = asyncio.create_task(ask(dispatcher, rows(1)))
        await asyncio.sleep(0)
        given_up = asyncio.create_task(ask(dispatcher, rows(5)))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(OverloadedError) as error:
            await ask(dispatcher, rows(200), deadline_s=0.0001)
        await asyncio.gather(given_up, return_exceptions=True)
        go_on.set()
        return await running, error.value

    (answers, error), seen = with_dispatcher(work, function)
    assert len(answers) == 1
    assert error.retry_after >= 1
    assert seen.reasons[0] == "refused"
    assert seen.batches == [1]


def test_a_replica_that_dies_fails_its_batch_and_the_others_go_on():
    lost = []

    def function(texts):
        if texts[0]["input_ids"][0] == 99:
            raise ModelDiedError("killed")
        return first_tokens(texts)

    async def work(dispatcher):
        failed = await asyncio.gather(ask(dispatcher, [{"input_ids": [99] * 20}]), return_exceptions=True)
        return *failed, await ask(dispatcher, rows(50)), dispatcher.alive

    (failed, answered, alive), _ = with_dispatcher(work, function, 2, lambda number, error: lost.append(number))
    assert isinstance(failed, InferenceFailedError)
    assert "killed" in str(failed)
    assert len(answered) == 50
    assert alive
    assert lost == [0]


def test_without_a_replica_nobody_waits_and_a_new_one_answers():
    go_on = threading.Event()

    def dies(texts):
        go_on.wait(30)
        raise ModelDiedError("killed")

    async def work(dispatcher):
        first = asyncio.create_task(ask(dispatcher, rows(1)))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(ask(dispatcher, rows(1)))
        await asyncio.sleep(0)
        go_on.set()
        before = await asyncio.gather(first, waiting, return_exceptions=True)
        late = await asyncio.gather(ask(dispatcher, rows(1)), return_exceptions=True)
        dispatcher.replace(0, FunctionReplica(first_tokens))
        return *before, *late, await ask(dispatcher, rows(3))

    (failed, waited, late, answered), _ = with_dispatcher(work, dies)
    assert isinstance(failed, InferenceFailedError)
    assert isinstance(waited, NotReadyError) and isinstance(late, NotReadyError)
    assert len(answered) == 3
