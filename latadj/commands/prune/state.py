"""How far `latadj prune` has come, written down so that a kill loses little.

That is one candidate of a search, and of a recovery what came after its last validation. The choice of hard attention,
short as it is, starts anew.
"""

import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from transformers import PreTrainedModel

from latadj.checkpoints.weight_files import fingerprint
from latadj.commands.common.training_stages import refuse_other_settings, settings_of
from latadj.commands.prune.topk_choice import ChosenTopK
from latadj.config import PruneConfig
from latadj.pruning.budgets import TimeModel
from latadj.pruning.gradual import Steps
from latadj.pruning.units import PruningUnit
from latadj.reporting.results.pruning import PrunedModel
from latadj.tasks.data.splits import Splits
from latadj.utils.files import atomic_write, read_json, readable_disk_errors, write_json
from latadj.utils.serialization import structure

SETTINGS = ("model", "task", "seed", "checkpoint", "output", "prune", "topk_attention", "recover")


@dataclass
class PruneState:
    """What a run needs to go on.

    settings : what the run was started with; only a run with the same may go on
    parts : with the neurons that go together, found by gradients once; empty until then
    times : of a budget in time, and what clocks said of how right they are
    steps : what became of the parts so far
    hard : hard attention that was chosen
    models : those that are saved
    seconds : that search and recoveries took until the last write, in all processes
    """

    settings: dict[str, Any]
    parts: list[PruningUnit] = field(default_factory=list)
    times: TimeModel | None = None
    correction: float = 1.0
    steps: Steps = field(default_factory=Steps)
    hard: ChosenTopK | None = None
    models: list[PrunedModel] = field(default_factory=list)
    seconds: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, config: PruneConfig, splits: Splits) -> "PruneState":
        """The state to go on from with ``resume``, else that of a new run on these examples.

        Raises
        ------
        ValueError
            if the run to go on with was started with other settings.
        """
        work = Path(config.folder) / "prune"
        # Times that one device told are none of another's.
        names = (*SETTINGS, "device") if config.prune.objective == "speed" else SETTINGS
        settings = settings_of(config, names)
        settings |= {"weights": fingerprint(Path(config.checkpoint)), "data": splits.fingerprint}
        if not config.resume or not (work / "state.json").is_file():
            return cls(settings)
        mend = "start anew without resume=true"
        found = read_json(work / "state.json", "pruning state", mend)
        plan = read_json(work / "plan.json", "pruning plan", mend)
        refuse_other_settings(config, plan["settings"], settings)
        try:
            state = cls._read(settings, plan, found)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{work}: this pruning state is damaged, or of another version; {mend}") from error
        for model in state.models:
            if not Path(model.folder).is_dir():
                raise ValueError(f"resume=true: {model.folder}, which this run had saved, is gone; {mend}")
        return state

    @classmethod
    def _read(cls, settings: dict[str, Any], plan: dict[str, Any], found: dict[str, Any]) -> "PruneState":
        return cls(
            settings,
            structure(list[PruningUnit], plan["parts"]),
            None if plan["times"] is None else structure(TimeModel, plan["times"]),
            float(found["correction"]),
            structure(Steps, found["steps"]),
            None if found["hard"] is None else structure(ChosenTopK, found["hard"]),
            structure(list[PrunedModel], found["models"]),
            float(found["seconds"]),
        )

    def start(self, work: Path) -> None:
        """Write down what does not change any more, and take the leftovers of an earlier run away."""
        (work / "state.json").unlink(missing_ok=True)
        self.clean(work)
        times = None if self.times is None else asdict(self.times)
        plan = {"settings": self.settings, "parts": [asdict(part) for part in self.parts], "times": times}
        write_json(work / "plan.json", plan)
        self.write(work)

    def write(self, work: Path, model: PreTrainedModel | None = None) -> None:
        """Write down how far the run has come, with the weights of a model that was trained on the way."""
        if model is not None:
            with readable_disk_errors(work), atomic_write(self.weights(work)) as temporary:
                save_model(model, str(temporary))
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        found = {
            "seconds": self.seconds,
            "correction": self.correction,
            "steps": asdict(self.steps),
            "hard": None if self.hard is None else asdict(self.hard),
            "models": [asdict(each) for each in self.models],
        }
        write_json(work / "state.json", found)
        if model is not None:
            self.clean(work, all_but=self.weights(work))

    @staticmethod
    def clean(work: Path, all_but: Path | None = None) -> None:
        """Take away weights and trainings that no state needs any more."""
        for weights in work.glob("weights-*.safetensors"):
            if weights != all_but:
                weights.unlink()
        for training in work.glob("recovery-*"):
            shutil.rmtree(training, ignore_errors=True)

    def restore(self, work: Path, model: PreTrainedModel) -> None:
        """Give a model, which has the parts that are left, the weights that were written with the state."""
        try:
            load_model(model, str(self.weights(work)))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{self.weights(work)}: these weights are missing or damaged ({reason}); start anew without resume=true"
            ) from error

    def weights(self, work: Path) -> Path:
        """Where the weights after the last step are; written before the state that names them."""
        return work / f"weights-{self.steps.step}.safetensors"
