"""Where trainings and sweeps report besides the log: the trackers that Trainer knows, one run a folder."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from latadj.utils.files import read_json, write_json
from latadj.utils.serialization import structure, unstructure

# The variables by which a user names a place, and the first also by which transformers' callback is told its folder.
TENSORBOARD, MLFLOW, WANDB = "TENSORBOARD_LOGGING_DIR", "MLFLOW_TRACKING_URI", "WANDB_PROJECT"
PROJECT = "latadj"
FILE = "trackers.json"


@dataclass
class TrackedRun:
    """Where the run of a folder is found again.

    tensorboard, mlflow_uri, wandb_project : as the user named them; None: as latadj does
    mlflow, wandb : its ids there; None: none yet
    """

    tensorboard: str | None = None
    mlflow_uri: str | None = None
    mlflow: str | None = None
    wandb_project: str | None = None
    wandb: str | None = None


@dataclass(frozen=True)
class Trackers:
    """The trackers of a run.

    names : as in ``TrainingArguments.report_to``; none: only the log
    folder : of the run, by which trackers call it
    """

    names: tuple[str, ...] = ()
    folder: Path = Path()

    @property
    def run_name(self) -> str | None:
        """What a tracker calls the run; None: nothing is reported."""
        return self.folder.resolve().name if self.names else None

    def forget(self) -> None:
        """Begin a new run instead of the one that was tracked for this folder before.

        TensorBoard shows all that lies in a folder, so what latadj has put there goes; a folder that a user has named
        is left alone.
        """
        if not self._tensorboard_is_named():
            shutil.rmtree(self._tensorboard(), ignore_errors=True)
        (self.folder / FILE).unlink(missing_ok=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Have what Trainer reports inside a ``with`` block belong to a stage of the run.

        A stage has a folder of its own in TensorBoard's and a nested run in MLflow, since each counts its own steps.
        """
        with ExitStack() as stack:
            if "tensorboard" in self.names:
                # One that the user named is taken as it is.
                folder = os.environ.get(TENSORBOARD) or str(self._tensorboard() / name.replace(" ", "-"))
                self._record(tensorboard=os.environ.get(TENSORBOARD))
                stack.enter_context(_environment({TENSORBOARD: folder}))
            if "mlflow" in self.names:
                mlflow = stack.enter_context(self._mlflow())
                stack.enter_context(mlflow.start_run(run_name=name, nested=True))
            if "wandb" in self.names:
                stack.enter_context(self._wandb())
            yield

    def report(self, name: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Add rows of numbers to the run.

        Parameters
        ----------
        name : of the table, put before that of each number
        rows : step and numbers of each; a run may be given the same steps again
        """
        table = [(step, {f"{name}/{key}": value for key, value in row.items()}) for step, row in rows]
        with ExitStack() as stack:
            if "tensorboard" in self.names:
                named = os.environ.get(TENSORBOARD) or self._recorded().tensorboard
                writer = stack.enter_context(_summary_writer()(named or str(self._tensorboard() / name)))
                for step, row in table:
                    for key, value in row.items():
                        writer.add_scalar(key, value, step)
            if "mlflow" in self.names:
                mlflow = stack.enter_context(self._mlflow())
                for step, row in table:
                    mlflow.log_metrics(row, step=step)
            if "wandb" in self.names:
                run = stack.enter_context(self._wandb())
                run.define_metric(f"{name}/*", step_metric=f"{name}/speedup")
                for _, row in table:
                    run.log(row)

    def _tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    def _tensorboard_is_named(self) -> bool:
        """Whether a user has named latadj's own folder or one in it, or may have."""
        try:
            named = [os.environ.get(TENSORBOARD), self._recorded().tensorboard]
        except ValueError:
            return True
        return any(name and Path(name).resolve().is_relative_to(self._tensorboard().resolve()) for name in named)

    @contextmanager
    def _mlflow(self) -> Iterator[Any]:
        """The module, with the folder's run active: the one that was begun before, or a new one."""
        import mlflow

        recorded, named = self._recorded(), os.environ.get(MLFLOW)
        uri = named or recorded.mlflow_uri or (self.folder / "mlruns").resolve().as_uri()
        # Newer releases want to be told that files may be a store; the id would have the callback leave this run.
        with (
            _environment({MLFLOW: uri, "MLFLOW_ALLOW_FILE_STORE": "true"}),
            _mlflow_run(mlflow, recorded.mlflow, self.run_name) as run,
            _environment({"MLFLOW_RUN_ID": None}),
        ):
            self._record(mlflow=run.info.run_id, mlflow_uri=named or recorded.mlflow_uri)
            yield mlflow
            mlflow.flush_async_logging()

    @contextmanager
    def _wandb(self) -> Iterator[Any]:
        """The folder's run: the one that was begun before, or a new one."""
        import wandb

        recorded = self._recorded()
        project = os.environ.get(WANDB) or recorded.wandb_project
        run = wandb.init(
            project=project or PROJECT, id=recorded.wandb, resume="allow", name=self.run_name, dir=str(self.folder)
        )
        self._record(wandb=run.id, wandb_project=project)
        try:
            yield run
        finally:
            run.finish()

    def _recorded(self) -> TrackedRun:
        path = self.folder / FILE
        if not path.is_file():
            return TrackedRun()
        mend = "remove it, and a new run begins"
        data = read_json(path, "list of tracked runs", mend)
        try:
            return structure(TrackedRun, data)
        except ValueError as error:
            raise ValueError(f"{path}: this list of tracked runs is damaged ({error}); {mend}") from error

    def _record(self, **changes: str | None) -> None:
        before = unstructure(self._recorded())
        if (after := before | changes) != before:
            write_json(self.folder / FILE, after)


def _summary_writer() -> Any:
    # As transformers' callback looks for it.
    try:
        return import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError:
        return import_module("tensorboardX").SummaryWriter


def _mlflow_run(mlflow: Any, run_id: str | None, name: str | None) -> Any:
    """A run that was begun before, or a new one where there is none, or it is gone from the store."""
    if run_id is not None:
        try:
            return mlflow.start_run(run_id=run_id)
        except mlflow.exceptions.MlflowException:
            pass
    return mlflow.start_run(run_name=name)


@contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Variables of the environment inside a ``with`` block; None takes one away."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
