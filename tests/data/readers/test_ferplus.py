from pathlib import Path

import numpy as np
import pytest

from fer_ray.data.classes import FERPLUS_VOTES
from fer_ray.data.faces import UNKNOWN_TRUTH, DataError
from fer_ray.data.readers.ferplus import (
    CLASS_NAMES,
    RULES,
    check_joined,
    majority,
    most_likely,
    plurality,
    read_votes,
    soft_truth,
)

HEADER = f"Usage,Image name,{','.join(FERPLUS_VOTES)}"
SAD = "Training,fer0000000.png,1,0,0,9,0,0,0,0,0,0"


def votes_of(**counts: int) -> np.ndarray:
    return np.array([[counts.get(name, 0) for name in FERPLUS_VOTES]], dtype=np.uint8)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    return path


def name_of(label: np.ndarray) -> str | None:
    return None if label[0] == UNKNOWN_TRUTH else CLASS_NAMES[label[0]]


def test_every_column_becomes_its_expression() -> None:
    votes = np.eye(10, dtype=np.uint8) * 10
    expected = [CLASS_NAMES.index(name) for name in FERPLUS_VOTES[:7]] + [UNKNOWN_TRUTH] * 3
    for rule in RULES.values():
        assert rule(votes).tolist() == expected
        assert rule(votes).dtype == np.int64
    assert CLASS_NAMES[expected[3]] == "sadness"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"neutral": 5, "fear": 5}, (None, None, None)),
        ({"fear": 6, "neutral": 4}, ("fear", "fear", "fear")),
        ({"fear": 5, "neutral": 3, "anger": 2}, (None, "fear", "fear")),
        # Single votes count for nobody: 5 of the 9 left.
        ({"sadness": 5, "neutral": 4, "anger": 1}, ("sadness", "sadness", "sadness")),
        ({"sadness": 2, **dict.fromkeys(FERPLUS_VOTES[4:], 1)}, ("sadness", "sadness", "sadness")),
        (dict.fromkeys(FERPLUS_VOTES, 1), (None, None, None)),
        ({"contempt": 6, "anger": 3, "neutral": 1}, (None, None, "anger")),
        ({"unknown": 4, "surprise": 3, "fear": 3}, (None, None, None)),
        ({"unknown": 4, "surprise": 4, "fear": 2}, (None, None, "surprise")),
        ({"NF": 10}, (None, None, None)),
        ({"happiness": 5, "neutral": 4}, ("happiness", "happiness", "happiness")),
    ],
)
def test_rules_differ_in_what_they_believe(
    counts: dict[str, int], expected: tuple[str | None, ...]
) -> None:
    votes = votes_of(**counts)
    found = tuple(name_of(rule(votes)) for rule in (majority, plurality, most_likely))
    assert found == expected


def test_the_rules_have_their_names() -> None:
    assert list(RULES.items()) == [
        ("majority", majority),
        ("plurality", plurality),
        ("soft", most_likely),
    ]


def test_soft_truth_is_shares_of_the_seven() -> None:
    rows = (dict(sadness=3, anger=1, contempt=6), dict(contempt=4, NF=6), dict(fear=1, NF=9))
    share = soft_truth(np.concatenate([votes_of(**counts) for counts in rows]))
    assert share.dtype == np.float32
    assert share[0, CLASS_NAMES.index("sadness")] == 0.75
    assert share[0, CLASS_NAMES.index("anger")] == 0.25
    assert share.sum(axis=1).tolist() == [1.0, 0.0, 1.0]


def test_rules_agree_with_a_plain_loop() -> None:
    votes = np.random.default_rng(0).multinomial(10, np.full(10, 0.1), 2000).astype(np.uint8)
    votes[::2] = np.random.default_rng(1).multinomial(10, [0.6] + [0.04] * 8 + [0.08], 1000)
    for row, own, most in zip(votes.tolist(), majority(votes), plurality(votes), strict=True):
        counted = [count if count > 1 else 0 for count in row]
        winner = FERPLUS_VOTES[counted.index(max(counted))]
        wins = max(counted) > sum(counted) / 2 and winner in CLASS_NAMES
        assert name_of(np.array([own])) == (winner if wins else None)
        winner = FERPLUS_VOTES[row.index(max(row))]
        wins = row.count(max(row)) == 1 and winner in CLASS_NAMES
        assert name_of(np.array([most])) == (winner if wins else None)


def test_votes_are_read_in_the_files_order(tmp_path: Path) -> None:
    path = write(
        tmp_path / "fer2013new.csv",
        SAD,
        "PublicTest,,0,0,0,0,0,0,0,0,0,10",  # no face, and thus no name
        "PrivateTest,fer0000001.png,0,1,2,3,3,0,0,0,0,0",  # nine, as in the original
    )
    votes = read_votes(path)
    assert votes.usage == ("Training", "PublicTest", "PrivateTest")
    assert votes.line == (2, 3, 4)
    assert votes.votes.dtype == np.uint8
    assert votes.votes.tolist() == [
        [1, 0, 0, 9, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
        [0, 1, 2, 3, 3, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Training,a.png,1,0,0,8,0,0,0,0,0,x", r"new\.csv:3: NF: expected one of 0.*got 'x'"),
        ("Training,a.png,-1,11,0,0,0,0,0,0,0,0", r"new\.csv:3: neutral: .*got '-1'"),
        ("Training,a.png,0,11,0,0,0,0,0,0,0,0", r"new\.csv:3: happiness: .*got '11'"),
        ("Training,a.png,0,1.5,0,0,0,0,0,0,0,8.5", r"new\.csv:3: happiness: .*got '1\.5'"),
        ("Training,a.png,8,0,0,0,0,0,0,0,0,0", r"new\.csv:3: expected ten votes, got 8"),
        ("Training,a.png,8,3,0,0,0,0,0,0,0,0", r"new\.csv:3: expected ten votes, got 11"),
        ("Training,a.png,9,1", r"new\.csv:3: expected 12 values, got 4"),
    ],
)
def test_a_bad_vote_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_votes(write(tmp_path / "fer2013new.csv", SAD, line))


def test_another_file_is_no_file_of_votes(tmp_path: Path) -> None:
    path = tmp_path / "label.csv"
    path.write_text('fer0000000.png,"(0, 0, 48, 48)",4,0,0,1,3,2,0,0,0,0\n')
    with pytest.raises(DataError, match=r"label\.csv:1: .*Missing: Usage, neutral"):
        read_votes(path)


def test_joined_rows_must_be_the_same(tmp_path: Path) -> None:
    test = SAD.replace("Training", "PublicTest")
    votes = read_votes(write(tmp_path / "new.csv", SAD, SAD, test))
    table, usage = tmp_path / "fer2013.csv", ("Training", "Training", "PublicTest")
    check_joined(votes, table, usage, (2, 3, 4))
    with pytest.raises(
        DataError,
        match=r"new\.csv:3: Usage: expected 'PublicTest', as in .*fer2013\.csv:7, got 'Training'",
    ):
        check_joined(votes, table, ("Training", "PublicTest", "PublicTest"), (5, 7, 8))
    for other in (usage[:2], (*usage, "PublicTest")):
        with pytest.raises(DataError, match=rf"new\.csv:4: expected {len(other)} rows.*got 3"):
            check_joined(votes, table, other, range(2, 2 + len(other)))


def test_a_file_without_votes_does_not_join(tmp_path: Path) -> None:
    votes = read_votes(write(tmp_path / "new.csv"))
    assert votes.votes.shape == (0, 10)
    with pytest.raises(DataError, match=r"new\.csv:1: expected 1 rows"):
        check_joined(votes, tmp_path / "fer2013.csv", ("Training",), (2,))
