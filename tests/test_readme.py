"""The README and the documentation: every command composes, and every result is that of the JSON files in docs/."""

import ast
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
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
# What a reader makes, and what stands for a name.
NOT_OURS = ("conf/task/reviews.yaml", "conf/COMMAND.yaml")


def code(language: str) -> list[tuple[str, str]]:
    """Page and text of every block of code in a language."""
    return [
        (name, block)
        for name, page in PAGES.items()
        for block in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    ]


COMMANDS = sorted(
    {
        re.sub(r"^echo .* \| ", "", line.split("#")[0].strip())
        for _, block in code("bash")
        for line in block.splitlines()
        if line.strip()
    }
)
# A command with options in a sentence counts too, and so does a `make install`.
INLINE = sorted(
    {line for page in PAGES.values() for line in re.findall(r"`(make [a-z-]+|latadj [a-z]+ [^`]*=\w[^`]*)`", page)}
)


def composable(arguments: list[str]) -> list[str]:
    """Arguments of one run: of --multirun the values that are the same in all of them."""
    if "--multirun" not in arguments:
        return arguments
    return [value for value in arguments if value != "--multirun" and not set(",$") & set(value)]


def own_config(folder: Path) -> None:
    """The YAML files that the guides let a reader write, in a conf/ folder of their own."""
    for group, name in (("task", "reviews"), ("model", "roberta")):
        (written,) = [block for _, block in code("yaml") if f"name: {name}\n" in block]
        path = folder / "conf" / group / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(written, encoding="utf-8")


@pytest.mark.parametrize("line", [line for line in [*COMMANDS, *INLINE] if line.startswith("latadj ")])
def test_every_latadj_command_composes(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_config(tmp_path)
    _, command, *arguments = shlex.split(line)
    for option, value in pairwise(arguments):
        if option == "--file":
            Path(value).write_text("Once upon a time", encoding="utf-8")
    if command in ("info", "collect", "push"):  # they take a folder, and compose nothing
        found = CliRunner().invoke(app, [command, *arguments])
        assert (found.exit_code, "no such folder" in found.output) == (2, True)
        return
    found = CliRunner().invoke(app, [command, "--cfg", *composable(arguments)])
    assert found.exit_code == 0, found.output
    typed(command, OmegaConf.create(found.stdout))


@pytest.mark.parametrize("line", sorted({line for line in [*COMMANDS, *INLINE] if line.startswith("make ")}))
def test_every_make_target_is_there(line):
    target = line.split()[1]
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_command_is_one_of_those_kinds():
    assert {line.split()[0] for line in COMMANDS} <= {"latadj", "make", "pip", "curl"}


def test_a_task_of_ones_own_has_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_config(tmp_path)
    assert compose("finetune", ["task=reviews"]).folder == "outputs/minilm-reviews"


def test_every_python_example_is_python():
    examples = code("python")
    assert examples
    for _, block in examples:
        ast.parse(block)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130


def test_the_results_are_those_of_the_json_files():
    found = blocks(sorted((ROOT / "docs").glob("*.json")))
    assert set(found) == {
        "summary",
        "results",
        "newsgroups",
        "glue",
        "predict",
        "bench",
        "generation",
        "few-shot",
        "axformer",
    }
    assert with_blocks([README, RESULTS], found) == [README, RESULTS]


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_and_page_that_is_named_is_there(page):
    named = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[page])
    assert [name for name in named if not ((ROOT / page).parent / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_module_and_folder_that_is_named_is_there(page):
    named = re.findall(r"`((?:latadj|conf|tests|docs)/[\w/.]*)`", PAGES[page])
    assert [name for name in named if name not in NOT_OURS and not (ROOT / name).exists()] == []


def test_pages_without_marks_are_refused():
    with pytest.raises(ValueError, match=r"0 pages have lines '<!-- results: made by'"):
        with_blocks(["# hello"], {"results": "table"})


def test_marks_in_two_pages_are_refused():
    page = "<!-- results: made by x -->\n\nold\n<!-- /results -->\n"
    assert "new" in with_blocks([page], {"results": "new"})[0]
    with pytest.raises(ValueError, match="2 pages"):
        with_blocks([page, page], {"results": "new"})
