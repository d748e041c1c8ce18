"""What a speedup costs by length: an average hides what happens to the shortest texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from latadj.reporting.table import Column, Table

# A group that loses so many times what the average loses is named, if its interval says so too.
FAR = 3.0


@dataclass
class LengthGroup:
    """Examples of like length at one speedup.

    name : ``shortest 5%``, ``shortest fifth``, ``second fifth``, ... ``longest fifth``
    least, most : tokens of its shortest and its longest example
    loss : as the row's: metric points, or increase of perplexity, against the same examples at the better full model
    agreement : share of examples with the prediction at speedup 1; None for continuations
    """

    name: str
    least: int
    most: int
    examples: int
    metric: float
    loss: float
    loss_ci: tuple[float, float]
    agreement: float | None = None


def by_length_tables(
    groups: Mapping[str, Sequence[LengthGroup]], loss: str, written: Callable[[float], str]
) -> list[Table]:
    """A line for each group, a column for each position of the dial: loss, and agreement with 1x. No table of no group.

    Parameters
    ----------
    groups : of each position, by its name
    loss : what is lost, in words
    written : writes a loss
    """
    first = next(iter(groups.values()), [])
    if not first:
        return []
    agrees = first[0].agreement is not None
    columns = [
        Column("texts", lambda place: first[place].name, left=True),
        Column("tokens", lambda place: _tokens(first[place]), priority=1),
        Column("examples", lambda place: first[place].examples, priority=2),
        *(Column(name, _cell(one, written)) for name, one in groups.items()),
    ]
    what = f"{loss}, and agreement with 1x" if agrees else loss
    return [Table(f"By length: {what}", columns, range(len(first)))]


def length_warnings(name: str, loss: float, groups: Sequence[LengthGroup]) -> list[str]:
    """The groups that lose more than ``FAR`` times what all texts lose on average.

    Parameters
    ----------
    name : of the position of the dial
    loss : of all texts
    """
    average = max(loss, 0.0)
    # Few examples may lose much by chance, so the interval has to say it too.
    far = [group for group in groups if group.loss > FAR * average and group.loss_ci[0] > average]
    return [
        f"At {name} the {group.name} of the texts ({_tokens(group)} tokens) loses "
        + (f"{group.loss / average:.1f} times as much as the average." if average else "though the average does not.")
        for group in far
    ]


def _cell(groups: Sequence[LengthGroup], written: Callable[[float], str]) -> Callable[[int], str]:
    def text(place: int) -> str:
        agreement = groups[place].agreement
        return written(groups[place].loss) + ("" if agreement is None else f" {100 * agreement:.0f}%")

    return text


def _tokens(group: LengthGroup) -> str:
    return f"{group.least}–{group.most}"
