"""What is asked of a model: a task, and where its examples are."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from latadj.config.fields import Section, as_list, at_least, one_of, option

# A task of running text: a language model is scored on continuations. It is the name of its head, too.
GENERATION = "generation"
# A task of texts whose embeddings are asked for.
EMBEDDING = "embedding"
# A task of queries and documents whose embeddings find each other; its head is that of embeddings.
RETRIEVAL = "retrieval"
# A task of the package of that name, which has its data and scores it; its head is that of embeddings.
MTEB = "mteb"
# A task of queries whose candidates are scored, each beside its query; its head is a classifier's.
RERANKING = "reranking"
# The metric of tasks in which a question may have no answer.
NO_ANSWER = "squad_v2_f1"
# The tag of a word that belongs to no entity.
OUTSIDE = "O"
TASK_TYPES = (
    *("classification", GENERATION, "token_classification", "question_answering"),
    *(EMBEDDING, RETRIEVAL, MTEB, RERANKING),
)
# The head of the tasks that have none of their own.
HEAD_OF = {RETRIEVAL: EMBEDDING, MTEB: EMBEDDING, RERANKING: "classification"}


@dataclass
class FilesConfig(Section):
    """A task's files; relative paths start at ``task.data_dir``."""

    format: str = option(
        "tsv",
        "tsv (unquoted), quoted_tsv, csv, orange, text, json(l), parquet, squad, conll, folders (SPLIT/CLASS/*.txt)",
    )
    train: str | None = option(None, "file of the training split, of running text also a pattern")
    validation: str | None = option(None, "file of the validation split; null: cut out of train")
    test: list[str] = option([], "files of the test splits")
    all: str | None = option(None, "one file that is split by task.split, instead")
    columns: dict[str, Any] = option(
        {}, "task column: the file's (name, number, or a list that is joined); empty: same"
    )
    header: bool = option(True, "the first line names the columns")
    classes: dict[str, str] = option(
        {}, "folders: name of a class's folder: its label; empty: task.labels, else all folders"
    )
    drop_labels: list[str] = option([], "labels whose rows are left out")
    first_class: int = option(0, "number of the first class, where the file numbers them")


@dataclass
class HubConfig(Section):
    """A data set on the Hugging Face hub."""

    path: str = option(MISSING, "name of the data set; null: not from the hub")
    name: str | None = option(None, "its configuration")
    revision: str | None = option(None, "its branch, tag or commit")
    train: str = option("train", "its training split")
    validation: str | None = option(None, "its validation split; null: cut out of train, unless test is null too")
    test: list[str] | None = option(
        ["validation"],
        "splits that only eval and sweep read; null: its validation and test splits, if there are any",
        parse=as_list,
    )


def _named(hub: Any) -> Any:
    """A data set on the hub; None where it has no name."""
    return None if isinstance(hub, dict) and not hub.get("path") else hub


@dataclass
class TaskConfig(Section):
    """What is asked of a model, and of which examples."""

    name: str = option(MISSING, "name of the task, in folders and tables")
    type: str = option(
        "classification", "what a model answers with; classification includes regression", one_of(*TASK_TYPES)
    )
    text: list[str] = option(MISSING, "text columns: one, or two for pairs such as [premise,hypothesis]", parse=as_list)
    label: str = option("label", "column of the labels")
    labels: list[str] | None = option(None, "names of the classes in order; null: as in training data; []: regression")
    metric: str = option("accuracy", "metric that is reported and validated, such as f1, pearson or entity_f1")
    max_length: int = option(128, "most tokens of an example, or of a window over it", at_least(2))
    batch_size: int = option(32, "examples a batch", at_least(1))
    split: dict[str, float] = option(
        {"train": 0.9, "validation": 0.1}, "shares of splits that have no file; duplicates never cross splits"
    )
    files: FilesConfig | None = option(None, "the task's files, instead of the hub")
    hub: HubConfig | None = option(None, "data set on the Hugging Face hub", parse=_named)
    data_dir: str | None = option(None, "folder with the task's files, instead of the hub")
    data_files: Any = option(
        None,
        "files or patterns instead of all others: .csv, .tsv, .jsonl, .json, .parquet, .txt, .conll",
        type="FILE, [FILE,FILE] or {train:FILE,test:FILE}",
    )
    split_column: str | None = option(None, "column of data_files that says train, validation or test")
    documents: str = option(
        "auto",
        "running text: what a document is; auto: blocks of a text file, rows of others; heading: as in WikiText",
        one_of("auto", "row", "block", "heading"),
    )
    block_words: int = option(1000, "running text: words of a block", at_least(1))
    group: str | None = option(None, "column; documents of one group stay in one split")
    prompt_length: int = option(512, "running text: tokens of a prompt", at_least(2))
    continuation_length: int = option(64, "running text: tokens of a continuation", at_least(1))
    continuation: str = option(
        "window",
        "what is scored: the next tokens, the document's last word, or a passage that the prompt has and quotes",
        one_of("window", "last_word", "recall"),
    )
    cue: int = option(16, "continuation=recall: tokens of the passage that the prompt's end quotes")
    windows: int | None = option(None, "running text: most examples of one document; null: all", at_least(1))
    stride: int | None = option(
        None, "running text: tokens between the starts of two examples; null: no overlap", at_least(1)
    )
    max_train: int | None = option(None, "most training examples, the first of a seeded shuffle; null: all")
    max_test: int | None = option(None, "most test examples, the first of a seeded shuffle; null: all")
    doc_stride: int = option(128, "question answering: tokens that neighbouring windows share", at_least(0))
    max_query_length: int = option(64, "question answering: most tokens of a question", at_least(1))
    max_answer_length: int = option(30, "question answering: most tokens of an answer", at_least(1))
    n_best: int = option(20, "question answering: answers listed in nbest.json", at_least(1))
    null_threshold: float | None = option(
        None, "squad_v2_f1: odds of no answer above which none is given; null: tuned on validation at each speedup"
    )
    qrels: str = option("qrels/test.tsv", "retrieval: file below task.data_dir that judges documents, as BEIR's")
    query_words: int | None = option(
        None,
        "retrieval, reranking: the first so many words of a text are the query, the rest its document; null: not so",
        at_least(1),
    )
    negatives: int = option(
        9,
        "reranking with query_words: documents of other queries, of the same label, beside a query's own",
        at_least(1),
    )
    query_prefix: str | None = option(None, "retrieval: what is put before each query; null: the model's own prompt")
    document_prefix: str | None = option(
        None, "embedding, retrieval: what is put before each text or document; null: the model's own prompt"
    )
    dimensions: int | None = option(
        None,
        "embeddings: only their first so many numbers are read; null: as many as the model gives",
        at_least(1),
    )
    query_speedup: float | None = option(
        1.0, "retrieval: speedup of queries, whatever that of documents; null: the same", at_least(1)
    )
    protect_query: bool = option(
        False, "question answering, reranking: never eliminate tokens of the question or the query"
    )
    description: str = option("", "prompts: the task in one line")
    input: str | None = option(None, "prompts: template that shows an example; null: a line `Column: text` each")
    answer: str = option("Answer", "prompts: what a label is called")
    label_words: list[str] = option([], "prompts: words that stand for the labels, in order; empty: the labels")

    @property
    def scores_continuations(self) -> bool:
        """Whether a model is scored on continuations of running text, not on labelled examples."""
        return self.type == GENERATION

    def problems(self) -> list[str]:
        problems = super().problems()
        if self.scores_continuations and len(self.text) != 1:
            problems.append(f"text={self.text}: expected one column, since this task generates")
        if self.type == "token_classification" and len(self.text) != 1:
            problems.append(f"text={self.text}: expected one column, the list of a sentence's words")
        if self.type == EMBEDDING and len(self.text) > 2:
            problems.append(self._columns_expected())
        if self.type == MTEB and (self.data_dir or self.data_files):
            problems.append(f"type=mteb: mteb has the data of {self.name}; leave data_dir and data_files out")
        if self.type == RERANKING and len(set(self.text)) != 2:
            problems.append(f"text={self.text}: expected two columns, the query's and the document's")
        if self.type == RERANKING and len(self.labels or []) not in (0, 2):
            problems.append(f"labels={self.labels}: expected [] for one score, or two, the better one last")
        if self.type != "classification":
            return problems
        if not self.text or len(set(self.text)) < len(self.text):
            problems.append(self._columns_expected())
        if self.label in self.text:
            problems.append(f"label={self.label}: it is a text column (task.text) too; name the column of the labels")
        elif "label" in self.text:
            problems.append("text=label: a text column must not be called label; rename it")
        return problems

    def head_problems(self) -> list[str]:
        """What a classification head cannot read, and a prompt can: more than two texts."""
        repeated = len(set(self.text)) < len(self.text)
        return (
            [self._columns_expected()] if self.type == "classification" and len(self.text) > 2 and not repeated else []
        )

    def _columns_expected(self) -> str:
        return f"text={self.text}: expected one column or two, such as task.text=[premise,hypothesis]"

    def example_fields(self) -> tuple[str, ...]:
        """Fields that an example fills in a prompt: its text columns, and ``input``, all of them together."""
        return (*self.text, "input")

    def input_template(self) -> str:
        """How a prompt shows an example."""
        return self.input or "\n".join(f"{name.capitalize()}: {{{name}}}" for name in self.text)
