"""The positions of a dial, as `latadj info` shows them."""

from dataclasses import dataclass, field

from latadj.reporting.table import Column, Table, speedup

# As many keep ratios as fit a line of 80 characters beside the other columns.
MOST_LAYERS = 7


@dataclass
class Position:
    """One position of the dial; all but ``speedup`` is None where it is out of reach.

    keep : keep ratio of each layer
    flops_speedup : over the plain model
    predicted : as the dial is marked here: in time over the dial's speedup 1, or in FLOPs
    batch_ms : predicted milliseconds of a batch; None where this device was not calibrated
    short_length, whole_length : as in :class:`latadj.elimination.profiles.Profile`
    width : share of the weights of all layers' linear layers that run
    drop, drop_ci : what is lost of the metric on validation text, with its 95% interval; None where it was not measured
    """

    speedup: float
    keep: list[float] | None = None
    flops_speedup: float | None = None
    predicted: float | None = None
    batch_ms: float | None = None
    short_length: float | None = None
    whole_length: float | None = None
    width: float | None = None
    drop: float | None = None
    drop_ci: tuple[float, float] | None = None


@dataclass
class DialInfo:
    """The dial, marked for this device if it was calibrated here.

    target : ``latency`` or ``flops``
    precision, batch : what it is marked for; None in FLOPs
    window : of a decoder; None where all tokens score
    levels : how many widths it goes by, beside the whole one
    memory : by precision, of weights laid out for all levels over the plain fp32 model's
    """

    profile_type: str
    score: str
    target: str
    precision: str | None
    batch: int | None
    max_speedup: float
    reach: float
    reads: str
    searched: list[float]
    window: str | None
    layer_acc: list[float]
    positions: list[Position]
    levels: int = 0
    memory: dict[str, float] = field(default_factory=dict)


def positions_table(dial: DialInfo) -> Table:
    """A row for each position: its speedups, what is lost there, and what remains."""
    layers = some_layers(len(dial.layer_acc))
    timed = dial.target == "latency"
    least = any(position.short_length for position in dial.positions)
    whole = any(position.whole_length for position in dial.positions)
    layer_names = "" if len(layers) == len(dial.layer_acc) else " " + ", ".join(map(str, layers))
    narrow = any(position.width is not None and position.width < 1 for position in dial.positions)
    dropped = any(position.drop is not None for position in dial.positions)

    def kept(position: Position) -> str:
        if position.keep is None:
            return "out of reach"
        return " ".join(f"{100 * position.keep[layer - 1]:3.0f}" for layer in layers)

    columns = [
        Column("speedup", lambda position: position.speedup, "{:g}x"),
        speedup("predicted", lambda position: position.predicted, shown=timed),
        Column("ms a batch", lambda position: position.batch_ms, "{:.1f}", shown=timed),
        speedup("FLOPs", lambda position: position.flops_speedup),
        Column("drop", lambda position: position.drop, "{:+.2f}", 100, shown=dropped),
        Column("95%", lambda position: position.drop_ci, "{:+.1f}", 100, between=" to ", shown=dropped, priority=1),
        Column("width", lambda position: position.width, "{:.0f}%", 100, shown=narrow),
        Column("short length", lambda position: position.short_length, "{:.1f}", shown=least),
        Column("whole length", lambda position: position.whole_length, "{:.1f}", shown=whole, priority=1),
        Column(f"% kept by layer{layer_names}", kept, left=True),
    ]
    return Table("Dial", columns, dial.positions)


def some_layers(count: int, most: int = MOST_LAYERS) -> list[int]:
    """Numbers of layers to show, from 1: all, or ``most`` that are spread evenly with the first and the last."""
    if count <= most:
        return list(range(1, count + 1))
    return [1 + round(place * (count - 1) / (most - 1)) for place in range(most)]
