"""What people type after KEY= reaches a command as it is, and what Hydra's grammar means keeps its meaning."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString

from latadj.config.compose import compose
from latadj.config.plain_values import in_quotes, quoted

PLAIN = [
    "données.csv",
    "/home/josé/l'été",
    "a (1).txt",
    "it's.txt",
    "~/texts.txt",
    "a=b.txt",
    "日本 [2].txt",
    "[b].txt",
    "[b](1).txt",
    "a#b&c;d!e^f`g<h>",
    'a"b',
    "é\\",
    "a\nb",
    "notes(final).txt",
    "C:\\é\\'x'\\",
    "\udcff.txt",
]


def value(override):
    found = OverridesParser.create().parse_override(quoted(override)).value()

    def plain(item):
        if isinstance(item, QuotedString):
            return item.text
        if isinstance(item, list):
            return [plain(one) for one in item]
        if isinstance(item, dict):
            return {key: plain(one) for key, one in item.items()}
        if isinstance(item, ChoiceSweep):
            return tuple(plain(one) for one in item.list)
        return item

    return plain(found)


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_value_is_what_was_typed(text):
    assert value(f"input={text}") == text
    assert value(f"+task.extra={text}") == text


@pytest.mark.parametrize("text", PLAIN)
def test_a_text_in_quotes_is_the_text(text):
    assert value(f"input={in_quotes(text)}") == text


@pytest.mark.parametrize(
    "override",
    [
        "speedup=1..5",
        "speedup=[1,2.5]",
        "task.data_files={train:a.csv,test:{one:b.csv}}",
        "folder='outputs/${model.name} é'",
        "folder=${model.name}/x",
        'input="é, b"',
        "seed=1,2,3",
        "seed=range(1,4)",
        "speedup=choice(1,2)",
        "task.label=null",
        "~task.label",
        "x=",
        "task.text=['é','b']",
    ],
)
def test_what_hydra_reads_is_left_alone(override):
    assert quoted(override) == override


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("x=[prémisse, hypothèse,c,3,null]", ["prémisse", "hypothèse", "c", 3, None]),
        ("x=['a, b',été]", ["a, b", "été"]),
        ("x={train:données (1).csv,test:[é,'b']}", {"train": "données (1).csv", "test": ["é", "b"]}),
        ("x={train:C:/é.csv}", {"train": "C:/é.csv"}),
        ("x=é,b,3", ("é", "b", 3)),
        ("x=é(1,2),b", ("é(1,2)", "b")),
        ("x=[é,1],[b]", (["é", 1], ["b"])),
        ("x=/home/josé/${model.name}/${oc.env:A,b}", "/home/josé/${model.name}/${oc.env:A,b}"),
        ("x=[${a}/é,${b}]", ["${a}/é", "${b}"]),
    ],
)
def test_only_plain_parts_are_quoted(override, expected):
    assert value(override) == expected


@pytest.mark.parametrize("override", ["speedup=[", "speedup=[1,2", "x", "={", "x={a:[1}", "x=é,", "x=\xa0"])
def test_what_cannot_be_read_is_left_for_hydra_to_refuse(override):
    assert quoted(override) == override


@pytest.mark.parametrize(
    ("override", "key"), [("é=1", "é"), ("x={é:1}", "é"), ("x={a:1,b:{日本:c}}", "日本"), ("x=[{a:1},{é:[b]}],c", "é")]
)
def test_a_key_that_hydra_cannot_read_is_named(override, key):
    with pytest.raises(ValueError, match=rf"^{re.escape(override)}: Hydra takes .* in the key '{key}': rename it"):
        quoted(override)


def test_a_command_gets_them():
    folder = "/home/josé/${model.name} (1)"
    composed = compose("predict", ["input=données, été.csv".replace(", ", " "), f"folder={folder}", "model=minilm"])
    assert (composed.input, composed.folder) == ("données été.csv", "/home/josé/minilm (1)")


def test_a_conf_of_the_users_own_is_found_in_any_folder(tmp_path, monkeypatch):
    own = tmp_path / "l'été\\ (1)"
    (own / "conf" / "task").mkdir(parents=True)
    (own / "conf" / "task" / "mine.yaml").write_text("defaults: [sst2]\nname: mine\n")
    monkeypatch.chdir(own)
    assert compose("finetune", ["task=mine"]).task.name == "mine"
