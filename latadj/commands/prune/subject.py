"""The real model of `latadj prune`: judged on validation text, cut in its weights, taught by its full self."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor

from latadj.commands.common.session import Session, enough
from latadj.commands.common.training_stages import attention_dropped, distillation_rows
from latadj.config import PruneConfig
from latadj.devices.select import trains_in_bf16
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attached
from latadj.pruning.acceptance import Answers
from latadj.pruning.evaluator import PruningEvaluator
from latadj.pruning.search import Cost
from latadj.pruning.significance import Significance
from latadj.pruning.size import mean_flops, parameters
from latadj.pruning.surgery import remaining_structure, remove, without
from latadj.pruning.units import PruningUnit
from latadj.tasks.data.splits import split_by_hash
from latadj.tasks.encoding.batches import Batch
from latadj.tasks.encoding.collator import Collator
from latadj.training.fit import fit
from latadj.training.head_objective import DistilledLoss, head_objective

# Where nobody says; fewer of long texts.
EXAMPLES, GRADIENT_EXAMPLES = 256, 512
# Texts of one pass back. Opposite changes of the loss cancel within it, so it is small.
GRADIENT_BATCH = 8
# Fewer texts say nothing of a model, whatever they say of it.
FEWEST = 8


@dataclass
class Examples:
    """The two parts of the validation split."""

    judging: Dataset
    confirming: Dataset


def split(session: Session) -> Examples:
    """The validation split in two, by a hash of each text: what the search judges by, and what it never sees.

    Raises
    ------
    ValueError
        if one of them has too few texts.
    """
    config = session.config
    assert isinstance(config, PruneConfig)
    frame: Any = session.splits.validation.to_pandas()
    # Questions about one context stay together.
    columns = config.task.text[-1:] if config.task.type == "question_answering" else config.task.text
    columns = [name for name in columns if name in frame] or [name for name in frame if name != "label"]
    # The validation split may have been cut out by the same hash, so the key has a salt.
    rows = frame[columns].astype(str).itertuples(index=False, name=None)
    keys = pd.Series([f"prune {config.seed}\t" + "\t".join(row) for row in rows], index=frame.index, dtype=str)
    share = config.prune.holdout_fraction
    parts = split_by_hash(frame, keys, {"judging": 1 - share, "confirming": share})
    for name, part in parts.items():
        if len(part) < FEWEST:
            raise ValueError(
                f"task {config.task.name}: of its {len(frame)} validation texts {len(part)} are for {name} "
                f"(prune.holdout_fraction={share:g}), and fewer than {FEWEST} decide nothing: give more "
                "validation text with 'task.data_files={train:FILE,validation:FILE,test:FILE}' or task.split="
            )
    validation = session.splits.validation
    return Examples(*(validation.select(parts[name].index.tolist()) for name in ("judging", "confirming")))


@dataclass
class PruneSubject:
    """A session's model under the search; what it fulfils is `latadj.pruning.gradual.RecoverableModel`.

    parts : set once it is known which neurons go together
    judging, confirming : exams on the two parts of the validation split
    work : folder of trainings that go on after a kill
    """

    session: Session
    examples: Examples
    judging: PruningEvaluator
    confirming: PruningEvaluator
    work: Path
    parts: Sequence[PruningUnit] = ()
    costs: dict[PruningUnit, Cost] = field(default_factory=dict)
    _taught: Dataset | None = None
    _changed: int | None = None  # the lowest layer that lacks something inside a `with` block

    @classmethod
    def of(cls, session: Session, examples: Examples, work: Path) -> "PruneSubject":
        """The subject of a session whose model has elimination attached, as it always has where it is pruned."""
        config = session.config
        assert isinstance(config, PruneConfig)

        def exam(part: Dataset, encoded: Dataset, **options: Any) -> PruningEvaluator:
            given = (session.task_type, session.tokenizer, part, encoded)
            return PruningEvaluator(*given, outputs=session.outputs, device=session.device, **options)

        judging, confirming = (session.encoded(part) for part in (examples.judging, examples.confirming))
        some = config.prune.examples or min(EXAMPLES, enough([len(ids) for ids in judging["input_ids"]]))
        quick = {"autocast": session.training_dtype, "some": some, "seed": config.seed}
        return cls(
            session,
            examples,
            exam(examples.judging, judging, **quick),
            # What confirms chooses nothing, and says of a model what it is as it is saved.
            exam(examples.confirming, confirming, settles=False),
            work,
        )

    @property
    def config(self) -> PruneConfig:
        """The command's."""
        assert isinstance(self.session.config, PruneConfig)
        return self.session.config

    @contextmanager
    def without(self, parts: Sequence[PruningUnit]) -> Iterator[None]:
        with without(self.session.model, parts):
            self._changed = min((part.layer for part in parts), default=None)
            try:
                yield
            finally:
                self._changed = None

    def remove(self, parts: Sequence[PruningUnit]) -> None:
        remove(self.session.model, parts)
        for part in parts:
            self.judging.forget(part.layer)

    def ask(self) -> Answers:
        return self.judging.sit(self.session.model, changed=self._changed)

    def loss(self) -> float:
        return self.judging.loss(self.session.model, changed=self._changed)

    def significance(self) -> dict[PruningUnit, float]:
        model, gradients = self.session.model, self.gradients()
        lefts = remaining_structure(model)
        fine = [part for part in self.parts if part.index is not None and part.is_in(lefts[part.layer])]
        return {part: gradients.of(part) for part in fine}

    def gradients(self) -> Significance:
        """What gradients on training text say of all heads and neurons that are left."""
        model = self.session.model
        found = Significance(model)
        model.eval()
        for size, batch in self._gradient_batches:
            (self._loss(batch) * size).backward()  # type: ignore[no-untyped-call]
            found.add(model)
            model.zero_grad(set_to_none=True)
        return found

    @cached_property
    def _gradient_batches(self) -> list[tuple[int, Batch]]:
        """Batches of training text with their sizes, encoded once for all the times that gradients are asked for."""
        session, named = self.session, self.config.prune.gradient_examples
        train = session.splits.train.shuffle(seed=self.config.seed)
        rows = session.encoded(train.select(range(min(named or GRADIENT_EXAMPLES, len(train))))).to_list()
        if not named:
            rows = rows[: enough([len(row["input_ids"]) for row in rows])]
        rows.sort(key=lambda row: len(row["input_ids"]))
        collate = Collator(session.tokenizer, session.outputs)
        some = [rows[start : start + GRADIENT_BATCH] for start in range(0, len(rows), GRADIENT_BATCH)]
        return [(len(each), {name: part.to(session.device) for name, part in collate(each).items()}) for each in some]

    def _loss(self, batch: Batch) -> Tensor:
        """The task loss of a batch, a scalar."""
        session, autocast = self.session, self.session.training_dtype
        inputs, targets = session.outputs.split_targets(batch)
        with torch.autocast(session.device.type, dtype=autocast, enabled=autocast is not None):
            said = session.outputs(session.model, inputs)
        return session.outputs.loss(said.float(), targets)

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
        """Write down what the teacher says of the training text: the model, still whole, where nobody names another."""
        shortest = min(epochs for last in (False, True) if (epochs := self.epochs(last=last)))
        self._taught = distillation_rows(self.session, replace(self.config.recover, epochs=shortest))

    def epochs(self, *, last: bool) -> float:
        """Of a recovery: the ``last`` one, or that after a step; a budget has no fewer than the steps before it."""
        options, at_the_end = self.config.prune, self.config.recover.epochs
        if options.objective == "accuracy":
            return at_the_end
        return max(at_the_end, options.step_epochs) if last else options.step_epochs

    def recover(self, step: int, *, last: bool) -> None:
        session, config, epochs = self.session, self.config, self.epochs(last=last)
        if epochs == 0:
            return
        if self._taught is None:
            raise TypeError("learn() comes before the first part goes")
        stage = replace(config.recover, epochs=epochs)
        outputs = session.outputs
        self.judging.forget()
        loss = DistilledLoss(
            outputs, task_loss_weight=stage.task_loss_weight, distillation_loss_weight=stage.distillation_loss_weight
        )
        with attention_dropped(session, stage):
            fit(
                session.model,
                session.tokenizer,
                self._taught,
                head_objective(
                    *(session.task_type, session.tokenizer, self.examples.judging, self.judging.encoded),
                    loss=loss,
                    outputs=outputs,
                    autocast=session.training_dtype,
                ),
                name=f"recovery {step}",
                folder=self.work / f"recovery-{step}",
                config=stage,
                seed=config.seed + step,
                bf16=trains_in_bf16(config.device, session.device),
                device=session.device,
                resume=config.resume,
            )
        session.model.eval()
