"""What a training run needs to be resumed: its settings, and for a fine-tuning the stages that are done."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from latadj.checkpoints.weight_files import fingerprint
from latadj.commands.common.training_checks import teacher_of
from latadj.config import FinetuneConfig, RunConfig
from latadj.devices.device import choose
from latadj.devices.precision_probe import trains_in_bf16
from latadj.tasks.data.splits import Splits
from latadj.utils.files import recover_folder
from latadj.utils.run_state import RunState


def run_settings(config: RunConfig, names: Sequence[str], model: Path, splits: Splits | None) -> dict[str, Any]:
    """The settings of a run, by name, as a JSON file gives them back.

    Parameters
    ----------
    names : parts of the config
    model : folder of the model that the run starts from; left out if it is on the hub
    splits : the run's examples; None: left out
    """
    settings: dict[str, Any] = json.loads(json.dumps({name: asdict(config)[name] for name in names}))
    settings["train_precision"] = "bf16" if trains_in_bf16(config.device, choose(config.device)) else "fp32"
    if (teacher := teacher_of(config)) is not None:
        settings["teacher"] = fingerprint(teacher[1])
    if model.is_dir():
        settings["weights"] = fingerprint(model)
    if splits is not None:
        settings["data"] = splits.fingerprint
    return settings


SETTINGS = ("model", "task", "prompt", "seed", "plain")
# Options of the adjustable stage, which may change until it begins.
ADJUSTABLE_SETTINGS = ("adjustable", "adjust", "calibration")


@dataclass
class FinetuneState(RunState):
    """The stages of a run that are done.

    run : a name of its own, which its plain model and its checkpoint carry too
    stages : validation metrics of the stages that are done
    """

    SCHEMA: ClassVar[str] = "latadj.finetune-state/1"
    LABEL: ClassVar[str] = "fine-tuning state"

    run: str
    stages: dict[str, dict[str, float]]

    @classmethod
    def of(cls, config: FinetuneConfig, splits: Splits | None = None) -> "FinetuneState":
        """The state to resume with ``resume=true``, else that of a new run.

        Parameters
        ----------
        splits : the run's examples; None: they are not compared

        Raises
        ------
        ValueError
            if the run to resume was started with other settings, or the work of an unfinished run of the same ones
            would be lost.
        """
        work = Path(config.folder) / "finetune"
        settings = run_settings(config, (*SETTINGS, *ADJUSTABLE_SETTINGS), Path(config.model.path), splits)
        if not config.resume or not (work / "state.json").is_file():
            if not config.resume and not config.overwrite:
                cls._refuse_loss(config, settings)
            return cls(settings, uuid4().hex, {})
        state = cls.read(work / "state.json")
        begun = "adjustable" in state.stages or (work / "adjustable").is_dir()
        free = () if begun else (*ADJUSTABLE_SETTINGS, "teacher")
        if not begun and "plain" in state.stages:
            free = (*free, "train_precision")
        fixed = {name: value for name, value in settings.items() if name not in free}
        state.refuse_other_settings(config.folder, fixed)
        state.settings = settings
        for stage, folder in (("plain", Path(config.folder) / "plain"), ("adjustable", Path(config.checkpoint))):
            recover_folder(folder)
            if not folder.is_dir():
                state.stages.pop(stage, None)
        return state

    @classmethod
    def _refuse_loss(cls, config: FinetuneConfig, settings: dict[str, Any]) -> None:
        """Refuse to start anew where a run of the same settings was interrupted."""
        work = Path(config.folder) / "finetune"
        try:
            state = cls.read(work / "state.json")
        except (OSError, ValueError):  # none, or one that cannot be gone on with
            return
        begun = [stage for stage in ("plain", "adjustable") if any((work / stage).glob("checkpoint-*"))]
        finished = "plain" in state.stages and ("adjustable" in state.stages or not config.adjustable)
        if state.settings != settings or finished or not (begun or state.stages):
            return
        done = [f"{stage} is done" for stage in state.stages] + [f"{stage} has begun" for stage in begun]
        raise ValueError(
            f"folder={config.folder}: an unfinished run of the same settings is here ({', '.join(done)}): resume=true "
            "goes on with it, overwrite=true starts anew"
        )
