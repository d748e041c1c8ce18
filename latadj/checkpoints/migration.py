"""Reads ``latadj.json`` as earlier versions wrote it."""

from typing import Any

SCHEMA = "latadj.checkpoint/2"
SCHEMA_1 = "latadj.checkpoint/1"

_WINDOW = {"queries": "window_size", "sinks": "sink_tokens", "recent": "recent_ratio", "smooth": "kernel_size"}


def migrated(data: dict[str, Any]) -> dict[str, Any]:
    """Metadata with the names of :data:`SCHEMA`; those that have them already are returned as they are.

    Parameters
    ----------
    data : what ``latadj.json`` holds, of :data:`SCHEMA` or :data:`SCHEMA_1`
    """
    if data.get("schema") != SCHEMA_1:
        return data
    found = _renamed(data, {"purpose": "task_spec", "hard_attention": "topk_attention"}) | {"schema": SCHEMA}
    if found.get("task_spec"):
        found["task_spec"] = _renamed(found["task_spec"], {"kind": "type"})
    if found.get("dial"):
        found["dial"] = _renamed(found["dial"], {"family": "profile_type"})
        if "window" in found["dial"]:
            found["dial"]["window"] = _renamed(found["dial"]["window"], _WINDOW)
    return found


def _renamed(data: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in data.items()}
