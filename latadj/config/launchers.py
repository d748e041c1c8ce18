"""Hydra's launchers: how each is installed, and how many jobs of a multirun it runs at once on one machine."""

from math import prod
from typing import Any

from omegaconf import DictConfig, OmegaConf

SERIAL = "basic"
# submitit ends a job of this machine after an hour, unless it is told otherwise: here after a year.
NO_TIMEOUT_MIN = 365 * 24 * 60
_LAUNCHERS = "pip install 'latadj[launchers]'"
# hydra-ray-launcher 1.2.2 asks for a cloudpickle from before Python 3.12 and for Amazon's library; it works without.
_RAY = "pip install 'latadj[ray]' and then pip install --no-deps hydra-ray-launcher==1.2.2"
INSTALLED_BY = {"joblib": _LAUNCHERS, "submitit_local": _LAUNCHERS, "submitit_slurm": _LAUNCHERS, "ray": _RAY}


def not_installed(name: str) -> str:
    """What to say of a launcher that Hydra does not find."""
    if name in INSTALLED_BY:
        return f"hydra/launcher={name} is not installed: {INSTALLED_BY[name]}"
    return f"hydra/launcher={name}: expected one of {', '.join([SERIAL, *INSTALLED_BY])}"


def launcher_of(composed: DictConfig) -> str:
    """Name of the launcher in a config that was composed for a multirun; its class's where it is none of ours."""
    target = str(OmegaConf.select(composed, "hydra.launcher._target_"))
    names = {"BasicLauncher": SERIAL, "JoblibLauncher": "joblib", "LocalLauncher": "submitit_local"}
    names |= {"SlurmLauncher": "submitit_slurm", "RayLauncher": "ray"}
    return names.get(target.rpartition(".")[2], target)


def swept(overrides: list[str]) -> list[str]:
    """The keys that have several values, in their order.

    Raises
    ------
    HydraException
        if an override is no override.
    """
    return [str(override.key_or_group) for override in _parsed(overrides) if override.is_sweep_override()]


def job_count(overrides: list[str], composed: DictConfig) -> int | None:
    """How many jobs a multirun has; None where only its sweeper knows."""
    sweeper = composed.hydra.sweeper
    if not str(OmegaConf.select(composed, "hydra.sweeper._target_")).endswith(".BasicSweeper") or sweeper.get("params"):
        return None
    many = [override for override in _parsed(overrides) if override.is_sweep_override()]
    if any(not override.is_discrete_sweep() or "glob(" in str(override.input_line) for override in many):
        return None
    return prod(len(list(override.sweep_string_iterator())) for override in many)


def at_once(composed: DictConfig, cpus: int, jobs: int | None) -> tuple[int | None, int | None] | None:
    """How a launcher shares out one machine.

    Parameters
    ----------
    cpus : how many CPUs the jobs may run on
    jobs : how many there are, if that is known

    Returns
    -------
    how many jobs run at once and how many CPUs each of them has, one of them None where it follows from the other;
    None alone where jobs run one after the other, or whoever starts them gives them CPUs
    """
    name, options = launcher_of(composed), composed.hydra.launcher
    most = jobs or cpus
    if name == "joblib":
        wished = int(options.n_jobs)
        return max(min(most, wished if wished > 0 else cpus + 1 + wished), 1), None
    if name == "submitit_local":
        batch = composed.hydra.sweeper.get("max_batch_size")
        return min(most, int(batch or cpus)), options.cpus_per_task
    if name == "ray":
        return None, max(int(OmegaConf.select(options, "ray.remote.num_cpus") or 1), 1)
    return None


def own_defaults(composed: DictConfig, overrides: list[str], keys: list[str], cpus: int) -> list[str]:
    """What a multirun adds to a user's overrides, where these do not say it: a folder for each job, and its log.

    Parameters
    ----------
    composed : the config without these
    keys : of the overrides
    cpus : how many CPUs the jobs may run on
    """
    added, name = [], launcher_of(composed)
    folder = str(OmegaConf.to_container(composed, resolve=False)["folder"])  # type: ignore[call-overload, index]
    # What the command's own folder says already is left out of the name of a job's.
    by_name = {key for key in ("model", "task") if f"${{{key}.name}}" in folder}
    many = swept(overrides)
    if "folder" not in keys and set(many) - by_name:
        aside = {"folder", *by_name, *(key for key in keys if key not in many)}
        added += [
            f"hydra.job.config.override_dirname.exclude_keys=[{','.join(map(repr, sorted(aside)))}]",
            f"folder={folder}/${{hydra:job.override_dirname}}",
        ]
    if name == "submitit_local" and "hydra.sweeper.max_batch_size" not in keys:  # it starts all of a batch at once
        added.append(f"hydra.sweeper.max_batch_size={max(cpus // (composed.hydra.launcher.cpus_per_task or 1), 1)}")
    if name == "submitit_local" and "hydra.launcher.timeout_min" not in keys:
        added.append(f"hydra.launcher.timeout_min={NO_TIMEOUT_MIN}")
    if name != SERIAL and not any(key.startswith(("hydra/job_logging", "hydra.job_logging")) for key in keys):
        added.append("hydra.job_logging.root.handlers=[file]")
    return added


def _parsed(overrides: list[str]) -> list[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides(overrides)
