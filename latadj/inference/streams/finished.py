"""The result of a run that left nothing to do."""

from pathlib import Path
from typing import Any, TypedDict

from latadj.config import PredictConfig
from latadj.inference.streams.rows import RowCounts
from latadj.utils.files import read_json
from latadj.utils.serialization import structure


class _Deadline(TypedDict):
    """Of a result, as it is printed."""

    ms: float
    batches: int
    texts: int
    met_batches: int
    met_texts: int
    beyond_batches: int
    beyond_texts: int
    late_batches: int
    late_texts: int
    speedups: dict[str, int]


class _Finished(TypedDict):
    """The result of a run that left nothing to do, as it is read again."""

    input: str
    output: str
    settings: dict[str, Any]
    rows: RowCounts
    texts_per_s: float | None
    speedup: float | None
    deadline: _Deadline | None


def result_path(config: PredictConfig) -> Path:
    """Where the result is written."""
    return Path(config.folder) / "predict" / "predict.json"


def finished_result(config: PredictConfig, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a run into this output with these settings; None: there is none.

    Raises
    ------
    ValueError
        if it is damaged.
    """
    path = result_path(config)
    if not path.exists():
        return None
    mend = "make it anew with overwrite=true"
    result = read_json(path, "result", mend)
    try:
        structure(_Finished, result)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {mend}") from error
    return dict(result) if (result["output"], result["settings"]) == (config.output, settings) else None
