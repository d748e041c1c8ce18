"""Random taggers and models for question answering, whose answers differ from text to text, with a dial in FLOPs."""

from pathlib import Path

import torch
from helpers import answer_data as quiz
from helpers import tagging_data as tagging
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification, PreTrainedModel

from latadj.checkpoints.metadata import CheckpointMetadata, TaskSpec, write_metadata
from latadj.checkpoints.task_spec import QuestionSpec
from latadj.elimination.architectures import layer_shapes
from latadj.elimination.attach import attach
from latadj.elimination.dial import Dial

SENTENCES = [
    "Anna Berg lives in New Haven and works for Lind Works",
    "nobody in the house was late yesterday",
    " ".join(["Otto met Anna in Oslo"] * 12),  # longer than a window
    "the train to Oslo was late",
]
SPEC = TaskSpec("token_classification", ["tokens"], tagging.LABELS, "entity_f1", 24, 4)
READ = QuestionSpec(doc_stride=8, max_query_length=6, max_answer_length=5, n_best=20)


def write_tagger(folder: Path) -> Path:
    """A tagger of the toy sentences."""
    tagging.write_model(folder)
    return _with_dial(folder, AutoModelForTokenClassification.from_pretrained(folder), SPEC)


def write_reader(folder: Path, metric: str = "squad_f1", protected: int = 0) -> Path:
    """A model that answers questions about film reviews, whose dial spares so many tokens of a question."""
    quiz.write_model(folder)
    spec = TaskSpec("question_answering", ["question", "context"], [], metric, 32, 4, READ)
    return _with_dial(folder, AutoModelForQuestionAnswering.from_pretrained(folder), spec, protected)


def _with_dial(folder: Path, model: PreTrainedModel, spec: TaskSpec, protected: int = 0) -> Path:
    torch.manual_seed(0)
    for name, weights in model.named_parameters():
        if "weight" in name and weights.dim() == 2:
            torch.nn.init.normal_(weights, std=1.0 if "embedding" in name else 0.3)
    model.save_pretrained(folder)
    dial = Dial(
        (0.8, 0.7, 0.6, 0.5),
        (20, 24),
        layer_shapes(attach(model)),
        reads="all",
        protected=protected,
        profile_type="geometric",
        max_speedup=4,
    )
    write_metadata(folder, CheckpointMetadata("mine", dial, task_spec=spec))
    return folder
