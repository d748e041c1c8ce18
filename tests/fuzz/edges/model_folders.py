"""Folders of models, and GGUF files: damaged anywhere, and with code that must not run."""

import json
from collections.abc import Callable
from pathlib import Path

from checkpoints import test_gguf
from fuzz.harness import EVIDENCE, Edge, replaced
from fuzz.mutations import damaged_bytes, damaged_json
from helpers import toy_project as toy
from hypothesis import strategies as st

from latadj.checkpoints import checkpoint
from latadj.config import ModelConfig

CODE = f"import pathlib\npathlib.Path({EVIDENCE!r}).touch()\n"


def write(folder: Path) -> Path:
    """A tiny classifier, and code beside it that nothing may run."""
    toy.write_model(folder / "model", layers=1)
    (folder / "model" / "vocab.txt").unlink(missing_ok=True)
    (folder / "model" / "code.py").write_text(CODE)
    return folder / "model"


def use_of(name: str) -> Callable[[Path, Path, bytes], None]:
    def use(folder: Path, model: Path, content: bytes) -> None:
        replaced(model / name, content, lambda: checkpoint.load(model))

    return use


def made(tmp: Path) -> dict[str, bytes]:
    model = write(tmp)
    return {path.name: path.read_bytes() for path in model.iterdir()}


def lazily(name: str, damaged: Callable[[bytes], st.SearchStrategy[bytes]]) -> st.SearchStrategy[bytes]:
    """Damage to a file that is only made when the first case is drawn."""

    def strategy() -> st.SearchStrategy[bytes]:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            return damaged(made(Path(folder))[name])

    return st.deferred(strategy)


def as_json(data: bytes) -> st.SearchStrategy[bytes]:
    return damaged_json(json.loads(data))


def with_code(data: bytes) -> st.SearchStrategy[bytes]:
    """A config or tokenizer config that names code of the folder."""
    known = json.loads(data)
    names = st.sampled_from(["AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer", "x", ""])
    targets = st.one_of(
        st.sampled_from(["code.Model", "code", "code.", ".", "../code.Model", "other/repo--code.Model", "os.system"]),
        st.sampled_from([None, ["code.A", "code.B"], [None, "code.A"], 3, {}]),
    )
    maps = st.one_of(st.dictionaries(names, targets, min_size=1, max_size=3), targets)
    kinds = st.sampled_from(["bert", "unknown", "code", None, 3, ""])
    return st.tuples(maps, kinds).map(
        lambda case: json.dumps({**known, "auto_map": case[0], "model_type": case[1]}).encode()
    )


def gguf(folder: Path) -> Path:
    return test_gguf.write(folder / "model.gguf")


def use_gguf(folder: Path, path: Path, content: bytes) -> None:
    replaced(path, content, lambda: checkpoint.load_pretrained(ModelConfig(path=str(path)), head="generation"))


def _gguf_bytes() -> st.SearchStrategy[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        data = gguf(Path(folder)).read_bytes()
    head = damaged_bytes(data[:3000]).map(lambda start: start + data[3000:])
    return st.one_of(head, damaged_bytes(data))


EDGES = [
    Edge("config.json", write, lazily("config.json", as_json), use_of("config.json"), 60),
    Edge("config.json with code", write, lazily("config.json", with_code), use_of("config.json"), 20),
    Edge("tokenizer.json", write, lazily("tokenizer.json", as_json), use_of("tokenizer.json"), 30),
    Edge(
        "tokenizer_config.json",
        write,
        lazily("tokenizer_config.json", as_json),
        use_of("tokenizer_config.json"),
        40,
    ),
    Edge(
        "tokenizer_config.json with code",
        write,
        lazily("tokenizer_config.json", with_code),
        use_of("tokenizer_config.json"),
        20,
    ),
    Edge("model.safetensors", write, lazily("model.safetensors", damaged_bytes), use_of("model.safetensors"), 40),
    Edge("gguf", gguf, st.deferred(_gguf_bytes), use_gguf, 20),
]
