"""What is drawn for a review: even over given labels, the likeliest errors, hidden repeats."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fer_ray.core.errors import ConfigError
from fer_ray.data import CANNOT_TELL, NOT_VERIFIED, prepared
from fer_ray.data.faces import UNLABELED
from fer_ray.results.audit.beliefs import Beliefs
from fer_ray.results.audit.draw import MIN_DISTANCE, data_id, draw, quotas
from tests.samples import CLASS_NAMES


def made_up(num: int = 120, **changes: Any) -> Beliefs:
    """Beliefs of four classes of falling size; a quarter of the labels is doubted."""
    rng = np.random.default_rng(0)
    given = np.repeat(np.arange(4), [num - 60, 40, 15, 5])[:num]
    posterior = rng.dirichlet(np.ones(4), num) * 0.2
    best = np.where(rng.random(num) < 0.25, (given + 1) % 4, given)
    posterior[np.arange(num), best] += 0.8
    fields: dict[str, Any] = {
        "class_names": CLASS_NAMES,
        "row": np.arange(num),
        "is_train": np.ones(num, dtype=bool),
        "given": given,
        "verified": np.full(num, NOT_VERIFIED),
        "is_random": np.zeros(num, dtype=bool),
        "right": posterior[np.arange(num), given][None],
        "score": posterior[np.arange(num), given],
        "posterior": posterior,
        "agreement": np.full(num, np.nan),
        "kept": np.full(num, np.nan),
        "trained": np.full(num, UNLABELED),
        "num_splits": 0,
        "source": ("learnt",) * num,
    }
    return Beliefs(**fields | changes)


def test_random_images_are_as_many_of_every_given_label() -> None:
    beliefs = made_up()
    drawn = draw(beliefs, 45, "random", seed=1)
    assert np.bincount(beliefs.given[drawn.images]).tolist() == [13, 13, 14, 5]
    assert drawn.is_random.all()
    assert len(set(drawn.images.tolist())) == 45


def test_random_images_do_not_depend_on_what_the_run_says() -> None:
    beliefs = made_up()
    other = replace(beliefs, posterior=beliefs.posterior[::-1], right=beliefs.right[:, ::-1])
    assert np.array_equal(
        draw(beliefs, 30, "random", seed=1).images, draw(other, 30, "random", seed=1).images
    )
    assert not np.array_equal(
        draw(beliefs, 30, "random", seed=1).images, draw(beliefs, 30, "random", seed=2).images
    )


def test_picked_images_are_the_likeliest_errors_of_every_label() -> None:
    beliefs = made_up()
    drawn = draw(beliefs, 16, "picked", seed=1)
    assert not drawn.is_random.any()
    doubted = beliefs.suggested != beliefs.given
    for number in range(4):
        of_label = np.flatnonzero(beliefs.given == number)
        taken = np.isin(of_label, drawn.images)
        right = beliefs.prob_given_right[of_label]
        assert taken.sum() >= min(4, doubted[of_label].sum())
        assert right[taken].max() <= right[~taken].min(initial=1)


def test_where_nothing_more_is_doubted_the_rest_follows_the_rank() -> None:
    beliefs = made_up()
    everything = draw(beliefs, 120, "picked", seed=1)
    assert sorted(everything.images.tolist()) == list(range(120))


def test_both_are_half_of_each_and_none_twice() -> None:
    drawn = draw(made_up(), 41, "both", seed=3)
    assert (drawn.is_random.sum(), (~drawn.is_random).sum()) == (21, 20)
    assert len(set(drawn.images.tolist())) == 41


def test_validation_images_and_images_without_a_label_are_not_drawn() -> None:
    beliefs = made_up()
    given = beliefs.given.copy()
    given[10:20] = -1
    is_train = np.arange(120) < 100
    beliefs = replace(beliefs, given=given, is_train=is_train)
    drawn = draw(beliefs, 200, "both", seed=1)
    assert len(drawn.images) == 90
    assert not np.isin(drawn.images, np.arange(10, 20)).any()
    assert drawn.images.max() < 100


def test_what_was_verified_is_not_shown_again_but_takes_part_in_the_lot() -> None:
    verified, is_random = np.full(120, NOT_VERIFIED), np.zeros(120, dtype=bool)
    verified[:30], verified[30] = 1, CANNOT_TELL
    is_random[:10] = True
    beliefs = made_up(verified=verified, is_random=is_random)
    drawn = draw(beliefs, 200, "random", seed=1)
    assert sorted(drawn.images.tolist()) == list(range(31, 120))
    assert sorted(drawn.again.tolist()) == list(range(10, 31))
    with pytest.raises(ConfigError, match="a person has looked at all of them"):
        draw(replace(beliefs, verified=np.ones(120, dtype=int)), 5, "both", seed=1)
    with pytest.raises(ConfigError, match="at least 1 image, got 0"):
        draw(beliefs, 0, "both", seed=1)


@pytest.mark.parametrize(("num", "repeats"), [(8, 0), (10, 1), (100, 10), (120, 12)])
def test_hidden_repeats_come_far_behind(num: int, repeats: int) -> None:
    for seed in range(20):
        order = draw(made_up(), num, "both", seed=seed).order.tolist()
        assert len(order) == num + repeats
        assert set(order) == set(range(num))
        twice = [i for i in set(order) if order.count(i) == 2]
        assert len(twice) == repeats
        distance = [len(order) - 1 - order[::-1].index(i) - order.index(i) for i in twice]
        assert min(distance, default=num) >= min(MIN_DISTANCE, num)


def test_quotas_use_up_what_is_there() -> None:
    assert quotas(np.array([3, 0, 100]), 50).tolist() == [3, 0, 47]
    assert quotas(np.array([3, 1, 2]), 50).tolist() == [3, 1, 2]
    assert quotas(np.array([5, 5, 5]), 2).sum() == 2


def test_a_data_set_is_told_from_others() -> None:
    pack, other = (prepared(f"synthetic:train=70,test=14,size=16,seed={k}") for k in (0, 1))
    assert data_id(pack) == data_id(prepared("synthetic:train=70,test=21,size=16"))
    assert data_id(pack) != data_id(other)
