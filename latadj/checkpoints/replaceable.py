"""Which folders a model may take the place of: those that hold nothing but a model that latadj saved."""

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from latadj.checkpoints.metadata import METADATA_FILE
from latadj.checkpoints.task_spec import MODULES
from latadj.utils.files import real_path

# What `save_pretrained` of models and tokenizers writes, and what we add to it.
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    METADATA_FILE,
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    # Of sentence-transformers, whose modules have folders of a number and a name.
    MODULES,
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
)
MODEL_FOLDERS = ("additional_chat_templates", "[1-9]_[A-Z]*")


def check_replaceable(
    option: str,
    folder: str,
    keep: Sequence[Path],
    *,
    files: Sequence[str] = MODEL_FILES,
    folders: Sequence[str] = MODEL_FOLDERS,
    mark: str = METADATA_FILE,
) -> None:
    """Refuse a folder that a saved model would take the place of, and something would be lost.

    Parameters
    ----------
    option : that names the folder
    keep : paths that must not be in it
    files, folders : names of what may be in it
    mark : the file without which latadj did not make it

    Raises
    ------
    ValueError
        if one of them is, the folder holds something else than a model that latadj saved, or it cannot be made.
    """
    target = real_path(folder)
    inside = next((path for path in map(real_path, keep) if path.is_relative_to(target)), None)
    if inside is not None:
        raise ValueError(
            f"{option}={folder}: {inside} is in this folder, and a model takes the place of all that was there; give "
            "it a folder of its own"
        )
    if target.is_symlink():
        raise ValueError(f"{option}={folder}: this symbolic link leads round in a circle; name another folder")
    if target.exists() and not target.is_dir():
        raise ValueError(f"{option}={folder}: this is a file, and a model is saved as a folder; name another")
    parent = next(path for path in target.parents if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ValueError(f"{option}={folder}: nothing can be written in {parent}; name another folder")
    if (other := _no_model_file(target, files, folders)) is not None:
        raise ValueError(
            f"{option}={folder}: this folder holds {other.name}, which is no part of a saved model and would be lost; "
            "name another folder, or move it away"
        )
    if target.is_dir() and any(target.iterdir()) and not (target / mark).is_file():
        raise ValueError(
            f"{option}={folder}: this folder holds files of a model and no {mark}, so that latadj did not make it, "
            "and they would be lost; name another folder, or move them away"
        )


def _no_model_file(folder: Path, files: Sequence[str], folders: Sequence[str]) -> Path | None:
    """The first entry of a folder that is no file of a saved model; None if all are, or there is no folder."""
    if not folder.is_dir():
        return None
    return next((entry for entry in sorted(folder.iterdir()) if not of_a_model(entry, files, folders)), None)


def of_a_model(entry: Path, files: Sequence[str], folders: Sequence[str]) -> bool:
    """Whether a file or folder is named as one of a saved model."""
    if entry.is_dir():
        return any(fnmatch(entry.name, name) for name in folders)
    return any(fnmatch(entry.name, name) for name in files)
