"""Loads models of sentence-transformers: they embed texts, by modules that pool tokens, or score pairs of texts."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from latadj.checkpoints.loading_errors import readable_loading
from latadj.checkpoints.task_spec import MODULES
from latadj.elimination.sentence_transformer import remember_modules, transformer_of
from latadj.pruning import structure_of
from latadj.utils.files import read_json

PACKAGE, EXTRA = "sentence_transformers", "pip install 'latadj[sentence-transformers]'"
# Of other files weights would be unpickled.
UNSAFE = (".bin", ".pt", ".pth", ".pkl")


def load_sentence_transformer(path: str, *, local: bool, trust_remote_code: bool = False) -> Any:
    """The ``SentenceTransformer`` in a folder or on the hub, in fp32 on the CPU.

    Raises
    ------
    ValueError
        if sentence-transformers is not installed, the folder is damaged or would run code, or the first module is no
        transformer.
    """
    require_package(path, "embeds texts")
    if not Path(path).is_dir():
        path = _from_hub(path, local)
    check_modules(Path(path), trust_remote_code=trust_remote_code)
    with readable_loading(path, "weights"):
        pipeline = import_module(PACKAGE).SentenceTransformer(
            path,
            device="cpu",
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    try:
        remember_modules(transformer_of(pipeline), pipeline)
    except ValueError as error:
        raise ValueError(f"the model in {path} cannot be used: {error}") from error
    return pipeline.eval()  # all modules: transformers leaves its own in that mode, and no other


def cross_encoder_with(model: Any, folder: Path, max_length: int) -> Any:
    """The ``CrossEncoder`` in a folder, with a model that was loaded from there in the place of its own.

    Parameters
    ----------
    max_length : tokens of a pair; what is longer is cut

    Raises
    ------
    ValueError
        if sentence-transformers is not installed, or cannot load the folder, as that of a pruned model.
    """
    way_out = "head='classification' gives model and tokenizer"
    require_package(str(folder), "scores pairs of texts", f"; {way_out}")
    if structure_of(model) is not None:
        raise ValueError(
            f"the model in {folder} is pruned, and sentence-transformers loads whole models only: {way_out}"
        )
    with readable_loading(str(folder), "weights"):
        encoder = import_module(PACKAGE).CrossEncoder(
            str(folder),
            device="cpu",
            local_files_only=True,
            max_length=max_length,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    own = transformer_of(encoder)
    for module in list(encoder.modules()):
        for name, child in list(module.named_children()):
            if child is own:
                setattr(module, name, model)
    return encoder.eval()


def require_package(path: str, what: str, way_out: str = "") -> None:
    """Refuse what a model in ``path`` does where sentence-transformers is not installed.

    Raises
    ------
    ValueError
    """
    if find_spec(PACKAGE) is None:
        raise ValueError(f"the model in {path} {what}, which needs sentence-transformers: {EXTRA}{way_out}")


def _from_hub(name: str, local: bool) -> str:
    """The folder of a model of the hub in the cache, fetched without what would be unpickled."""
    from huggingface_hub import snapshot_download

    others = [f"*{suffix}" for suffix in UNSAFE] + ["*.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*"]
    with readable_loading(name, "files"):
        return str(snapshot_download(name, ignore_patterns=others, local_files_only=local))


def check_modules(folder: Path, *, trust_remote_code: bool = False) -> None:
    """Refuse a folder whose modules are not sentence-transformers' own, or whose weights would be unpickled.

    Raises
    ------
    ValueError
    """
    path = folder / MODULES
    if not path.is_file():
        raise ValueError(
            f"the model in {folder} does not say how it pools tokens to an embedding: no {MODULES}; save it with "
            "sentence-transformers first"
        )
    modules = read_json(path, "list of modules", "save the model with sentence-transformers again")
    known = isinstance(modules, list) and all(
        isinstance(one, dict) and isinstance(one.get("type"), str) and isinstance(one.get("path"), str)
        for one in modules
    )
    if not known or not modules:
        raise ValueError(f"{path}: expected a list of modules, each with a type and a path")
    for one in modules:
        if not one["type"].startswith(f"{PACKAGE}.") and not trust_remote_code:
            raise ValueError(
                f"{path}: module {one['type']!r} is not one of sentence-transformers, and would run code of its own: "
                "give model.trust_remote_code=true if you trust it"
            )
        own = folder / one["path"] if one["path"] else None
        files = sorted(own.iterdir()) if own and own.is_dir() else []
        unsafe = [file.name for file in files if file.suffix in UNSAFE]
        if unsafe and not any(file.suffix == ".safetensors" for file in files):
            raise ValueError(
                f"{own}: {unsafe[0]} would be unpickled, which latadj does not do: save the model anew, as safetensors"
            )
