"""A model as a service: it warms up, tokenises, schedules and answers."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import ServeConfig
from latadj.elimination.attach import dial_of
from latadj.elimination.drops import MeasuredDrop
from latadj.inference.predicted_times import PredictedTimes
from latadj.server.corrected_times import CorrectedTimes
from latadj.server.dispatcher import Answer, Dispatcher
from latadj.server.model_runner import ModelRunner
from latadj.server.request_errors import NotReadyError, OverloadedError
from latadj.server.scheduler import Scheduler
from latadj.server.telemetry import Telemetry
from latadj.server.text_encoder import TextEncoder
from latadj.server.work_items import BatchLimits

log = logging.getLogger("latadj")
# A batch takes no more than this share of the deadline, so that who comes meanwhile has time for a batch of its own.
BATCH_SHARE = 0.5
# Texts of the largest batch that the warm-up measures.
WARM_TEXTS = 32
# Share of the warm-up in which kernels are made; the rest measures.
KERNEL_SHARE = 0.7


@dataclass(frozen=True)
class Answered:
    """What became of a request.

    outputs : (texts, outputs) of the model
    speedup : the largest that a text of it ran at
    drop : what is expected to be lost there; None where nobody measured it
    tokenise_s, queue_s, run_s : seconds; of several texts the longest
    """

    outputs: np.ndarray
    speedup: float
    drop: MeasuredDrop | None
    tokenise_s: float
    queue_s: float
    run_s: float


class ModelService:
    """Answers requests with one model.

    Parameters
    ----------
    model : ready to serve, its dial in this device's time
    labels : names of the outputs
    limit : tokens of a text

    Raises
    ------
    ValueError
        if the model answers NaN, or its dial does not go where the policy is to take it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        labels: Sequence[str],
        limit: int,
        config: ServeConfig,
    ) -> None:
        self.config, self.labels, self.limit = config, list(labels), limit
        self.dtype = str(next(iter(model.parameters())).dtype).removeprefix("torch.")
        fixed = config.policy == "fixed"
        self.times = PredictedTimes(
            model,
            max_speedup=config.max_speedup,
            max_drop=None if fixed else config.max_drop,
            confident=config.confident,
            longest=limit,
            speedup=config.speedup if fixed else None,
        )
        dial = dial_of(model)
        self.drops = [dial.drop_of(profile) for profile in self.times.profiles]
        if fixed:
            self._check_fixed(config)
        self.encoder = TextEncoder(tokenizer, limit, config.tokenizers)
        self.runner = ModelRunner(model, tokenizer, self.times.profiles)
        self._lengths = [min(length, limit) for length in dial.lengths]
        corrected = CorrectedTimes(self.times.speedups, self.times.table, self.times.batch)
        limits = BatchLimits(config.batch_tokens, BATCH_SHARE * config.deadline_ms / 1000, config.reserve)
        self.scheduler = Scheduler(corrected, limits, config.replicas, config.limits.waiting_texts)
        self.telemetry = Telemetry(
            self.times.speedups,
            self.drops,
            waiting=lambda: self.scheduler.waiting,
            correction=lambda: self.scheduler.times.correction,
            deadline_s=config.deadline_ms / 1000,
        )
        self._threads = torch.get_num_threads()
        self.dispatcher = Dispatcher(
            self.scheduler,
            self.runner,
            self.telemetry,
            config.replicas,
            prepare=self._set_threads,
        )
        self.ready = False
        for place in sorted({0, len(self.times.profiles) - 1}):
            self.runner(self.encoder.encode([("a",), ("a a a",)], True, None), place)

    def _set_threads(self) -> None:
        """PyTorch has a number of threads for each thread that calls it."""
        torch.set_num_threads(self._threads)

    def _check_fixed(self, config: ServeConfig) -> None:
        """Refuse a fixed speedup that loses more than is allowed; 1x is the most accurate that there is."""
        if config.max_drop is None or config.speedup == 1.0:
            return
        (drop,) = self.drops
        if drop is None or 100 * (drop.high if config.confident else drop.drop) > config.max_drop:
            points = None if drop is None else f"it is expected to lose {100 * drop.drop:.2f} points"
            lost = points or "what it loses was not measured"
            raise ValueError(
                f"speedup={config.speedup:g}: {lost}, and max_drop={config.max_drop:g}: ask for less, or max_drop=null"
            )

    def start(self, failed: Callable[[Exception], object]) -> None:
        """Warm up in a thread of its own, and serve from then on.

        Parameters
        ----------
        failed : called where that goes wrong
        """

        def warm_up() -> None:
            try:
                self._set_threads()
                self.warm_up()
                self.dispatcher.start(failed)
                self.ready = True
            except Exception as error:
                failed(error)

        threading.Thread(target=warm_up, name="warm-up", daemon=True).start()

    def warm_up(self) -> None:
        """Make kernels, and measure how far predictions are off now."""
        if self.config.warm_up_s > 0:
            self._make_kernels(KERNEL_SHARE * self.config.warm_up_s)
            self.times.warm_up(self._lengths, WARM_TEXTS, (1 - KERNEL_SHARE) * self.config.warm_up_s)
            self.scheduler.times = CorrectedTimes(
                self.times.speedups, self.times.table, self.times.batch, self._level, self._spread()
            )
        log.info("ready: speedups of 1x to %.2fx", self.times.speedups[-1])

    def _make_kernels(self, seconds: float) -> None:
        """Run batches like those to come, half of them at 1x.

        A kernel is made for each number of tokens that enters a layer, which takes longer than the layer: the first
        batches of a new process take twice as long as later ones.
        """
        rng, end = np.random.default_rng(0), time.perf_counter() + seconds
        vocabulary = int(self.runner.model.config.vocab_size)
        while time.perf_counter() < end:
            place = 0 if rng.random() < 0.5 else int(rng.integers(len(self.times.profiles)))
            lengths = rng.choice(self._lengths, 2 ** int(rng.integers(WARM_TEXTS.bit_length())))
            while len(lengths) > 1 and self.times.predicted(lengths)[place] > self.scheduler.limits.seconds:
                lengths = lengths[: len(lengths) // 2]
            self.runner([{"input_ids": rng.integers(0, vocabulary, length).tolist()} for length in lengths], place)

    def _level(self, size: int) -> float:
        ratios = self.times.ratios(size)
        return median(ratios) if ratios else 1.0

    def _spread(self) -> float:
        """Mean relative deviation of the batches of the warm-up."""
        deviations = [
            abs(math.log(ratio / self._level(2**power)))
            for power in range(WARM_TEXTS.bit_length())
            for ratio in self.times.ratios(2**power)
        ]
        return float(np.mean(deviations)) if deviations else 0.05

    def ceiling(self, max_drop: float | None) -> int:
        """Place of the largest speedup that loses at most so many points; where none does, that of the smallest.

        Parameters
        ----------
        max_drop : None: as much as the server may lose
        """
        if max_drop is None:
            return len(self.drops) - 1
        place = 0
        for number, drop in enumerate(self.drops):
            if drop is None or 100 * (drop.high if self.config.confident else drop.drop) > max_drop + 1e-9:
                break
            place = number
        return place

    async def predict(
        self,
        texts: Sequence[Sequence[str]],
        *,
        truncate: bool,
        side: str | None,
        arrived: float,
        deadline_s: float,
        max_drop: float | None,
        clock: Callable[[], float],
    ) -> Answered:
        """Answer the texts of a request.

        Parameters
        ----------
        texts, truncate, side : as in :class:`TextEncoder`
        arrived : second of ``clock`` at which the request came
        deadline_s : seconds after that by which the answer is due
        max_drop : points of the metric that may be lost; None: as much as the server may lose

        Raises
        ------
        RequestError
        """
        if not self.ready:
            raise NotReadyError("the model is not warm yet", 1.0)
        if self.encoder.backlog_s > deadline_s:
            self.telemetry.shed("refused")
            raise OverloadedError("Model is overloaded: too many texts wait for the tokenizer", 1.0)
        before = clock()
        rows = await self.encoder(texts, truncate, side)
        tokenise_s = clock() - before
        answers = await self.dispatcher.answers(
            rows, arrived=arrived, deadline_s=deadline_s, ceiling=self.ceiling(max_drop)
        )
        return self._answered(answers, tokenise_s)

    def _answered(self, answers: Sequence[Answer], tokenise_s: float) -> Answered:
        fastest = max(answer.place for answer in answers)
        return Answered(
            outputs=np.stack([answer.output for answer in answers]),
            speedup=self.times.speedups[fastest],
            drop=self.drops[fastest],
            tokenise_s=tokenise_s,
            queue_s=max(answer.queue_s for answer in answers) - tokenise_s,
            run_s=max(answer.run_s for answer in answers),
        )

    def close(self) -> None:
        """End all threads once what runs is done."""
        if self.ready:
            self.dispatcher.close()
        self.encoder.close()

    def facts(self) -> dict[str, Any]:
        """What `/info` says of the dial."""
        return {
            "policy": self.config.policy,
            "deadline_ms": self.config.deadline_ms,
            "max_drop": self.config.max_drop,
            "speedups": [self.times.speedups[0], self.times.speedups[-1]],
            "replicas": self.config.replicas,
        }
