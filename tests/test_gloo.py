"""`tests.gloo` itself: it must not hide the failures of ranks."""

import os
import time
from pathlib import Path

import pytest

from fer_ray.training.distributed import rank, world_size
from tests.gloo import GlooRanks

pytestmark = pytest.mark.lowest


def who(offset: int) -> tuple[int, int]:
    return rank() + offset, world_size()


def fail_on(failing: int) -> int:
    if rank() == failing:
        raise ValueError(f"rank {failing} fails")
    return rank()


def hang_on(hanging: int) -> None:
    if rank() == hanging:
        time.sleep(600)


def die() -> None:
    os._exit(3)


def test_both_ranks_answer_to_their_own_arguments(gloo_pair: GlooRanks) -> None:
    assert gloo_pair.run(who, 0) == [(0, 2), (1, 2)]
    assert gloo_pair.outcomes(who, [(10,), (20,)]) == [(10, 2), (21, 2)]


def test_an_exception_comes_back_from_its_rank_only(gloo_pair: GlooRanks) -> None:
    first, second = gloo_pair.outcomes(fail_on, [(1,), (1,)])
    assert first == 0
    assert isinstance(second, ValueError)
    with pytest.raises(ValueError, match="rank 0 fails"):
        gloo_pair.run(fail_on, 0)


def test_a_hang_or_a_death_is_named_and_the_next_call_starts_new_ranks(tmp_path: Path) -> None:
    pair = GlooRanks(tmp_path, limit_s=5.0)
    try:
        with pytest.raises(TimeoutError, match=r"rank 0 has returned; rank 1 still runs"):
            pair.run(hang_on, 1)
        with pytest.raises(ChildProcessError, match=r"rank \d died"):
            pair.run(die)
    finally:
        pair.stop()
