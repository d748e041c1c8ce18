"""What files hold, and what they must have in common."""

import pytest

from latadj.inference.blocks.storage import Storage
from latadj.inference.blocks.survey import kept_columns, survey
from latadj.inference.streams.rows import ColumnOptions


def test_columns_of_json_have_one_type_in_every_block(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "n": 1, "mixed": 1}\n{"text": "b", "n": null, "big": 1}\n')
    (tmp_path / "b.jsonl").write_text(f'{{"text": "c", "n": 0.5, "mixed": "x", "big": {2**70}}}\n')
    plan = Storage(str(tmp_path), "input")
    options = ColumnOptions(["text"], keep=True)
    kept = kept_columns([survey(plan, name, "jsonl", options, 10) for name in plan.files()])
    assert [(field.name, str(field.type)) for field in kept] == [
        *(("text", "string"), ("n", "double"), ("mixed", "string"), ("big", "string"))
    ]
    assert kept.field("mixed").metadata == {b"json": b"true"}


def test_files_whose_text_is_in_other_columns_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"sentence": "a"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n')
    source, options = Storage(str(tmp_path), "input"), ColumnOptions([], ["text"], keep=True)
    surveys = [survey(source, name, "jsonl", options, 10) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(ValueError, match=r"b\.jsonl: its text is in text, and that of a\.jsonl in sentence"):
        kept_columns(surveys)
