"""What verified labels say of the noise, pooled with what networks answer for all other images.

Some 200 verified labels are few for 49 numbers: a rare given label is verified a few times.
P(answer of networks | given label) counts thousands of images, but answers are wrong too, and at
first repeat the noise. Empirical Bayes decides how much they are worth.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fer_ray.core.noise_model import NoiseModel, from_joint, pair_counts

# Verified images that the answers to a given label, which may be few, are mixed with.
_START = 10.0
_TINY = 1e-9
# Candidates for how many verified images of a given label the answers are worth.
_WORTH = torch.logspace(-1, 3, 81, dtype=torch.float64)


def pooled(
    model: NoiseModel, answer: Int[Tensor, " image"], label: Int[Tensor, " image"]
) -> NoiseModel:
    """T of verified labels, pooled with the answers to the images of every given label.

    With V[k, j] = P(true k | given j) by n_j verified images of given label j, and B[k, j] =
    P(answer k | given j), column j becomes

        (n_j V_j + m B_j) / (n_j + m)

    and T follows with the shares of the given labels, as in `from_stratified_labels`. The m of all
    columns is what maximises the likelihood of the verified counts if every true column is drawn
    from a Dirichlet distribution around B_j with concentration m (Minka 2000, "Estimating a
    Dirichlet distribution", section 3). So answers that contradict what was verified are worth
    little, and more as the networks get better.

    Args:
        model: Of verified labels.
        answer: Classes that networks answer for images that nobody has verified.
        label: Labels as given of these images.

    Returns:
        The model with another T; as it is if nothing was verified. pi stays, and `row_error`, which
        is now rather too large.
    """
    if model.counts is None:
        return model
    joint = model.transition * model.prior[:, None]
    share = joint.sum(dim=0)
    truth = joint / share.clamp_min(_TINY)
    answered = pair_counts(answer, label, len(share)) + _START * truth
    answered = answered / answered.sum(dim=0).clamp_min(_TINY)
    worth, num = worth_of(answered, model.counts), model.counts.sum(dim=0)
    rows = from_joint((num * truth + worth * answered) / (num + worth) * share).transition
    return replace(model, transition=rows)


def worth_of(base: Float[Tensor, "true given"], counts: Float[Tensor, "true given"]) -> float:
    """The concentration m in [0.1, 1000] of the Dirichlet-multinomial that fits the counts best.

    Args:
        base: Mean of each column, B; columns sum to 1.
        counts: Verified counts; every column is a draw.
    """
    alpha = (_WORTH[:, None, None] * base.double()).clamp_min(_TINY)
    count = counts.double()
    per_column = torch.lgamma(alpha.sum(dim=1)) - torch.lgamma((alpha + count).sum(dim=1))
    per_cell = torch.lgamma(alpha + count) - torch.lgamma(alpha)
    return float(_WORTH[(per_column + per_cell.sum(dim=1)).sum(dim=1).argmax()])
