"""What `latadj predict` refuses before anything is opened: models and options that do not fit, and taken outputs."""

import sys
from pathlib import Path

from latadj.config import EMBEDDING, PredictConfig
from latadj.inference.streams.ranges import Ranges
from latadj.inference.streams.reading import STREAM
from latadj.inference.streams.rows import CUT, WHOLE, WORDS
from latadj.inference.streams.writing import VECTOR_KINDS, Paths, output_format
from latadj.utils.files import real_path

# The types of task that are served, and what their models do with a text.
READS = {"classification": CUT, "token_classification": WORDS, "question_answering": WHOLE, EMBEDDING: CUT}


def check_type(config: PredictConfig, task_type: str) -> None:
    """Refuse a model that predict does not serve, and options that mean nothing for one that it does.

    Raises
    ------
    ValueError
    """
    what = task_type.replace("_", " ")
    if task_type not in READS:
        raise ValueError(
            f"checkpoint {config.checkpoint} is for {what}: predict serves classification, regression, token "
            "classification, question answering and embeddings; `latadj generate` continues a prompt"
        )
    if config.all_probabilities and task_type != "classification":
        raise ValueError(
            f"all_probabilities=true, and checkpoint {config.checkpoint} is for {what}: "
            + ("it has none" if task_type == EMBEDDING else "predict writes the probability of each answer")
            + "; leave it out"
        )
    if config.null_threshold is not None and task_type != "question_answering":
        raise ValueError(
            f"null_threshold={config.null_threshold:g} is for question answering, and checkpoint {config.checkpoint} "
            f"is for {what}: leave it out"
        )
    if config.deadline_ms is not None and task_type == "question_answering":
        raise ValueError(
            f"deadline_ms={config.deadline_ms:g} holds for a text in one batch, and a context is read in as many "
            f"windows as it needs: checkpoint {config.checkpoint} is for question answering, which takes speedup="
        )
    if task_type == EMBEDDING:
        if config.ranges is not None:
            Ranges.read(Path(config.ranges))
        return
    for name in ("vectors", "ranges", "prompt_name", "dimensions"):
        if (value := getattr(config, name)) is not None:
            raise ValueError(
                f"{name}={value} is for embeddings, and checkpoint {config.checkpoint} is for {what}: leave it out"
            )
    if config.engine == "local" and output_format(config.output) in VECTOR_KINDS:
        raise ValueError(
            f"output={config.output}: such a file holds embeddings, and checkpoint {config.checkpoint} is for {what}: "
            "write .csv or .jsonl"
        )


def check_output(config: PredictConfig) -> None:
    """Refuse an output in whose place there is something else.

    Raises
    ------
    ValueError
    """
    if config.output == STREAM:
        if sys.stdout is None:
            raise ValueError("output=-: standard output is closed: give a file")
        return
    output = Path(config.output)
    if output.is_dir():
        raise ValueError(f"output={output}: this is a folder; name a file in it")
    paths = Paths(output)
    read = [("the input", config.input, paths.all), ("what ranges= names", config.ranges, paths.all + paths.of_vectors)]
    for which, name, written in read:
        if name is None or name == STREAM:
            continue
        for path in written:
            if real_path(path) == real_path(name):
                file = "this" if path == output else f"its file {path}"
                raise ValueError(f"output={output}: {file} is {which}; give another name")
