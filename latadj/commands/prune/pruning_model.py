"""The model of `latadj prune`: evaluated on validation text, cut in its weights, distilled from the full model."""

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
from transformers import PreTrainedModel

from latadj.commands.common.session import Session, enough
from latadj.commands.common.training_stages import attention_dropped, distillation_rows
from latadj.config import PruneConfig
from latadj.devices.precision_probe import trains_in_bf16
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attached
from latadj.elimination.cost import mean_flops
from latadj.pruning.acceptance import ScoredPredictions
from latadj.pruning.evaluator import PruningEvaluator
from latadj.pruning.search import Cost
from latadj.pruning.surgery import parameter_count, remaining_structure, remove, without
from latadj.pruning.units import PruningUnit, Significance
from latadj.tasks.data.splits import split_by_hash
from latadj.tasks.encoding.batches import Batch, Collator
from latadj.training.fit import fit
from latadj.training.head_objective import DistilledLoss, head_objective
from latadj.training.significance import gradient_batches, significance_of
from latadj.training.trackers import Trackers

# Defaults; fewer of long texts.
EXAMPLES, GRADIENT_EXAMPLES = 256, 512
# Fewer texts say nothing of a model, whatever they say of it.
FEWEST = 8


def split_validation(session: Session) -> list[Dataset]:
    """The validation split in two, by a hash of each text: what the search uses, and what it never sees.

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
    return [session.splits.validation.select(part.index.tolist()) for part in parts.values()]


@dataclass
class PruningModel:
    """A session's model under pruning; implements `latadj.pruning.search.PrunableModel`.

    evaluator : on the texts that the search uses
    holdout : on the texts that the search never sees
    work : folder of trainings that can be resumed
    units : set once it is known which neurons belong together
    """

    session: Session
    evaluator: PruningEvaluator
    holdout: PruningEvaluator
    work: Path
    units: Sequence[PruningUnit] = ()
    costs: dict[PruningUnit, Cost] = field(default_factory=dict)
    _distillation_rows: Dataset | None = None
    _changed: int | None = None  # the lowest layer that lacks something inside a `with` block

    @classmethod
    def of(cls, session: Session, work: Path) -> "PruningModel":
        """The model of a session, which has elimination attached, as it always has where it is pruned."""
        config = session.config
        assert isinstance(config, PruneConfig)

        def evaluator(examples: Dataset, encoded: Dataset, **options: Any) -> PruningEvaluator:
            shared: dict[str, Any] = {"outputs": session.outputs, "device": session.device}
            return PruningEvaluator(session.task_type, session.tokenizer, examples, encoded, **shared, **options)

        used, held_out = split_validation(session)
        encoded = session.encoded(used)
        sample = config.prune.examples or min(EXAMPLES, enough([len(ids) for ids in encoded["input_ids"]]))
        return cls(
            session,
            evaluator(used, encoded, autocast=session.training_dtype, sample=sample, seed=config.seed),
            # The hold-out chooses nothing, and evaluates a model as it is saved.
            evaluator(held_out, session.encoded(held_out), tunes_threshold=False),
            work,
        )

    @property
    def config(self) -> PruneConfig:
        """The command's."""
        assert isinstance(self.session.config, PruneConfig)
        return self.session.config

    @property
    def transformer(self) -> PreTrainedModel:
        """The session's model."""
        return self.session.model

    @contextmanager
    def without(self, units: Sequence[PruningUnit]) -> Iterator[None]:
        with without(self.transformer, units):
            self._changed = min((unit.layer for unit in units), default=None)
            try:
                yield
            finally:
                self._changed = None

    def remove(self, units: Sequence[PruningUnit]) -> None:
        remove(self.transformer, units)
        for unit in units:
            self.evaluator.drop_cache(unit.layer)

    def evaluate(self) -> ScoredPredictions:
        return self.evaluator.evaluate(self.transformer, changed=self._changed)

    def loss(self) -> float:
        return self.evaluator.loss(self.transformer, changed=self._changed)

    def significance(self) -> dict[PruningUnit, float]:
        gradients, structures = self.gradients(), remaining_structure(self.transformer)
        fine = [unit for unit in self.units if unit.index is not None and unit.is_in(structures[unit.layer])]
        return {unit: gradients.of(unit) for unit in fine}

    def gradients(self) -> Significance:
        """The significance of all remaining heads and neurons, by gradients on training text."""
        return significance_of(self.transformer, self._gradient_batches, self._task_loss)

    @cached_property
    def _gradient_batches(self) -> list[tuple[int, Batch]]:
        """Batches of training text with their sizes, encoded once for all the times that gradients are needed."""
        session, count = self.session, self.config.prune.gradient_examples
        train = session.splits.train.shuffle(seed=self.config.seed)
        rows = session.encoded(train.select(range(min(count or GRADIENT_EXAMPLES, len(train))))).to_list()
        if not count:
            rows = rows[: enough([len(row["input_ids"]) for row in rows])]
        return gradient_batches(rows, Collator(session.tokenizer, session.outputs.targets), session.device)

    def _task_loss(self, batch: Batch) -> Tensor:
        """The task loss of a batch, a scalar."""
        session, autocast = self.session, self.session.training_dtype
        inputs, targets = session.outputs.split_targets(batch)
        with torch.autocast(session.device.type, dtype=autocast, enabled=autocast is not None):
            logits = session.outputs(session.model, inputs)
        return session.outputs.loss(logits.float(), targets)

    def flops(self) -> float:
        """FLOPs of the mean text that the model is evaluated on, as it stands."""
        model = self.transformer
        return mean_flops(layer_shapes(model), self.evaluator.lengths, attached(model).reads)

    def measure_costs(self) -> None:
        """Fill in what each unit costs; units of one layer that have the same size are measured once."""
        model = self.transformer
        flops, size = self.flops(), parameter_count(model)
        known: dict[tuple[str, int, int], Cost] = {}
        for unit in self.units:
            key = (unit.kind, unit.layer, len(unit.neurons))
            if key not in known:
                with without(model, [unit]):
                    known[key] = Cost(flops - self.flops(), size - parameter_count(model))
            self.costs[unit] = known[key]

    def prepare_distillation(self) -> None:
        """Keep the teacher's outputs on the training text; the teacher is the model, still whole, or a named one."""
        shortest = min(epochs for last in (False, True) if (epochs := self.epochs(last=last)))
        stage = replace(self.config.recover, epochs=shortest)
        self._distillation_rows, _ = distillation_rows(self.session, stage)

    def epochs(self, *, last: bool) -> float:
        """Of a recovery: the ``last`` one, or that after a step; at a target no fewer than after the steps to it."""
        options, at_the_end = self.config.prune, self.config.recover.epochs
        if options.objective == "accuracy":
            return at_the_end
        return max(at_the_end, options.step_epochs) if last else options.step_epochs

    def recover(self, step: int, *, last: bool) -> None:
        session, config, epochs = self.session, self.config, self.epochs(last=last)
        if epochs == 0:
            return
        if self._distillation_rows is None:
            raise TypeError("prepare_distillation() comes before the first unit is removed")
        stage = replace(config.recover, epochs=epochs)
        outputs, evaluator = session.outputs, self.evaluator
        evaluator.drop_cache()
        objective = head_objective(
            *(session.task_type, session.tokenizer, evaluator.examples, evaluator.encoded),
            loss=DistilledLoss(
                outputs,
                task_loss_weight=stage.task_loss_weight,
                distillation_loss_weight=stage.distillation_loss_weight,
            ),
            outputs=outputs,
            autocast=session.training_dtype,
        )
        with attention_dropped(session, stage):
            fit(
                *(session.model, session.tokenizer, self._distillation_rows, objective),
                name=f"recovery {step}",
                output_dir=self.work / f"recovery-{step}",
                config=stage,
                seed=config.seed + step,
                bf16=trains_in_bf16(config.device, session.device),
                device=session.device,
                resume=config.resume,
                trackers=Trackers(tuple(config.report_to), Path(config.folder)),
            )
        session.model.eval()
