"""The state of a run that is gone on with: of every command, and Trainer's."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conftest import tiny_bert
from fuzz.harness import Edge, replaced
from fuzz.mutations import damaged_json
from helpers.pruning_runs import KilledError
from helpers.result_files import pruning
from helpers.short_training import trained
from hypothesis import strategies as st

from latadj.commands.common.resume import FinetuneState
from latadj.commands.glue.glue import TaskState
from latadj.commands.prune.state import PLAN, PruneState
from latadj.commands.prune.topk_choice import ChosenTopK
from latadj.inference.blocks.run_state import STATE, BlocksState
from latadj.inference.blocks.storage import Storage
from latadj.inference.streams.rows import StreamPosition
from latadj.inference.streams.writing import Paths, PredictState, state_to_resume
from latadj.pruning.budgets import TimeModel
from latadj.pruning.gradual import GradualState, PendingStep
from latadj.pruning.search import Candidate
from latadj.pruning.units import PruningUnit
from latadj.training.callbacks import EMACallback, EpochOrderCallback
from latadj.training.trainer_checkpoints import last_whole_checkpoint, load_trainer_state

SETTINGS = {"seed": 0, "task": {"name": "films"}}
UNITS = [PruningUnit("attention", 0), PruningUnit("head", 0, 1), PruningUnit("neurons", 0, 0, (0, 1, 2))]
CANDIDATE = Candidate(UNITS[1].name, "head", 0, 1e6, 100, 0.8, 0.8, 0.4, 0.4, 0.0, (-0.1, 0.1), False, 1)
PRUNE = PruneState(
    SETTINGS,
    UNITS,
    TimeModel(0.1, 1e-9, 1e-9, 0.0, 0.0),
    1.0,
    GradualState([CANDIDATE], {"coarse": [UNITS[0].name]}, 1, [0.5], PendingStep([UNITS[2].name], True)),
    ChosenTopK([None, 0.5], []),
    pruning().frontier,
    12.5,
)
FINETUNE = FinetuneState(SETTINGS, "abc", {"plain": {"eval_accuracy": 0.8, "seconds": 3.0}})
GLUE = TaskState({"finetune": SETTINGS}, {"finetune": 3.0}, {"train": 100})
PREDICT = PredictState(
    SETTINGS,
    {"place": "cpu", "precision": "fp32", "kernel": "onednn"},
    StreamPosition(10, 11, 400),
    (300, 20),
    {"read": 10, "written": 9, "broken": 1},
)
BLOCKS = BlocksState(SETTINGS, serving=PREDICT.serving, counts={"read": 10, "written": 9, "broken": 1})


def read_by(read: Callable[[Path], object], name: str) -> Callable[[Path, None, bytes], None]:
    def use(folder: Path, material: None, content: bytes) -> None:
        replaced(folder / name, content, lambda: read(folder))

    return use


def nothing(folder: Path) -> None:
    """The file is all."""


def pruning_plan(folder: Path) -> None:
    data = PRUNE.to_json()
    (folder / "plan.json").write_text(json.dumps({name: data[name] for name in PLAN}))
    (folder / "state.json").write_text(json.dumps({name: data[name] for name in data if name not in PLAN}))


def read_pruning(folder: Path) -> PruneState:
    return PruneState.read(folder / "state.json", folder / "plan.json")


def of_pruning(*, plan: bool) -> Any:
    return {name: value for name, value in PRUNE.to_json().items() if (name in PLAN) == plan}


# Files of a Trainer checkpoint that a training goes on from.
CHECKPOINT = ["trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"]
CHECKPOINT += ["ema.safetensors", "order.safetensors"]


def killed_training(folder: Path) -> Path:
    work = folder / "work"
    validated: list[object] = []

    def killing(model: object) -> float:
        validated.append(model)
        if len(validated) > 2:
            raise KilledError
        return len(validated) / 10

    with suppress(KilledError):
        trained(tiny_bert(layers=1), work, killing, epochs=1, eval_steps=4, patience=99)
    return work


def go_on(folder: Path, work: Path, case: tuple[str, str, Any]) -> None:
    """Whatever happens to the newer checkpoint, one of the two is gone on from and none is lost."""
    name, how, value = case
    copy = Path(shutil.copytree(work, folder.parent / "copy"))
    try:
        path = copy / "checkpoint-8" / name
        data = path.read_bytes()
        if how == "json":
            known = json.loads((work / "checkpoint-8" / "trainer_state.json").read_text())
            key = sorted(known)[value[0] % len(known)]
            path = copy / "checkpoint-8" / "trainer_state.json"
            path.write_text(json.dumps({**known, key: value[1]}))
        elif how == "cut":
            path.write_bytes(data[: value * len(data) // 100])
        else:
            path.write_bytes(value)
        model = tiny_bert(layers=1)
        ema = EMACallback(model, 0.9)
        last = last_whole_checkpoint(copy, model, EpochOrderCallback.check, ema.check)
        assert last is not None
        state = load_trainer_state(last, model, ema.check)
        asdict(state)
        ema.load(last)
        kept = {path.name.removeprefix("damaged-") for path in copy.iterdir()}
        assert kept == {"checkpoint-4", "checkpoint-8"}
    finally:
        shutil.rmtree(copy)


odd = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}))
trainer_cases = st.one_of(
    st.tuples(st.sampled_from(CHECKPOINT), st.just("bytes"), st.binary(max_size=32)),
    st.tuples(st.sampled_from(CHECKPOINT), st.just("cut"), st.integers(0, 99)),
    st.tuples(st.just(CHECKPOINT[0]), st.just("json"), st.tuples(st.integers(0, 30), odd | st.lists(odd, max_size=2))),
)


def state_edge(name: str, data: Any, read: Callable[[Path], object], file: str, prepare: Any, examples: int) -> Edge:
    return Edge(f"state of {name}", prepare, damaged_json(data), read_by(read, file), examples)


def read_predict(folder: Path) -> None:
    state_to_resume(Paths(folder / "out.csv"), SETTINGS, resume=True, overwrite=False)


def read_blocks(folder: Path) -> None:
    BlocksState.of(Storage(str(folder), "output"))


EDGES = [
    state_edge("finetune", FINETUNE.to_json(), lambda f: FinetuneState.read(f / "s.json"), "s.json", nothing, 60),
    state_edge("glue", GLUE.to_json(), lambda f: TaskState.read(f / "s.json"), "s.json", nothing, 60),
    state_edge("predict", PREDICT.to_json(), read_predict, "out.csv.state.json", nothing, 60),
    state_edge("predict on Ray", BLOCKS.to_json(), read_blocks, STATE, nothing, 60),
    state_edge("prune", of_pruning(plan=False), read_pruning, "state.json", pruning_plan, 100),
    state_edge("prune, its plan", of_pruning(plan=True), read_pruning, "plan.json", pruning_plan, 60),
    Edge("Trainer's checkpoint", killed_training, trainer_cases, go_on, 24),
]
