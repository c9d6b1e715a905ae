"""Clean probability from losses: the low component of a two-component Gaussian mixture.

Arazo et al. 2019 (https://arxiv.org/abs/1904.11238) and DivideMix (Li et al. 2020,
https://arxiv.org/abs/2002.07394), section 3.1. Pure: no ranks, Ray or W&B. Longer than other files,
because the mixture of all losses and the mixtures per class share every step of the fit.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

_MAX_ITER = 10
_TOL = 1e-2
_REG_COVAR = 5e-4
# More losses than these are fitted by their histogram.
_MANY = 200_000
_BINS = 2**14
# Losses that are judged at a time: few enough for a core's cache. Of those that are counted at a
# time there must be more than bins, which are added up for every block.
_BLOCK = 2**14
_COUNTED = 2**18


class MixtureError(ValueError):
    """The losses cannot be divided: they are not finite, or all the same."""


def normalize(
    loss: Float[Tensor, " sample"], clip_quantile: float = 1.0
) -> Float[Tensor, " sample"]:
    """Scale losses to [0, 1] by their smallest and largest value.

    Args:
        loss: Finite losses.
        clip_quantile: Losses above this quantile count as the quantile, so that one outlier does
            not press all others together; 1 is the paper's plain min-max.

    Raises:
        MixtureError: If a loss is not finite, or all losses are the same.
    """
    low, high = loss.aminmax()  # a NaN is both
    if not bool(low.isfinite() & high.isfinite()):
        raise MixtureError(
            f"{int((~torch.isfinite(loss)).sum())} of {len(loss)} losses are not finite"
        )
    if clip_quantile < 1:
        # torch.quantile refuses more than 2**24 elements, and kthvalue takes four times as long.
        place = max(1, math.ceil(clip_quantile * len(loss))) - 1
        high = loss.new_tensor(np.partition(loss.numpy(), place)[place])
    if not bool(high > low):
        raise MixtureError(f"all {len(loss)} losses are {float(low):.4g}: nothing to divide")
    return (loss - low).div_(high - low).clamp_(max=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Two Gaussians over losses scaled to [0, 1]; component 0 has the smaller mean: clean."""

    mean: Float[Tensor, "2"]
    std: Float[Tensor, "2"]
    weight: Float[Tensor, "2"]

    def clean_prob(
        self, loss: Float[Tensor, " sample"], *, monotone: bool = True
    ) -> Float[Tensor, " sample"]:
        """Posterior of the clean component at scaled losses, in [0, 1].

        With unequal variances the posterior of two Gaussians turns round at the vertex of a
        parabola: beyond it a *smaller* loss would count as *less* clean. `monotone` holds the
        posterior at the vertex's value there; the paper does not.
        """
        return clean_prob_by_class([self], loss, None, monotone=monotone)

    def parabola(self) -> tuple[float, float, float]:
        """The log-odds of the clean component as (a, b, c) of a x^2 + b x + c."""
        (m0, m1), (v0, v1) = self.mean.double().tolist(), (self.std.double() ** 2).tolist()
        w0, w1 = self.weight.double().log().tolist()
        constant = w0 - w1 - 0.5 * (math.log(v0 / v1) + m0 * m0 / v0 - m1 * m1 / v1)
        return 0.5 / v1 - 0.5 / v0, m0 / v0 - m1 / v1, constant

    def held_range(self) -> tuple[float, float]:
        """Losses between which the posterior falls: up to the vertex, or from it onwards."""
        a, b, _ = self.parabola()
        if a == 0:
            return -math.inf, math.inf
        vertex = -b / (2 * a)
        return (vertex, math.inf) if a < 0 else (-math.inf, vertex)


def clean_prob_by_class(
    mixtures: Sequence[Mixture],
    loss: Float[Tensor, " sample"],
    label: Int[Tensor, " sample"] | None,
    *,
    monotone: bool = True,
) -> Float[Tensor, " sample"]:
    """`Mixture.clean_prob` with the mixture of every loss' label, in one pass.

    Args:
        mixtures: One per class, or the only one.
        loss: Losses from `normalize`.
        label: Label of each, in [0, classes); `None` with a single mixture.
        monotone: See `Mixture.clean_prob`.
    """
    ends = [x.held_range() if monotone else (-math.inf, math.inf) for x in mixtures]
    rows = [(*x.parabola(), *held) for x, held in zip(mixtures, ends, strict=True)]
    columns = [torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)]
    prob = torch.empty_like(loss, dtype=torch.float32)
    for start in range(0, len(loss), _BLOCK):
        part = slice(start, start + _BLOCK)
        own = columns if label is None else [x.index_select(0, label[part]) for x in columns]
        a, b, c, low, high = own
        x = torch.minimum(torch.maximum(loss[part].double(), low), high)
        prob[part] = (a * x).add_(b).mul_(x).add_(c).sigmoid_()
    return prob


def fit_mixture(loss: Float[Tensor, " sample"], *, reg_covar: float = _REG_COVAR) -> Mixture:
    """Fit two Gaussians to losses scaled to [0, 1], by at most ten steps of EM (DivideMix's).

    The steps and where they stop are those of scikit-learn's `GaussianMixture`; the start is the
    best pair of means, which its k-means looks for from a random one. More than 200,000 losses are
    counted in 16,384 bins first: clean probabilities differ by less than 5e-3, unless one of the
    two stops an iteration earlier, and a fit costs one pass (`benchmarks/split.py`).

    Args:
        loss: Losses from `normalize`.
        reg_covar: Added to the variances; 5e-4 in the authors' sequential scripts.

    Raises:
        MixtureError: If there are fewer than two losses, or all are the same.
    """
    if len(loss) < 2:
        raise MixtureError(f"a mixture needs at least 2 losses, got {len(loss)}")
    if len(loss) > _MANY:
        place, count = _places(torch.histc(loss.float(), _BINS, 0.0, 1.0))
    else:
        place, count = loss.double().unique(return_counts=True)
    if len(place) < 2:
        raise MixtureError(f"all {len(loss)} losses are {float(place[0]):.4g}: nothing to divide")
    return _fit_counts(place, count.double(), reg_covar)


def _histogram(
    loss: Float[Tensor, " sample"], label: Int[Tensor, " sample"], num_classes: int
) -> Int[Tensor, "class bin"]:
    """How many losses of every label lie in each of the bins that [0, 1] is cut into."""
    # A row more, for labels of -1.
    count = torch.zeros((num_classes + 1) * _BINS, dtype=torch.int64)
    for start in range(0, len(loss), _COUNTED):
        part = slice(start, start + _COUNTED)
        place = (loss[part] * _BINS).int().clamp_(0, _BINS - 1)
        count += torch.bincount(place + (label[part] + 1) * _BINS, minlength=len(count))
    return count.view(-1, _BINS)[1:]


def _places(count: Shaped[Tensor, " bin"]) -> tuple[Float[Tensor, " place"], Tensor]:
    """The middles of those bins that are not empty, and how many losses lie there."""
    middle = (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _BINS
    return middle[count > 0], count[count > 0]


def _fit_counts(
    place: Float[Tensor, " place"], count: Float[Tensor, " place"], reg_covar: float
) -> Mixture:
    """EM with a weight for every loss that occurs: two at least, from the least to the largest.

    It starts at two means; in one dimension the best cut is found by trying all.
    """
    count = count / count.sum()
    share = (place <= _best_cut(place, count)).double()
    last = -math.inf
    fitted = _moments(place, count, share, reg_covar)
    for _ in range(_MAX_ITER):
        log_density = [
            weight.log() - 0.5 * ((place - mean) ** 2 / variance + (2 * math.pi * variance).log())
            for mean, variance, weight in zip(*fitted, strict=True)
        ]
        share = (log_density[0] - log_density[1]).sigmoid_()
        fitted = _moments(place, count, share, reg_covar)
        likelihood = float(count @ torch.logaddexp(*log_density))
        if abs(likelihood - last) < _TOL:
            break
        last = likelihood
    mean, variance, weight = (value[fitted[0].argsort()].float() for value in fitted)
    return Mixture(mean=mean, std=variance.sqrt(), weight=weight)


def _best_cut(place: Float[Tensor, " place"], count: Float[Tensor, " place"]) -> Tensor:
    """Where the first of two groups ends that are as far apart as can be (Otsu 1979)."""
    below, mass = count.cumsum(0)[:-1], (count * place).cumsum(0)
    gap = mass[:-1] / below - (mass[-1] - mass[:-1]) / (1 - below)
    return place[(below * (1 - below) * gap**2).argmax()]


def _moments(
    place: Float[Tensor, " place"],
    count: Float[Tensor, " place"],
    share: Float[Tensor, " place"],
    reg_covar: float,
) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"], Float[Tensor, "2"]]:
    """Mean, variance and weight of two components, the first with its share of every place."""
    own = torch.stack([count * share, count * (1 - share)])
    num = own.sum(dim=1)
    mean = own @ place / num
    variance = (own * (place - mean[:, None]) ** 2).sum(dim=1) / num + reg_covar
    return mean, variance, num


def fit_class_mixtures(
    loss: Float[Tensor, " sample"],
    label: Int[Tensor, " sample"],
    num_classes: int,
    whole: Mixture,
    shrinkage: float,
) -> list[Mixture]:
    """A mixture for the losses of every label, drawn towards the one of all where images are few.

    With n images of a class, mean, variance and weight of its components are
    (n own + shrinkage whole) / (n + shrinkage). A class of fewer than two images, or of losses all
    the same, has `whole`.

    Args:
        loss: Losses from `normalize`.
        label: Label of each; below 0 where none was given.
        num_classes: How many there are.
        whole: The mixture of all losses.
        shrinkage: In images, at least 0.
    """
    mixtures = []
    for num, own in _fits_by_class(loss, label, num_classes):
        mixtures.append(whole if own is None else _between(whole, own, num / (num + shrinkage)))
    return mixtures


def where_peer_agrees(
    mixtures: Sequence[Mixture],
    whole: Mixture,
    loss: Float[Tensor, " sample"],
    label: Int[Tensor, " sample"],
    agrees: Bool[Tensor, " sample"],
) -> list[Mixture]:
    """The mixtures of those classes whose low component is the clean one, and `whole` elsewhere.

    The low component of a class is not clean because it is low: where most labels are wrong, it may
    be what was learnt by heart first. It counts as clean if the peer's answer is the label more
    often among its losses than among the others.

    Args:
        mixtures: One per class.
        whole: The mixture of all losses.
        loss: Losses from `normalize`.
        label: Label of each, in [0, classes).
        agrees: Whether the peer answers with the label.
    """
    is_low = clean_prob_by_class(mixtures, loss, label) > 0.5
    num = torch.bincount(2 * label + is_low, minlength=2 * len(mixtures)).view(-1, 2)
    both = (2 * label + is_low)[agrees]
    hits = torch.bincount(both, minlength=2 * len(mixtures)).view(-1, 2)
    high, low = (hits / num.clamp_min(1)).unbind(dim=1)
    return [own if more else whole for own, more in zip(mixtures, low > high, strict=True)]


def _fits_by_class(
    loss: Float[Tensor, " sample"], label: Int[Tensor, " sample"], num_classes: int
) -> Iterator[tuple[int, Mixture | None]]:
    """Number of losses of every label and their mixture; `None` where there is nothing to fit."""
    if len(loss) > _MANY:
        for count in _histogram(loss, label, num_classes):
            place, own = _places(count)
            can_fit = len(place) > 1
            yield int(own.sum()), _fit_counts(place, own.double(), _REG_COVAR) if can_fit else None
        return
    for number in range(num_classes):
        own = loss[label == number]
        can_fit = len(own) > 1 and bool((own != own[0]).any())
        yield len(own), fit_mixture(own) if can_fit else None


def _between(first: Mixture, second: Mixture, share: float) -> Mixture:
    """`share` of the second mixture and the rest of the first."""
    return Mixture(
        mean=torch.lerp(first.mean, second.mean, share),
        std=torch.lerp(first.std**2, second.std**2, share).sqrt(),
        weight=torch.lerp(first.weight, second.weight, share),
    )
