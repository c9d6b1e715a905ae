"""The first screen of a report: the result, how far it is ahead, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

from fer_ray.core.intervals import Interval, confusion_intervals, separate_difference
from fer_ray.results.report.chart import figure_text
from fer_ray.results.report.records import STATUS_TEXT, Answers, SearchFound, Trained, Tried
from fer_ray.results.report.verdict import (
    Comparison,
    Measure,
    compare,
    judged_by,
    standing,
    validation_confusion,
    validation_pair,
)

_MARK = {"ahead": "▲ ", "behind": "▼ ", "level": "≈ ", "unknown": ""}
_WORD = {
    "ahead": "ahead: the whole interval is above 0",
    "behind": "behind: the whole interval is below 0",
    "level": "level: the interval includes 0",
    "unknown": "not available",
}
_FIGURE: dict[Measure, str] = {"accuracy": "accuracy", "macro_recall": "macro recall"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A figure with its title and what to know of it; `kind` is a class of the style sheet."""

    title: str
    value: str
    texts: Sequence[str]
    kind: str = ""


def interval_text(one: Interval) -> str:
    """A share with its bounds, in per cent.

    >>> interval_text(Interval(0.5, 0.41, 0.6))
    '50.0 % (41.0 to 60.0)'
    """
    if one.value != one.value:
        return "not available"
    return f"{100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"


def points_text(one: Interval) -> str:
    """A difference of shares with its bounds, in points.

    >>> points_text(Interval(-0.014, -0.03, 0.002))
    '≈ -1.4 points (-3.0 to +0.2)'
    """
    if one.value != one.value:
        return "not available"
    bounds = f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"
    return f"{_MARK[standing(one)]}{100 * one.value:+.1f} points ({bounds})"


def comparisons(search: SearchFound) -> list[Comparison]:
    """The best trial's test against that of the default and of the reference, if they are there."""
    found: list[Comparison] = []
    ours = search.best_run.tested if search.best_run else None
    default, reference = search.default, search.reference
    if ours is None or search.best is None:
        return found
    is_other = default is not None and default.name != search.best.name
    if search.default_test is not None and is_other:
        found.append(compare(ours, search.default_test, "default"))
    if search.reference_test is not None and reference is not None:
        found.append(compare(ours, search.reference_test, "reference"))
    return found


def lead(search: SearchFound, reference_method: str) -> str:
    """The result in a sentence; empty where nothing was tested."""
    point, measure = judged_by(search.metric)
    found = comparisons(search)
    names = {"default": "the default configuration", "reference": reference_method}
    parts = [_standing_text(getattr(c.points[point], measure), names[c.other]) for c in found]
    if not parts or search.best is None:
        return ""
    figure = f"Test {_FIGURE[measure]} of the best configuration, {search.best.name}"
    parts[0] = parts[0].replace("(", "(95 % interval ", 1)
    return f"{figure}, is {' and '.join(parts)}."


def _standing_text(one: Interval, name: str) -> str:
    points, low, high = (f"{100 * abs(x):.1f}" for x in one)
    kind = standing(one)
    if kind == "ahead":
        return f"{points} points ahead of {name} ({low} to {high})"
    if kind == "behind":
        return f"{points} points behind {name} ({high} to {low})"
    bounds = f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"
    return f"level with {name}, {100 * one.value:+.1f} points ({bounds})"


def search_cards(search: SearchFound, reference_method: str) -> list[Card]:
    """What a search found, in figures."""
    cards = []
    point, measure = judged_by(search.metric)
    best, run = search.best, search.best_run
    if best is not None and run is not None:
        cards.append(_best_card(search))
        if run.tested is not None:
            cards.append(test_card(run.tested, point, measure))
        cards += [_default_card(search, point, measure)]
        cards += _reference_card(search, point, measure, reference_method)
    return [*cards, _count_card(search)]


def test_card(tested: Answers, point: str, measure: Measure) -> Card:
    """The figure of the test set."""
    confusion = tested.confusion[point]
    pair = confusion_intervals(confusion)
    other: Measure = "accuracy" if measure == "macro_recall" else "macro_recall"
    ours, beside = getattr(pair, measure), getattr(pair, other)
    bounds = f"95 % interval {100 * ours.low:.1f} to {100 * ours.high:.1f}"
    return Card(
        title=f"Test {_FIGURE[measure]}",
        value=f"{100 * ours.value:.1f} %",
        texts=(
            f"{bounds}, {confusion.sum():,} images",
            f"{_FIGURE[other]} {interval_text(beside)}",
        ),
    )


def validation_card(run: Trained) -> Card:
    """The figure of validation, where there is no test."""
    pair = validation_pair(run)
    return Card(
        title="Validation macro recall",
        value=f"{100 * pair.macro_recall.value:.1f} %",
        texts=(
            f"{interval_text(pair.macro_recall)} against the given labels",
            f"accuracy {interval_text(pair.accuracy)}",
        ),
    )


def _best_card(search: SearchFound) -> Card:
    best = search.best
    assert best is not None
    is_default = search.default is not None and best.name == search.default.name
    texts = [
        f"{search.metric} {figure_text(best.value)} in epoch {best.best_epoch} of {best.planned}"
    ]
    if search.lead is None or search.lead.is_enough:
        texts.append("the best of all trials on validation")
        if is_default:
            texts.append("It is the default configuration: the search found nothing better.")
    else:
        texts.append("the default configuration: nothing was better by more than chance")
    if search.lead is not None:
        chance = "" if search.lead.is_sure else ": that may be chance"
        texts.append(f"{search.lead.text}{chance}.")
    return Card(title="Best trial", value=best.name, texts=texts)


def _difference_card(title: str, found: Comparison, point: str, measure: Measure) -> Card:
    one: Interval = getattr(found.points[point], measure)
    kind = standing(one)
    how = "image by image" if found.is_paired else "resampled separately, which is too wide"
    return Card(
        title=title,
        value=f"{_MARK[kind]}{100 * one.value:+.1f} points",
        texts=(
            f"of test {_FIGURE[measure]}, 95 % interval {100 * one.low:+.1f} to "
            f"{100 * one.high:+.1f}, {how}",
            _WORD[kind],
        ),
        kind=kind,
    )


def _default_card(search: SearchFound, point: str, measure: Measure) -> Card:
    title, default, best = "Against the default", search.default, search.best
    assert default is not None
    assert best is not None
    title = f"Against the default ({default.name})"
    if default.name == best.name:
        kept = search.lead is not None and not search.lead.is_enough
        text = "The default was kept." if kept else "The default is the best trial."
        return Card(title=title, value="= the same", texts=(text,))
    if not default.has_result:
        why = default.failure or "it has no epoch with a value"
        return Card(
            title=title, value="not available", texts=(f"The default has no result: {why}",)
        )
    found = [one for one in comparisons(search) if one.other == "default"]
    if found:
        card = _difference_card(title, found[0], point, measure)
        if default.status == "stopped":
            note = f"The default was stopped after epoch {default.epochs} of {default.planned}."
            return Card(title=title, value=card.value, texts=(*card.texts, note), kind=card.kind)
        return card
    return _validation_card(title, search, default)


def _validation_card(title: str, search: SearchFound, other: Tried) -> Card:
    """How far the best trial is ahead of another on validation, where nothing was tested."""
    gap = ((search.best and search.best.value) or 0.0) - (other.value or 0.0)
    ahead = gap if search.mode == "max" else -gap
    text = f"of {search.metric} on validation, positive where ours is better; no test yet"
    return Card(title=title, value=f"{ahead:+.4f}", texts=(text,))


def _reference_card(search: SearchFound, point: str, measure: Measure, method: str) -> list[Card]:
    reference = search.reference
    if reference is None:
        return []
    title = f"Against the reference ({method})"
    found = [one for one in comparisons(search) if one.other == "reference"]
    if found:
        return [_difference_card(title, found[0], point, measure)]
    if reference.has_result:
        return [_validation_card(title, search, reference)]
    why = reference.failure or "it has no epoch with a value"
    return [Card(title=title, value="not available", texts=(f"No figure: {why}",))]


def _count_card(search: SearchFound) -> Card:
    counts = [(search.count(status), text) for status, text in STATUS_TEXT.items()]
    shown = [f"{num} {text}" for num, text in counts if num or text != "not finished"]
    num = len(search.trials)
    reference = "; and the reference" if search.reference is not None else ""
    return Card(
        title="Trials",
        value=f"{num} trial{'' if num == 1 else 's'}",
        texts=(", ".join(shown) + reference,),
    )


def how_sure(search: SearchFound) -> list[str]:
    """What the intervals say and what they do not."""
    best, run = search.best, search.best_run
    if best is None or run is None:
        return []
    num = sum(trial.has_result for trial in search.trials)
    winner = search.lead.trial if search.lead is not None else best.name
    value = next(trial.value for trial in search.trials if trial.name == winner)
    texts = [
        f"On validation, {winner} is the best of {num} trials, and the best of many is partly "
        f"the luckiest: {search.metric} {figure_text(value)} is optimistic. Test images chose "
        "nothing, so trust the test."
    ]
    if run.tested is None:
        texts[0] = texts[0].replace(
            "Test images chose nothing, so trust the test.", "There is no test yet."
        )
        texts += _validation_gap(search)
    texts.append(
        "Intervals say how far a figure would move with other images of the same kind. They do not "
        "say what another seed would change: every configuration was trained once."
    )
    if any(not found.is_paired for found in comparisons(search)):
        texts.append(
            "Predictions of single images were not kept, so differences are those of two separate "
            "samples; on the same images they would be surer."
        )
    return texts


def _validation_gap(search: SearchFound) -> list[str]:
    """How far the best trial is ahead of the reference's or the default's validation figures."""
    from fer_ray.results.report.reading import read_run
    from fer_ray.results.run_files import names_in

    default, run = search.default, search.best_run
    if default is None or run is None or not default.has_result or default.name == run.name:
        return []
    folder = search.folder / default.name
    other = read_run(folder, names_in(folder), search.metric, search.mode)
    pair = separate_difference(validation_confusion(run), validation_confusion(other))
    return [
        f"On validation it differs from the default by {points_text(pair.macro_recall)} of macro "
        "recall."
    ]
