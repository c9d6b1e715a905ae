"""The records that pass between the loop and a method. Pure: no files, ranks, Ray or W&B.

Everything per sample is an array in index order: row i is training image i, on every rank and
in every epoch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fer_ray.core.noise_model import NoiseModel


class EmptySplitError(RuntimeError):
    """A split left nothing to train on; a search reports the trial as infeasible and goes on."""


class ModelOutput(NamedTuple):
    """What a network says of a batch.

    Attributes:
        logits: Before the softmax.
        features: What the classifier sees: the mean of the last feature maps.
        attention: The last feature maps weighted by the classifier's weights, which get no gradient
            from here (class activation maps, Zhou et al. 2016, https://arxiv.org/abs/1512.04150);
            their mean over places is the logits without bias.
    """

    logits: Float[Tensor, "batch class"]
    features: Float[Tensor, "batch feature"]
    attention: Float[Tensor, "batch class row column"]


@runtime_checkable
class Network(Protocol):
    """A network as a method may use it: one call that learns, one that only looks."""

    def __call__(self, images: Float[Tensor, "batch channel height width"], /) -> ModelOutput:
        """Forward in training mode with gradient."""
        ...

    def predict(
        self, images: Float[Tensor, "batch channel height width"], /
    ) -> Float[Tensor, "batch class"]:
        """Softmax without gradient, in evaluation mode; BatchNorm statistics do not move."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """How many random views of every image one step of a method asks for."""

    labeled_weak: int = 0
    labeled_strong: int = 0
    unlabeled_weak: int = 0
    unlabeled_strong: int = 0

    @property
    def needs_unlabeled(self) -> bool:
        """Whether unlabelled images are drawn at all."""
        return self.unlabeled_weak + self.unlabeled_strong > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Views of the same images, this rank's share of a step.

    Attributes:
        weak: Weakly augmented views, as many as `Views` asks for.
        strong: Strongly augmented views, likewise.
        index: Rows of the training set.
    """

    weak: tuple[Float[Tensor, "batch channel height width"], ...]
    strong: tuple[Float[Tensor, "batch channel height width"], ...]
    index: Int[Tensor, " batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeled(Batch):
    """Images that keep a label.

    Attributes:
        label: The label to learn: given, or a pseudo-label that the split admitted.
        clean_prob: Probability in [0, 1] that the label is right.
    """

    label: Int[Tensor, " batch"]
    clean_prob: Float[Tensor, " batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlabeled(Batch):
    """Images whose label is not believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What every network says of every training image, index order; exists on rank zero only.

    Attributes:
        class_names: Names of the classes, in label order.
        label: Labels as given; they may be wrong; -1 where none was given.
        is_labeled: Whether an image came with a label at all.
        loss: Cross-entropy of every network against the given label; against class 0 without one.
        prob: Softmax of every network; of no image (0 in place of `sample`) if the method does not
            read it.
        noise: The noise of the labels, where it is known; `None` if nothing is verified.
        is_verified: Images whose label a person has verified; `None` if there are none.
    """

    class_names: tuple[str, ...]
    label: Int[Tensor, " sample"]
    is_labeled: Bool[Tensor, " sample"]
    loss: Float[Tensor, "network sample"]
    prob: Float[Tensor, "network scored class"]
    noise: NoiseModel | None = None
    is_verified: Bool[Tensor, " sample"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitResult:
    """Who keeps the label. Row k is what network k trains on (co-divides have swapped already).

    Attributes:
        is_labeled: Who is trained on with a label.
        clean_prob: Probability in [0, 1] that the given label is right.
        label: The label to train on: given, or a pseudo-label the method admitted.
        threshold: Clean probability above which a class keeps its label.
        reset_networks: Whether the networks are initialised again (CReST's generations).
        memory: What the method wants back at the next split; goes into the checkpoint.
    """

    is_labeled: Bool[Tensor, "network sample"]
    clean_prob: Float[Tensor, "network sample"]
    label: Int[Tensor, "network sample"]
    threshold: Float[Tensor, " class"]
    reset_networks: bool = False
    memory: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What a step may know beside its batch.

    Attributes:
        class_names: Names of the classes, in label order.
        class_count: Images that this network trains on with a label in this epoch, by that label.
        split: The current split; `None` during warm-up, or if the method does not divide.
        network: Which network is the student.
        epoch: Epochs done, with fraction: 3.25 is a quarter into the fourth epoch.
        num_epochs: All epochs of the run.
        memory: This network's numbers for every training image, which the step may change in place
            for the rows of its batch; `None` if the method keeps none.
        generator: CPU generator of this (seed, epoch, network, rank).
        mean_over_ranks: Differentiable mean of a tensor over the ranks that train this network.
    """

    class_names: tuple[str, ...]
    class_count: Int[Tensor, " class"]
    split: SplitResult | None
    network: int
    epoch: float
    num_epochs: int
    memory: Float[Tensor, "sample number"] | None
    generator: torch.Generator
    mean_over_ranks: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """The loss to minimise and detached scalars to log."""

    loss: Float[Tensor, ""]
    logs: Mapping[str, Tensor] = field(default_factory=dict)
