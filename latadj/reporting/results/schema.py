"""What the JSON form of every result has beside its fields."""

from typing import Any


def fields_of(data: dict[str, Any], schema: str, *derived: str) -> dict[str, Any]:
    """The fields of a result out of its JSON form.

    Parameters
    ----------
    derived : keys that were written for readers, and follow from the fields

    Raises
    ------
    ValueError
        if it is of another schema.
    """
    if data.get("schema") != schema:
        raise ValueError(f"schema {data.get('schema')!r}: expected {schema!r}")
    return {key: value for key, value in data.items() if key not in ("schema", *derived)}
