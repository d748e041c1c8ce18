"""A sweep's predictions for every test example at every speedup, for `latadj report` and for users."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.special import softmax

from latadj.config import TaskConfig
from latadj.utils.files import atomic_write


@dataclass
class SweepPredictions:
    """A model's outputs on one split, by speedup.

    examples : of the headline test split
    outputs : speedup -> (examples, outputs) logits
    """

    task: TaskConfig
    examples: Dataset
    outputs: dict[float, np.ndarray] = field(default_factory=dict)

    def add(self, speedup: float, outputs: Any) -> None:
        """Keep the outputs at a speedup if they are one class or one number for each example."""
        shape = (len(self.examples), len(self.task.labels or []) or 1)
        if isinstance(outputs, np.ndarray) and outputs.shape == shape:
            self.outputs[speedup] = outputs

    def write(self, path: Path) -> bool:
        """One row an example: its texts, ``label``, ``prediction_2x`` and ``probability_2x`` for each speedup.

        A regression has no probabilities. Nothing is written if there are no outputs.

        Returns
        -------
        whether there was something to write
        """
        if self.task.type != "classification" or not self.outputs:
            path.unlink(missing_ok=True)  # of an earlier sweep, whose numbers are gone too
            return False
        names = self.task.labels
        frame = self.examples.select_columns([*self.task.text, "label"]).to_pandas()
        if names:
            frame["label"] = [names[value] for value in frame["label"]]
        for speedup, outputs in sorted(self.outputs.items()):
            if names:
                frame[f"prediction_{speedup:g}x"] = [names[place] for place in outputs.argmax(axis=1)]
                frame[f"probability_{speedup:g}x"] = softmax(outputs, axis=-1).max(axis=1).round(6)
            else:
                frame[f"prediction_{speedup:g}x"] = outputs[:, 0]
        with atomic_write(path) as temporary:
            frame.to_csv(temporary, index=False)
        return True
