"""GGUF files, llama.cpp's format of quantised models, as transformers folders in fp32."""

import hashlib
import logging
from functools import lru_cache
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoConfig, AutoTokenizer

from latadj.checkpoints.loading_errors import reason_of
from latadj.checkpoints.model_class import auto_class
from latadj.config import GENERATION
from latadj.utils.files import cache_dir, real_path, write_folder

log = logging.getLogger("latadj")


def converted(path: Path | str) -> Path:
    """A transformers folder of a GGUF file's model and tokenizer; converted once, then found in the cache directory.

    A file that changed, whatever its time stamp says, is converted anew.

    Raises
    ------
    ValueError
        if the file is damaged, was cut off, or holds a model that transformers or latadj cannot use.
    """
    path = real_path(Path(path).expanduser())
    stat = path.stat()
    folder = cache_dir() / "gguf" / f"{path.stem}-{_key(path, stat.st_size, stat.st_mtime_ns)}"
    if not (folder / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "config.json").is_file():
                _convert(path, folder)
    return folder


@lru_cache(maxsize=8)
def _key(path: Path, size: int, _: int) -> str:
    digest = hashlib.sha256(f"{path.name} {size} ".encode())
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _convert(path: Path, folder: Path) -> None:
    log.info("converting %s, once: about 20 s for 100 MB; it will be found in %s", path.name, folder)
    where = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(path.parent, **where)
        auto = auto_class(config, GENERATION)
        loaded, report = auto.from_pretrained(path.parent, dtype=torch.float32, output_loading_info=True, **where)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
    # The parsers of a binary format run into anything when it is not what it says, `struct.error` among it.
    except Exception as error:
        raise ValueError(
            f"{path}: this GGUF file cannot be read, it may be damaged or cut off: {reason_of(error)}; copy it anew"
        ) from error
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ValueError(f"{path}: this GGUF file is incomplete, it has no weights for {missing}")
    # A model that came out of GGUF counts as quantised and cannot be saved, though its weights are fp32 by now.
    config = loaded.config
    del config.quantization_config
    model = auto.from_config(config, dtype=torch.float32, trust_remote_code=False)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config

    def fill(target: Path) -> None:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)

    write_folder(folder, fill)
