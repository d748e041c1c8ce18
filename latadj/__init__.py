"""A latency dial for fine-tuned transformers.

``latadj.load(folder, speedup=3)`` gives an ordinary transformers model and its tokenizer;
``latadj.set_speedup`` and ``latadj.at_speedup`` turn its dial, ``latadj.attach`` and ``latadj.detach`` put
elimination into any supported model and take it out again.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from latadj.elimination.attach import at_speedup, attach, detach, set_speedup
    from latadj.elimination.dial import Dial
    from latadj.elimination.profiles import Profile
    from latadj.elimination.topk_setting import TopKAttention
    from latadj.inference.serving import load

# Torch takes seconds to import, and `latadj --help` needs none of it.
_WHERE = {
    "load": "latadj.inference.serving",
    "attach": "latadj.elimination.attach",
    "detach": "latadj.elimination.attach",
    "set_speedup": "latadj.elimination.attach",
    "at_speedup": "latadj.elimination.attach",
    "Dial": "latadj.elimination.dial",
    "TopKAttention": "latadj.elimination.topk_setting",
    "Profile": "latadj.elimination.profiles",
}

__all__ = ["Dial", "Profile", "TopKAttention", "at_speedup", "attach", "detach", "load", "set_speedup"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'latadj' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
