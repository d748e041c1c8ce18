"""What a sweep's model said of every test example at every speedup, kept for `latadj report` and for the curious."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from latadj.config import TaskConfig
from latadj.tasks.outputs.predictions import probabilities
from latadj.utils.files import atomic_write


@dataclass
class Kept:
    """Answers on one split, speedup by speedup.

    examples : of the headline test split
    answers : speedup -> (examples, outputs) logits; what has another form is left out
    """

    task: TaskConfig
    examples: Dataset
    answers: dict[float, np.ndarray] = field(default_factory=dict)

    def add(self, speedup: float, said: Any) -> None:
        """Keep what the model said at a speedup, if it is one class or one number for each example."""
        if isinstance(said, np.ndarray) and said.shape == (len(self.examples), len(self.task.labels or []) or 1):
            self.answers[speedup] = said

    def write(self, path: Path) -> bool:
        """One row an example: its texts, ``label``, ``prediction_2x`` and ``probability_2x`` for each speedup.

        A regression has no probabilities. Nothing is written where there are no answers.

        Returns
        -------
        whether there was something to write
        """
        if self.task.type != "classification" or not self.answers:
            path.unlink(missing_ok=True)  # of an earlier sweep, whose numbers are gone too
            return False
        names = self.task.labels
        frame = self.examples.select_columns([*self.task.text, "label"]).to_pandas()
        if names:
            frame["label"] = [names[value] for value in frame["label"]]
        for speedup, said in sorted(self.answers.items()):
            if names:
                frame[f"prediction_{speedup:g}x"] = [names[place] for place in said.argmax(axis=1)]
                frame[f"probability_{speedup:g}x"] = probabilities(said).max(axis=1).round(6)
            else:
                frame[f"prediction_{speedup:g}x"] = said[:, 0]
        with atomic_write(path) as temporary:
            frame.to_csv(temporary, index=False)
        return True
