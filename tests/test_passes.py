"""The counted network passes are those that DivideMix's forms need."""

from typing import Any

import pytest

from benchmarks.counting import PassCounter
from benchmarks.passes import CLOTHING, recall_goals
from fer_ray.training.learner import Learner
from tests.samples import faces, make_run, train


@pytest.mark.parametrize(
    ("fields", "guessing", "gradient"),
    [
        ({"form": "cifar"}, 6, 12),
        ({"form": "clothing1m"}, 6, 6),
        ({"form": "cifar", "guesses": "scored"}, 0, 12),
        ({"form": "clothing1m", "guesses": "scored"}, 0, 6),
        ({"form": "clothing1m", "guesses": "scored", "num_views": 1}, 0, 3),
        ({"form": "clothing1m", "guesses": "scored", "gradient_views": "weak"}, 0, 6),
    ],
)
def test_passes_per_label_are_those_of_the_form(
    fields: dict[str, Any], guessing: int, gradient: int
) -> None:
    run = make_run("dividemix", **{f"method__{key}": value for key, value in fields.items()})
    counter, original = PassCounter(), Learner.logits
    with counter.watching():
        _, rows = train(run, faces())
    assert Learner.logits is original
    figures = counter.summary(96)
    assert figures["scoring"] == 2
    assert figures["guessing"] == guessing * figures["labeled"]
    assert figures["gradient"] == gradient * figures["labeled"]
    assert figures["per_image"] == 2 + (guessing + gradient) * figures["labeled"]
    assert figures["per_labeled"] == pytest.approx(figures["per_image"] / figures["labeled"])
    later = [row for row in rows if "time/split_s" in row]
    drawn = sum(row["time/images_per_s"] * row["time/epoch_s"] for row in later) / 2
    assert figures["labeled"] == pytest.approx(drawn / (96 * len(later)))


def test_a_lower_recall_within_noise_meets_the_goal() -> None:
    def outcomes(*recalls: float) -> list[dict[str, Any]]:
        return [{"test": {"macro_recall": recall}} for recall in recalls]

    full, scored = CLOTHING, f"{CLOTHING}, scored"
    (same,) = recall_goals({full: outcomes(0.40, 0.44), scored: outcomes(0.39, 0.43)})
    assert same.met
    assert same.value == pytest.approx(-1)
    (worse,) = recall_goals({full: outcomes(0.40, 0.44), scored: outcomes(0.35, 0.39)})
    assert not worse.met
    assert recall_goals({scored: outcomes(0.4)}) == []
