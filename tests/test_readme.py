"""Every command in the README works, and its results are those of the JSON files beside it."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from typer.testing import CliRunner

from latadj.cli import app
from latadj.config.compose import compose, typed
from latadj.reporting.readme import blocks, with_blocks

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
# A multi-line `code` or a `make install` in the text counts too.
INLINE = re.findall(r"`(make [a-z-]+|latadj [a-z]+)`", README)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("latadj ")])
def test_every_latadj_command_composes(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, command, *arguments = shlex.split(line)
    for option, value in pairwise(arguments):
        if option == "--file":
            Path(value).write_text("Once upon a time", encoding="utf-8")
    if command == "info":  # it takes a folder, and composes nothing
        found = CliRunner().invoke(app, [command, *arguments])
        assert (found.exit_code, "no such folder" in found.output) == (2, True)
        return
    found = CliRunner().invoke(app, [command, *arguments, "--cfg"])
    assert found.exit_code == 0, found.output
    typed(command, OmegaConf.create(found.stdout))


@pytest.mark.parametrize("line", sorted({line for line in [*COMMANDS, *INLINE] if line.startswith("make ")}))
def test_every_make_target_is_there(line):
    target = line.split()[1]
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_command_in_the_readme_is_one_of_those_kinds():
    assert all(line.split()[0] in ("latadj", "make") for line in COMMANDS)


def test_every_choice_in_the_options_table_exists():
    for group in ("model", "task"):
        (row,) = re.findall(rf"^\| `{group}` \|.*$", README, re.MULTILINE)
        for name in re.findall(r"`([a-z_0-9]+)`", row.split("|")[3]):
            typed("finetune", compose("finetune", [f"{group}={name}"]))


def test_the_results_are_those_of_the_json_files():
    found = blocks(sorted((ROOT / "docs").glob("*.json")))
    assert set(found) == {"results", "newsgroups", "glue", "predict", "bench", "generation", "few-shot", "axformer"}
    assert with_blocks([README, RESULTS], found) == [README, RESULTS]


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_every_picture_and_page_that_is_named_is_there(page):
    path = ROOT / page
    named = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (path.parent / name).is_file()] == []


def test_pages_without_marks_are_refused():
    with pytest.raises(ValueError, match=r"0 pages have lines '<!-- results: made by'"):
        with_blocks(["# hello"], {"results": "table"})


def test_marks_in_two_pages_are_refused():
    page = "<!-- results: made by x -->\n\nold\n<!-- /results -->\n"
    assert "new" in with_blocks([page], {"results": "new"})[0]
    with pytest.raises(ValueError, match="2 pages"):
        with_blocks([page, page], {"results": "new"})
