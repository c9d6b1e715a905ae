"""What networks say of images: a confusion matrix, or the loss and softmax of every one."""

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from fer_ray.augment import plain_views
from fer_ray.config import RunConfig
from fer_ray.distributed import gather_rows, sum_over_ranks
from fer_ray.learner import Images, Learner, mean_prediction
from fer_ray.metrics import confusion_matrix
from fer_ray.types import Scores


def evaluate(
    learners: list[Learner], images: Images, run: RunConfig, num_classes: int
) -> tuple[Int[Tensor, "class class"], float]:
    """Confusion matrix (CPU) and mean cross-entropy of the networks' mean prediction.

    Every rank takes its share; the counts are summed over ranks.
    """
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=images.device)
    total = torch.zeros((), dtype=torch.float64, device=images.device)
    for rows in images.shards(run.compute.eval_batch_size):
        prob = mean_prediction(learners, images.take(rows), flip_average=run.flip_average)
        label = images.label[rows].to(images.device)
        counts += confusion_matrix(label, prob.argmax(dim=1), num_classes)
        total += F.nll_loss(prob.clamp_min(1e-12).log(), label, reduction="sum").double()
    counts, total = sum_over_ranks(counts), sum_over_ranks(total)
    return counts.cpu(), float(total) / max(len(images), 1)


def score(
    learners: list[Learner], images: Images, class_names: tuple[str, ...], batch_size: int
) -> Scores | None:
    """Loss and softmax of every network for every image; on rank zero, `None` on the others."""
    index, losses, probs = [], [], []
    for rows in images.shards(batch_size):
        view = plain_views(images.take(rows))
        label = images.label[rows].clamp_min(0).to(images.device)
        logits = torch.stack([learner.logits(view) for learner in learners], dim=1)
        index.append(rows)
        probs.append(logits.softmax(dim=2))
        target = label[:, None].expand(-1, logits.shape[1])
        losses.append(F.cross_entropy(logits.movedim(2, 1), target, reduction="none"))
    rows, num_rows = torch.cat(index).to(images.device), len(images)
    loss = gather_rows(rows, torch.cat(losses), num_rows)
    prob = gather_rows(rows, torch.cat(probs), num_rows)
    if loss is None or prob is None:
        return None
    return Scores(
        class_names=class_names,
        label=images.label,
        is_labeled=images.label >= 0,
        loss=loss.T.contiguous().cpu(),
        prob=prob.movedim(1, 0).contiguous().cpu(),
    )
