"""Operating points: the same predictions for populations with other shares of the classes. Pure.

A network that learnt from classes with mean prediction m answers rare classes as often as it learnt
them. With p * pi / m, renormalised, it answers for a population whose class shares are pi (Saerens
et al. 2002, eq. 2.4, https://doi.org/10.1162/089976602753284446). Nothing is trained for it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fer_ray.core.metrics import confusion_matrix, epoch_metrics
from fer_ray.core.thresholds import check_class_names

PointName = Literal["trained", "natural", "balanced"]
POINTS: tuple[PointName, ...] = ("trained", "natural", "balanced")
"""As trained: p. Natural: with the class shares of the truth. Balanced: all classes equally."""

PRIORS = ("trained", "given", "verified", "uniform")
_TINY = 1e-12


def mean_prediction_of(prob: Float[Tensor, "sample class"]) -> Float[Tensor, " class"]:
    """The mean prediction m over a population, with one more image that is of every class equally.

    The added image keeps m above 0, so that a class which is never predicted in a small population
    has no infinite weight.

    Returns:
        Positive shares in float64 that sum to 1; 1 / classes without images.

    >>> mean_prediction_of(torch.tensor([[0.75, 0.25], [1.0, 0.0], [0.25, 0.75]])).tolist()
    [0.625, 0.375]
    """
    num_images, num_classes = prob.shape
    return (prob.double().sum(dim=0) + 1 / num_classes) / (num_images + 1)


def reweighted(
    prob: Float[Tensor, "sample class"],
    prior: Float[Tensor, " class"],
    mean: Float[Tensor, " class"],
) -> Float[Tensor, "sample class"]:
    """Predictions for a population with other class shares: p * prior / m, renormalised.

    Args:
        prob: Predictions p.
        prior: Class shares of the population, in [0, 1].
        mean: Mean prediction m of the same networks, above 0.

    Returns:
        Rows that sum to 1; `prob` itself where the prior rules out every class that p allows.

    Raises:
        ValueError: If a mean prediction is not above 0.
    """
    if float(mean.min()) <= 0:
        raise ValueError(f"mean: expected predictions above 0 of every class, got {mean.tolist()}")
    return weighted(prob, (prior.double() / mean.double()).to(prob.device))


def weighted(
    prob: Float[Tensor, "sample class"], weight: Float[Tensor, " class"]
) -> Float[Tensor, "sample class"]:
    """Predictions times a weight per class (float64), renormalised; see `reweighted`."""
    joint = prob.double() * weight
    total = joint.sum(dim=1, keepdim=True)
    return torch.where(total > _TINY, joint / total.clamp_min(_TINY), prob.double()).to(prob.dtype)


def at_points(
    prob: Float[Tensor, "sample class"],
    natural: Float[Tensor, " class"],
    mean: Float[Tensor, " class"],
) -> dict[PointName, Float[Tensor, "sample class"]]:
    """Predictions at the three points.

    Args:
        prob: Predictions.
        natural: Class shares of the truth, pi, or an estimate of them.
        mean: Mean prediction of the same networks, above 0.

    Raises:
        ValueError: See `reweighted`.
    """
    return {
        "trained": prob,
        "natural": reweighted(prob, natural, mean),
        "balanced": reweighted(prob, torch.full_like(natural, 1 / len(natural)), mean),
    }


def prediction_metrics(
    prob: Float[Tensor, "sample class"],
    label: Int[Tensor, " sample"],
    class_names: Sequence[str],
) -> tuple[dict[str, float], Int[Tensor, "class class"]]:
    """The metrics of `epoch_metrics`, and the confusion matrix, of the likeliest classes."""
    confusion = confusion_matrix(label, prob.argmax(dim=1), prob.shape[1])
    return epoch_metrics(confusion, class_names), confusion


def check_prior(prior: str | Mapping[str, float]) -> None:
    """Check what a user asks for; class names can only be checked once the data set is known.

    Raises:
        ValueError: If a word is unknown, a share is negative, or no share is positive.
    """
    if isinstance(prior, str):
        if prior not in PRIORS:
            raise ValueError(
                f"prior: {', '.join(PRIORS)} or a share per class, such as "
                f"{{happiness: 0.6, fear: 0.4}}; got {prior!r}"
            )
    elif not prior or min(prior.values()) < 0 or sum(prior.values()) <= 0:
        raise ValueError(f"prior: shares >= 0 with a positive sum, got {dict(prior)}")


def prior_of_shares(
    shares: Mapping[str, float], class_names: Sequence[str]
) -> Float[Tensor, " class"]:
    """Shares by class name in label order, scaled to sum to 1.

    Raises:
        ValueError: If a name is no class, or a class has no share.

    >>> prior_of_shares({"fear": 1.0, "anger": 3.0}, ["anger", "fear"]).tolist()
    [0.75, 0.25]
    """
    check_class_names(list(shares), class_names, "prior")
    missing = [name for name in class_names if name not in shares]
    if missing:
        raise ValueError(
            f"prior: expected a share of every class, got none of {', '.join(missing)}; give 0 to "
            "a class that is not to be answered"
        )
    prior = torch.tensor([float(shares[name]) for name in class_names], dtype=torch.float64)
    return prior / prior.sum()
