"""Draws the images that a person is to look at, and the order in which they are shown."""

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from fer_ray.core.errors import ConfigError
from fer_ray.data.faces import NOT_VERIFIED, UNLABELED
from fer_ray.data.packs.pack import Pack
from fer_ray.data.records import TEST
from fer_ray.results.audit.beliefs import Beliefs

Sample = Literal["random", "picked", "both"]
SAMPLES: tuple[Sample, ...] = get_args(Sample)
MIN_DISTANCE = 30
"""Positions between a face and its hidden repeat, where there are as many."""
_MAX_REPEATS, _PER_REPEAT = 20, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A review: images by their place in `Beliefs`.

    Attributes:
        sample: What was asked for.
        seed: Of the draws and the order.
        images: Places of the images, each once.
        is_random: bool [image]; whether an image was drawn by lot.
        order: What is shown one after the other: numbers into `images`; some come twice.
        again: Places of images that are verified already and were drawn by lot now: they are not
            shown, but what was said of them counts as random from here on.
    """

    sample: Sample
    seed: int
    images: np.ndarray
    is_random: np.ndarray
    order: np.ndarray
    again: np.ndarray


def audit_id(drawn: Drawn, pack: Pack, place: np.ndarray) -> str:
    """What names a review: the data set, and what is shown of it.

    Args:
        drawn: The review.
        pack: The data set.
        place: Where its images lie in the pack.
    """
    return f"{data_id(pack)}-{_digest(pack.row[place], drawn.order)[:8]}"


def data_id(pack: Pack) -> str:
    """Eight digits that tell data sets apart: by classes, and by rows and labels not tested on."""
    names = np.frombuffer(" ".join(pack.class_names).encode(), np.uint8)
    rows = np.flatnonzero(pack.subset != TEST)
    return _digest(names, pack.row[rows], pack.label[rows])[:8]


def draw(beliefs: Beliefs, num: int, sample: Sample, seed: int) -> Drawn:
    """Draw images for a review, and shuffle them.

    `random` draws by lot, as many of every given label as there are; images that are verified
    already take part in it. `picked` takes the likeliest errors, as many of every given label as
    the run suggests another class for, then the likeliest of all. `both` is half of each.

    Args:
        beliefs: What the run says.
        num: Images to show, without repeats.
        sample: How they are drawn.
        seed: Of the draws.

    Raises:
        ConfigError: If there are no images left to look at, or `num` is below 1.
    """
    if num < 1:
        raise ConfigError(f"--review: expected at least 1 image, got {num}")
    rng = np.random.default_rng(np.random.SeedSequence((seed, num, SAMPLES.index(sample))))
    share = {"random": num, "picked": 0, "both": (num + 1) // 2}[sample]
    lot = _by_lot(beliefs, share, rng)
    shown = lot[beliefs.verified[lot] == NOT_VERIFIED]
    again = lot[beliefs.verified[lot] != NOT_VERIFIED]
    picked = _likeliest(beliefs, num - len(shown), shown) if sample != "random" else shown[:0]
    images = np.concatenate([shown, picked])
    if not images.size:
        raise ConfigError(
            "--review: expected images to look at, got none: a person has looked at all of them"
        )
    is_random = np.repeat([True, False], [len(shown), len(picked)])
    mixed = rng.permutation(len(images))
    return Drawn(
        sample=sample,
        seed=seed,
        images=images[mixed],
        is_random=is_random[mixed],
        order=_with_repeats(len(images), rng),
        again=again,
    )


def quotas(available: np.ndarray, num: int) -> np.ndarray:
    """Share out `num` as evenly as what is available of each allows.

    >>> quotas(np.array([100, 2, 50]), 22)
    array([10,  2, 10])
    """
    quota = np.zeros_like(available)
    left = min(num, int(available.sum()))
    while left > 0:
        is_open = np.flatnonzero(quota < available)
        each = max(left // len(is_open), 1)
        for i in is_open[np.argsort(available[is_open], kind="stable")]:
            more = min(each, int(available[i] - quota[i]), left)
            quota[i] += more
            left -= more
    return quota


def _by_lot(beliefs: Beliefs, num: int, rng: np.random.Generator) -> np.ndarray:
    """Training images of every given label alike, without those that were drawn by lot before."""
    # Validation images count for the noise only if they were set aside from the training images.
    can = beliefs.is_train & (beliefs.given != UNLABELED) & ~beliefs.is_random
    pools = [np.flatnonzero(can & (beliefs.given == k)) for k in range(len(beliefs.class_names))]
    quota = quotas(np.array([len(pool) for pool in pools]), num)
    parts = [rng.permutation(pool)[:n] for pool, n in zip(pools, quota, strict=True)]
    return np.concatenate(parts)


def _likeliest(beliefs: Beliefs, num: int, taken: np.ndarray) -> np.ndarray:
    """The likeliest errors among training images, by quotas, then by rank."""
    ranking = beliefs.ranking
    ranking = ranking[beliefs.is_train[ranking] & ~np.isin(ranking, taken)]
    given = beliefs.given[ranking]
    doubted = beliefs.suggested[ranking] != given
    pools = [ranking[doubted & (given == k)] for k in range(len(beliefs.class_names))]
    quota = quotas(np.array([len(pool) for pool in pools]), num)
    chosen = np.concatenate([pool[:n] for pool, n in zip(pools, quota, strict=True)])
    rest = ranking[~np.isin(ranking, chosen)]
    return np.concatenate([chosen, rest[: num - len(chosen)]])


def _with_repeats(num: int, rng: np.random.Generator) -> np.ndarray:
    """0 to `num` - 1 with a few of them a second time, far enough behind."""
    order = list(range(num))
    num_repeats = min(num // _PER_REPEAT, _MAX_REPEATS)
    early = max(num - MIN_DISTANCE, num_repeats)
    for first in rng.choice(early, num_repeats, replace=False).tolist():
        earliest = min(order.index(first) + MIN_DISTANCE, len(order))
        order.insert(int(rng.integers(earliest, len(order) + 1)), first)
    return np.array(order)


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
        digest.update(b";")
    return digest.hexdigest()
