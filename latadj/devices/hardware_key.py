"""A device's name in ``latadj.json``: what is told apart, and which of it can be known without importing torch."""

import os
import platform
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from latadj.devices.affinity import affinity

_TEXT = re.compile(r"(?P<processor>.*), (?P<kind>[a-z]+)(?:, (?P<threads>\d+) threads)?, torch (?P<torch>\S+)")


@dataclass(frozen=True)
class HardwareKey:
    """All that the speed of a device depends on, but for the precision.

    kind : ``cpu``, ``cuda`` or ``mps``
    threads : None where the number of CPU threads does not count
    """

    processor: str
    kind: str
    threads: int | None
    torch: str

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {self.threads} threads"
        return f"{self.processor}, {self.kind}{threads}, torch {self.torch}"

    @classmethod
    def of(cls, text: str) -> "HardwareKey | None":
        """Inverse of ``str``; None for another text."""
        match = _TEXT.fullmatch(text)
        if match is None:
            return None
        threads = match["threads"]
        return cls(match["processor"], match["kind"], None if threads is None else int(threads), match["torch"])

    def but_for_threads(self, other: "HardwareKey") -> bool:
        """Whether the two are alike, whatever the number of threads."""
        return (self.processor, self.kind, self.torch) == (other.processor, other.kind, other.torch)


def cpu_name() -> str:
    """Name of this machine's processor."""
    name = cpuinfo("model name")
    return platform.processor() if name is None else name


def cpuinfo(*keys: str) -> str | None:
    """What Linux says of the first core under one of these keys; None on another system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(keys)), "")


def likely_cpu() -> HardwareKey | None:
    """This machine's CPU with the threads that PyTorch most likely takes; None where only torch can tell."""
    version = _torch_version()
    if version is None or _may_have_gpu():
        return None
    wish = os.environ.get("OMP_NUM_THREADS", "")
    cores = min(psutil.cpu_count(logical=False) or 1, len(affinity() or range(os.cpu_count() or 1)))
    return HardwareKey(cpu_name(), "cpu", int(wish) if wish.isdigit() else cores, version)


def _torch_version() -> str | None:
    """``torch.__version__`` with its build, which the package's metadata leave out; None if torch does not say."""
    spec = find_spec("torch")
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root) / "version.py"
        if path.is_file():
            match = re.search(r"^__version__ = '([^']+)'", path.read_text(encoding="utf-8"), re.MULTILINE)
            return match[1] if match else None
    return None


def _may_have_gpu() -> bool:
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or platform.system() in ("Darwin", "Windows")
