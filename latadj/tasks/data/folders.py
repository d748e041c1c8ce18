"""Labelled texts in folders: FOLDER/train/CLASS/*.txt, FOLDER/test/CLASS/*.txt, a text a file."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from latadj.config import TaskConfig
from latadj.tasks.data.paths import require_folder
from latadj.tasks.data.splits import SplitFrames

# Names that the folder of a split may have.
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
FORMAT = "folders"
LAYOUT = f"expected FOLDER/SPLIT/CLASS/*.txt, with the splits train, test and perhaps {', '.join(SPLITS['validation'])}"


def read_folders(task: TaskConfig) -> SplitFrames:
    """The texts in ``task.data_dir``, each split with a folder for each class.

    The classes are those of ``task.files.classes``, else those that ``task.labels`` names, else all that there are;
    other folders are left out.

    Raises
    ------
    ValueError
        if a folder is missing or holds no text, or the task reads pairs.
    """
    require_folder(task)
    root = Path(task.data_dir or "")
    if len(task.text) != 1:
        raise ValueError(f"task.text={task.text}: a file in task.data_dir={root} is one text: name one column")
    named = task.files.classes if task.files is not None else {}
    classes = named or {label: label for label in task.labels or ()}
    found = {split: _folder(root, names) for split, names in SPLITS.items()}
    if found["train"] is None and found["test"] is None:
        inside = [path.name for path in _folders(root)]
        below = next((root / name for name in inside if (root / name / "train").is_dir()), None)
        there = f"there are {', '.join(inside[:8])}" if inside else "there is no folder in it"
        way_out = f"; did you mean task.data_dir={below}?" if below else f"; {there}"
        raise ValueError(f"task.data_dir={root}: {LAYOUT}{way_out}")
    frames = {split: _read(folder, classes, task) for split, folder in found.items() if folder is not None}
    tests = {"test": frames["test"]} if "test" in frames else {}
    return SplitFrames(frames.get("train"), frames.get("validation"), tests)


def _folder(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read(folder: Path, classes: Mapping[str, str], task: TaskConfig) -> pd.DataFrame:
    """The texts of one split, class by class, in the order of the files' names."""
    there = [path.name for path in _folders(folder)]
    names = dict(classes) or {name: name for name in there}
    missing = [name for name in names if name not in there]
    if missing or not names:
        wanted = f"the folder of the class {missing[0]!r} is missing" if missing else "it has no folder of a class"
        raise ValueError(f"{folder}: {wanted}; {LAYOUT}; there are {', '.join(there[:8]) or 'no folders'}")
    rows = []
    for name, label in names.items():
        files = sorted(path for path in (folder / name).glob("*.txt") if not path.name.startswith("."))
        if not files:
            raise ValueError(f"{folder / name}: no .txt file in it; {LAYOUT}")
        rows += [(_text(path), label) for path in files]
    return pd.DataFrame(rows, columns=[task.text[0], "label"])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: {error.reason} at byte {error.start + 1}") from error
