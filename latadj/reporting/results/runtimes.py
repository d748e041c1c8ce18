"""How long a model takes in each runtime, as a table."""

from collections.abc import Sequence

from latadj.checkpoints.runtime_times import RuntimeTimes
from latadj.reporting.table import Table


def runtimes_table(times: Sequence[RuntimeTimes]) -> Table:
    """Median milliseconds of a batch, the fastest of each batch size and speedup marked."""
    head = ["batch", "runs", "precision", *(f"ms at {speedup:g}x" for speedup in times[0].speedups)]
    rows = []
    for one in times:
        least = [min(column) for column in zip(*(trial.ms for trial in one.trials), strict=True)]
        for number, trial in enumerate(one.trials):
            cells = [f"{ms:.2f}{' *' if ms == best else ''}" for ms, best in zip(trial.ms, least, strict=True)]
            batch = str(one.batch) if number == 0 else ""
            rows.append([batch, trial.folder or "the checkpoint, in PyTorch", trial.precision, *cells])
    title = "Runtimes; speedups in FLOPs, * is the fastest"
    return Table.of_cells(title, head, rows, left=3)
