"""Whether a checkpoint can be pruned, seen before it is loaded; imports neither torch nor transformers."""

from pathlib import Path

from latadj.config import PruneConfig
from latadj.files import check_replaceable
from latadj.sidecar import check


def check_to_prune(config: PruneConfig) -> None:
    """Refuse a checkpoint that cannot be pruned, or that would be overwritten by it.

    Raises
    ------
    ValueError
        if it is missing, for another task, pruned already, or asked by more than a head.
    """
    if config.prompt is not None:
        raise ValueError(f"prompt={config.prompt.name}: prune judges a model by its head; leave prompt= out")
    if config.task.kind == "generation":
        raise ValueError(
            f"task.kind=generation: prune judges a model by its head, and task={config.task.name} asks a language "
            "model; take a task with labels, such as task=rotten_tomatoes"
        )
    folder = Path(config.checkpoint)
    if check(folder, config.task).pruning is not None:
        raise ValueError(
            f"checkpoint {folder} is pruned already, and what is out cannot be judged again: prune the model that it "
            "was made of, such as checkpoint=FOLDER/plain"
        )
    if Path(config.output).resolve() == folder.resolve():
        raise ValueError(f"output={config.output}: the checkpoint itself; give the pruned model another folder")
    check_replaceable("output", config.output, [folder, Path(config.folder)])
