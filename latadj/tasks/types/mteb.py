"""Tasks of the package mteb: what they are of is in that package."""

from collections.abc import Sequence

from datasets import Dataset

from latadj.config.options.task import MTEB
from latadj.tasks.data.splits import Splits
from latadj.tasks.types.embedding import Embedding

METRIC = "main_score"


class Mteb(Embedding):
    """Single texts to embed, which mteb has, with how it scores their embeddings; see `latadj eval`."""

    name = MTEB

    def check(self) -> None:
        if self.task.metric != METRIC:
            raise ValueError(f"task.metric={self.task.metric}: expected {METRIC}, which each task of mteb names")

    def load(self, known: Sequence[str] | None = None, *, train: bool = True) -> Splits:
        if train:
            raise ValueError(
                f"task={self.task.name} of mteb is to test with, and there is nothing to train or calibrate on: do "
                "that with task=embedding task.data_files=FILE"
            )
        nothing = Dataset.from_dict({})
        return Splits(nothing, nothing, {})
