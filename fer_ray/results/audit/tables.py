"""An audit in a terminal of 80 columns."""

from collections.abc import Sequence

from rich.table import Column, Table

from fer_ray.record.tables import plain_table
from fer_ray.results.audit.apply import Applied
from fer_ray.results.audit.beliefs import Beliefs
from fer_ray.results.audit.compare import Comparison
from fer_ray.results.audit.estimates import MIN_VERIFIED, VERIFIED, Estimate, pairs

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
    return _titled(table, "Wrong labels, estimated")


def estimate_notes(found: Sequence[Estimate]) -> list[str]:
    """What the estimates rest on where it is not a person's word."""
    guessed = [one.name for one in found[:-1] if one.basis != VERIFIED and one.images]
    if not guessed:
        return []
    what = "every class" if len(guessed) == len(found) - 1 else ", ".join(guessed)
    return [
        f"the numbers of {what} are the run's own guess, and the interval does not know whether "
        f"it is right as a whole; {MIN_VERIFIED} random verified images of a label tell "
        "(--review N --sample random)"
    ]


def pair_table(beliefs: Beliefs) -> Table:
    """The pairs of classes with the most wrong labels."""
    names = ("expected", "doubted")
    table = plain_table(
        [Column("given"), Column("true"), *(Column(name, justify="right") for name in names)]
    )
    for row in pairs(beliefs)[:_NUM_PAIRS]:
        table.add_row(row["given"], row["true"], f"{row['expected']:,.0f}", f"{row['flagged']:,}")
    return _titled(table, "The most frequent errors")


def change_table(applied: Applied) -> Table:
    """How many labels became which others."""
    table = plain_table([Column("given"), Column("now"), Column("labels", justify="right")])
    for given, now, num in applied.pairs:
        table.add_row(given, now, f"{num:,}")
    return _titled(table, f"{len(applied.written.changed):,} labels changed")


def answer_notes(applied: Applied) -> list[str]:
    """What else is to be said of the answers."""
    same = applied.seen - applied.unclear - len(applied.written.changed)
    notes = [
        f"of {applied.seen:,} images, {same:,} have their given label confirmed and "
        f"{applied.unclear:,} cannot be told, which keep it"
    ]
    shown, agreed = applied.repeats
    if shown:
        notes.append(
            f"{agreed} of {shown} faces that were shown twice got the same answer "
            f"(Cohen's kappa {applied.kappa:.2f})"
        )
    return notes


def agreement_table(found: Comparison) -> Table:
    """How often two people say every class, and how often both say it of the same image."""
    names = ("first", "second", "both", "agreement")
    table = plain_table([Column("class"), *(Column(name, justify="right") for name in names)])
    for name, (first, second, both) in found.by_class.items():
        # Of all that either of them says: 1 if they always agree on the class.
        table.add_row(name, *map(str, (first, second, both)), f"{2 * both / (first + second):.0%}")
    return _titled(table, f"{len(found.pairs):,} images that both have looked at")


def disagreement_table(found: Comparison) -> Table:
    """The pairs of classes on which two people do not agree."""
    table = plain_table([Column("first"), Column("second"), Column("images", justify="right")])
    for first, second, num in found.disagreements[:_NUM_PAIRS]:
        table.add_row(first, second, f"{num:,}")
    return _titled(table, "Where they do not agree")


def comparison_notes(found: Comparison) -> list[str]:
    """How far two people agree as a whole, and what only one of them has looked at."""
    num = sum(pair.agrees for pair in found.pairs)
    notes = [
        f"{num:,} of {len(found.pairs):,} images have the same label in both "
        f"({found.agreement:.1%}; Cohen's kappa {found.kappa:.2f})"
    ]
    if found.only_first or found.only_second:
        notes.append(
            f"left out are {found.only_first:,} images that only the first file has, and "
            f"{found.only_second:,} that only the second one has"
        )
    return notes


def _titled(table: Table, title: str) -> Table:
    table.title, table.title_justify, table.title_style = title, "left", "bold"
    return table
