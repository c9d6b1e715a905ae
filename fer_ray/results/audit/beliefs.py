"""What a finished run says of the label of every image that was not tested on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fer_ray.data.faces import NOT_VERIFIED, UNLABELED

POSTERIOR, METHOD, LEARNT, UNSEEN = "posterior", "clean_prob", "learnt", "unseen"
SOURCES: Mapping[str, str] = {
    POSTERIOR: "the posteriors by which the run taught its networks: what each of them said of an "
    "image while it learned from it, given how labels are wrong; a mean over epochs. The ranking "
    "also knows what the tested networks say",
    METHOD: "clean probabilities by which the method divided the images the last time; suggestions "
    "are what the tested networks say, which have learned from these images",
    LEARNT: "what the tested networks say, which have LEARNED these very labels: an error that is "
    "learnt by heart looks right. Another method (peer_posterior) finds more of them",
    UNSEEN: "what the tested networks say of validation images, which they have not learned from",
}
"""Where probabilities come from, by the word in the column `source`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beliefs:
    """What a run says of labels; row i of every array is an image, training before validation.

    Attributes:
        class_names: Names of the classes, in label order.
        row: int64 [sample]; the image's row in its source.
        is_train: bool [sample]; false for validation images.
        given: int64 [sample]; label as given, `UNLABELED` where none was.
        verified: int64 [sample]; what a person says (`Verified.label`).
        is_random: bool [sample]; whether a person has looked at an image that was drawn at random.
        right: float64 [network, sample]; probability of the given label; NaN without one.
        score: float64 [sample]; by which images are ranked, the likeliest error has the lowest: the
            mean of `right` over the networks, unless a run knows better; NaN without a label.
        posterior: float64 [sample, class]; of the true class, mean over the networks.
        agreement: float64 [sample]; overlap of the networks' posteriors in [0, 1]; NaN if there is
            one network.
        kept: float64 [sample]; epochs that began with the label kept, mean over the networks; NaN
            if the method does not divide, and for validation images.
        trained: int64 [sample]; the label trained on since the last split, given or admitted by the
            method; `UNLABELED` for none, and for validation images.
        num_splits: How many times the method has divided the images.
        source: A key of `SOURCES` for every image.
    """

    class_names: tuple[str, ...]
    row: np.ndarray
    is_train: np.ndarray
    given: np.ndarray
    verified: np.ndarray
    is_random: np.ndarray
    right: np.ndarray
    score: np.ndarray
    posterior: np.ndarray
    agreement: np.ndarray
    kept: np.ndarray
    trained: np.ndarray
    num_splits: int
    source: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def prob_given_right(self) -> np.ndarray:
        """float64 [sample]; mean over the networks; 0 or 1 where a person has told the class."""
        told = (self.verified == self.given).astype(np.float64)
        right = np.where(self.verified >= 0, told, self.right.mean(axis=0))
        return np.where(self.given == UNLABELED, np.nan, right)

    @property
    def suggested(self) -> np.ndarray:
        """int64 [sample]; the most probable class, or what a person has told."""
        best: np.ndarray = self.posterior.argmax(axis=1)
        return np.where(self.verified >= 0, self.verified, best)

    @property
    def prob_suggested(self) -> np.ndarray:
        """float64 [sample]; probability of `suggested`."""
        best: np.ndarray = self.posterior.max(axis=1)
        return np.where(self.verified >= 0, 1.0, best)

    @property
    def is_open(self) -> np.ndarray:
        """For every image (bool): whether it has a label at which nobody has looked again."""
        is_open: np.ndarray = (self.given != UNLABELED) & (self.verified == NOT_VERIFIED)
        return is_open

    @property
    def ranking(self) -> np.ndarray:
        """int64 [open]; open images, the likeliest error first."""
        rows = np.flatnonzero(self.is_open)
        own = self.posterior[rows, self.given[rows]]
        return rows[np.lexsort((rows, own, self.score[rows]))]
