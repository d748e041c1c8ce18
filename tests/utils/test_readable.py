"""Nothing that a file or a user says steers the terminal or fills it."""

import logging

import pytest

from latadj.utils.readable import READABLE_RECORDS, message, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\x00c\x9b", r"a\nb\x00c\x9b"),
        ("\u202eright\u2028", r"\u202eright\u2028"),
        ("half \udcff", r"half \udcff"),
        ("données 日本 👩\u200d🎓\xa0!", "données 日本 👩\u200d🎓\xa0!"),
    ],
)
def test_what_would_steer_a_terminal_is_written_out(text, shown):
    assert printable(text) == shown


def test_line_breaks_may_stay():
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


def test_a_long_message_keeps_its_beginning_and_its_end():
    short = message("speedup=" + "a" * 5000 + ": expected a number")
    assert len(short) < 2100
    assert short.startswith("speedup=aaa")
    assert short.endswith("aaa: expected a number")
    assert "(3,027 characters left out)" in short
    assert message("a" * 2000) == "a" * 2000


def test_log_records_are_readable(caplog):
    log = logging.getLogger("latadj.readable")
    log.addFilter(READABLE_RECORDS)
    with caplog.at_level("INFO", logger="latadj.readable"):
        log.info("label %r and header %s of %d", "\x1b", "\x1b[2J", 3)
    assert caplog.messages == [r"label '\x1b' and header \x1b[2J of 3"]
