"""How far `latadj prune` has come, written down so that a kill loses little.

A kill loses one candidate of a search, and of a recovery what came after its last validation. The choice of hard
attention is short and starts anew.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel

from latadj.commands.common.resume import run_settings
from latadj.commands.prune.topk_choice import ChosenTopK
from latadj.config import PruneConfig
from latadj.pruning.budgets import TimeModel
from latadj.pruning.gradual import GradualState
from latadj.pruning.units import PruningUnit
from latadj.reporting.results.pruning import PrunedModel
from latadj.tasks.data.splits import Splits
from latadj.utils.files import atomic_write, readable_disk_errors, write_json
from latadj.utils.run_state import RunState, remove_matching
from latadj.utils.serialization import NotNegative, Positive

SETTINGS = ("model", "task", "seed", "checkpoint", "output", "prune", "topk_attention", "recover")
# Fields that do not change during a run; written once, in a file of their own.
PLAN = ("settings", "units", "time_model")


@dataclass
class PruneState(RunState):
    """What a run needs to be resumed.

    units : with the neurons that belong together, found by gradients once; empty until then
    time_model : of a latency budget
    correction : of that model's predictions, by what the clock measured
    progress : candidates and steps so far
    topk : the chosen top-k attention
    models : those that are saved
    seconds : of search and recoveries up to the last write, over all processes
    """

    SCHEMA: ClassVar[str] = "latadj.prune-state/2"
    LABEL: ClassVar[str] = "pruning state"

    units: list[PruningUnit] = field(default_factory=list)
    time_model: TimeModel | None = None
    correction: Positive = 1.0
    progress: GradualState = field(default_factory=GradualState)
    topk: ChosenTopK | None = None
    models: list[PrunedModel] = field(default_factory=list)
    seconds: NotNegative = 0.0

    def __post_init__(self) -> None:
        self._since = time.monotonic()
        progress, names = self.progress, {unit.name for unit in self.units}
        pending = progress.pending.units if progress.pending else []
        used = [
            *(one.name for one in progress.candidates),
            *pending,
            *(name for order in progress.orders.values() for name in order),
        ]
        if unknown := set(used) - names:
            raise ValueError(f"progress: {min(unknown)!r} is none of its units")

    def refuse_other_units(self, work: Path, units: Sequence[PruningUnit]) -> None:
        """Refuse a state whose units are not those of the model.

        Parameters
        ----------
        units : of the model; its groups of neurons may be others

        Raises
        ------
        ValueError
        """
        if [unit.name for unit in self.units] != [unit.name for unit in units] or _neurons(self.units) != _neurons(
            units
        ):
            raise ValueError(f"{work / 'plan.json'}: its units are not those of the checkpoint; {self.RESTART}")

    @classmethod
    def of(cls, config: PruneConfig, splits: Splits) -> "PruneState":
        """The state to resume with ``resume=true``, else that of a new run on these examples.

        Raises
        ------
        ValueError
            if the run to resume was started with other settings.
        """
        work = Path(config.folder) / "prune"
        # Times measured on one device do not hold on another.
        names = (*SETTINGS, "device") if config.prune.objective == "speed" else SETTINGS
        settings = run_settings(config, names, Path(config.checkpoint), splits)
        if not config.resume or not (work / "state.json").is_file():
            return cls(settings)
        state = cls.read(work / "state.json", work / "plan.json")
        state.refuse_other_settings(config.folder, settings)
        for model in state.models:
            if not Path(model.folder).is_dir():
                raise ValueError(f"resume=true: {model.folder}, which this run had saved, is gone; {cls.RESTART}")
        return state

    def start(self, work: Path) -> None:
        """Write down what does not change any more, and remove the leftovers of an earlier run."""
        (work / "state.json").unlink(missing_ok=True)
        self.clean(work)
        data = self.to_json()
        write_json(work / "plan.json", {name: data[name] for name in PLAN})
        self.save(work)

    def save(self, work: Path, model: PreTrainedModel | None = None) -> None:
        """Write down how far the run has come, with the weights of a model that was trained since."""
        if model is not None:
            with readable_disk_errors(work), atomic_write(self.weights(work)) as temporary:
                save_model(model, str(temporary))
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        write_json(work / "state.json", {name: value for name, value in self.to_json().items() if name not in PLAN})
        if model is not None:
            self.clean(work, keep=self.weights(work))

    @staticmethod
    def clean(work: Path, keep: Path | None = None) -> None:
        """Remove weights and trainings that no state needs any more."""
        remove_matching(work, "weights-*.safetensors", "recovery-*", keep=keep)

    def restore(self, work: Path, model: PreTrainedModel) -> None:
        """Give a model that has the remaining units the weights that were written with the state."""
        try:
            load_model(model, str(self.weights(work)))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{self.weights(work)}: these weights are missing or damaged ({reason}); {self.RESTART}"
            ) from error

    def weights(self, work: Path) -> Path:
        """Where the weights after the last step are; written before the state that names them."""
        return work / f"weights-{self.progress.step}.safetensors"


def _neurons(units: Sequence[PruningUnit]) -> list[tuple[int, int]]:
    """Layer and number of all neurons in units."""
    return sorted((unit.layer, neuron) for unit in units for neuron in unit.neurons)
