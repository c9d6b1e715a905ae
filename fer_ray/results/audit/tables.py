"""An audit in a terminal of 80 columns."""

from collections.abc import Sequence

from rich.table import Column, Table

from fer_ray.record.tables import plain_table
from fer_ray.results.audit.beliefs import Beliefs
from fer_ray.results.audit.estimates import VERIFIED, Estimate, pairs

_NUM_PAIRS = 8


def estimate_table(found: Sequence[Estimate]) -> Table:
    """How many labels of every class are wrong, with an interval and what it rests on."""
    right = [Column(name, justify="right") for name in ("images", "wrong", "95 % interval")]
    table = plain_table([Column("given"), *right, Column("doubted", justify="right"), Column("by")])
    for one in found:
        share = f"{100 * one.wrong / one.images:.0f} %" if one.images else "-"
        interval = f"{one.low:,.0f} to {one.high:,.0f}"
        by = f"{one.verified} verified" if one.basis == VERIFIED else "the run alone"
        table.add_row(
            one.name,
            f"{one.images:,}",
            f"{one.wrong:,.0f} ({share})",
            interval,
            f"{one.flagged:,}",
            by if one.basis != "both" else f"both ({one.verified} verified)",
        )
    table.title = "Wrong labels, estimated"
    return table


def pair_table(beliefs: Beliefs) -> Table:
    """The pairs of classes with the most wrong labels."""
    names = ("expected", "doubted")
    table = plain_table(
        [Column("given"), Column("true"), *(Column(name, justify="right") for name in names)]
    )
    for row in pairs(beliefs)[:_NUM_PAIRS]:
        table.add_row(row["given"], row["true"], f"{row['expected']:,.0f}", f"{row['flagged']:,}")
    table.title = "The most frequent errors"
    return table
