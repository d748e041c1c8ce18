"""What is asked of a model: tasks, their texts, and prompts."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

# A task of running text: a language model is scored on continuations. It is the name of its head, too.
GENERATION = "generation"
TASK_TYPES = ("classification", GENERATION, "token_classification", "question_answering")


@dataclass
class FilesConfig:
    """Where a task's files lie; relative paths start at ``task.data_dir``.

    format : ``csv``, ``tsv`` (unquoted, as GLUE's), ``quoted_tsv``, ``orange`` (Orange's three header lines), ``text``
        (a row for each line), ``jsonl``, ``json`` (lines or one array) or ``parquet``
    train, validation, test : file names; ``all`` instead is one file to be split. What is missing is cut out of
        train; of running text they may be patterns, and need not all be there.
    columns : our column -> the file's (a name, or a number where there is no header; a list of them is joined by
        spaces); all where empty
    first_class : number of the first class, where the file numbers them
    """

    format: str = "tsv"
    train: str | None = None
    validation: str | None = None
    test: list[str] = field(default_factory=list)
    all: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    header: bool = True
    drop_labels: list[str] = field(default_factory=list)
    first_class: int = 0


@dataclass
class HubConfig:
    """A data set on the Hugging Face hub; ``test`` names the splits that are only read by `eval` and `sweep`.

    validation : None: cut out of train
    test : None: the splits that are called test and validation, as far as they are there
    """

    path: str = MISSING
    name: str | None = None
    revision: str | None = None
    train: str = "train"
    validation: str | None = None
    test: list[str] | None = field(default_factory=lambda: ["validation"])


@dataclass
class TaskConfig:
    """What is asked of a model.

    type : one of ``TASK_TYPES``: a class (or a number) for each text, one for each word, an answer out of a text, or a
        continuation that is scored after a prompt
    labels : names of the classes in their order; None: those found in the training data, in natural order; empty: a
        classification is a regression then
    split_column : column of ``data_files`` that says of each row whether it is for train, validation or test
    prompt_length, continuation_length : tokens of an example cut from running text
    continuation : ``window``: what follows the prompt; ``last_word`` of a document, after all that stands before it
        (or the last ``prompt_length`` tokens of that); ``recall``: the rest of a passage from the prompt's first half,
        whose first ``cue`` tokens the prompt's end quotes
    documents : ``row`` of a table, ``block`` of neighbouring lines that have ``block_words`` words together, or what
        stands under a ``heading`` as WikiText writes it; ``auto``: blocks of a text file, rows of any other
    windows : most examples cut from one document; None: as many as there are
    stride : tokens from the start of one example to that of the next; None: they do not overlap
    group : column; documents of one group stay in one split
    data_files : a file, a list of them, or files for each of train, validation and test, in place of all others; a
         file may be a pattern, and several for test are tests of their own
    doc_stride, max_query_length : question answering: tokens by which windows over a context overlap, and of a
        question; a window has ``max_length``
    max_answer_length, n_best : tokens of an answer, and answers that are listed
    null_threshold : odds of no answer above which none is given, with ``metric=squad_v2_f1``; None: the best on
        validation questions at each speedup
    protect_question : whether the question's tokens are never eliminated
    description : the task in one line, in a prompt
    input : template of how a prompt shows an example's text columns; None: a line each, ``Column: text``
    answer : what a label is called in a prompt
    label_words : the words that stand for ``labels`` in a prompt, in their order; empty: the labels themselves
    """

    name: str = MISSING
    type: str = "classification"
    text: list[str] = MISSING
    label: str = "label"
    labels: list[str] | None = None
    metric: str = "accuracy"
    max_length: int = 128
    batch_size: int = 32
    split: dict[str, float] = field(default_factory=lambda: {"train": 0.9, "validation": 0.1})
    files: FilesConfig | None = None
    hub: HubConfig | None = None
    data_dir: str | None = None
    data_files: Any = None
    split_column: str | None = None
    documents: str = "auto"
    block_words: int = 1000
    group: str | None = None
    prompt_length: int = 512
    continuation_length: int = 64
    continuation: str = "window"
    cue: int = 16
    windows: int | None = None
    stride: int | None = None
    max_train: int | None = None
    max_test: int | None = None
    doc_stride: int = 128
    max_query_length: int = 64
    max_answer_length: int = 30
    n_best: int = 20
    null_threshold: float | None = None
    protect_question: bool = False
    description: str = ""
    input: str | None = None
    answer: str = "Answer"
    label_words: list[str] = field(default_factory=list)

    @property
    def scores_continuations(self) -> bool:
        """Whether a model is scored on continuations of running text, not on labelled examples."""
        return self.type == GENERATION


@dataclass
class PromptConfig:
    """What a language model is asked, and how; the fields of a template are those of ``latadj.tasks.prompts.template``.

    instruction, shot, query : templates of what stands first, of each example that is shown with its label, and of
        the example that is asked about
    shots : examples of the training split that are shown, the same for all that are asked about
    calibrate : training examples whose mean score is taken off each label word's, against a bias of the prompt; 0: none
    """

    name: str = MISSING
    instruction: str = ""
    shot: str = ""
    query: str = MISSING
    shots: int = 0
    calibrate: int = 0
