"""Results of pruning and of a comparison, small enough to be damaged in every place."""

import json
from dataclasses import replace
from pathlib import Path

from helpers.run_folders import CONFIG, ENVIRONMENT

from latadj.reporting.results.comparison import Comparison
from latadj.reporting.results.pruning import LayerLeft, PairedComparison, PrunedModel, PruneResult, Size

DOCS = Path(__file__).parents[2] / "docs"


def pruning() -> PruneResult:
    worth = PairedComparison(765, 0.8444, 0.8549, 0.0057, (-0.0134, 0.0249), 0.35, 0.36)
    size, full = Size(5_800_000, 17_700_000, 4e8, 71_000_000), Size(10_800_000, 22_700_000, 9e8, 90_900_000)
    layers = [LayerLeft([0, 2], 12, 1536, 1536), LayerLeft([], 12, 0, 1536)]
    models = [
        PrunedModel(budget, "folder", worth, worth, size, layers, [None, 0.5], True, 1.82, (1.78, 1.88))
        for budget in (1.8, 2.5)
    ]
    config = {**CONFIG, "prune": {"confidence": 0.95}}
    candidates = [{"name": "layer 1 head 2", "kept": False}, {"name": "layer 1 head 3", "kept": True}]
    return PruneResult(
        "minilm", "films", "accuracy", "speed", 0.0, candidates, models, [], full, 1.0, ENVIRONMENT, config
    )


def comparison() -> Comparison:
    """One that was measured, with two models and short timings."""
    found = Comparison.from_json(json.loads((DOCS / "axformer-rotten_tomatoes-0.json").read_text()))
    models = found.models[:2]
    samples = {row.key: [[0.1, 0.2]] for row in models}
    return replace(
        found, models=models, candidates=found.candidates[:1], samples_s=samples, environment=ENVIRONMENT, config=CONFIG
    )
