"""Outputs of a whole data set, of which every process of a training computes a share."""

from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.devices import ranks
from latadj.tasks.outputs.likelihood import Likelihoods, likelihoods
from latadj.tasks.outputs.predict import predict


def predict_in_shares(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, encoded: Dataset | list[dict[str, Any]], **options: Any
) -> Any:
    """What :func:`latadj.tasks.outputs.predict.predict` gives, the same in every process."""
    if ranks.size() == 1:
        return predict(model, tokenizer, encoded, **options)
    own = ranks.own_share(len(encoded))
    rows = [encoded[place] for place in own] if isinstance(encoded, list) else encoded.select(own)
    answers = predict(model, tokenizer, rows, **options)
    every = ranks.in_order(ranks.gathered(answers), len(encoded))
    return np.stack(every) if isinstance(answers, np.ndarray) else every


def likelihoods_in_shares(model: PreTrainedModel, rows: list[dict[str, Any]], *, batch_size: int) -> Likelihoods:
    """What :func:`latadj.tasks.outputs.likelihood.likelihoods` gives, the same in every process."""
    own = likelihoods(model, [rows[place] for place in ranks.own_share(len(rows))], batch_size=batch_size)
    both = list(zip(own.nll.tolist(), own.tokens.tolist(), strict=True))
    nll, tokens = zip(*ranks.in_order(ranks.gathered(both), len(rows)), strict=True)
    return Likelihoods(np.array(nll), np.array(tokens, dtype=np.int64))
