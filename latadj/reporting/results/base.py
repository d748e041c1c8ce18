"""What all results have in common: a typed dataclass, whose JSON form tables and pictures are made from."""

from typing import Any, ClassVar, TypeVar

from latadj.utils.serialization import structure, unstructure

R = TypeVar("R", bound="Result")


class Result:
    """Base of the dataclasses that commands write as JSON.

    SCHEMA : name and version of the JSON form
    DERIVED : keys that are written for readers and follow from the fields
    """

    SCHEMA: ClassVar[str]
    DERIVED: ClassVar[tuple[str, ...]] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON form."""
        return {"schema": self.SCHEMA, **unstructure(self)}

    @classmethod
    def from_json(cls: type[R], data: dict[str, Any]) -> R:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        ValueError
            if the schema is another one, or naming the field that is missing or of the wrong kind.
        """
        if data.get("schema") != cls.SCHEMA:
            raise ValueError(f"schema {data.get('schema')!r}: expected {cls.SCHEMA!r}")
        return structure(cls, {key: value for key, value in data.items() if key not in ("schema", *cls.DERIVED)})
