"""Clean probability from losses: the low component of a two-component Gaussian mixture.

Arazo et al. 2019 (https://arxiv.org/abs/1904.11238) and DivideMix (Li et al. 2020,
https://arxiv.org/abs/2002.07394), section 3.1. Pure: no ranks, Ray or W&B.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MAX_ITER = 10
_TOL = 1e-2
_REG_COVAR = 5e-4
# More losses than these are fitted by their histogram, and judged in blocks of as many.
_MANY = 200_000
_BINS = 2**14


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
    if not bool(torch.isfinite(loss).all()):
        raise MixtureError(
            f"{int((~torch.isfinite(loss)).sum())} of {len(loss)} losses are not finite"
        )
    low = loss.min()
    # torch.quantile refuses more than 2**24 elements; kthvalue does not.
    rank = max(1, math.ceil(clip_quantile * len(loss)))
    high = loss.kthvalue(rank).values
    if not bool(high > low):
        raise MixtureError(f"all {len(loss)} losses are {float(low):.4g}: nothing to divide")
    return ((loss - low) / (high - low)).clamp(max=1.0)


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
        prob = torch.empty_like(loss, dtype=torch.float32)
        for part, own in zip(loss.split(_MANY), prob.split(_MANY), strict=True):
            own.copy_(self._posterior(part.double(), monotone=monotone))
        return prob

    def _posterior(self, loss: Float[Tensor, " sample"], *, monotone: bool) -> Tensor:
        if monotone:
            loss = self._hold_at_vertex(loss)
        log_density = (
            self.weight.double().log()[:, None]
            - self.std.double().log()[:, None]
            - 0.5
            * ((loss[None, :] - self.mean.double()[:, None]) / self.std.double()[:, None]) ** 2
        )
        return torch.softmax(log_density, dim=0)[0]

    def _hold_at_vertex(self, loss: Float[Tensor, " sample"]) -> Float[Tensor, " sample"]:
        (clean_mean, noisy_mean), (clean_var, noisy_var) = (
            self.mean.double().tolist(),
            (self.std.double() ** 2).tolist(),
        )
        if clean_var == noisy_var:
            return loss
        vertex = (noisy_var * clean_mean - clean_var * noisy_mean) / (noisy_var - clean_var)
        return loss.clamp(min=vertex) if clean_var < noisy_var else loss.clamp(max=vertex)


def fit_mixture(loss: Float[Tensor, " sample"], *, reg_covar: float = _REG_COVAR) -> Mixture:
    """Fit two Gaussians to losses scaled to [0, 1] with scikit-learn (DivideMix's settings).

    More than 200,000 losses are fitted by the same steps on a histogram of 16,384 bins: clean
    probabilities differ by less than 1e-3, and a fit costs one pass over the losses.

    Args:
        loss: Losses from `normalize`.
        reg_covar: Added to the variances; 5e-4 in the authors' sequential scripts.

    Raises:
        MixtureError: If there are fewer than two losses.
    """
    if len(loss) < 2:
        raise MixtureError(f"a mixture needs at least 2 losses, got {len(loss)}")
    if len(loss) > _MANY:
        return _fit_histogram(loss, reg_covar)
    from sklearn.exceptions import ConvergenceWarning  # two seconds, for who fits only
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(2, max_iter=_MAX_ITER, tol=_TOL, reg_covar=reg_covar, random_state=0)
    with warnings.catch_warnings():
        # Ten iterations are the paper's; stopping there is meant.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(loss.double().numpy().reshape(-1, 1))
    order = model.means_.ravel().argsort()
    return Mixture(
        mean=torch.tensor(model.means_.ravel()[order], dtype=torch.float32),
        std=torch.tensor(model.covariances_.ravel()[order] ** 0.5, dtype=torch.float32),
        weight=torch.tensor(model.weights_[order], dtype=torch.float32),
    )


def _fit_histogram(loss: Float[Tensor, " sample"], reg_covar: float) -> Mixture:
    """What scikit-learn's `GaussianMixture` does, with a weight for every place on a fine grid."""
    from sklearn.cluster import KMeans

    count = torch.histc(loss.float(), _BINS, 0.0, 1.0).double()
    place = (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _BINS
    place, count = place[count > 0], count[count > 0]
    start = KMeans(2, n_init=1, random_state=0).fit(place[:, None].numpy(), None, count.numpy())
    share = torch.nn.functional.one_hot(torch.from_numpy(start.labels_).long(), 2).double()
    last = -math.inf
    fitted = _moments(place, count, share, reg_covar)
    for _ in range(_MAX_ITER):
        mean, variance, weight = fitted
        squares = (place[:, None] - mean) ** 2 / variance
        log_density = weight.log() - 0.5 * (squares + variance.log() + math.log(2 * math.pi))
        total = log_density.logsumexp(dim=1)
        fitted = _moments(place, count, (log_density - total[:, None]).exp(), reg_covar)
        likelihood = float((count * total).sum() / count.sum())
        if abs(likelihood - last) < _TOL:
            break
        last = likelihood
    mean, variance, weight = (value[fitted[0].argsort()].float() for value in fitted)
    return Mixture(mean=mean, std=variance.sqrt(), weight=weight)


def _moments(
    place: Float[Tensor, " bin"],
    count: Float[Tensor, " bin"],
    share: Float[Tensor, "bin 2"],
    reg_covar: float,
) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"], Float[Tensor, "2"]]:
    """Mean, variance and weight of both components, each with its share of every bin."""
    own = count[:, None] * share
    num = own.sum(dim=0)
    mean = (own * place[:, None]).sum(dim=0) / num
    variance = (own * (place[:, None] - mean) ** 2).sum(dim=0) / num + reg_covar
    return mean, variance, num / num.sum()


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
    for number in range(num_classes):
        own = loss[label == number]
        if len(own) < 2 or bool((own == own[0]).all()):
            mixtures.append(whole)
            continue
        share = len(own) / (len(own) + shrinkage)
        mixtures.append(_between(whole, fit_mixture(own), share))
    return mixtures


def _between(first: Mixture, second: Mixture, share: float) -> Mixture:
    """`share` of the second mixture and the rest of the first."""
    return Mixture(
        mean=torch.lerp(first.mean, second.mean, share),
        std=torch.lerp(first.std**2, second.std**2, share).sqrt(),
        weight=torch.lerp(first.weight, second.weight, share),
    )
