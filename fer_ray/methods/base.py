"""What a method is: hyperparameters as fields, an algorithm as three functions.

A method holds no state, opens no file, knows no rank, Ray or W&B. True labels never reach it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fer_ray.core.bounds import bounded, check_bounds
from fer_ray.core.noise_model import NoiseModel, from_predictions
from fer_ray.core.thresholds import check_class_names
from fer_ray.core.types import (
    EmptySplitError,
    Labeled,
    Network,
    Scores,
    SplitResult,
    StepContext,
    StepOutput,
    Unlabeled,
    Views,
)

_PRIORS = ("given", "verified", "uniform", "estimated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Base of all methods. A subclass adds fields and its algorithm."""

    paper: ClassVar[str] = ""
    # Whether epochs after warm-up begin with a split; else `step` gets every label as given.
    divides: ClassVar[bool] = True
    # The fields that have a say before the first split, so that runs which agree in them can share
    # their warm-up; None: perhaps all.
    warmup_fields: ClassVar[tuple[str, ...] | None] = None

    def __post_init__(self) -> None:
        # Called as Method.__post_init__(self): `super()` without arguments does not work in
        # dataclasses with slots.
        check_bounds(self)

    @property
    def label(self) -> str:
        """The method's name in `METHODS`."""
        return str(getattr(self, "name"))  # noqa: B009 - a field of every subclass

    @property
    def num_networks(self) -> int:
        """One, or two that train in turn."""
        return 1

    @property
    def views(self) -> Views:
        """The views that `step` asks for."""
        return Views(labeled_strong=1)

    @property
    def balances_classes(self) -> bool:
        """Whether every class is drawn equally often, with repetition; else all images once."""
        return False

    @property
    def reads_prob(self) -> bool:
        """Whether `split` looks at `Scores.prob`, which is then gathered from all ranks."""
        return True

    @property
    def asks_peer(self) -> bool:
        """Whether `step` looks at `peer`; if not, it gets none.

        Two networks that do not look at each other within an epoch may train at the same time, each
        on workers of its own.
        """
        return True

    @property
    def average_decay(self) -> float:
        """Decay of the moving averages that the algorithm needs, in [0, 1); 0: it needs none.

        These averages are the `peer` of a step: the other network's, or the student's own if there
        is one network. Without one, the run may keep averages all the same
        (`optim.average_decay`), to score and to be evaluated; the peer is then the other network.
        """
        return 0.0

    @property
    def scores_drawn(self) -> bool:
        """Whether `Scores.prob` is what the networks keep in memory, rather than a pass of its own.

        The memory of a network is then its running prediction for every training image; images that
        it has not drawn yet have a uniform one.
        """
        return False

    @property
    def trains_on_all(self) -> bool:
        """Whether images that lose their label are drawn with those that keep it, as `labeled`."""
        return False

    @property
    def covers_unlabeled(self) -> bool:
        """Whether an epoch shows all unlabelled images if they are more than the labelled ones."""
        return False

    def cycle(self, epoch: int, num_epochs: int) -> tuple[int, int]:
        """First and last epoch (1-based) of the learning rate's cosine that `epoch` belongs to."""
        del epoch
        return 1, num_epochs

    def memory_size(self, num_classes: int) -> int:
        """How many numbers a network keeps for every training image; 0: none.

        They are zeros at first, and again whenever the networks are initialised again. Steps change
        them through `StepContext.memory`; ranks bring them together after an epoch.
        """
        del num_classes
        return 0

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Check fields that name classes against the data set.

        Raises:
            ValueError: If a field names a class that the data set does not have.
        """

    def is_warmup(self, epoch: int, num_epochs: int) -> bool:
        """Whether this of `num_epochs` epochs (1-based) trains on everything without a split."""
        raise NotImplementedError

    def warmup_step(self, student: Network, labeled: Labeled, context: StepContext) -> StepOutput:
        """Cross-entropy on the labels as given; one strong view of every image."""
        del context
        return StepOutput(
            loss=F.cross_entropy(student(labeled.strong[0]).logits.float(), labeled.label)
        )

    def split(self, scores: Scores, previous: SplitResult | None, epoch: int) -> SplitResult:
        """Divide the training set. Runs on rank zero.

        Args:
            scores: What the networks say of every training image.
            previous: The split of the epoch before; `None` at the first.
            epoch: The epoch to come, 1-based.

        Raises:
            EmptySplitError: If a network would have no labelled image.
        """
        raise NotImplementedError

    def step(
        self,
        student: Network,
        peer: Network | None,
        labeled: Labeled,
        unlabeled: Unlabeled | None,
        context: StepContext,
    ) -> StepOutput:
        """One step of `student`; `peer` is the other network (or an average of it), fixed.

        `peer` is `None` if the method does not ask for it, or if there is none; `unlabeled` is
        `None` if the method asks for no unlabelled views or no image lost its label.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupMethod(Method):
    """Base of the methods that never divide: a warm-up without end, all in `warmup_step`."""

    def is_warmup(self, epoch: int, num_epochs: int) -> bool:
        """Every epoch trains on everything."""
        del epoch, num_epochs
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitMethod(Method):
    """Base of the methods that divide the data once the networks have seen all of it.

    Attributes:
        warmup_epochs: Epochs of plain cross-entropy on all images before the first split: a number
            of epochs, or a fraction below 1, which is a share of all epochs. A warm-up that is too
            short for the losses to tell right labels from wrong ones costs whole classes their
            labels.
    """

    warmup_epochs: int | float = bounded(0.5, "(0, inf)")

    def __post_init__(self) -> None:
        value = self.warmup_epochs
        if not (value >= 1 if isinstance(value, int) else 0 < value < 1):
            raise ValueError(
                "warmup_epochs: at least 1 as a number of epochs (an integer), or a share of all "
                f"epochs in (0, 1), got {value}"
            )
        Method.__post_init__(self)

    def num_warmup(self, num_epochs: int) -> int:
        """Epochs of warm-up in a run of `num_epochs`; at least 1.

        >>> [SplitMethod(warmup_epochs=warmup).num_warmup(12) for warmup in (0.3, 3)]
        [4, 3]
        """
        value = self.warmup_epochs
        return value if isinstance(value, int) else max(1, round(value * num_epochs))

    def is_warmup(self, epoch: int, num_epochs: int) -> bool:
        """Whether this epoch (1-based) comes before the first split."""
        return epoch <= self.num_warmup(num_epochs)


def noise_in(scores: Scores) -> NoiseModel:
    """The noise of the labels: as verified, else from the mean prediction of the networks.

    Needs `Scores.prob` if nothing is verified.
    """
    if scores.noise is not None:
        return scores.noise
    rows = scores.is_labeled
    return from_predictions(scores.prob.mean(dim=0)[rows], scores.label[rows])


def class_shares(label: Int[Tensor, " image"], num_classes: int) -> Float[Tensor, " class"]:
    """Share of every class among labels; one image more each, so none is 0."""
    count = torch.bincount(label, minlength=num_classes).float() + 1
    return count / count.sum()


def class_prior(
    prior: str | Mapping[str, float], scores: Scores, keep: Bool[Tensor, "network sample"]
) -> Float[Tensor, " class"]:
    """Prior over classes in label order, at a split.

    Args:
        prior: `given` (shares of the labels as given), `verified` (pi of `noise_in`), `uniform`,
            `estimated` (shares of the labels kept) or weights by class name, scaled to sum 1.
        scores: What the networks say.
        keep: Who keeps the label.
    """
    names = scores.class_names
    if not isinstance(prior, str):
        weight = torch.tensor([float(prior.get(name, 0.0)) for name in names])
        return weight / weight.sum()
    if prior == "uniform":
        return torch.full((len(names),), 1.0 / len(names))
    if prior == "verified":
        return noise_in(scores).prior.float()
    kept = scores.is_labeled[None] if prior == "given" else keep
    return class_shares(scores.label.expand_as(kept)[kept], len(names))


def check_prior(prior: str | Mapping[str, float]) -> None:
    """Check the form of a prior.

    Raises:
        ValueError: If it is neither one of the words nor non-negative weights with a positive sum.
    """
    if isinstance(prior, str):
        if prior not in _PRIORS:
            words = ", ".join(_PRIORS)
            raise ValueError(f"prior: {words} or a weight per class, got {prior!r}")
    elif not prior or min(prior.values()) < 0 or sum(prior.values()) <= 0:
        raise ValueError(f"prior: weights >= 0 with a positive sum, got {dict(prior)}")


def check_prior_classes(prior: str | Mapping[str, float], class_names: Sequence[str]) -> None:
    """Check a prior's class names against the data set.

    Raises:
        ValueError: If a weight is given for an unknown class.
    """
    if not isinstance(prior, str):
        check_class_names(list(prior), class_names, "prior")


def require_labeled(split: SplitResult, scores: Scores, epoch: int) -> SplitResult:
    """Return `split` if every network has something to learn from.

    Raises:
        EmptySplitError: Naming the epoch, thresholds and largest clean probability by class.
    """
    for network, kept in enumerate(split.is_labeled):
        if int(kept.sum()) >= 2:
            continue
        rows = []
        for number, name in enumerate(scores.class_names):
            of_class = split.clean_prob[network][scores.label == number]
            top = float(of_class.max()) if len(of_class) else float("nan")
            threshold = float(split.threshold[number])
            rows.append(f"{name} {threshold:.2f} (largest of {len(of_class)}: {top:.2f})")
        raise EmptySplitError(
            f"epoch {epoch}: {int(kept.sum())} images keep their label for network {network}. "
            f"Thresholds and clean probabilities by class: {', '.join(rows)}. "
            "Lower method.thresholds or lengthen method.warmup_epochs."
        )
    return split
