"""The unlabelled test examples that GLUE's server wants predictions for, from its official files or the hub."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from latadj.config import FilesConfig, TaskConfig
from latadj.tasks.data.sources import read_file, read_hub, require_columns
from latadj.tasks.glue import Part


def official_file(task: TaskConfig, part: Part) -> Path | None:
    """The official test file of a part in ``task.data_dir``; None if it is not there."""
    if not task.data_dir:
        return None
    return next((path for name in part.names if (path := Path(task.data_dir) / name).is_file()), None)


def read_test(task: TaskConfig, part: Part) -> pd.DataFrame | None:
    """The unlabelled examples of a part: ``task.text`` and ``index``, the server's number of each.

    Returns
    -------
    None where they are not on hand

    Raises
    ------
    ValueError
        if the file or the hub's data set is there and cannot be read.
    """
    if task.data_dir:
        path = official_file(task, part)
        if path is None:
            return None
        frame = read_file(path, FilesConfig(format="tsv"), task)
        columns = dict(zip(part.columns, task.text, strict=True))
        require_columns(frame, columns, str(path))
        number = next((column for column in ("index", "id") if column in frame.columns), None)
        index = range(len(frame)) if number is None else frame[number].astype(int)
        texts = frame[list(columns)].rename(columns=columns)
    else:
        if task.hub is None:
            return None
        source = replace(task.hub, name=part.hub_name or task.hub.name)
        frame = read_hub(source, [part.split], [*task.text, "idx"])[part.split]
        texts, index = frame[task.text], frame["idx"].astype(int)
    texts = texts.fillna("").astype(str).apply(lambda column: column.str.strip())
    return texts.assign(index=list(index))
