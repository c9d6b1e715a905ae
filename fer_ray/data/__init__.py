"""Data sets as arrays: `open_data("synthetic")`, `open_data("arrays:/path.npz")`."""

import difflib
from collections.abc import Callable

from fer_ray.data.arrays import read_arrays
from fer_ray.data.faces import DataError, FaceData, Faces
from fer_ray.data.synthetic import read_synthetic

__all__ = ["READERS", "DataError", "FaceData", "Faces", "open_data"]

READERS: dict[str, Callable[[str, float, int], FaceData]] = {
    "synthetic": read_synthetic,
    "arrays": read_arrays,
}
"""Scheme -> reader of (what follows the colon, validation share, seed of the validation rows)."""


def open_data(spec: str, *, val_fraction: float = 0.15, seed: int = 0) -> FaceData:
    """Open a data set.

    Args:
        spec: `scheme` or `scheme:rest`, such as `synthetic:noise=0.3` or `arrays:faces.npz`.
        val_fraction: Share of the training images to validate on, in (0, 1), where the data set
            comes without validation images.
        seed: Which images these are; the data themselves do not depend on it.

    Raises:
        DataError: If the scheme is unknown, or the data cannot be used as they are.
    """
    scheme, _, rest = spec.strip().partition(":")
    if scheme not in READERS:
        near = difflib.get_close_matches(scheme, READERS, n=1)
        raise DataError.at(
            f"data {spec!r}",
            expected=f"one of {', '.join(READERS)} before the colon",
            got=repr(scheme),
            remedy=f"Did you mean {near[0]!r}?" if near else "Example: synthetic:train=4000.",
        )
    if not 0 < val_fraction < 1:
        raise DataError.at(
            "val_fraction",
            expected="a share between 0 and 1",
            got=str(val_fraction),
            remedy="Example: 0.15.",
        )
    return READERS[scheme](rest, val_fraction, seed)
