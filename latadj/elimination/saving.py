"""What runs as `save_pretrained` of an attached model: what is attached is saved beside the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from latadj.elimination.layer_structure import layer_structure_of
from latadj.elimination.notices import warn_once
from latadj.elimination.patching import elimination_of, previous

Writer = Callable[[PreTrainedModel, Path], None]
# Whoever knows a file for it registers here: elimination itself knows none.
_WRITERS: list[Writer] = []


def write_beside_weights(writer: Writer) -> Writer:
    """Call ``writer(model, folder)`` whenever an attached model has been saved."""
    _WRITERS.append(writer)
    return writer


def save_pretrained(model: Any, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
    """transformers' own, and then the dial beside the weights; `push_to_hub` and `Trainer` come here too."""
    if any(layer_structure_of(module) is not None for module in model.modules()):
        # Shapes by module: no converter of transformers' knows them.
        kwargs.setdefault("save_original_format", False)
    result = previous(model, "save_pretrained")(save_directory, *args, **kwargs)
    is_main = args[0] if args else kwargs.get("is_main_process", True)
    elimination = elimination_of(model)
    if not _WRITERS and elimination is not None and elimination.dial is not None:
        warn_once("the dial of this model is not saved: import latadj before, or save with latadj.save")
    if is_main:
        for write in _WRITERS:
            write(model, Path(save_directory))
    if kwargs.get("push_to_hub"):
        warn_once(
            "save_pretrained(push_to_hub=True) uploads the weights before the dial is there: use model.push_to_hub(...)"
        )
    return result
