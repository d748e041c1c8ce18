"""A latency dial for fine-tuned transformers.

``latadj.load(folder, speedup=3)`` gives an ordinary transformers model and its tokenizer, as the commands serve it;
``latadj.set_speedup`` and ``latadj.at_speedup`` turn its dial, ``latadj.speedup_of`` and ``latadj.profile_of`` say
where it stands. ``latadj.calibrate`` makes a dial for a model in memory and ``latadj.save`` saves both.
``latadj.Predictor(folder, speedup=3)`` answers texts, and is cheap to send to other processes.
``latadj.extract`` takes the sub-network of one speedup away as a smaller model. ``latadj.attach`` and
``latadj.detach`` put elimination into any supported model and take it out again.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# oneDNN compiles a kernel for each shape and keeps 1,024. A dial has other row counts and widths in each layer, at each
# speedup and length, so that it went on compiling: asked for 3x it was 2.2 times as fast as at 1x, now 2.7 times.
# oneDNN reads it when its first kernel runs.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")

if TYPE_CHECKING:
    from latadj.calibration.calibrate_model import calibrate
    from latadj.checkpoints.attached_model import save
    from latadj.checkpoints.extraction import extract
    from latadj.elimination.attach import attach, detach
    from latadj.elimination.current_setting import at_speedup, profile_of, set_speedup, speedup_of
    from latadj.elimination.dial import Dial
    from latadj.elimination.profiles import Profile
    from latadj.elimination.topk_setting import TopKAttention
    from latadj.inference.deadline import Deadline
    from latadj.inference.predictor import Predictor
    from latadj.inference.serving import load

# Torch takes seconds to import, and `latadj --help` needs none of it.
_WHERE = {
    "load": "latadj.inference.serving",
    "calibrate": "latadj.calibration.calibrate_model",
    "save": "latadj.checkpoints.attached_model",
    "extract": "latadj.checkpoints.extraction",
    "attach": "latadj.elimination.attach",
    "detach": "latadj.elimination.attach",
    "set_speedup": "latadj.elimination.current_setting",
    "at_speedup": "latadj.elimination.current_setting",
    "speedup_of": "latadj.elimination.current_setting",
    "profile_of": "latadj.elimination.current_setting",
    "Deadline": "latadj.inference.deadline",
    "Predictor": "latadj.inference.predictor",
    "Dial": "latadj.elimination.dial",
    "TopKAttention": "latadj.elimination.topk_setting",
    "Profile": "latadj.elimination.profiles",
}
# Registers what `save_pretrained` of an attached model writes; elimination does not know of it.
_WITH_ATTACH = "latadj.checkpoints.attached_model"

__all__ = [
    "Deadline",
    "Dial",
    "Predictor",
    "Profile",
    "TopKAttention",
    "at_speedup",
    "attach",
    "calibrate",
    "detach",
    "extract",
    "load",
    "profile_of",
    "save",
    "set_speedup",
    "speedup_of",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'latadj' has no attribute {name!r}")
    if name in ("load", "attach"):
        import_module(_WITH_ATTACH)
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
