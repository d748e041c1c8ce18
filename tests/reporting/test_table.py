"""One table in every form."""

import csv
import io
from dataclasses import dataclass

import pytest

from latadj.reporting.table import Column, Document, Table, interval, speedup
from latadj.utils.console import console


@dataclass
class Row:
    name: str
    value: float | None
    ci: tuple[float, float] | None = None


ROWS = [Row("a|b [red]&", 0.12345, (0.1, 0.2)), Row("second", None)]
COLUMNS = [
    Column("name", lambda row: row.name, key="name", left=True),
    Column("value", lambda row: row.value, "{:.1f}%", 100, key="value"),
    interval("value", lambda row: row.ci),
    speedup("not in CSV", lambda row: 2.0, priority=1),
    Column("in CSV alone", lambda row: 7, key="seven", shown=False),
]


def test_markdown_escapes_bars_and_leaves_missing_values_empty():
    assert Table("title", COLUMNS, ROWS, note="note").markdown() == (
        "### title\n\n"
        "| name | value | 95% | not in CSV |\n| :--- | ---: | ---: | ---: |\n"
        "| a\\|b [red]& | 12.3% | 0.10–0.20 | 2.00x |\n| second |  |  | 2.00x |\n"
        "\nnote\n"
    )


def test_csv_has_stable_names_and_unrounded_numbers():
    rows = list(csv.DictReader(io.StringIO(Table("", COLUMNS, ROWS).csv())))
    assert rows[0] == {"name": "a|b [red]&", "value": "0.12345", "value_low": "0.1", "value_high": "0.2", "seven": "7"}
    assert rows[1] == {"name": "second", "value": "", "value_low": "", "value_high": "", "seven": "7"}


def test_latex_escapes_and_aligns():
    text = Document([Table("a_b", COLUMNS, ROWS)], ["note"]).latex()
    assert r"\begin{tabular}{lrrr}" in text
    assert r"a|b [red]\& & 12.3\% & 0.10--0.20 & 2.00x \\" in text
    assert text.endswith("% note\n")


@pytest.mark.parametrize(
    ("width", "names"), [(80, ["value", "95%", "not in CSV"]), (32, ["value", "not in CSV"]), (20, ["value"])]
)
def test_a_narrow_terminal_leaves_out_what_can_be_missed(monkeypatch, width, names):
    monkeypatch.setattr(console, "width", width)
    with console.capture() as capture:
        Document([Table("title", COLUMNS, ROWS)]).print()
    shown = capture.get()
    assert [name for name in ("value", "95%", "not in CSV") if name in shown] == names
    assert "[red]" in shown  # no markup
    assert "…" not in shown


def test_what_would_steer_a_terminal_or_is_markup_is_shown(capsys):
    table = Table.of_cells("[/b]\x1b[2J", ["[/b]\x1b"], [["[/b]\x1b[31m\x07"]], note="[/b]\x1b]0;")
    Document([table], ["[/b]\x9b"]).print()
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert shown.count("[/b]") == 5
    assert r"[/b]\x1b[31m\x07" in shown
