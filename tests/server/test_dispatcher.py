"""Requests in and answers out, with a model that is a function."""

import asyncio
import threading
import time

import pytest
from helpers.simulated_server import scheduler

from latadj.server.dispatcher import Dispatcher
from latadj.server.request_errors import InferenceFailedError, OverloadedError


class Seen:
    """What an observer is told."""

    def __init__(self):
        self.batches, self.reasons = [], []

    def batch(self, batch, queue_s, run_s):
        self.batches.append(len(batch.items))

    def shed(self, reason):
        self.reasons.append(reason)


def rows(count, length=20):
    return [{"input_ids": [number] * length} for number in range(count)]


def first_tokens(texts, place):
    return [text["input_ids"][0] for text in texts]


def with_dispatcher(work, run=first_tokens, server=None, failed=None, **options):
    """What an async function of a running dispatcher gives, and what its observer saw."""
    seen = Seen()
    dispatcher = Dispatcher(server or scheduler(30.0, **options), run, seen, options.get("replicas", 1))
    dispatcher.start(failed or (lambda error: None))
    try:
        return asyncio.run(work(dispatcher)), seen
    finally:
        dispatcher.close()


def ask(dispatcher, texts, deadline_s=30.0):
    return dispatcher.answers(texts, arrived=time.perf_counter(), deadline_s=deadline_s, ceiling=32)


@pytest.mark.parametrize("replicas", [1, 3])
def test_answers_come_in_the_order_of_the_texts(replicas):
    async def work(dispatcher):
        return await asyncio.gather(*(ask(dispatcher, rows(count)) for count in (1, 300, 7)))

    found, seen = with_dispatcher(work, replicas=replicas)
    assert [[answer.output for answer in answers] for answers in found] == [list(range(count)) for count in (1, 300, 7)]
    assert sum(seen.batches) == 308
    assert all(answer.queue_s >= 0 and answer.run_s >= 0 for answers in found for answer in answers)


def test_a_batch_that_fails_fails_its_requests_and_no_other():
    def run(texts, place):
        if len(texts[0]["input_ids"]) == 7:
            raise RuntimeError("broken")
        return first_tokens(texts, place)

    async def work(dispatcher):
        return await asyncio.gather(ask(dispatcher, rows(3, 7)), ask(dispatcher, rows(3, 200)), return_exceptions=True)

    (failed, answered), _ = with_dispatcher(work, run)
    assert isinstance(failed, InferenceFailedError)
    assert "broken" in str(failed)
    assert [answer.output for answer in answered] == [0, 1, 2]


def test_what_is_given_up_is_dropped_and_what_is_too_late_is_turned_away():
    entered, go_on = threading.Event(), threading.Event()

    def run(texts, place):
        entered.set()
        go_on.wait(30)
        return first_tokens(texts, place)

    async def work(dispatcher):
        running = asyncio.create_task(ask(dispatcher, rows(1)))
        await asyncio.to_thread(entered.wait, 30)
        given_up = asyncio.create_task(ask(dispatcher, rows(5)))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(OverloadedError) as error:
            await ask(dispatcher, rows(200), deadline_s=0.0001)
        await asyncio.gather(given_up, return_exceptions=True)
        go_on.set()
        return await running, error.value

    (answers, error), seen = with_dispatcher(work, run)
    assert len(answers) == 1
    assert error.retry_after >= 1
    assert seen.reasons[0] == "refused"
    assert seen.batches == [1]


def test_a_thread_that_ends_is_told():
    told = threading.Event()
    server = scheduler(30.0)

    def broken(now, replica):
        raise ZeroDivisionError

    server.next_batch = broken

    async def work(dispatcher):
        return await asyncio.to_thread(told.wait, 30)

    found, _ = with_dispatcher(work, server=server, failed=lambda error: told.set())
    assert found
