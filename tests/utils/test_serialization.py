from dataclasses import dataclass, field

import pytest

from latadj.utils.serialization import register, require_all, structure, unstructure


@dataclass
class Point:
    at: float
    ci: tuple[float, float] | None = None


@dataclass
class Curve:
    name: str
    count: int
    points: list[Point]
    keys: list[int | float | None] = field(default_factory=list)
    shown: bool = True


DATA = {
    "name": "a",
    "count": 2,
    "points": [{"at": 1, "ci": [0.5, 2]}, {"at": 2.5, "ci": None}],
    "keys": [None, 3, 0.25],
    "shown": False,
}


def test_what_json_gives_back_is_what_was_written():
    curve = structure(Curve, DATA)
    assert curve == Curve("a", 2, [Point(1.0, (0.5, 2.0)), Point(2.5)], [None, 3, 0.25], shown=False)
    assert unstructure(curve) == DATA
    assert structure(list[Point], DATA["points"]) == curve.points


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [{"at": 1.0}, {}]}, r"^points\[1\]\.at: required field missing$"),
        ({"points": [{"at": "much"}]}, r"^points\[0\]\.at: 'much' is not a number$"),
        ({"points": [{"at": True}]}, r"^points\[0\]\.at: True is not a number$"),
        ({"points": [{"at": 1.0, "ci": [1.0]}]}, r"^points\[0\]\.ci: "),
        ({"points": None}, r"^points: None is not a list$"),
        ({"count": 1.5}, r"^count: 1.5 is not an integer$"),
        ({"name": 3}, r"^name: 3 is not text$"),
        ({"shown": "no"}, r"^shown: 'no' is not true or false$"),
        ({"keys": ["all"]}, r"^keys\[0\]: wrong kind of value"),
        ({"more": 1}, r"^'more': no such field$"),
        ({"points": "much"}, r"^points: 'much' is not a list$"),
        ({"count": 10**30}, r"^count: 10{5,}\.*0+ is no number that a run writes$"),
        ({"points": [{"at": float("nan")}]}, r"^points\[0\]\.at: nan is no number that a run writes$"),
        ({"name": ["x" * 10**6] * 10**5}, r"^name: \['x{5,20}"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_field(change, message):
    with pytest.raises(ValueError, match=message) as error:
        structure(Curve, {**DATA, **change})
    assert "\n" not in str(error.value)


def test_what_is_no_object_is_refused():
    with pytest.raises(ValueError, match="expected an object with the fields of Curve, got list"):
        structure(Curve, [])


def test_a_class_may_have_a_form_of_its_own_and_need_all_its_fields():
    @dataclass
    class Length:
        metres: float

        @classmethod
        def read(cls, data):
            if not str(data).endswith("m"):
                raise ValueError(f"{data!r}: expected metres, such as 3m")
            return cls(float(str(data)[:-1]))

    @dataclass
    class Rope:
        length: Length
        colour: str = "red"

    register(Length, Length.read, lambda length: f"{length.metres:g}m")
    assert structure(Rope, {"length": "3m"}) == Rope(Length(3.0))
    assert unstructure(Rope(Length(3.0))) == {"length": "3m", "colour": "red"}
    with pytest.raises(ValueError, match="length: 'long': expected metres, such as 3m"):
        structure(Rope, {"length": "long"})
    require_all(Rope)
    with pytest.raises(ValueError, match="colour missing"):
        structure(Rope, {"length": "3m"})
