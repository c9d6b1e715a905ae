"""A search whose trials do not fit the cluster says so."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from fer_ray.on_ray.waiting import Waiting

pytestmark = pytest.mark.lowest


@dataclass
class Cluster:
    """A clock and what a cluster has."""

    now: float = 0.0
    have: dict[str, float] = field(default_factory=lambda: {"CPU": 2.0, "memory": 9.0})


def trial(status: str, **need: float) -> Any:
    factory = SimpleNamespace(required_resources=need)
    return SimpleNamespace(status=status, placement_group_factory=factory)


def said(cluster: Cluster, trials: list[Any], seconds: range) -> dict[int, str]:
    waiting, notes = Waiting(lambda: cluster.have, lambda: cluster.now), {}
    for second in seconds:
        cluster.now = float(second)
        text = waiting.note(trials)
        if text is not None:
            notes[second] = text
    return notes


def test_a_trial_that_does_not_fit_is_named_with_both_numbers_again_and_again() -> None:
    notes = said(Cluster(), [trial("PENDING", CPU=8.0, GPU=1.0), trial("TERMINATED")], range(150))
    assert list(notes) == [10, 71, 132]
    assert "a trial needs 8 CPUs and 1 GPUs, the cluster has 2 CPUs and 0 GPUs" in notes[10]


@pytest.mark.parametrize(
    "trials",
    [
        [trial("PENDING", CPU=8.0), trial("RUNNING", CPU=1.0)],
        [trial("PENDING", CPU=2.0)],
        [trial("TERMINATED")],
        [],
    ],
)
def test_nothing_is_said_while_a_trial_runs_or_fits(trials: list[Any]) -> None:
    assert said(Cluster(), trials, range(150)) == {}


def test_the_wait_begins_anew_after_a_trial_ran() -> None:
    cluster, big = Cluster(), trial("PENDING", CPU=8.0)
    waiting = Waiting(lambda: cluster.have, lambda: cluster.now)
    for now, trials, is_said in (
        (0, [big], False),
        (9, [big, trial("RUNNING", CPU=1.0)], False),
        (12, [big], False),
        (21, [big], False),
        (22, [big], True),
    ):
        cluster.now = float(now)
        assert (waiting.note(trials) is not None) == is_said, now
