"""How far a run has come, in JSON that is written whole, so that a killed run can be resumed where it stopped."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from latadj.utils.files import read_json, write_json
from latadj.utils.serialization import structure, unstructure

T = TypeVar("T", bound="RunState")


@dataclass
class RunState:
    """What a run needs to be resumed; each command adds its own fields.

    settings : what the run was started with; it can only be resumed with the same settings
    SCHEMA : name and version of the file
    LABEL, DAMAGED, RESTART : words of the errors: what the file is, what is wrong with one that is no such state, and
        how to start a new run
    """

    SCHEMA: ClassVar[str]
    LABEL: ClassVar[str]
    DAMAGED: ClassVar[str] = "this {label} is damaged, or of another version ({error})"
    RESTART: ClassVar[str] = "start anew without resume=true"

    settings: dict[str, Any]

    @classmethod
    def read(cls: type[T], *paths: Path) -> T:
        """The state in a file, or in several files that each hold some of its fields.

        Raises
        ------
        ValueError
            if a file is missing, damaged or of another version.
        """
        data: dict[str, Any] = {}
        where = paths[0] if len(paths) == 1 else paths[0].parent
        parts = [read_json(path, cls.LABEL, cls.RESTART) for path in paths]
        try:
            for part in parts:
                if not isinstance(part, dict):
                    raise ValueError(f"expected an object, got {type(part).__name__}")
                data |= part
            if data.pop("schema", None) != cls.SCHEMA:
                raise ValueError("another schema")
            return cls.from_json(data)
        except ValueError as error:
            damaged = cls.DAMAGED.format(label=cls.LABEL, error=error)
            raise ValueError(f"{where}: {damaged}; {cls.RESTART}") from error

    @classmethod
    def from_json(cls: type[T], data: dict[str, Any]) -> T:
        """The state of such fields, all of which were written.

        Raises
        ------
        ValueError
            naming what is missing or of the wrong kind.
        """
        if missing := [field.name for field in fields(cls) if field.name not in data]:
            raise ValueError(f"{', '.join(missing)} missing")
        return structure(cls, data)

    def to_json(self) -> dict[str, Any]:
        """The fields, and the schema that they are of."""
        return {"schema": self.SCHEMA, **unstructure(self)}

    def write(self, path: Path) -> None:
        """Write the state; a kill at any moment leaves the state before it, or this one."""
        write_json(path, self.to_json())

    def changed(self, settings: Mapping[str, Any]) -> list[str]:
        """Names of the settings that are not those that the run was started with."""
        return changed_settings(self.settings, settings)

    def refuse_other_settings(self, folder: str, settings: Mapping[str, Any]) -> None:
        """Refuse to resume the run in ``folder`` with other settings.

        Raises
        ------
        ValueError
            naming those that changed.
        """
        if changed := self.changed(settings):
            raise ValueError(
                f"resume=true: the run in {folder} was started with other settings ({', '.join(changed)}); give the "
                f"same ones, or {self.RESTART}"
            )


def changed_settings(before: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Names of the settings whose values differ from those before."""
    return [name for name, value in settings.items() if before.get(name) != value]


def remove_matching(folder: Path, *patterns: str, keep: Path | None = None) -> None:
    """Remove the files and folders inside ``folder`` whose names match a pattern, all but ``keep``."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path == keep:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
