"""The Hugging Face hub, or one clear line when it is not there."""

import os
import re
from collections.abc import Callable, Mapping
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


def check_repository(name: str) -> None:
    """Refuse a name that no repository can have, and to send without a token or a hub.

    Raises
    ------
    ValueError
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"{name}: no name of a repository, give one such as you/model ({error})") from error
    if name.count("/") != 1:
        raise ValueError(f"{name}: give the repository with its owner, such as you/{name}")
    if not reachable():
        raise ValueError(f"{name}: the Hugging Face hub ({constants.ENDPOINT}) cannot be reached; try again online")
    if not get_token():
        raise ValueError(f"{name}: the hub takes models of who is logged in: `hf auth login`, or set HF_TOKEN")


def upload(
    name: str,
    files: Mapping[str, Path | bytes],
    replaced: Callable[[str], bool],
    *,
    private: bool = False,
    branch: str | None = None,
) -> str:
    """Send files to a model's repository in one commit; the repository and the branch are made if there are none.

    Parameters
    ----------
    files : path in the repository -> a file, or its content
    replaced : whether a path in the repository is of the model that was there, and goes unless it is sent again
    private : whether a new repository is; else it is what its owner makes of new ones

    Returns
    -------
    address of the commit

    Raises
    ------
    ValueError
        if the hub refuses, or the connection breaks off.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    # The latter is of whichever client it uses.
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    api = HfApi()
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(path, str(file) if isinstance(file, Path) else file) for path, file in files.items()
    ]
    try:
        api.create_repo(name, private=private or None, exist_ok=True)
        if branch is not None:
            api.create_branch(name, branch=branch, exist_ok=True)
        there = api.list_repo_files(name, revision=branch)
        operations += [CommitOperationDelete(path) for path in there if replaced(path) and path not in files]
        commit = api.create_commit(
            name, operations, commit_message="Upload a checkpoint with its latency dial", revision=branch
        )
    except HfHubHTTPError as error:
        raise ValueError(f"{name}: the hub refused: {why(error)}; may your token write there?") from error
    except HTTPError as error:
        raise ValueError(f"{name}: the connection to the hub broke off ({error}); send it again") from error
    return str(commit.commit_url)


def why(error: Exception) -> str:
    """What the hub said, in one line: the status, and its own words if it has any."""
    status = re.sub(r"\s*\(Request ID: [^)]*\)", "", str(error).partition("\n")[0]).strip(" .")
    words = getattr(error, "server_message", None)
    return f"{status}: {words}" if words and words not in status else status
