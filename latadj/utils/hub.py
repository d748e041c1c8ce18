"""The Hugging Face hub, or one clear line when it is not there."""

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Thread

TIMEOUT_SECONDS = 5.0
BUILT_IN_TASKS = "task=rotten_tomatoes (running text: task=speeches)"
BUILT_IN_MODELS = "model=minilm (to generate: model=smollm2)"


@lru_cache(maxsize=1)
def reachable() -> bool:
    """Whether the hub answers within a few seconds; asked once per process."""
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    answers: list[bool] = []

    def ask() -> None:
        with suppress(requests.RequestException):
            requests.head(constants.ENDPOINT, timeout=TIMEOUT_SECONDS).raise_for_status()
            answers.append(True)

    # In a thread of its own, since looking up a name can hang for longer than any time-out of a request.
    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(TIMEOUT_SECONDS)
    if not answers:
        # Otherwise every later call would try again, with pauses in between, before it looks into the cache.
        # datasets takes the value over when it is imported, which is later than this.
        os.environ["HF_HUB_OFFLINE"] = "1"
        constants.HF_HUB_OFFLINE = True
    return bool(answers)


def unreachable(what: str, option: str, default: str) -> ValueError:
    """The error for something that neither the hub nor its cache gives."""
    return ValueError(
        f"the Hugging Face hub cannot be reached and {what} is not in its cache: give a local folder with "
        f"{option}=FOLDER, or take the built-in default with {default}"
    )


def is_gguf(path: str) -> bool:
    """Whether a model is named as a GGUF file."""
    return path.lower().endswith(".gguf")


def _check_gguf(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"model.path={path}: no such file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"model.path={path}: this is no GGUF file, it does not begin as one")


def model_source(path: str) -> tuple[str, bool]:
    """Where ``from_pretrained`` is to look, or :func:`latadj.checkpoints.gguf.converted` if it is a GGUF file.

    Returns
    -------
    path and whether to look at local files only

    Raises
    ------
    ValueError
        if ``path`` is empty, a folder without a model, no GGUF file though it is named as one, or a hub name that
        cannot be fetched and is not cached.
    """
    from huggingface_hub import try_to_load_from_cache

    if not path:
        raise ValueError("model.path is empty: name a folder, a .gguf file or a model on the hub with model.path=PATH")
    if is_gguf(path):
        _check_gguf(Path(path).expanduser())
        return path, True
    if Path(path).is_dir():
        if not (Path(path) / "config.json").is_file():
            raise ValueError(f"model.path={path}: this folder has no config.json, so it is not a transformers model")
        return path, True
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ValueError(f"model.path={path}: no such folder")
    if reachable():
        return path, False
    if not isinstance(try_to_load_from_cache(path, "config.json"), str):
        raise unreachable(f"model {path!r}", "model.path", BUILT_IN_MODELS)
    return path, True


def require_data(path: str) -> None:
    """Refuse a data set that neither the hub nor its cache can give.

    Raises
    ------
    ValueError
        naming both ways on.
    """
    if reachable():
        return
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets"))
    if not (cache / path.replace("/", "___")).is_dir():
        raise unreachable(f"data set {path!r}", "task.data_dir", BUILT_IN_TASKS)
