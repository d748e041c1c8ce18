"""Whether a task's examples can be had; imports neither torch nor transformers."""

from latadj.config import TaskConfig
from latadj.utils import hub


def require_examples(task: TaskConfig) -> None:
    """Refuse a data set of the hub that is neither there nor in the cache.

    Raises
    ------
    ValueError
    """
    if task.hub and not (task.data_dir or task.data_files):
        hub.require_data(task.hub.path)
