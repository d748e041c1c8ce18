"""Strategies that damage what a file holds: JSON by place and value, anything else by its bytes."""

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

LONG = "x" * 5000
# Values of every kind, and of no size that a run writes.
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3.5, -0.0, 1e-300, 1e308, 10**12, 10**30, -(10**30), 2**63, 10**400),
    *("", "x", "NaN", "é\u2028", "\x00\x1b[31m", LONG, "../../etc", "${oc.env:HOME}", "=1+1", "1"),
    *([], {}, [None], [[]], [1, 2, 3], ["x"], {"x": 1}, [{}], {"": None}, [0] * 3000, [[1, 2], [3]]),
    *(float("nan"), float("inf"), float("-inf")),
]
odd_values = st.one_of(
    st.sampled_from(ODD),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.recursive(st.none() | st.booleans() | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=6),
)
# As text, since no value makes it.
ODD_TEXTS = [
    *(b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff\xfe\x00", b"{}", b"\xef\xbb\xbf{}", b'{"schema": []}'),
    *(b"[" * 5000, b'{"a":' * 5000, b"[" * 200 + b"]" * 200, b'{"x": 1e999}', b'{"x": "\\ud800"}', b"9" * 6000),
]


def places(data: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every value; of a list those of its first and last."""
    found = [before] if before else []
    if isinstance(data, dict):
        for key, value in data.items():
            found += places(value, (*before, key))
    elif isinstance(data, list) and data:
        for index in sorted({0, len(data) - 1}):
            found += places(data[index], (*before, index))
    return found


def changed(data: Any, place: Sequence[Any], how: str, value: Any) -> Any:
    """A copy in which a value is replaced, is gone, stands twice, or has another beside it."""
    data = copy.deepcopy(data)
    holder = data
    for key in place[:-1]:
        holder = holder[key]
    last = place[-1]
    if how == "replace":
        holder[last] = value
    elif how == "remove":
        del holder[last]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[last]) if how == "repeat" else value)
    else:
        holder[f"{last}_" if how == "repeat" else "more"] = holder[last] if how == "repeat" else value
    return data


def damaged_json(data: Any) -> st.SearchStrategy[bytes]:
    """JSON that was changed in a place, or in two."""
    hows = st.sampled_from(["replace", "replace", "replace", "remove", "repeat", "add"])
    once = st.tuples(st.sampled_from(places(data)), hows, odd_values)

    def applied(changes: list[tuple[Any, ...]]) -> bytes:
        found = data
        for place, how, value in changes:
            try:
                found = changed(found, place, how, value)
            except (KeyError, IndexError, TypeError):
                continue  # the first change removed what the second one was for
        return json.dumps(found).encode()

    text = json.dumps(data).encode()
    return st.one_of(
        st.lists(once, min_size=1, max_size=1).map(applied),
        st.lists(once, min_size=2, max_size=2).map(applied),
        st.sampled_from(ODD_TEXTS),
        damaged_bytes(text),
    )


def damaged_bytes(data: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that were cut, flipped, swapped for others, or have more in between."""
    size = max(len(data), 1)
    place = st.integers(0, size - 1)
    odd = st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from([b'"', b"\r", b"\n\n", b"\x00", b"\xff", b"\t", b",", b"\xed\xa0\x80", b"\xef\xbb\xbf"]),
    )
    return st.one_of(
        place.map(lambda end: data[:end]),
        st.tuples(place, odd).map(lambda case: data[: case[0]] + case[1] + data[case[0] :]),
        st.tuples(place, odd).map(lambda case: data[: case[0]] + case[1] + data[case[0] + len(case[1]) :]),
        st.tuples(place, place).map(lambda ends: data[: min(ends)] + data[max(ends) :]),
        st.binary(max_size=64),
    )
