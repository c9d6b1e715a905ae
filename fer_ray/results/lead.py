"""How far the best trial of a search is ahead of the default one, and whether by more than chance.

The best of many trials is partly the luckiest. Breiman et al. (1984, Classification and Regression
Trees, section 3.4.3) take the simplest model within one standard error of the best; the simplest
configuration of a search is the one that it begins with.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fer_ray.config import needs_noise
from fer_ray.core.metrics import epoch_metrics
from fer_ray.core.noise_model import corrected_confusion
from fer_ray.core.operating_points import (
    PointName,
    at_points,
    mean_prediction_of,
    prediction_metrics,
)
from fer_ray.data import noise_of
from fer_ray.results.best_trial import best_trial, has_result
from fer_ray.search.layout import DEFAULT
from fer_ray.search.plan import SearchPlan
from fer_ray.training.finish import CHECKPOINTS, evaluation_device, last_checkpoint, validation_prob
from fer_ray.training.operating_point import read_priors, validation_figures

NUM_RESAMPLES = 200
Draws = Int[Tensor, "resample drawn"]
Figures = Callable[[Draws], Sequence[float] | NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """How far a trial is ahead of the default one.

    Attributes:
        trial: The trial with the best value of the metric.
        over: The trial with the default configuration.
        gain: Difference of their values, in units of the metric; positive where `trial` is better.
        standard_error: Of the difference, over the validation images.
        num_images: Validation images.
        margin: Standard errors that are asked for.
    """

    trial: str
    over: str
    gain: float
    standard_error: float
    num_images: int
    margin: float

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> "Lead":
        """Build from what a summary says, where null stands for a number that is not finite.

        Raises:
            KeyError, TypeError, ValueError: If something is missing or no number.
        """
        gain, error = (
            math.nan if raw[key] is None else float(raw[key]) for key in ("gain", "standard_error")
        )
        return Lead(
            trial=str(raw["trial"]),
            over=str(raw["over"]),
            gain=gain,
            standard_error=error,
            num_images=int(raw["num_images"]),
            margin=float(raw["margin"]),
        )

    @property
    def is_enough(self) -> bool:
        """Whether the trial is ahead by more than the margin; a margin of 0 asks for nothing."""
        return self.margin == 0 or self.gain > self.margin * self.standard_error

    @property
    def is_sure(self) -> bool:
        """Whether it is more than one standard error."""
        return self.gain > self.standard_error

    @property
    def text(self) -> str:
        """A sentence."""
        return (
            f"{self.trial} is ahead of {self.over}, the default configuration, by "
            f"{self.gain:.4f} ± {self.standard_error:.4f} of the metric (standard error over "
            f"{self.num_images:,} validation images)"
        )


def choose_trial(
    plan: SearchPlan, table: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any] | None, Lead | None]:
    """Choose the trial that a search ends with: the best, if it is ahead of the default by enough.

    Args:
        plan: The search.
        table: Its trials, from `trial_table`.

    Returns:
        The row of the trial, `None` if all failed or have no value; and how far the best trial is
        ahead of the default one, `None` if they are the same, or the default one has no result or
        was stopped early.
    """
    best = best_trial(table, plan.space.mode)
    default = next((row for row in table if row["trial"] == DEFAULT), None)
    if best is None or default is None or best is default or not _is_whole(plan, default):
        return best, None
    lead = _lead(plan, best, default)
    return best if lead.is_enough else default, lead


def _lead(plan: SearchPlan, best: Mapping[str, Any], default: Mapping[str, Any]) -> Lead:
    ours, theirs = (_figures(plan, row) for row in (best, default))
    sign = 1 if plan.space.mode == "max" else -1
    num = len(plan.data.val)
    return Lead(
        trial=best["trial"],
        over=default["trial"],
        gain=sign * (best["best"] - default["best"]),
        standard_error=standard_error(lambda draws: np.subtract(ours(draws), theirs(draws)), num),
        num_images=num,
        margin=plan.space.margin,
    )


def standard_error(figures: Figures, num_images: int) -> float:
    """Standard error of a figure of images, by a bootstrap with a fixed seed.

    Args:
        figures: The figure of every resample. A row of a resample names an image, some of which
            stand there more than once.
        num_images: How many images there are.

    Returns:
        Standard deviation of the figure over the resamples that have one.
    """
    generator = np.random.default_rng(0)
    draws = torch.from_numpy(generator.integers(num_images, size=(NUM_RESAMPLES, num_images)))
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so little work is ten times slower with more
    try:
        drawn = figures(draws)
    finally:
        torch.set_num_threads(num_threads)
    return float(np.nanstd(drawn, ddof=1))


def _is_whole(plan: SearchPlan, row: Mapping[str, Any]) -> bool:
    planned = plan.space.run_config(row["params"]).optim.epochs
    return has_result(row) and bool(row["epochs"] >= planned)


def _figures(plan: SearchPlan, row: Mapping[str, Any]) -> Figures:
    """The metric of a trial, as a function of the validation images that count."""
    data, metric = plan.data, plan.space.metric
    run = plan.space.run_config(row["params"])
    with last_checkpoint(plan.folder / row["trial"] / CHECKPOINTS) as checkpoint:
        prob = validation_prob(run, data, checkpoint, evaluation_device())
    label = torch.from_numpy(np.array(data.val.label)).long()
    noise = noise_of(data)
    priors = read_priors(run, data, noise)

    def answer(point: str, rows: Int[Tensor, " drawn"]) -> Float[Tensor, "drawn class"]:
        mean = mean_prediction_of(prob[rows])
        if not point:
            return priors.at_chosen(prob[rows], mean)
        return at_points(prob[rows], priors.natural, mean)[cast("PointName", point)]

    def given(draws: Draws) -> list[float]:
        return [
            validation_figures(prob[rows], label[rows], data.class_names, priors, None)[metric]
            for rows in draws
        ]

    # Figures that know the noise are computed alone: correcting a matrix takes a tenth of a second,
    # and correcting that of every resample at once little longer.

    def forward_loss(draws: Draws) -> list[float]:
        assert noise is not None
        return [-noise.likelihood(answer("", rows), label[rows]) for rows in draws]

    def corrected(draws: Draws) -> list[float]:
        assert noise is not None
        point, _, key = metric.removeprefix("val/corrected/").rpartition("/")
        matrices = [
            prediction_metrics(answer(point, rows), label[rows], data.class_names)[1]
            for rows in draws
        ]
        found = corrected_confusion(torch.stack(matrices).double(), noise)
        return [epoch_metrics(matrix, data.class_names)[key] for matrix in found]

    if not needs_noise(metric):
        return given
    return forward_loss if metric == "val/forward_loss" else corrected
