"""What `latadj predict` makes of tags and of answers to questions; it needs the libraries for data sets."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.config import TaskConfig
from latadj.inference.streams.layouts import short
from latadj.inference.streams.served_tasks import ServedTask
from latadj.tasks.encoding.batches import rows_of
from latadj.tasks.outputs.answer_spans import Answer
from latadj.tasks.types.question_answering import QuestionAnswering
from latadj.tasks.types.token_classification import TokenClassification

Type = TypeVar("Type", bound=TokenClassification | QuestionAnswering)


class TrainedTask(ServedTask, Generic[Type]):
    """A task whose texts are encoded as for its training."""

    def __init__(self, task_type: Type) -> None:
        self.task_type, self.outputs = task_type, task_type.outputs

    @abstractmethod
    def examples(self, texts: Sequence[Sequence[str]]) -> Dataset:
        """The texts as examples of the task, without answers."""

    def check_fit(self, tokenizer: PreTrainedTokenizerBase, limit: int, texts: int) -> None:
        self.task_type.check_fit(tokenizer, limit)

    def encode(
        self, texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, limit: int
    ) -> tuple[list[dict[str, Any]], Any]:
        examples = self.examples(texts)
        encoded = self.task_type.encode(examples, tokenizer, limit)
        return rows_of(encoded), (encoded, examples)


class Tags(TrainedTask[TokenClassification]):
    """A tag for each word of a text, between blanks; an answer is (words, tags, probabilities) of equal length.

    In CSV each of the three is one field, its entries divided by single blanks.
    """

    columns = ("words", "tags", "probabilities")

    def __init__(self, task: TaskConfig) -> None:
        super().__init__(TokenClassification(task))

    def examples(self, texts: Sequence[Sequence[str]]) -> Dataset:
        sentences = [text.split() for text in texts[0]]
        # The task's own encoding, which trains too, asks for tags.
        return Dataset.from_dict({"tokens": sentences, "tags": [[""] * len(words) for words in sentences]})

    def answers(self, outputs: Any, encoded: Any) -> list[tuple[list[str], list[str], list[float]]]:
        rows, examples = encoded
        tagged = self.task_type.tagged(outputs, rows, examples)
        return [(words, *answer) for words, answer in zip(examples["tokens"][:], tagged, strict=True)]

    def record(self, answer: tuple[list[str], list[str], list[float]]) -> list[Any]:
        words, tags, probabilities = answer
        return [" ".join(words), " ".join(tags), " ".join(map(short, probabilities))]

    def fields(self, answer: tuple[list[str], list[str], list[float]]) -> dict[str, Any]:
        words, tags, probabilities = answer
        return {"words": words, "tags": tags, "probabilities": [float(short(one)) for one in probabilities]}

    def arrow_types(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        import pyarrow as pa

        texts, numbers = pa.list_(pa.string()), pa.list_(pa.float64())
        return {"words": texts, "tags": texts, "probabilities": numbers}


class Spans(TrainedTask[QuestionAnswering]):
    """A span of a context that answers a question, or none."""

    columns = ("answer", "start", "end", "probability", "score")

    def __init__(self, task: TaskConfig) -> None:
        super().__init__(QuestionAnswering(task))

    def examples(self, texts: Sequence[Sequence[str]]) -> Dataset:
        questions, contexts = texts
        none: list[list[Any]] = [[] for _ in questions]
        return Dataset.from_dict({"question": questions, "context": contexts, "texts": none, "starts": none})

    def answers(self, outputs: Any, encoded: Any) -> list[Answer]:
        rows, examples = encoded
        return self.task_type.spans(outputs, rows, examples).best(examples["context"][:], self.task_type.threshold)

    def record(self, answer: Answer) -> list[Any]:
        return [answer.text, answer.start, answer.end, short(answer.probability), short(answer.score)]

    def fields(self, answer: Answer) -> dict[str, Any]:
        numbers = {"probability": float(short(answer.probability)), "score": float(short(answer.score))}
        return {"answer": answer.text, "start": answer.start, "end": answer.end, **numbers}

    def arrow_types(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        import pyarrow as pa

        places = {"start": pa.int64(), "end": pa.int64()}
        return {"answer": pa.string(), **places, "probability": pa.float64(), "score": pa.float64()}
