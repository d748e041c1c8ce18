import pytest
from omegaconf import OmegaConf

from latadj.config.compose import compose
from latadj.config.launchers import at_once, job_count, not_installed, own_defaults, swept

SWEEPER = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None}
FOLDER = "outputs/${model.name}-${task.name}"


def composed(launcher, sweeper=(), folder=FOLDER, **options):
    hydra = {"launcher": {"_target_": f"some.{launcher}", **options}, "sweeper": {**SWEEPER, **dict(sweeper)}}
    return OmegaConf.create({"hydra": hydra, "folder": folder})


@pytest.mark.parametrize(
    ("config", "jobs", "expected"),
    [
        (composed("BasicLauncher"), 3, None),
        (composed("JoblibLauncher", n_jobs=2), 3, (2, None)),
        (composed("JoblibLauncher", n_jobs=-1), 3, (3, None)),
        (composed("JoblibLauncher", n_jobs=-1), None, (8, None)),
        (composed("JoblibLauncher", n_jobs=-2), 9, (7, None)),
        (composed("LocalLauncher", {"max_batch_size": 4}, cpus_per_task=None), 9, (4, None)),
        (composed("LocalLauncher", {"max_batch_size": 4}, cpus_per_task=2), 9, (4, 2)),
        (composed("SlurmLauncher"), 3, None),
        (composed("RayLauncher", ray={"remote": {"num_cpus": 2}}), 3, (None, 2)),
        (composed("RayLauncher", ray={"remote": {}}), 3, (None, 1)),
    ],
)
def test_slots_follow_from_the_launchers_own_options(config, jobs, expected):
    assert at_once(config, 8, jobs) == expected


def test_jobs_are_counted_where_they_can_be():
    config = composed("BasicLauncher")
    assert job_count(["seed=0,1,2", "task=sst2,cola", "device=cpu"], config) == 6
    assert job_count(["seed=range(0,4)"], config) == 4
    assert job_count(["model=glob(*)"], config) is None
    assert job_count(["seed=0,1"], composed("BasicLauncher", {"params": {"plain.epochs": "1,2"}})) is None
    assert job_count(["seed=0,1"], composed("BasicLauncher", {"_target_": "optuna.Sweeper"})) is None


def test_each_job_gets_a_folder_by_what_makes_it_this_job():
    given = ["task=sst2", "seed=0,1", "speedup=3"]
    added = own_defaults(composed("BasicLauncher"), given, ["task", "seed", "speedup"], 8)
    assert f"folder={FOLDER}/${{hydra:job.override_dirname}}" in added
    assert "hydra.job.config.override_dirname.exclude_keys=['folder','model','speedup','task']" in added
    assert swept(given) == ["seed"]


def test_a_folder_that_is_given_or_tells_the_jobs_apart_stays():
    assert own_defaults(composed("BasicLauncher"), ["seed=0,1", "folder=x"], ["seed", "folder"], 8) == []
    assert own_defaults(composed("BasicLauncher"), ["task=sst2,cola"], ["task"], 8) == []
    assert own_defaults(composed("BasicLauncher", folder="outputs/bench"), ["model=bert,gpt2"], ["model"], 8)


def test_jobs_that_are_all_started_at_once_come_in_batches():
    config = composed("LocalLauncher", cpus_per_task=2)
    assert "hydra.sweeper.max_batch_size=4" in own_defaults(config, ["seed=0,1", "folder=x"], ["seed", "folder"], 8)


def test_a_launcher_that_is_not_there():
    assert not_installed("joblib") == "hydra/launcher=joblib is not installed: pip install 'latadj[launchers]'"
    assert "--no-deps hydra-ray-launcher" in not_installed("ray")
    with pytest.raises(ValueError, match=r"^hydra/launcher=slurm: expected one of basic, joblib, "):
        compose("sweep", ["hydra/launcher=slurm"])


def test_no_clock_ends_a_job_of_this_machine_unless_one_is_given():
    config, keys = composed("LocalLauncher", cpus_per_task=1), ["seed", "folder"]
    assert "hydra.launcher.timeout_min=525600" in own_defaults(config, ["seed=0,1", "folder=x"], keys, 8)
    given = own_defaults(config, ["seed=0,1", "folder=x"], [*keys, "hydra.launcher.timeout_min"], 8)
    assert not any("timeout_min" in one for one in given)
    # A cluster has limits of its own.
    cluster = own_defaults(composed("SlurmLauncher"), ["seed=0,1", "folder=x"], keys, 8)
    assert not any("timeout_min" in one for one in cluster)
