"""A model of label noise: how often a true class is given as another one, and how common each is.

With T[k, j] = P(given j | true k) and pi[k] = P(true k), the noise is class-conditional: given the
true class, the given label does not depend on the image (Patrini et al. 2017,
https://arxiv.org/abs/1609.03683, section 2).
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

_TINY = 1e-12
# Share of right labels before anything is verified.
_RIGHT = 0.6
# Images that the share of right labels, and that of images with a class, starts with.
_RIGHT_STRENGTH, _TOLD_STRENGTH = 10.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseModel:
    """The noise of a data set's labels.

    Attributes:
        transition: T; entry [k, j] is P(given j | true k); rows sum to 1.
        prior: pi; entry k is P(true k); sums to 1.
        num_verified: Verified labels that the estimate uses; 0 if nothing was verified.
        row_error: How far a row of T is from the truth, about: sum of absolute differences, in
            [0, 2], as the mean over rows. NaN if nobody knows.
        counts: Verified images of true class k and given label j; `None` if nothing was verified.

    Raises:
        ValueError: If a probability is negative or a row does not sum to 1.
    """

    transition: Float[Tensor, "true given"]
    prior: Float[Tensor, " true"]
    num_verified: int = 0
    row_error: float = math.nan
    counts: Float[Tensor, "true given"] | None = None

    def __post_init__(self) -> None:
        for name, rows in (("transition", self.transition), ("prior", self.prior[None])):
            sums = rows.sum(dim=1)
            if float(rows.min()) < 0 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
                raise ValueError(f"{name}: expected probabilities that sum to 1, got {rows}")

    def posterior(
        self, prob: Float[Tensor, "*sample class"], label: Int[Tensor, "*sample"]
    ) -> Float[Tensor, "*sample class"]:
        """P(true k | image, given label), proportional to p_k T[k, y].

        Args:
            prob: What a network says of the true class, p.
            label: Labels as given, y.

        Returns:
            Rows that sum to 1; `prob` itself where T rules out every class that p allows.
        """
        joint = prob * self.transition.T.to(prob)[label]
        total = joint.sum(dim=-1, keepdim=True)
        return torch.where(total > _TINY, joint / total.clamp_min(_TINY), prob)

    def clean_prob(
        self, prob: Float[Tensor, "*sample class"], label: Int[Tensor, "*sample"]
    ) -> Float[Tensor, "*sample"]:
        """Probability in [0, 1] that the given label is the true one."""
        return self.posterior(prob, label).gather(-1, label[..., None])[..., 0]

    def forward(self, prob: Float[Tensor, "*sample class"]) -> Float[Tensor, "*sample class"]:
        """P(given j | image): what a network that knows the truth says of the given labels."""
        return prob @ self.transition.to(prob)

    def likelihood(
        self, prob: Float[Tensor, "sample class"], label: Int[Tensor, " sample"]
    ) -> float:
        """Mean log-likelihood of the given labels, in nats (forward correction)."""
        given = self.forward(prob).gather(1, label[:, None])[:, 0]
        return float(given.clamp_min(_TINY).log().mean())


def from_stratified_labels(
    true_label: Int[Tensor, " verified"],
    label: Int[Tensor, " verified"],
    given_share: Float[Tensor, " class"],
    *,
    strength: float = 4.0,
) -> NoiseModel:
    """Estimate the noise from verified images whose given labels need not have their true shares.

    Images of one given label must be drawn at random; how many are drawn of each is free. So it
    fits images drawn at random from all of them, and as many of every given label. With N[k, j]
    the verified images of true class k and given label j, n_j those of given label j and s the
    `strength`,

        P(true k | given j) = (N[k, j] + s (r [k = j] + (1 - r) m_k)) / (n_j + s)
        P(true k, given j) = P(true k | given j) q_j

    (post-stratification). r is the share of right labels and m the shares of the true classes, both
    counted with weights q_j / n_j: a rare class is seldom what another label hides.

    Args:
        true_label: What a person says of the images; negative where nobody could tell. Given labels
            with many of these count for less of q.
        label: Their labels as given.
        given_share: Shares of the given labels among all training images, q.
        strength: How many images the prior of a given label is worth.

    Returns:
        Noise of the images that have a true class; pi T is q without the others.
    """
    num_classes = len(given_share)
    is_told = true_label >= 0
    num_all = torch.bincount(label, minlength=num_classes)
    counts = pair_counts(true_label[is_told], label[is_told], num_classes)
    num, total = counts.sum(dim=0), float(is_told.sum())
    told = (num + _TOLD_STRENGTH * is_told.float().mean()) / (num_all + _TOLD_STRENGTH)
    share = given_share * told / (given_share * told).sum()
    weighted = counts * share / num.clamp_min(1)
    weighted = weighted * (total / weighted.sum())
    right = (weighted.trace() + _RIGHT_STRENGTH * _RIGHT) / (total + _RIGHT_STRENGTH)
    classes = (weighted.sum(dim=1) + 1) / (total + num_classes)
    target = right * torch.eye(num_classes) + (1 - right) * classes[:, None]
    truth = (counts + strength * target) / (num + strength)
    model = from_joint(truth * share, num_verified=int(total))
    row_error = _sampling_error(model.transition, weighted.sum(dim=1))
    return replace(model, row_error=row_error, counts=counts)


def _sampling_error(rows: Float[Tensor, "true given"], num: Float[Tensor, " true"]) -> float:
    """Mean over rows of the expected sum of |difference|, of shares counted on `num` images each.

    The mean absolute deviation of a normal distribution is sqrt(2 / pi) of its standard deviation.
    """
    variance = rows * (1 - rows) / (num[:, None] + 1)
    return float((variance * 2 / math.pi).sqrt().sum(dim=1).mean())


def from_joint(joint: Float[Tensor, "true given"], *, num_verified: int = 0) -> NoiseModel:
    """The noise of a joint distribution (or of counts) of true and given labels."""
    joint = joint / joint.sum()
    prior = joint.sum(dim=1)
    identity = torch.eye(len(joint), dtype=joint.dtype)
    rows = torch.where(prior[:, None] > _TINY, joint / prior[:, None].clamp_min(_TINY), identity)
    return NoiseModel(transition=rows, prior=prior, num_verified=num_verified)


def confident_joint(
    prob: Float[Tensor, "sample class"], label: Int[Tensor, " sample"]
) -> Float[Tensor, "true given"]:
    """Counts of true and given labels by confident learning (Northcutt et al. 2021, eq. 1 and 2).

    An image counts for the class whose probability reaches the mean self-confidence of that class
    (https://arxiv.org/abs/1911.00068); the largest such probability wins. Rows of `prob` must be
    out of sample: of networks that did not train on the image. The counts are scaled so that every
    given label has as many as there are.
    """
    num_classes = prob.shape[1]
    own = prob.gather(1, label[:, None])[:, 0]
    size = torch.bincount(label, minlength=num_classes)
    total = torch.zeros(num_classes, dtype=prob.dtype).index_add_(0, label, own)
    threshold = torch.where(size > 0, total / size.clamp_min(1), torch.ones_like(total))
    reaches = prob >= threshold
    guess = torch.where(reaches, prob, -torch.ones_like(prob)).argmax(dim=1)
    is_counted = reaches.any(dim=1)
    counts = pair_counts(guess[is_counted], label[is_counted], num_classes).to(prob.dtype)
    empty = counts.sum(dim=0) == 0
    counts = counts + torch.diag(empty.to(prob.dtype))
    return counts * (size / counts.sum(dim=0))


def from_predictions(
    prob: Float[Tensor, "sample class"],
    label: Int[Tensor, " sample"],
    *,
    identity_weight: float = 0.5,
) -> NoiseModel:
    """Estimate the noise where nothing is verified, from out-of-sample predictions.

    T is that of the confident joint, drawn half way to the identity: predictions of networks that
    learnt from wrong labels repeat the noise, so the confident joint sees too much of it. The truth
    is taken to lie between the two; `row_error` is the distance to the farther one.

    Args:
        prob: Out-of-sample predictions.
        label: Labels as given.
        identity_weight: Weight of the identity in [0, 1].
    """
    found = from_joint(confident_joint(prob, label))
    identity = torch.eye(prob.shape[1], dtype=prob.dtype)
    transition = identity_weight * identity + (1 - identity_weight) * found.transition
    share = torch.bincount(label, minlength=prob.shape[1]).to(prob.dtype) / len(label)
    row_error = max(
        float((transition - end).abs().sum(dim=1).mean()) for end in (identity, found.transition)
    )
    return NoiseModel(
        transition=transition, prior=deconvolve(transition, share), row_error=row_error
    )


def deconvolve(
    transition: Float[Tensor, "true given"],
    given: Float[Tensor, "*sample given"],
    *,
    num_steps: int = 2000,
) -> Float[Tensor, "*sample true"]:
    """The non-negative pi whose noisy image pi T is nearest to `given` in likelihood.

    Expectation maximisation for a mixture of the rows of T with weights pi (Saerens et al. 2002):
    pi_k <- pi_k sum_j T[k, j] given_j / (pi T)_j, from the uniform distribution.

    Args:
        transition: T.
        given: Non-negative shares or counts of the given labels; every row has its own pi.
        num_steps: Iterations.

    Returns:
        As much in all as `given`.
    """
    transition, target = transition.double(), given.double()
    total = target.sum(dim=-1, keepdim=True)
    share = target / total.clamp_min(_TINY)
    pi = torch.full_like(target, 1 / target.shape[-1])
    for _ in range(num_steps):
        pi = pi * ((share / (pi @ transition).clamp_min(_TINY)) @ transition.T)
        pi = pi / pi.sum(dim=-1, keepdim=True).clamp_min(_TINY)
    return (pi * total).to(given.dtype)


def corrected_confusion(
    confusion: Float[Tensor, "*matrix given answer"], model: NoiseModel
) -> Float[Tensor, "*matrix true answer"]:
    """What confusion matrices against noisy labels would be against the true ones.

    Every column, the given labels of the images with one answer, is deconvolved: it is assumed that
    answers and given labels are independent once the true class is known (Zhang and Agarwal 2024,
    https://arxiv.org/abs/2402.01055). Not for images whose labels the network has learnt.

    Args:
        confusion: Counts; rows are given labels, columns answers.
        model: The noise.
    """
    return deconvolve(model.transition, confusion.mT).mT


def pair_counts(
    true_label: Int[Tensor, " image"], label: Int[Tensor, " image"], num_classes: int
) -> Float[Tensor, "true given"]:
    """How many images have true class k and given label j."""
    flat = torch.bincount(true_label * num_classes + label, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).float()
