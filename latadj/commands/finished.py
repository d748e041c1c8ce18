"""What a run folder's command has finished with, so that a multirun does not do it again."""

from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from latadj import __version__
from latadj.checkpoints.metadata import METADATA_FILE
from latadj.config import CalibrateConfig, ExportConfig, ExtractConfig, FinetuneConfig, PruneConfig, RunConfig
from latadj.utils.files import load_json, write_json
from latadj.utils.serialization import structure, unstructure

SCHEMA = "latadj.finished/1"
# How a run begins, and on which of many like CPUs, is no part of what it finds.
ASIDE = ("resume", "overwrite")


@dataclass
class Finished:
    """A run that ended well.

    settings : its typed config
    checkpoint : what its checkpoint was like when it ended; empty where there is none
    results : names of the JSON files that it left in its folder
    multirun, job : of the multirun that it was a job of, if any
    """

    settings: dict[str, Any]
    checkpoint: str
    results: list[str]
    version: str = __version__
    multirun: str = ""
    job: int = 0
    schema: str = field(default=SCHEMA)

    @classmethod
    def of(cls, command: str, config: RunConfig, multirun: str = "", job: int = 0) -> "Finished":
        """The run that has just ended."""
        results = sorted(path.name for path in _folder(command, config).glob("*.json"))
        return cls(_settings(config), _checkpoint(config), results, multirun=multirun, job=job)

    @classmethod
    def read(cls, command: str, config: RunConfig) -> "Finished | None":
        """What the folder of a config was left with; None where nothing ended well there, or nobody can tell."""
        path = _file(command, config)
        if not path.is_file():
            return None
        try:
            finished = structure(cls, load_json(path))
        except ValueError:
            return None  # of another version: the run is done anew
        return finished if finished.schema == SCHEMA else None

    def write(self, command: str, config: RunConfig) -> None:
        """Leave it in the run's folder."""
        write_json(_file(command, config), unstructure(self))

    def serves(self, command: str, config: RunConfig) -> bool:
        """Whether a run of the config would find what is there: the same settings, on the same checkpoint."""
        there = all((_folder(command, config) / name).is_file() for name in self.results)
        there = there and all(folder.is_dir() for folder in _outputs(config))
        same = self.settings == _settings(config) and self.checkpoint == _checkpoint(config)
        return there and bool(self.results) and same and self.version == __version__


def forget(command: str, config: RunConfig) -> None:
    """Before a run begins: what is there is about to go."""
    _file(command, config).unlink(missing_ok=True)


def _folder(command: str, config: RunConfig) -> Path:
    return Path(config.folder) / command


def _file(command: str, config: RunConfig) -> Path:
    return _folder(command, config) / ".hydra" / "finished.json"  # beside the composed config


def _outputs(config: RunConfig) -> list[Path]:
    """Folders of what it makes besides its results."""
    if isinstance(config, PruneConfig):
        return config.outputs()
    return [Path(config.output)] if isinstance(config, (ExtractConfig, ExportConfig)) else []


def _settings(config: RunConfig) -> dict[str, Any]:
    """As JSON gives it back."""
    settings = {key: value for key, value in asdict(config).items() if key not in ASIDE}
    settings["device"] = {**settings["device"], "cpus": None}
    return dict(unstructure(settings))


def _checkpoint(config: RunConfig) -> str:
    """Sizes and times of the files of a checkpoint, and of its dial, for those who do not make it themselves."""
    folder = Path(getattr(config, "checkpoint", "") or "")
    if not getattr(config, "checkpoint", "") or not folder.is_dir():
        return ""
    files = sorted(folder.glob("*.safetensors"))
    if not isinstance(config, (FinetuneConfig, PruneConfig, CalibrateConfig)):
        files.append(folder / METADATA_FILE)
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file()]
    return sha256(repr(facts).encode()).hexdigest()
