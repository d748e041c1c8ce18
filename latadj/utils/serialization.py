"""Dataclasses to JSON and back. What does not fit is one line that names the field.

A field says in its type what a file may hold beyond the kind: ``Annotated[float, Bounds(least=1)]`` for a number,
``Annotated[tuple[int, ...], Entries(100)]`` for how many, and ``Annotated[dict[str, Any], Like(SomeTypedDict)]`` for
what is read of an object that may hold more.
"""

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, is_typeddict

from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError, IterableValidationError, transform_error
from cattrs.errors import IterableValidationNote
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.gen.typeddicts import make_dict_structure_fn as make_typed_dict_structure_fn
from cattrs.strategies import configure_union_passthrough

T = TypeVar("T")
# Nothing that is measured or counted comes near these; beyond them arithmetic overflows.
LARGEST_FLOAT, LARGEST_INT = 1e100, 2**62


@dataclass(frozen=True)
class Bounds:
    """What a number in a file may be: from ``least`` to ``most``, both allowed, and more than ``above``."""

    least: float = -LARGEST_FLOAT
    most: float = LARGEST_FLOAT
    above: float = -math.inf

    def check(self, value: float) -> None:
        """Refuse a number that lies outside.

        Raises
        ------
        ValueError
        """
        if not self.least <= value <= self.most or value <= self.above:
            raise ValueError(f"{_short(value)}: expected a number {self._text()}")

    def _text(self) -> str:
        low = f"above {self.above:,.9g}" if self.above > -math.inf else f"of at least {self.least:,.9g}"
        return f"{low}, at most {self.most:,.9g}" if self.most < LARGEST_FLOAT else low


@dataclass(frozen=True)
class Entries:
    """How many entries a list or an object in a file may have."""

    most: int
    least: int = 0

    def check(self, value: Any) -> None:
        """Refuse what has fewer or more.

        Raises
        ------
        ValueError
        """
        if not self.least <= len(value) <= self.most:
            raise ValueError(f"{len(value):,} entries: expected {self.least} to {self.most:,}")


@dataclass(frozen=True)
class Like:
    """That an object holds what another type asks for; it is kept as it is in the file."""

    kind: Any

    def check(self, value: Any) -> None:
        """Refuse what does not hold that.

        Raises
        ------
        ValueError
        """
        _converter.structure(value, self.kind)


POSITIVE, NOT_NEGATIVE, AT_LEAST_1 = Bounds(above=0), Bounds(least=0), Bounds(least=1)
Positive = Annotated[float, POSITIVE]
NotNegative = Annotated[float, NOT_NEGATIVE]

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
    if is_typeddict(cls) and not isinstance(data, dict):
        raise ValueError(f"expected an object, got {type(data).__name__}")
    try:
        return _converter.structure(data, cls)
    except BaseValidationError as error:
        first, *_ = transform_error(error, format_exception=_described)
        message, _, path = first.rpartition(" @ $")
        raise ValueError(f"{_clipped(path.lstrip('.'))}: {_clipped(message)}" if path else _clipped(message)) from error


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


def require_all(cls: type[Any], *but: str) -> None:
    """Take a missing field of a class for damage, also one that has a default, but for some that came later."""
    structured = make_dict_structure_fn(cls, _converter)

    def checked(data: Any, _: Any) -> Any:
        missing = [field.name for field in fields(cls) if field.name not in data and field.name not in but]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing")
        return structured(data, cls)

    _converter.register_structure_hook(cls, checked)


def _described(error: BaseException, expected: type | None) -> str:
    if isinstance(error, KeyError):
        return "required field missing"
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, ForbiddenExtraKeysError):
        return f"{', '.join(map(_short, sorted(error.extra_fields)))}: no such field"
    while get_origin(expected) is Annotated:
        expected = get_args(expected)[0]
    kind = f"expected {getattr(expected, '__name__', expected)}" if expected else str(error)
    return f"wrong kind of value, {kind}"


def _short(value: Any) -> str:
    """A value as a message shows it: a file may hold megabytes."""
    return reprlib.repr(value)


def _clipped(text: str, most: int = 400) -> str:
    """One line of at most so many characters."""
    return " ".join(text[: most + 1].split()) if len(text) <= most else " ".join(text[:most].split()) + "..."


def _number(data: Any, cls: type) -> Any:
    """JSON's numbers, which neither text nor true and false are."""
    accepted = (int, float) if cls is float else (int,)
    if isinstance(data, bool) or not isinstance(data, accepted):
        raise ValueError(f"{_short(data)} is not {'a number' if cls is float else 'an integer'}")
    if not abs(data) <= (LARGEST_FLOAT if cls is float else LARGEST_INT):  # NaN is not, either
        raise ValueError(f"{_short(data)} is no number that a run writes")
    return cls(data)


def _exactly(data: Any, cls: type) -> Any:
    if not isinstance(data, cls):
        raise ValueError(f"{_short(data)} is not {'true or false' if cls is bool else 'text'}")
    return data


for _kind, _hook in ((float, _number), (int, _number), (bool, _exactly), (str, _exactly)):
    _converter.register_structure_hook(_kind, _hook)


def _sequence(kind: Any) -> Callable[[Any, Any], Any]:
    """Structures a list or a tuple from a list alone, which neither text nor an object is, up to the first misfit."""
    made: Any = get_origin(kind)
    kinds = get_args(kind)
    alike = made is list or kinds[-1] is Ellipsis

    def structured(data: Any, _: Any) -> Any:
        if not isinstance(data, (list, tuple)):
            raise ValueError(f"{_short(data)} is not a list")
        if not alike and len(data) != len(kinds):
            raise ValueError(f"{_short(data)}: expected {len(kinds)} entries")
        values = []
        for place, entry in enumerate(data):
            inner = kinds[0] if alike else kinds[place]
            try:
                values.append(_converter.structure(entry, inner))
            except (BaseValidationError, ForbiddenExtraKeysError, TypeError, ValueError) as error:
                note = IterableValidationNote(f"entry {place}", place, inner)
                error.__notes__ = [*getattr(error, "__notes__", []), note]
                raise IterableValidationError(f"entry {place}", [error], made) from error
        return made(values)

    return structured


def _bounded(kind: Any) -> Callable[[Any, Any], Any]:
    """Structures what an ``Annotated`` type annotates, and checks its bounds and sizes."""
    inner, *annotations = get_args(kind)
    checks = [one for one in annotations if isinstance(one, (Bounds, Entries, Like))]

    def structured(data: Any, _: Any) -> Any:
        # Sizes first, so that what is too much is not read.
        for check in checks:
            if isinstance(check, Entries) and isinstance(data, (list, dict, str)):
                check.check(data)
        value = _converter.structure(data, inner)
        for check in checks:
            if not isinstance(check, Entries):
                check.check(value)
        return value

    return structured


def _open(kind: Any) -> Callable[[Any, Any], Any]:
    """Structures an object that may hold more than is read of it."""
    structured = make_typed_dict_structure_fn(kind, _converter, _cattrs_forbid_extra_keys=False)

    def checked(data: Any, _: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError(f"{_short(data)} is not an object")
        return structured(data, kind)

    return checked


def _origin(kind: Any) -> Any:
    return get_origin(kind)


_converter.register_structure_hook_factory(lambda kind: _origin(kind) in (list, tuple), _sequence)
_converter.register_structure_hook_factory(lambda kind: _origin(kind) is Annotated, _bounded)
_converter.register_structure_hook_factory(is_typeddict, _open)
