"""Which share of each region of a prompt survives each layer."""

from latadj.inference.region_survival import RegionShares
from latadj.reporting.table import Column, Table


def table(regions: RegionShares, title: str = "survivors by region (tokens)") -> Table:
    """A row for each layer, a column for each region: percent of its tokens that leave the layer."""
    columns = [Column("layer", lambda layer: layer + 1)]
    for name, tokens in regions.tokens.items():
        columns.append(Column(f"{name} ({tokens:.0f})", regions.shares[name].__getitem__, "{:.1f}%", 100))
    return Table(title, columns, range(len(next(iter(regions.shares.values())))))
