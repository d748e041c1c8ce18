"""What all results have in common: a typed dataclass, whose JSON form tables and pictures are made from."""

import logging
import reprlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from latadj.reporting.table import Document, Table
from latadj.utils.files import write_json, write_text
from latadj.utils.serialization import structure, unstructure

log = logging.getLogger("latadj")
R = TypeVar("R", bound="Result")


class Result:
    """Base of the dataclasses that commands write as JSON.

    SCHEMA : name and version of the JSON form
    DERIVED : keys that are written for readers and follow from the fields
    FILE : name of its files, without their suffixes
    FORMATS : suffixes of the files with tables: ``csv``, ``md`` and ``tex``
    PLOT : function in ``latadj.reporting.plots`` that draws its picture; "" for none
    """

    SCHEMA: ClassVar[str]
    DERIVED: ClassVar[tuple[str, ...]] = ()
    FILE: ClassVar[str]
    FORMATS: ClassVar[tuple[str, ...]] = ()
    PLOT: ClassVar[str] = ""

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {"schema": self.SCHEMA, **unstructure(self)}

    @classmethod
    def from_json(cls: type[R], data: Any) -> R:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        ValueError
            if the schema is another one, or naming the field that is missing or of the wrong kind.
        """
        if not isinstance(data, dict):
            raise ValueError(f"expected an object, got {type(data).__name__}")
        if data.get("schema") != cls.SCHEMA:
            raise ValueError(f"schema {reprlib.repr(data.get('schema'))}: expected {cls.SCHEMA!r}; make it anew")
        result = structure(cls, {key: value for key, value in data.items() if key not in ("schema", *cls.DERIVED)})
        result.check()
        return result

    def check(self) -> None:
        """Refuse a result of a file whose fields do not fit each other.

        Raises
        ------
        ValueError
            naming a field.
        """

    def document(self) -> Document:
        """Tables and notes."""
        raise NotImplementedError

    def terminal(self) -> Document:
        """Tables and notes for a terminal, where they are others."""
        return self.document()

    def csv_table(self) -> Table:
        """The table of the CSV file, in which numbers are unrounded."""
        (table,) = self.document().tables
        return table

    def show(self) -> None:
        """Show the result on the terminal, as much of it as the terminal holds."""
        self.terminal().print()

    def write(self, folder: Path) -> str:
        """Write the result as JSON, and as its tables and its picture.

        Returns
        -------
        names of the files, in words
        """
        write_json(folder / f"{self.FILE}.json", self.to_json())
        written = {
            "csv": lambda: self.csv_table().csv(),
            "md": lambda: self.document().markdown(),
            "tex": lambda: self.document().latex(),
        }
        for suffix in self.FORMATS:
            write_text(folder / f"{self.FILE}.{suffix}", written[suffix]())
        suffixes = ["json", *self.FORMATS]
        if self.PLOT:
            # matplotlib takes a while to import.
            getattr(import_module("latadj.reporting.plots"), self.PLOT)(self, folder / f"{self.FILE}.png")
            suffixes.append("png")
        *names, last = (f"{self.FILE}.{suffix}" for suffix in suffixes)
        return f"{', '.join(names)} and {last}" if names else last

    def report(self, folder: Path) -> None:
        """Write and show the result; the log says where it is."""
        written = self.write(folder)
        self.show()
        log.info("wrote %s to %s", written, folder)


def measured_on(where: dict[str, Any], *more: str) -> str:
    """Where numbers were measured: processor and threads, and what else matters."""
    return ", ".join([str(where["processor"]), f"{where['threads']} threads", *more]) + "."


def warning(where: dict[str, Any]) -> list[str]:
    """That the machine was not quiet, if so."""
    text = (where.get("quiet") or {}).get("warning")
    return [f"Warning: {text}."] if text else []


def out_of_reach(unreachable: Sequence[float], reach: float | None) -> list[str]:
    """Speedups that the dial does not reach on this device, if there are any."""
    names = ", ".join(f"{speedup:g}x" for speedup in unreachable)
    return [f"Out of reach on this device: {names}; the dial ends at {reach or 0:.2f}x."] if names else []
