"""Where tokens survive: the share of each region of a prompt that leaves each layer."""

from rich.table import Table

from latadj.inference.region_survival import RegionShares
from latadj.utils.console import console


def regions_table(found: RegionShares, title: str = "") -> Table:
    """A line for each layer, a column for each region: percent of its tokens that leave the layer."""
    table = Table(title=title or None, title_justify="left")
    table.add_column("layer", justify="right")
    for name, tokens in found.tokens.items():
        table.add_column(f"{name} ({tokens:.0f})", justify="right")
    for layer, line in enumerate(zip(*found.shares.values(), strict=True), start=1):
        table.add_row(str(layer), *(f"{100 * share:.1f}%" for share in line))
    return table


def print_regions(found: RegionShares, title: str = "survivors by region (tokens)") -> None:
    """Print the table."""
    console.print(regions_table(found, title))
