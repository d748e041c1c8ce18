"""Where a result comes from, as far as tables and pages read it again: the machine, and the config of the run."""

from typing import Annotated, Any, TypedDict

from latadj.utils.serialization import Like


class _Quiet(TypedDict):
    busy_elsewhere: float
    steal: float
    spread: float | None
    noisy: bool
    warning: str | None


class Quiet(_Quiet, total=False):
    """See ``latadj.benchmark.noise.NoiseReport``; earlier versions did not know who ran beside."""

    beside: int


class Machine(TypedDict):
    """What every result says of the machine."""

    processor: str
    threads: int
    precision: str


class _Environment(Machine, total=False):
    device: str
    kernel: str
    cores: int | None
    affinity: list[int] | None
    cpu_flags: list[str] | None
    platform: str
    python: str
    packages: dict[str, str | None]
    commit: str | None
    time: str
    quiet: Quiet | None


class _Task(TypedDict, total=False):
    name: str
    batch_size: int


class _Prune(TypedDict, total=False):
    confidence: float


class _Config(TypedDict, total=False):
    task: _Task
    prune: _Prune
    seed: int


# See ``latadj.devices.environment.environment``.
Environment = Annotated[dict[str, Any], Like(_Environment)]
# Of any command.
Config = Annotated[dict[str, Any], Like(_Config)]
