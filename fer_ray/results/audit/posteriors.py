"""Posteriors of the true class from predictions, given labels, and how labels are wrong."""

import numpy as np
import torch
from jaxtyping import Float

from fer_ray.core.losses import sharpen
from fer_ray.core.noise_model import NoiseModel, from_predictions
from fer_ray.data import Faces
from fer_ray.data.faces import UNLABELED

_TINY = 1e-6


def posterior_of(
    prob: Float[np.ndarray, "network sample class"],
    faces: Faces,
    noise: NoiseModel | None,
    temperature: float = 1.0,
) -> Float[np.ndarray, "network sample class"]:
    """Posterior of the true class by every network; predictions as they are without a noise matrix.

    Images without a label have the prediction.

    Args:
        prob: Predictions.
        faces: The images with their labels.
        noise: How labels are wrong.
        temperature: By which the method sharpens predictions before they meet the noise.
    """
    if noise is None:
        return prob
    sharp = torch.stack([sharpen(torch.from_numpy(own), temperature) for own in prob])
    label = torch.from_numpy(np.asarray(faces.label)).clamp_min(0)
    told = noise.posterior(sharp, label.expand(len(prob), -1)).numpy()
    return np.where((faces.label == UNLABELED)[:, None], prob, told)


def under_noise(
    posterior: Float[np.ndarray, "network sample class"],
    faces: Faces,
    before: NoiseModel | None,
    now: NoiseModel | None,
) -> Float[np.ndarray, "network sample class"]:
    """What posteriors under one noise are under another: by Bayes' rule, the ratio of both T.

    A class that the first noise has ruled out stays ruled out.

    Args:
        posterior: Under `before`.
        faces: The images with their labels.
        before: The noise they were made with.
        now: The noise they are wanted under; without one of the two, nothing changes.
    """
    if before is None or now is None:
        return posterior
    old, new = before.transition.numpy(), now.transition.numpy().clip(_TINY)
    ratio = np.where(old > _TINY, new / old.clip(_TINY), 1.0)
    changed = posterior * ratio[:, faces.label.clip(0)].T
    changed /= changed.sum(axis=2, keepdims=True)
    return np.where((faces.label == UNLABELED)[:, None], posterior, changed)


def of_given(
    posterior: Float[np.ndarray, "network sample class"], faces: Faces
) -> Float[np.ndarray, "network sample"]:
    """Probability of the given label; NaN where none is given."""
    own = np.take_along_axis(posterior, faces.label.clip(0)[None, :, None], axis=2)[..., 0]
    return np.where(faces.label == UNLABELED, np.nan, own)


def estimated_noise(said: Float[np.ndarray, "network sample class"], faces: Faces) -> NoiseModel:
    """How labels are wrong by what networks say of the images, where nobody has verified any."""
    is_open = faces.label != UNLABELED
    prob = torch.from_numpy(said.mean(axis=0)[is_open])
    return from_predictions(prob, torch.from_numpy(np.asarray(faces.label)[is_open]))
