"""What a training run depends on: the settings that must be the same for it to be resumed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latadj.checkpoints.weight_files import fingerprint
from latadj.commands.common.session import as_dict
from latadj.commands.common.teacher_checks import teacher_of
from latadj.config import RunConfig
from latadj.devices.device import choose, trains_in_bf16
from latadj.tasks.data.splits import Splits


def run_settings(config: RunConfig, names: Sequence[str], model: Path, splits: Splits | None) -> dict[str, Any]:
    """The settings of a run, by name, as a JSON file gives them back.

    Parameters
    ----------
    names : parts of the config
    model : folder of the model that the run starts from; left out if it is on the hub
    splits : the run's examples; None: left out
    """
    settings: dict[str, Any] = json.loads(json.dumps({name: as_dict(config)[name] for name in names}))
    settings["train_precision"] = "bf16" if trains_in_bf16(config.device, choose(config.device)) else "fp32"
    if (teacher := teacher_of(config)) is not None:
        settings["teacher"] = fingerprint(teacher[1])
    if model.is_dir():
        settings["weights"] = fingerprint(model)
    if splits is not None:
        settings["data"] = splits.fingerprint
    return settings
