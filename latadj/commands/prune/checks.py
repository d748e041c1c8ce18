"""Whether a checkpoint can be pruned, seen before it is loaded; imports neither torch nor transformers."""

from pathlib import Path

from latadj.checkpoints.metadata import check as check_checkpoint
from latadj.checkpoints.replaceable import check_replaceable
from latadj.commands.checks import require_examples
from latadj.commands.common.training_checks import check_teacher, require_trackers, teacher_of
from latadj.config import EMBEDDING, PruneConfig
from latadj.utils.files import real_path


def check(config: PruneConfig) -> None:
    """Refuse what can be refused of `latadj prune`: its checkpoint, its output, its teacher and its examples.

    Raises
    ------
    ValueError
    """
    check_to_prune(config)
    check_teacher(config)
    require_trackers(config.report_to)
    require_examples(config.task)


def check_to_prune(config: PruneConfig) -> None:
    """Refuse a checkpoint that cannot be pruned, or that would be overwritten by it.

    Raises
    ------
    ValueError
        if it is missing, for another task, pruned or hard already, or asked by more than a head, or if a folder of
        ``output`` holds something that would be lost.
    """
    if config.prompt is not None:
        raise ValueError(f"prompt={config.prompt.name}: prune judges a model by its head; leave prompt= out")
    if config.task.scores_continuations:
        raise ValueError(
            f"task.type=generation: prune judges a model by its head, and task={config.task.name} asks a language "
            "model; take a task with labels, such as task=rotten_tomatoes"
        )
    if config.task.type == EMBEDDING:
        raise ValueError(
            f"task.type=embedding: sentence-transformers loads whole models only, so task={config.task.name} cannot "
            "have a pruned one; `latadj finetune` makes one whose dial narrows it"
        )
    folder = Path(config.checkpoint)
    made = check_checkpoint(folder, config.task)
    if made.topk_attention is not None:
        raise ValueError(
            f"checkpoint {folder} has top-k attention ({made.topk_attention.text()}), which is chosen for a model as "
            "pruning leaves it: prune the model that it was made of, such as checkpoint=FOLDER/plain"
        )
    if made.pruning is not None:
        raise ValueError(
            f"checkpoint {folder} is pruned already, and what was removed cannot come back: prune the model that it "
            "was made of, such as checkpoint=FOLDER/plain"
        )
    kept, named = [folder, Path(config.folder), Path(config.folder) / "prune"], teacher_of(config)
    if named is not None:
        kept.append(named[1])
    for target in config.outputs():
        if real_path(target) == real_path(folder):
            raise ValueError(f"output={config.output}: the checkpoint itself; give the pruned model another folder")
        check_replaceable("output", str(target), kept)
