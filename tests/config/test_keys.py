"""Which keys a command has, and what a misspelt one was meant to be."""

import pytest

from latadj.config import SCHEMAS
from latadj.config.keys import known, refuse_unknown_keys, unknown
from latadj.config.reference import options


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_option_is_known(command):
    assert all(known(command, option.key) for option in options(command))


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("finetune", "task"),
        ("finetune", "task.files.columns.sentence"),
        ("finetune", "task.data_files.train"),
        ("bench", "batch.0"),
        ("glue", "plain.epochs"),
        ("sweep", "compare.models.mine.speedup"),
    ],
)
def test_keys_below_an_option(command, key):
    assert known(command, key)
    refuse_unknown_keys(command, [key])


@pytest.mark.parametrize("key", ["plain.epochs.x", "compare.models.mine.speedp", "task.file"])
def test_keys_below_a_plain_value_are_unknown(key):
    assert not known("sweep", key)


@pytest.mark.parametrize(
    ("command", "key", "meant"),
    [
        ("sweep", "speedp", "did you mean speedup=?"),
        ("finetune", "adjust.epoch", "did you mean adjust.epochs=?"),
        ("finetune", "plain.lr", "did you mean plain.learning_rate=?"),
        ("finetune", "epochs", "did you mean plain.epochs= or adjust.epochs=?"),
        ("finetune", "tsk", "did you mean task=?"),
        ("finetune", "data_dir", "an option of `latadj glue`, not of finetune; did you mean task.data_dir=?"),
        ("predict", "deadline", "did you mean deadline_ms= or deadline_quantile=?"),
        ("explain", "speed", "did you mean speedup="),
        ("glue", "plain.epoch", "did you mean plain.epochs=?"),
        ("prune", "sparsity", "sparsity=: prune has no such option; `latadj prune --help` lists all"),
    ],
)
def test_the_nearest_key_is_named(command, key, meant):
    assert meant in unknown(command, key)


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra/launcher", "plain.epochs", "task@mine"])
def test_keys_of_hydra_and_of_other_commands_pass(key):
    refuse_unknown_keys("sweep", [key])
