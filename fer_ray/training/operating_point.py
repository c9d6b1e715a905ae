"""At which operating points a run's predictions are judged, and their figures.

Everything is computed from gathered predictions, so it knows no ranks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.metrics import epoch_metrics
from fer_ray.core.noise_model import NoiseModel, corrected_confusion
from fer_ray.core.operating_points import (
    POINTS,
    at_points,
    mean_prediction_of,
    prediction_metrics,
    prior_of_shares,
    reweighted,
)
from fer_ray.data import FaceData

POINT_METRICS = ("accuracy", "macro_recall")
MEAN_KEY = "val/mean_prediction"
"""Key of a row with the mean prediction of the validation images, class by class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """The class shares for which a run predicts.

    Attributes:
        chosen: Those of `prediction.prior`; `None` as trained.
        given: Those of the given training labels.
        natural: Those of the truth, or an estimate.
        natural_source: What tells them: verified labels, else the given training labels.
    """

    chosen: Float[Tensor, " class"] | None
    given: Float[Tensor, " class"]
    natural: Float[Tensor, " class"]
    natural_source: Literal["verified", "given"]

    def at_chosen(
        self, prob: Float[Tensor, "image class"], mean: Float[Tensor, " class"]
    ) -> Float[Tensor, "image class"]:
        """Predictions at the chosen point, by the mean prediction of the validation images."""
        return prob if self.chosen is None else reweighted(prob, self.chosen, mean)


def read_priors(run: RunConfig, data: FaceData, noise: NoiseModel | None) -> Priors:
    """The class shares that a run predicts for.

    Args:
        run: Its `prediction.prior` chooses.
        data: The given training labels are counted.
        noise: The noise of the labels; `None` if nothing is verified.

    Raises:
        ConfigError: If `prediction.prior` needs verified labels and there are none, or its classes
            are not those of the data set.
    """
    given = _given_shares(data)
    verified = None if noise is None else noise.prior.double()
    return Priors(
        chosen=chosen_prior(run.prediction.prior, data.class_names, given, verified),
        given=given,
        natural=given if verified is None else verified,
        natural_source="given" if verified is None else "verified",
    )


def chosen_prior(
    prior: str | Mapping[str, float],
    class_names: Sequence[str],
    given: Float[Tensor, " class"],
    verified: Float[Tensor, " class"] | None,
) -> Float[Tensor, " class"] | None:
    """The class shares that a `prediction.prior` means; `None` for `trained`.

    Args:
        prior: A word, or a share per class.
        class_names: Names of the classes, in label order.
        given: Class shares of the given training labels.
        verified: Those of the truth by verified labels; `None` if nothing is verified.

    Raises:
        ConfigError: If it needs verified labels and there are none, or its classes are not those of
            the data set.
    """
    if not isinstance(prior, str):
        try:
            return prior_of_shares(prior, class_names)
        except ValueError as error:
            raise ConfigError(f"prediction.{error}") from None
    if prior == "verified" and verified is None:
        raise ConfigError(
            "prediction.prior: verified takes the class shares of random verified labels, and this "
            "data set has none or too few; give some (data.verified), or take prior=given"
        )
    uniform = torch.full_like(given, 1 / len(given))
    return {"trained": None, "given": given, "verified": verified, "uniform": uniform}[prior]


def _given_shares(data: FaceData) -> Float[Tensor, " class"]:
    label = np.asarray(data.train.label)
    count = torch.from_numpy(np.bincount(label[label >= 0], minlength=data.num_classes)).double()
    return count / count.sum()


def validation_figures(
    prob: Float[Tensor, "image class"],
    label: Int[Tensor, " image"],
    class_names: Sequence[str],
    priors: Priors,
    noise: NoiseModel | None,
) -> dict[str, Any]:
    """What a row says of the validation images.

    Their mean prediction decides the weights of the operating points. No label is needed for it.
    That of the training images would not do: networks that have learnt their labels repeat the
    shares of the labels there, whatever they say of other images.

    Args:
        prob: Predictions as trained.
        label: Labels as given.
        class_names: Names of the classes, in label order.
        priors: The operating points.
        noise: The noise of the labels; `None` if nothing is verified.

    Returns:
        At the chosen point the metrics of `epoch_metrics`, `loss` (mean cross-entropy in nats; 0
        without images) and `confusion`; accuracy and macro recall at all three points; with `noise`
        the same against the truth (`corrected/*`) and `forward_loss`, the negative mean
        log-likelihood of the given labels in nats; `mean_prediction`. All keys begin with `val/`.
    """
    mean = mean_prediction_of(prob)
    answer = priors.at_chosen(prob, mean)
    metrics, confusion = prediction_metrics(answer, label, class_names)
    loss = F.nll_loss(answer.double().clamp_min(1e-12).log(), label, reduction="sum")
    figures: dict[str, Any] = {
        **metrics,
        "loss": float(loss) / max(len(label), 1),
        "confusion": confusion.tolist(),
        "mean_prediction": mean.tolist(),
    }
    matrices = {"": confusion}
    for point, weighted in at_points(prob, priors.natural, mean).items():
        found, matrices[f"{point}/"] = prediction_metrics(weighted, label, class_names)
        figures |= {f"{point}/{key}": found[key] for key in POINT_METRICS}
    if noise is not None:
        corrected = corrected_confusion(torch.stack([*matrices.values()]).double(), noise)
        for prefix, matrix in zip(matrices, corrected, strict=True):
            found = epoch_metrics(matrix, class_names)
            figures |= {f"corrected/{prefix}{key}": found[key] for key in POINT_METRICS}
        figures["forward_loss"] = -noise.likelihood(answer, label)
    return {f"val/{key}": value for key, value in figures.items()}


def final_figures(
    prob: Float[Tensor, "image class"],
    label: Int[Tensor, " image"],
    class_names: Sequence[str],
    priors: Priors,
    mean: Float[Tensor, " class"],
) -> dict[str, Any]:
    """What a summary says of the test images; `mean` is that of the validation images.

    Returns:
        `accuracy`, `macro_recall`, `recall` by class and `confusion_matrix` at the chosen point;
        `points` has the same of the points as trained, natural and balanced.
    """
    points = at_points(prob, priors.natural, mean)
    return {
        **_by_class(priors.at_chosen(prob, mean), label, class_names),
        "points": {name: _by_class(points[name], label, class_names) for name in POINTS},
    }


def _by_class(
    prob: Float[Tensor, "image class"], label: Int[Tensor, " image"], class_names: Sequence[str]
) -> dict[str, Any]:
    metrics, confusion = prediction_metrics(prob, label, class_names)
    return {
        **{key: metrics[key] for key in POINT_METRICS},
        "recall": {name: metrics[f"recall/{name}"] for name in class_names},
        "confusion_matrix": confusion.tolist(),
    }


def points_used(
    run: RunConfig,
    priors: Priors,
    mean: Float[Tensor, " class"],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """The numbers behind the operating points of a summary, by class name."""

    def named(shares: Tensor) -> dict[str, float]:
        return dict(zip(class_names, shares.tolist(), strict=True))

    return {
        "prior": _plain(run.prediction.prior),
        "chosen": None if priors.chosen is None else named(priors.chosen),
        "given": named(priors.given),
        "natural": named(priors.natural),
        "natural_source": priors.natural_source,
        "mean_prediction": named(mean),
    }


def _plain(prior: Any) -> Any:
    return prior if isinstance(prior, str) else dict(prior)
