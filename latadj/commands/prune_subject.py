"""The real model of `latadj prune`: judged on validation text, cut in its weights, taught by its full self."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from latadj.commands.session import Session
from latadj.config import PruneConfig
from latadj.device import trains_in_bf16
from latadj.elimination.attach import attached
from latadj.elimination.families import family_of, layer_shapes, layers_of
from latadj.exam import Exam
from latadj.predict import predict
from latadj.pruning.judge import Answers
from latadj.pruning.parts import Part
from latadj.pruning.search import Cost
from latadj.pruning.significance import Significance
from latadj.pruning.size import mean_flops, parameters
from latadj.pruning.surgery import lefts_of, remove, without
from latadj.training.collate import TEACHER, Collator
from latadj.training.fit import fit
from latadj.training.heads import DistilledLoss, head_goal

# Texts of one pass back. Opposite changes of the loss cancel within it, so it is small.
GRADIENT_BATCH = 8


@dataclass
class Examples:
    """The two parts of the validation split."""

    judging: Dataset
    confirming: Dataset


@dataclass
class PruneSubject:
    """A session's model under the search; what it fulfils is `latadj.pruning.gradual.Patient`.

    parts : set once it is known which neurons go together
    judging, confirming : exams on the two parts of the validation split
    work : folder of trainings that go on after a kill
    """

    session: Session
    examples: Examples
    judging: Exam
    confirming: Exam
    work: Path
    parts: Sequence[Part] = ()
    costs: dict[Part, Cost] = field(default_factory=dict)
    _taught: Dataset | None = None

    @classmethod
    def of(cls, session: Session, examples: Examples, work: Path) -> "PruneSubject":
        """The subject of a session whose model has elimination attached, as it always has where it is pruned."""
        config = session.config
        assert isinstance(config, PruneConfig)

        def exam(part: Dataset, some: int | None = None) -> Exam:
            return Exam(
                session.kind,
                session.tokenizer,
                part,
                session.encoded(part),
                outputs=session.outputs,
                device=session.device,
                autocast=autocast_of(session),
                some=some,
                seed=config.seed,
            )

        return cls(session, examples, exam(examples.judging, config.prune.examples), exam(examples.confirming), work)

    @property
    def config(self) -> PruneConfig:
        """The command's."""
        assert isinstance(self.session.config, PruneConfig)
        return self.session.config

    def without(self, parts: Sequence[Part]) -> AbstractContextManager[Any]:
        return without(self.session.model, parts)

    def remove(self, parts: Sequence[Part]) -> None:
        remove(self.session.model, parts)

    def ask(self) -> Answers:
        return self.judging.sit(self.session.model)

    def loss(self) -> float:
        return self.judging.loss(self.session.model)

    def significance(self) -> dict[Part, float]:
        model, gradients = self.session.model, self.gradients()
        lefts = lefts_of(model)
        fine = [part for part in self.parts if part.index is not None and part.is_in(lefts[part.layer])]
        return {part: gradients.of(part) for part in fine}

    def gradients(self) -> Significance:
        """What gradients on training text say of all heads and neurons that are left."""
        model = self.session.model
        found = Significance(model)
        model.eval()
        for run in self._passes():
            run().backward()  # type: ignore[no-untyped-call]
            found.add(model)
            model.zero_grad(set_to_none=True)
        return found

    def _passes(self) -> list[Callable[[], Tensor]]:
        """Passes over training text, each of which gives the task loss of a batch."""
        session, most = self.session, self.config.prune.gradient_examples
        train = session.splits.train.shuffle(seed=self.config.seed)
        rows = session.encoded(train.select(range(min(most, len(train))))).to_list()
        rows.sort(key=lambda row: len(row["input_ids"]))
        collate = Collator(session.tokenizer, session.outputs)
        autocast = autocast_of(session)

        def run(some: list[dict[str, Any]]) -> Tensor:
            batch = {name: part.to(session.device) for name, part in collate(some).items()}
            targets = {name: batch.pop(name) for name in session.outputs.targets}
            with torch.autocast(session.device.type, dtype=autocast, enabled=autocast is not None):
                said = session.outputs(session.model, batch)
            return session.outputs.loss(said.float(), targets) * len(some)

        return [
            lambda some=rows[start : start + GRADIENT_BATCH]: run(some)  # type: ignore[misc]
            for start in range(0, len(rows), GRADIENT_BATCH)
        ]

    def flops(self) -> float:
        """FLOPs of the mean text that the model is judged on, as it stands."""
        model = self.session.model
        return mean_flops(layer_shapes(model), self.judging.lengths, attached(model).reads)

    def weigh(self) -> None:
        """Fill in what each part costs; parts of one layer that have the same size are weighed once."""
        model = self.session.model
        full, size = self.flops(), parameters(model)
        known: dict[tuple[str, int, int], Cost] = {}
        for part in self.parts:
            key = (part.kind, part.layer, len(part.neurons))
            if key not in known:
                with without(model, [part]):
                    known[key] = Cost(full - self.flops(), size - parameters(model))
            self.costs[part] = known[key]

    def learn(self) -> None:
        """Write down what the model, still whole, says of the training text: it is the teacher of what is left of it.

        The teacher never changes, so one pass serves all recoveries.
        """
        session, config = self.session, self.config
        train = session.encoded(session.splits.train)
        if config.recover.max_steps is not None:
            most = config.recover.max_steps * config.recover.accumulate * config.recover.batch_size
            train = train.shuffle(seed=config.seed).select(range(min(most, len(train))))
        said = predict(
            session.model, session.tokenizer, train, outputs=session.outputs.raw(), autocast=autocast_of(session)
        )
        self._taught = train.add_column(TEACHER, [answer.tolist() for answer in said])

    def recover(self, step: int, *, last: bool) -> None:
        session, config = self.session, self.config
        epochs = config.prune.recover_epochs if last else config.prune.step_epochs
        if epochs == 0:
            return
        if self._taught is None:
            raise TypeError("learn() comes before the first part goes")
        stage = replace(config.recover, epochs=epochs)
        outputs = session.outputs
        loss = DistilledLoss(outputs, task_weight=stage.task_weight, distill_weight=stage.distill_weight)
        if stage.attention_dropout is not None:
            for layer in layers_of(session.model):
                family_of(session.model).drop_attention(layer, stage.attention_dropout)
        folder = self.work / f"recovery-{step}"
        fit(
            session.model,
            session.tokenizer,
            self._taught,
            head_goal(
                *(session.kind, session.tokenizer, self.examples.judging, self.judging.encoded),
                loss=loss,
                outputs=outputs,
                autocast=autocast_of(session),
            ),
            name=f"recovery {step}",
            folder=folder,
            config=stage,
            seed=config.seed + step,
            bf16=trains_in_bf16(config.device, session.device),
            device=session.device,
            resume=config.resume,
        )
        session.model.eval()
        shutil.rmtree(folder, ignore_errors=True)


def autocast_of(session: Session) -> torch.dtype | None:
    """The type in which the device trains, and so ranks models fast enough; None: their own."""
    return torch.bfloat16 if trains_in_bf16(session.config.device, session.device) else None
