"""A short training."""

import torch
from datasets import Dataset

from latadj.config import StageConfig
from latadj.training.fit import NO_TRACKERS, fit
from latadj.training.objective import TrainingObjective


def trained(model, folder, score, *, resume=False, trackers=NO_TRACKERS, **options):
    """What `fit` says of a classifier that it trained on 64 short texts; ``score`` is called with it to validate."""
    texts = [{"input_ids": [5, 6, 7 + number], "labels": number % 2, "length": 3} for number in range(64)]
    rows = Dataset.from_list(texts)

    def collate(rows):
        return {name: torch.tensor([row[name] for row in rows]) for name in ("input_ids", "labels")}

    return fit(
        model,
        None,
        rows,
        TrainingObjective("accuracy", score, collate),
        name="training",
        output_dir=folder,
        config=StageConfig(**{"batch_size": 4, "learning_rate": 1e-2, "ema_decay": 0.9, **options}),
        seed=0,
        bf16=False,
        device=torch.device("cpu"),
        resume=resume,
        trackers=trackers,
    )
