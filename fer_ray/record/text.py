"""Numbers, durations, names and errors as short text, for tables, messages and logs."""

import math
from collections.abc import Sequence
from typing import Any

Number = int | float


def metric_text(value: Number | None) -> str:
    """A metric with four decimals, or with four digits from 10 on; a dash if it is not finite.

    >>> metric_text(0.5), metric_text(1234.5), metric_text(float("nan"))
    ('0.5000', '1234', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def metric_name(key: str) -> str:
    """A metric of the validation set in words, for a column that is narrow.

    >>> metric_name("val/macro_recall"), metric_name("val/natural/accuracy")
    ('macro_recall', 'natural accuracy')
    """
    return key.removeprefix("val/").replace("/", " ")


def setting_text(value: Any) -> str:
    """A hyperparameter: numbers with three significant digits.

    >>> setting_text(0.123456), setting_text(128), setting_text("adam")
    ('0.123', '128', 'adam')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration_text(seconds: Number) -> str:
    """Minutes and seconds, with hours where there are any; a dash if it is not finite.

    >>> duration_text(75), duration_text(3600), duration_text(float("nan"))
    ('1:15', '1:00:00', '-')
    """
    if not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def time_left_text(elapsed_s: Number, done: Number, left: Number) -> str:
    """How long the rest takes at the pace so far; a dash before anything is done.

    Args:
        elapsed_s: Seconds since the start.
        done: Amount done in this time, in any unit.
        left: Amount left, in the same unit.

    >>> time_left_text(elapsed_s=60, done=2, left=3), time_left_text(60, 0, 3)
    ('1:30 left', '- left')
    """
    pace_s = elapsed_s / done if done > 0 else math.nan
    return f"{duration_text(pace_s * left)} left"


def short_names(keys: Sequence[str]) -> list[str]:
    """The last part of each dotted key, or as many parts as it takes to tell them apart.

    >>> short_names(["optim.lr", "method.thresholds.fear", "method.weights.fear"])
    ['lr', 'thresholds.fear', 'weights.fear']
    """
    names = []
    for key in keys:
        parts = key.split(".")
        tails = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
        others = [f".{other}" for other in keys if other != key]
        unique = (tail for tail in tails if not any(o.endswith(f".{tail}") for o in others))
        names.append(next(unique, key))
    return names


def abbreviate(names: Sequence[str], letters: int = 4) -> list[str]:
    """The first letters of each name; more where four do not tell all of them apart.

    >>> abbreviate(["happiness", "fear", "anger"])
    ['happ', 'fear', 'ange']
    """
    short = [name[:letters] for name in names]
    is_enough = len(set(short)) == len(set(names)) or letters >= max(map(len, names))
    return short if is_enough else abbreviate(names, letters + 1)


def last_letters(name: str, width: int) -> str:
    """The end of a name that is longer than `width`, since trials differ in their last letters.

    >>> last_letters("trial_007", 12), last_letters("a_long_name_00007", 12)
    ('trial_007', '…_name_00007')
    """
    return name if len(name) <= width else f"…{name[1 - width :]}"


def error_text(error: Exception) -> str:
    """Type and message of an error, on one line.

    >>> error_text(OSError("disk full")), error_text(ValueError())
    ('OSError: disk full', 'ValueError')
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def printable(text: str) -> str:
    r"""Text from a file or its name, without what would confuse a terminal or a page.

    >>> printable("a\x1b[2Jb.jpg")
    'a�[2Jb.jpg'
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
