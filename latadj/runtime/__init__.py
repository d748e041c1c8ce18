"""Runs exported graphs, with numpy, tokenizers and a runtime (onnxruntime or OpenVINO): neither torch nor transformers.

``latadj.runtime.Predictor(folder)`` labels texts at any speedup of the folder's dial.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latadj.runtime.predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    if name != "Predictor":
        raise AttributeError(f"module 'latadj.runtime' has no attribute {name!r}")
    from latadj.runtime.predictor import Predictor

    return Predictor
