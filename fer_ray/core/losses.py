"""Losses and target transforms. Pure functions of tensors: no files, ranks, Ray or W&B."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

_SMALLEST = 1e-12


def soft_cross_entropy(
    logits: Float[Tensor, "batch class"], target: Float[Tensor, "batch class"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy against soft targets, computed in float32.

    DivideMix (Li et al. 2020, https://arxiv.org/abs/2002.07394), eq. 9.

    >>> round(float(soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))), 4)
    0.6931
    """
    return -(target * F.log_softmax(logits.float(), dim=1)).sum(dim=1).mean()


def prior_penalty(
    mean_prob: Float[Tensor, " class"], prior: Float[Tensor, " class"]
) -> Float[Tensor, ""]:
    """KL(prior || mean prediction), which keeps a network from answering one class only.

    DivideMix, eq. 11. Computed in float32; a class that is never predicted costs a large but
    finite penalty, and a class with prior 0 costs nothing.

    Args:
        mean_prob: Mean softmax over the whole batch, whatever ranks share it.
        prior: What the mean should be; uniform in the paper.

    >>> prior_penalty(torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]))
    tensor(0.)
    """
    log_ratio = prior.clamp_min(_SMALLEST).log() - mean_prob.float().clamp_min(_SMALLEST).log()
    return (prior * log_ratio).sum()


def negative_entropy(logits: Float[Tensor, "batch class"]) -> Float[Tensor, ""]:
    """Mean of sum p log p: added in warm-up, it punishes confident answers.

    DivideMix, eq. 2 (with the sign of a penalty). Through `log_softmax`, so p = 0 is no NaN.
    """
    log_prob = F.log_softmax(logits.float(), dim=1)
    return (log_prob.exp() * log_prob).sum(dim=1).mean()


def sharpen(prob: Float[Tensor, "batch class"], temperature: float) -> Float[Tensor, "batch class"]:
    """Raise to 1 / temperature and normalise: below 1 the answer grows more certain.

    MixMatch (Berthelot et al. 2019, https://arxiv.org/abs/1905.02249), eq. 7. The largest
    probability is divided out first, so small temperatures do not underflow.
    """
    scaled = prob / prob.amax(dim=1, keepdim=True).clamp_min(_SMALLEST)
    power = scaled.pow(1.0 / temperature)
    return power / power.sum(dim=1, keepdim=True)


def confident_cross_entropy(
    logits: Float[Tensor, "batch class"],
    pseudo_label: Int[Tensor, " batch"],
    is_confident: Bool[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Cross-entropy where a pseudo-label is trusted, over the whole batch's size.

    FixMatch (Sohn et al. 2020, https://arxiv.org/abs/2001.07685), eq. 4.
    """
    loss = F.cross_entropy(logits.float(), pseudo_label, reduction="none")
    return (loss * is_confident).mean()


def contrast(
    first: Float[Tensor, "batch feature"],
    second: Float[Tensor, "batch feature"],
    temperature: float,
    chosen: Bool[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """NT-Xent: two views of an image are to be more alike than views of two images.

    SimCLR (Chen et al. 2020, https://arxiv.org/abs/2002.05709), eq. 1, over the 2n views of the n
    chosen images, in float32. 0 if none is chosen.

    Args:
        first: Features of one view of each image; of any length, they are normalised here.
        second: Features of another view.
        temperature: Above 0.
        chosen: Which images take part, as anchors and as negatives.
    """
    views = F.normalize(torch.cat([first, second]).float(), dim=1)
    takes_part = chosen.repeat(2)
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    similarity = views @ views.T / temperature
    positive = similarity.roll(len(first), dims=1).diagonal()
    # Masked rather than selected: no shape depends on the data, so no device waits for the host.
    candidates = similarity.masked_fill(itself | ~takes_part, -torch.inf)
    loss = torch.where(takes_part, candidates.logsumexp(dim=1) - positive, 0.0)
    return loss.sum() / takes_part.sum().clamp_min(1)


def mixup_coefficient(alpha: float, generator: torch.Generator) -> float:
    """Draw l ~ Beta(alpha, alpha) and return max(l, 1 - l), in [0.5, 1].

    MixMatch, eq. 8-9 (DivideMix, eq. 5-6). The draw is a function of `generator` alone (NumPy's
    global state, which the authors' code uses unseeded, takes no part).

    Raises:
        ValueError: If `alpha` is not positive.
    """
    if alpha <= 0:
        raise ValueError(f"mixup alpha must be positive, got {alpha}")
    seed = int(torch.randint(2**62, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    return max(share, 1.0 - share)


def mixup(
    first: Float[Tensor, "batch *rest"], second: Float[Tensor, "batch *rest"], coefficient: float
) -> Float[Tensor, "batch *rest"]:
    """Return `coefficient * first + (1 - coefficient) * second` (MixMatch, eq. 10-11)."""
    return torch.lerp(second, first, coefficient)


def linear_rampup(progress: float, length: float) -> float:
    """Grow from 0 to 1 while `progress` goes from 0 to `length`; 1 at once where length is 0.

    >>> [linear_rampup(x, 16.0) for x in (-1.0, 0.0, 4.0, 16.0, 99.0)]
    [0.0, 0.0, 0.25, 1.0, 1.0]
    """
    if length <= 0:
        return 1.0
    return min(max(progress / length, 0.0), 1.0)
