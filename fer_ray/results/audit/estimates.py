"""How many labels are wrong: by class with an interval, and by pairs of classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_ray.results.audit.beliefs import Beliefs

MIN_VERIFIED = 10
"""Random verified images of a given label from which its share of wrong labels is estimated."""
_LEVEL, _Z = 0.95, 1.959964
VERIFIED, BELIEVED = "verified", "believed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Wrong labels among the images of one given label.

    Attributes:
        name: The class; `all` for the sum of all.
        images: Images that carry the label.
        wrong: Estimated number of wrong ones.
        low: Lower end of its 95 % interval.
        high: Upper end.
        flagged: Images for which the run suggests another class.
        verified: Random images of the label that a person has told the class of.
        verified_wrong: Those of them whose label is wrong.
        basis: `verified` or `believed`: whether a person or the run tells how many are wrong.
    """

    name: str
    images: int
    wrong: float
    low: float
    high: float
    flagged: int
    verified: int
    verified_wrong: int
    basis: str


def estimates(beliefs: Beliefs) -> list[Estimate]:
    """Estimate the wrong labels of every given class, and of all together (the last).

    From `MIN_VERIFIED` random verified images on, by their share of wrong labels with Wilson's
    interval. Else by the probabilities of the run: their sum, with the interval that their own
    spread and the difference between the networks give. Whether the probabilities are right, that
    interval does not know.
    """
    found = [_of_class(beliefs, number) for number in range(len(beliefs.class_names))]
    below = sum((one.wrong - one.low) ** 2 for one in found) ** 0.5
    above = sum((one.high - one.wrong) ** 2 for one in found) ** 0.5
    bases = {one.basis for one in found if one.images}
    wrong = sum(one.wrong for one in found)
    # The interval of a sum from those of its terms (MOVER, Zou and Donner 2008).
    total = Estimate(
        name="all",
        images=sum(one.images for one in found),
        wrong=wrong,
        low=max(wrong - below, 0.0),
        high=wrong + above,
        flagged=sum(one.flagged for one in found),
        verified=sum(one.verified for one in found),
        verified_wrong=sum(one.verified_wrong for one in found),
        basis=bases.pop() if len(bases) == 1 else "both",
    )
    return [*found, total]


def _of_class(beliefs: Beliefs, number: int) -> Estimate:
    of_label = beliefs.given == number
    told = of_label & beliefs.is_random & (beliefs.verified >= 0)
    num, num_wrong = int(told.sum()), int((beliefs.verified[told] != number).sum())
    images = int(of_label.sum())
    if num >= MIN_VERIFIED:
        share = (num_wrong / num, *_wilson(num_wrong, num))
        wrong, low, high = (images * x for x in share)
    else:
        wrong, low, high = _believed(beliefs, of_label)
    return Estimate(
        name=beliefs.class_names[number],
        images=images,
        wrong=wrong,
        low=low,
        high=high,
        flagged=int((beliefs.suggested[of_label] != number).sum()),
        verified=num,
        verified_wrong=num_wrong,
        basis=VERIFIED if num >= MIN_VERIFIED else BELIEVED,
    )


def _wilson(num_wrong: int, num: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    found = binomtest(num_wrong, num).proportion_ci(_LEVEL, method="wilson")
    return float(found.low), float(found.high)


def _believed(beliefs: Beliefs, rows: np.ndarray) -> tuple[float, float, float]:
    """Sum of the probabilities of being wrong; its interval covers that of each network."""
    told = (beliefs.verified >= 0)[rows]
    right = np.where(told, beliefs.prob_given_right[rows], beliefs.right[:, rows])
    wrong = (1 - right).sum(axis=1)
    spread = _Z * np.sqrt((right * (1 - right)).sum(axis=1))
    low, high = float((wrong - spread).min()), float((wrong + spread).max())
    return float(wrong.mean()), max(low, 0.0), min(high, float(rows.sum()))


def pairs(beliefs: Beliefs) -> list[dict[str, Any]]:
    """Wrong labels by given and true class, the most expected first.

    Returns:
        A row for every pair of different classes: `given`, `true`; `expected`, the sum of the
        probabilities that images of the given label are of the true class; `flagged`, images for
        which the run suggests it; `verified`, images of which a person has said so.
    """
    names, rows = beliefs.class_names, list[dict[str, Any]]()
    for given, of_label in enumerate(beliefs.given == k for k in range(len(names))):
        said, told = beliefs.suggested[of_label], beliefs.verified[of_label]
        expected = beliefs.posterior[of_label].sum(axis=0)
        for true in range(len(names)):
            if true != given:
                row = {
                    "given": names[given],
                    "true": names[true],
                    "expected": round(float(expected[true]), 1),
                    "flagged": int((said == true).sum()),
                    "verified": int((told == true).sum()),
                }
                rows.append(row)
    return sorted(rows, key=lambda row: -float(row["expected"]))
