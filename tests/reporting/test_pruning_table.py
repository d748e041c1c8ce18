"""What `latadj prune` shows of its result."""

from rich.console import Console

from latadj.reporting import table
from latadj.reporting.results.pruning import LayerLeft, PairedComparison, PrunedModel, PruneResult, Size


def result() -> PruneResult:
    said = PairedComparison(765, 0.8444, 0.8549, 0.0057, (-0.0134, 0.0249), 0.35, 0.36)
    size, full = Size(5_800_000, 17_700_000, 4e8, 71_000_000), Size(10_800_000, 22_700_000, 9e8, 90_900_000)
    layers = [LayerLeft([0, 2], 12, 1536, 1536), LayerLeft([], 12, 0, 1536)]
    models = [
        PrunedModel(budget, "folder", said, said, size, layers, None, True, 1.82, (1.78, 1.88)) for budget in (1.8, 2.5)
    ]
    return PruneResult("minilm", "rotten_tomatoes", "accuracy", "speed", 0.0, [], models, [], full, 1.0, {}, {})


def test_all_columns_of_a_frontier_are_whole_on_eighty_characters(monkeypatch, capsys):
    monkeypatch.setattr(table, "console", Console(width=80))
    result().show()
    shown = capsys.readouterr().out
    assert "…" not in shown
    for cell in ("budget", "0.54", "0.44", "1.82x", "85.49", "+0.57 (-1.34 to +2.49)"):
        assert cell in shown
