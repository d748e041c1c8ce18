"""Overrides: odd values for every key of every command, through what the command line itself calls."""

from pathlib import Path
from typing import Any

from fuzz.harness import Edge
from hypothesis import strategies as st

from latadj.commands.launch import check_early
from latadj.config.reference import COMMANDS, options

VALUES = [
    *("", "null", "true", "nan", "inf", "-inf", "-1", "0", "1", "0.5", "1e308", "1e-320", "9" * 40, "0x10", "1_000"),
    *("x", "x" * 4000, "é", "电影", "'=1+1'", '"q"', "a,b", "a b", "''", "[]", "{}", "[1,2]", "[[1],[2]]", "{a:1}"),
    *("[", "{", "[1,", "'", '"', "\\", "${x}", "${oc.env:HOME}", "${seed}", "${", "$(id)", "`id`", "a=b", "a:b", "#"),
    *("..", "/", "/dev/null", "../../x", "~", "-", "[null]", "[nan]", "{1:2}", "1..5", "5..1", "1..", "..", "1...5"),
    *("glob(*)", "range(1,3)", "choice(1,2)", "interval(0,1)", "sort(1)", "shuffle(1)", "int(x)", "\t", "a\tb", "a\nb"),
]
PREFIXES = ["", "", "", "+", "++", "~"]
KEYS = [(command, option.key) for command in COMMANDS for option in options(command)]

override = st.tuples(
    st.sampled_from(KEYS),
    st.sampled_from(PREFIXES),
    st.one_of(st.sampled_from(VALUES), st.text(max_size=12), st.integers().map(str), st.floats().map(str)),
)
# What is no KEY=VALUE at all, and keys that there are not.
loose = st.tuples(
    st.sampled_from(COMMANDS),
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(["=", "==", "a", "a.b.c=1", "hydra.run.dir=x", "hydra.searchpath=[file:///x]", "-m", "@a"]),
        st.sampled_from(VALUES).map(lambda value: f"nothing={value}"),
        st.sampled_from(["task", "model", "device", "prompt", "experiment"]).flatmap(
            lambda group: st.sampled_from(VALUES).map(lambda value: f"{group}={value}")
        ),
    ),
)


def use(folder: Path, material: None, case: Any) -> None:
    if len(case) == 2:
        command, text = case
        check_early(command, [text])
    else:
        (command, key), prefix, value = case
        check_early(command, [f"{prefix}{key}" if prefix == "~" else f"{prefix}{key}={value}"])


def prepare(folder: Path) -> None:
    """Nothing is needed: what is refused is refused before anything is read."""


EDGES = [Edge("overrides", prepare, override, use, 60), Edge("loose arguments", prepare, loose, use, 60)]
