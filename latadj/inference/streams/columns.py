"""Which columns of an input a model is to read."""

from collections.abc import Sequence


def text_columns(asked: Sequence[str], trained: Sequence[str], there: Sequence[str], name: str) -> tuple[str, ...]:
    """The columns that hold the text.

    Parameters
    ----------
    asked : ``text=``; empty: find them
    trained : those of the task that the model was fine-tuned for; empty where nobody knows
    there : columns of the input
    name : of the input, for messages

    Raises
    ------
    ValueError
        if one is missing, there are too many or too few, or none can be guessed.
    """
    needed = len(trained) or None
    if asked:
        missing = [column for column in asked if column not in there]
        if missing:
            raise ValueError(f"{name}: column {missing[0]!r} is missing; there are {_listed(there)}")
        if needed and len(asked) != needed:
            raise ValueError(
                f"text={_bracketed(asked)}: this model reads {needed} text column{'s' * (needed > 1)} "
                f"({', '.join(trained)}), not {len(asked)}"
            )
        return tuple(asked)
    if trained and all(column in there for column in trained):
        return tuple(trained)
    if needed in (None, 1) and len(there) == 1:
        return tuple(there)
    example = _bracketed(["COLUMN"] * (needed or 1))
    was = f"; the model was fine-tuned on {', '.join(trained)}" if trained else ""
    raise ValueError(f"{name}: which column holds the text? There are {_listed(there)}{was}: say text={example}")


def require_column(column: str | None, there: Sequence[str], name: str) -> None:
    """Refuse an ``id=`` that names no column.

    Raises
    ------
    ValueError
    """
    if column is not None and column not in there:
        raise ValueError(f"id={column}: {name} has no such column; there are {_listed(there)}")


def _listed(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - 12} more" if len(columns) > 12 else ""
    return (", ".join(map(str, columns[:12])) or "none") + more


def _bracketed(columns: Sequence[str]) -> str:
    return columns[0] if len(columns) == 1 else "[" + ",".join(columns) + "]"
