"""Which process this is comes from a launcher's environment; what cannot be shared is refused in one line."""

import pytest
from helpers import toy_project as toy
from helpers.command_line import run

from latadj.commands.table import COMMANDS
from latadj.config.options.model import DeviceConfig
from latadj.devices import processes, ranks


@pytest.fixture
def launched(monkeypatch):
    def launch(rank=0, size=2, **more):
        values = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, **more}
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return launch


ARGUMENTS = {"generate": ["text"], "explain": ["text"], "collect": ["folder"], "push": ["folder", "you/model"]}


@pytest.mark.parametrize("command", [*(name for name in COMMANDS if name != "finetune"), "info", "collect", "push"])
def test_commands_that_cannot_share_their_work_say_so_once(launched, command):
    launched(rank=1)
    assert run(command, *ARGUMENTS.get(command, []), expect=2).output == ""
    launched(rank=0)
    result = run(command, *ARGUMENTS.get(command, []), expect=2)
    assert result.stderr == (
        f"latadj {command}: WORLD_SIZE=2: latadj {command} runs in one process, only finetune in several; start it "
        "without a launcher\n"
    )


def test_help_and_the_composed_config_need_no_other_process(launched):
    launched()
    assert "resume" in run("finetune", "--help").stdout
    assert "epochs" in run("finetune", "--cfg").stdout


def test_several_runs_of_several_processes_are_refused(launched):
    launched()
    assert "with --multirun each run has one process" in run("finetune", "--multirun", "seed=0,1", expect=2).stderr


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_models_in_pieces_are_refused(launched, name):
    launched(**{f"ACCELERATE_USE_{name}": "true"})
    assert "cuts models into pieces" in str(processes.problem("finetune", trains=True, multirun=False))


@pytest.mark.parametrize("size", ["x", "0", "-1"])
def test_a_number_of_processes_that_is_none_is_refused(monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(ValueError, match=f"WORLD_SIZE={size}: expected a number"):
        processes.size()


def test_a_batch_is_shared_evenly_or_not_at_all(launched):
    launched(size=3)
    processes.check_share(6, "plain.batch_size")
    with pytest.raises(
        ValueError, match=r"plain.batch_size=32: 3 processes share each batch; expected a multiple of 3"
    ):
        processes.check_share(32, "plain.batch_size")


def test_one_process_of_a_launcher_for_several_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    monkeypatch.setenv("MASTER_PORT", "29500")
    missing = [*toy.overrides(tmp_path), f"model.path={tmp_path / 'model'}"]
    assert "this is one process: for several on CPUs take torchrun" in run("finetune", *missing, expect=2).stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"name": "cpu", "cpus": [0, 1]}, r"device.cpus=\[0, 1\]: 2 processes would share these CPUs"),
        ({"name": "cuda:0"}, "device=cuda:0: 2 processes need a device each"),
        ({"name": "cuda"}, "device=cuda: 2 processes need a GPU each, and there are 1"),
    ],
)
def test_processes_that_would_share_a_device_are_refused(launched, monkeypatch, options, complaint):
    launched()
    monkeypatch.setattr(ranks.torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=complaint):
        ranks.take_device(DeviceConfig(**options))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_shares_cover_all_rows_in_their_order(monkeypatch, count):
    monkeypatch.setattr(ranks, "size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append([row * 10 for row in ranks.own_share(count)])
    assert ranks.in_order(shares, count) == [row * 10 for row in range(count)]
    assert count < 3 or max(map(len, shares)) - min(map(len, shares)) <= 1
