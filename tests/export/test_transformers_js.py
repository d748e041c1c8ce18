"""A graph of one speedup is a model like any other to transformers.js, in Node and in a browser.

`make install` brings the npm package, where there is npm; `tests/export/javascript` holds what runs it.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from helpers.browser import Browser
from helpers.fixed_speedups import TEXTS, predicted, write_exported

JAVASCRIPT = Path(__file__).parent / "javascript"
SPEEDUPS = (1, 3)

Classify = Callable[[str, list[str]], list[dict[str, float]]]
"""The probabilities of the labels of each text, of the model in a folder of this name."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``at-1x`` and ``at-3x`` of one classifier."""
    return write_exported(tmp_path_factory.mktemp("javascript"), SPEEDUPS)


@pytest.fixture(scope="module")
def package() -> Path:
    """transformers.js, as npm installs it."""
    package = JAVASCRIPT / "node_modules" / "@huggingface" / "transformers"
    if not package.is_dir():
        pytest.skip(f"no transformers.js here: npm install --ignore-scripts --no-package-lock, in {JAVASCRIPT}")
    return package


@pytest.fixture(scope="module")
def node(package: Path, models: Path) -> Classify:
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node here: install Node.js 20.9 or later")

    def classify(name: str, texts: list[str]) -> list[dict[str, float]]:
        command = [program, str(JAVASCRIPT / "node.mjs"), str(models), name, *texts]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return classify


class Files(SimpleHTTPRequestHandler):
    """The page and what it loads; the models under ``/models/``."""

    def __init__(self, *arguments: object, models: Path) -> None:
        self.models = models
        super().__init__(*arguments, directory=str(JAVASCRIPT))

    def translate_path(self, path: str) -> str:
        self.directory = str(self.models.parent if path.startswith("/models/") else JAVASCRIPT)
        return super().translate_path(path)

    def guess_type(self, path: str) -> str:
        """Not by the types of this machine, which may lack some."""
        types = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
        return types.get(Path(path).suffix, "application/octet-stream")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def page(package: Path, models: Path) -> Iterator[str]:
    """Address of a page that has transformers.js and the models."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, models=models)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/page.html"
        server.shutdown()


@pytest.fixture
def chromium_page(chromium: Browser, page: str) -> Classify:
    def classify(name: str, texts: list[str]) -> list[dict[str, float]]:
        chromium.open(page)
        return chromium.run(f"classify({json.dumps(name)}, {json.dumps(texts)})")

    return classify


@pytest.mark.parametrize("runtime", ["node", "chromium_page"])
@pytest.mark.parametrize("speedup", SPEEDUPS)
def test_probabilities_are_those_of_the_predictor(request, models, runtime, speedup):
    classify = request.getfixturevalue(runtime)
    answers = classify(f"at-{speedup}x", TEXTS)
    assert len(answers) == len(TEXTS)
    for answer, expected in zip(answers, predicted(models / f"at-{speedup}x"), strict=True):
        assert answer == pytest.approx(expected, abs=1e-4)


def test_speedups_tell_the_texts_apart_and_one_another(models):
    whole, cut = (predicted(models / f"at-{speedup}x") for speedup in SPEEDUPS)
    for one, other in zip(whole, [*whole[1:], whole[0]], strict=True):
        assert one != pytest.approx(other, abs=1e-2)
    assert whole[1] != pytest.approx(cut[1], abs=1e-2)


def test_a_page_asks_its_own_host_alone(chromium, chromium_page, page):
    chromium_page("at-3x", TEXTS[:1])
    host = page.removesuffix("page.html")
    assert [one for one in chromium.requests if not one.startswith((host, "blob:"))] == []
    assert f"{host}models/at-3x/onnx/model.onnx" in chromium.requests


def test_a_model_that_is_not_there_is_looked_for_nowhere_else(node):
    with pytest.raises(AssertionError, match="local_files_only=true"):
        node("at-5x", TEXTS[:1])
