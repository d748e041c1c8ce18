"""Checkpoints on the Hugging Face hub: which files of a folder go there, and where one from there lies here."""

import logging
import re
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath

from latadj.checkpoints.replaceable import MODEL_FILES, MODEL_FOLDERS, of_a_model
from latadj.utils import hub

log = logging.getLogger("latadj")
NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
# Of the folders of a saved model's modules; no format that is unpickled or run.
SUFFIXES = (".json", ".jinja", ".safetensors", ".txt", ".model")


def model_files(folder: Path) -> list[str]:
    """The files of a saved model in a folder, as paths inside it; no states of optimisers, no logs, no pickles."""
    inside = [path for path in sorted(folder.iterdir()) if of_a_model(path, MODEL_FILES, MODEL_FOLDERS)]
    files = [path for path in inside if path.is_file()]
    for module in (path for path in inside if path.is_dir()):
        files += [path for path in sorted(module.rglob("*")) if path.is_file() and path.suffix in SUFFIXES]
    return [path.relative_to(folder).as_posix() for path in files]


def is_model_file(name: str) -> bool:
    """Whether a path in a repository is named as one of :func:`model_files`."""
    path = PurePosixPath(name)
    if len(path.parts) == 1:
        return any(fnmatch(name, pattern) for pattern in MODEL_FILES)
    return path.suffix in SUFFIXES and any(fnmatch(path.parts[0], pattern) for pattern in MODEL_FOLDERS)


def on_hub(checkpoint: str) -> bool:
    """Whether ``checkpoint`` names a model on the hub, as in you/model or you/model@branch, and no folder here."""
    path = Path(checkpoint)
    # A path in a folder that is here was meant as one, though its last part may be missing.
    return NAME.fullmatch(checkpoint) is not None and not path.exists() and not path.parent.exists()


@lru_cache
def local_folder(checkpoint: str, revision: str | None = None) -> Path:
    """Where a checkpoint lies here; one of the hub is fetched unless it is in the cache.

    Only the files of a saved model are fetched: nothing that is unpickled or run.

    Parameters
    ----------
    checkpoint : a folder, or a model on the hub as in :func:`on_hub`
    revision : branch, tag or commit of the hub's model; its main branch when left out

    Raises
    ------
    ValueError
        if the hub has no such model or revision, or cannot be reached and there is none in the cache.
    """
    found = NAME.fullmatch(checkpoint) if on_hub(checkpoint) else None
    if found is None:
        if revision is not None:
            raise ValueError(f"revision={revision}: {checkpoint} is a folder; revisions are of models on the hub")
        return Path(checkpoint)
    revision = revision or found["revision"]
    at = f"checkpoint {found['name']}" + (f" at revision {revision}" if revision else "")
    from huggingface_hub import snapshot_download

    # The last is of whichever client it uses.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
    )

    patterns = [*MODEL_FILES, *(f"{folder}/*{suffix}" for folder in MODEL_FOLDERS for suffix in SUFFIXES)]
    online = hub.reachable()
    try:
        folder = snapshot_download(
            found["name"], revision=revision, allow_patterns=patterns, local_files_only=not online
        )
    except LocalEntryNotFoundError as error:
        raise ValueError(
            f"{at}: no such folder, and the Hugging Face hub cannot be reached and it is not in the hub's cache; make "
            "one with `latadj finetune`, or name another with checkpoint=FOLDER"
        ) from error
    except HfHubHTTPError as error:
        raise ValueError(
            f"{at}: no such folder, and the hub has no such model or revision, or does not show it to you: "
            f"{hub.why(error)}"
        ) from error
    except HTTPError as error:
        raise ValueError(f"{at}: the connection to the hub broke off ({error}); try again") from error
    log.info("%s: %s", at, folder)
    return Path(folder)
