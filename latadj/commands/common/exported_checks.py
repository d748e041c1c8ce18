"""What `latadj export` refuses before torch is imported."""

from importlib.util import find_spec
from pathlib import Path

from latadj.checkpoints.metadata import CheckpointMetadata, check
from latadj.checkpoints.replaceable import MODEL_FILES, check_replaceable
from latadj.checkpoints.task_spec import type_of
from latadj.commands.checks import with_dial
from latadj.config import GENERATION, ExportConfig
from latadj.runtime.manifest import MANIFEST_FILE, WHOLE

# Packages by format.
NEEDED = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "openvino": ("onnx", "onnxscript", "openvino", "nncf")}


def check_export(config: ExportConfig) -> CheckpointMetadata:
    """Metadata of the model that `latadj export` writes, its dial on the profile type of ``profile=``.

    Raises
    ------
    ValueError
        if there is no such model or no dial, the speedup is off it, a package is not installed, or ``output`` holds
        something that would be lost.
    """
    folder = Path(config.checkpoint)
    metadata = check(folder)
    if type_of(folder, metadata.task_spec) == GENERATION:
        raise ValueError(f"checkpoint {config.checkpoint} is a language model: graphs are made of encoders only")
    metadata = with_dial(config, metadata)
    missing = [name for name in NEEDED[config.format] if find_spec(name) is None]
    if missing:
        extra = "onnx" if config.format == "onnx" else "backends"
        raise ValueError(f"format={config.format} needs {', '.join(missing)}: pip install 'latadj[{extra}]'")
    check_replaceable(
        "output",
        config.output,
        [folder, Path(config.folder) / "export"],
        files=(*MODEL_FILES, MANIFEST_FILE),
        folders=tuple(WHOLE),
        mark=MANIFEST_FILE,
    )
    return metadata
