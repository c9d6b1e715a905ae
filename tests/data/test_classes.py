import pytest

from fer_ray.data import DataError
from fer_ray.data.classes import CANONICAL, canonical_name, canonical_order


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("neutral", "neutral"),
        ("Happy", "happiness"),
        (" sad ", "sadness"),
        ("surprised", "surprise"),
        ("fearful", "fear"),
        ("disgusted", "disgust"),
        ("ANGRY", "anger"),
        ("contempt", "contempt"),
        ("6_angry", "anger"),
        ("03-joy", "happiness"),
    ],
)
def test_aliases(name: str, expected: str) -> None:
    assert canonical_name(name) == expected


def test_every_canonical_name_is_its_own() -> None:
    assert [canonical_name(name) for name in CANONICAL] == list(CANONICAL)


def test_unknown_name_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(DataError, match=r"neutral, happiness, .*got 'hapiness'.*'happiness'"):
        canonical_name("hapiness")
    with pytest.raises(DataError, match="got '7'"):
        canonical_name("7")


def test_order_is_canonical() -> None:
    fer2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    names, label_map = canonical_order(fer2013)
    assert names == CANONICAL[:7]
    assert [label_map[i] for i in range(7)] == [6, 5, 4, 1, 2, 3, 0]


def test_two_names_of_one_class_are_refused() -> None:
    with pytest.raises(DataError, match=r"class_names\[2\].*'angry' and 'anger'.*mean anger"):
        canonical_order(("neutral", "anger", "angry"))
