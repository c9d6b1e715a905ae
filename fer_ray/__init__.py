"""fer_ray: facial expression recognition from noisy, imbalanced labels, tuned and scaled on Ray."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_ray.results.predictor import Predictor

__version__ = "0.1.0"


def load(
    run: str | os.PathLike[str],
    *,
    prior: str | Mapping[str, float] | None = None,
    device: str | None = None,
) -> "Predictor":
    """Load the networks of a finished run, or of the best trial of a search.

    `fer_ray.load("runs/mine").predict(images)` gives the probabilities of every class.

    Args:
        run: Folder or URI of the run or search.
        prior: Class shares to predict for, as `prediction.prior`; by default the run's.
        device: Where the networks compute; by default a GPU if there is one.

    Raises:
        ValueError: If the folder holds no finished run, its files cannot be used, or the prior is
            none that the run can have.
    """
    from fer_ray.results import predictor  # here, so that `import fer_ray` stays cheap

    return predictor.load(run, prior=prior, device=device)
