"""Dataclasses to JSON and back. What does not fit is one line that names the field."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.strategies import configure_union_passthrough

T = TypeVar("T")

# JSON has no tuples, so that lists are what a file gives back.
_converter = Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
configure_union_passthrough(str | int | float | bool | None, _converter)


def structure(cls: type[T], data: Any) -> T:
    """A dataclass, or a list of them, from its JSON form.

    Raises
    ------
    ValueError
        such as ``rows[0].metric: required field missing``.
    """
    if is_dataclass(cls) and not isinstance(data, dict):
        raise ValueError(f"expected an object with the fields of {cls.__name__}, got {type(data).__name__}")
    try:
        return _converter.structure(data, cls)
    except BaseValidationError as error:
        first, *_ = transform_error(error, format_exception=_described)
        message, _, path = first.rpartition(" @ $")
        raise ValueError(f"{path.lstrip('.')}: {message}" if path else message) from error


def unstructure(value: Any) -> Any:
    """JSON form of a dataclass."""
    return _converter.unstructure(value)


def register(cls: type[T], structured: Callable[[Any], T], unstructured: Callable[[T], Any]) -> None:
    """Give a class a JSON form of its own wherever it is a field.

    Parameters
    ----------
    structured : raises ``ValueError`` where the data do not fit
    unstructured : its inverse
    """
    _converter.register_structure_hook(cls, lambda data, _: structured(data))
    _converter.register_unstructure_hook(cls, unstructured)


def omit(cls: type[Any], *names: str) -> None:
    """Leave fields that have a default out of the JSON form of a class."""
    left_out: dict[str, Any] = {name: override(omit=True) for name in names}
    structured = make_dict_structure_fn(cls, _converter, _cattrs_forbid_extra_keys=True, **left_out)
    _converter.register_structure_hook(cls, structured)
    _converter.register_unstructure_hook(cls, make_dict_unstructure_fn(cls, _converter, **left_out))


def require_all(cls: type[Any]) -> None:
    """Take a missing field of a class for damage, also one that has a default."""
    structured = make_dict_structure_fn(cls, _converter)

    def checked(data: Any, _: Any) -> Any:
        missing = [field.name for field in fields(cls) if field.name not in data]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing")
        return structured(data, cls)

    _converter.register_structure_hook(cls, checked)


def _described(error: BaseException, expected: type | None) -> str:
    if isinstance(error, KeyError):
        return "required field missing"
    if isinstance(error, ValueError):
        return str(error)
    kind = f"expected {getattr(expected, '__name__', expected)}" if expected else str(error)
    return f"wrong kind of value, {kind}"


def _number(data: Any, cls: type) -> Any:
    """JSON's numbers, which neither text nor true and false are."""
    accepted = (int, float) if cls is float else (int,)
    if isinstance(data, bool) or not isinstance(data, accepted):
        raise ValueError(f"{data!r} is not {'a number' if cls is float else 'an integer'}")
    return cls(data)


def _exactly(data: Any, cls: type) -> Any:
    if not isinstance(data, cls):
        raise ValueError(f"{data!r} is not {'true or false' if cls is bool else 'text'}")
    return data


for _kind, _hook in ((float, _number), (int, _number), (bool, _exactly), (str, _exactly)):
    _converter.register_structure_hook(_kind, _hook)
