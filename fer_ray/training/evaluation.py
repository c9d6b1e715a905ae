"""Evaluates networks: the metrics of their mean prediction, or each one's loss and softmax."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.augment import plain_views
from fer_ray.core.metrics import confusion_matrix
from fer_ray.core.types import Scores
from fer_ray.training.distributed import sum_over_ranks
from fer_ray.training.gather import gather_rows
from fer_ray.training.learner import Images, Learner, mean_prediction


def evaluate(
    learners: list[Learner], images: Images, run: RunConfig, num_classes: int
) -> tuple[Int[Tensor, "class class"], float]:
    """Compute the confusion matrix and the loss of the networks' mean prediction.

    Every rank evaluates its share of the images; the counts are summed over ranks.

    Args:
        learners: The networks.
        images: The images with their labels.
        run: Sets the batch size (`compute.eval_batch_size`) and `flip_average`.
        num_classes: Number of classes.

    Returns:
        The confusion matrix (counts on the CPU; rows are labels, columns predictions), and the mean
        cross-entropy in nats, 0 if there are no images.
    """
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=images.device)
    total = torch.zeros((), dtype=torch.float64, device=images.device)
    for rows in images.shards(run.compute.eval_batch_size):
        with images.stopwatch.part("input_s"):
            packed = images.take(rows)
        prob = mean_prediction(learners, packed, flip_average=run.flip_average)
        label = images.label[rows].to(images.device)
        counts += confusion_matrix(label, prob.argmax(dim=1), num_classes)
        total += F.nll_loss(prob.clamp_min(1e-12).log(), label, reduction="sum").double()
    counts, total = sum_over_ranks(counts), sum_over_ranks(total)
    return counts.cpu(), float(total) / max(len(images), 1)


def score(
    learners: list[Learner],
    images: Images,
    class_names: tuple[str, ...],
    batch_size: int,
    *,
    with_prob: bool = True,
) -> tuple[Scores, Int[Tensor, " sample"]] | None:
    """Compute every network's loss and softmax of every image, all on the same views.

    Args:
        learners: The networks.
        images: The images with their labels; every rank scores its share.
        class_names: Names of the classes, in label order.
        batch_size: Images per forward pass.
        with_prob: Whether the softmax is gathered too; if not, `Scores.prob` has no images.

    Returns:
        On rank zero the scores and the class predicted by the networks' mean softmax (int16);
        `None` on the other ranks.
    """
    index, losses, probs, answers = [], [], [], []
    for rows in images.shards(batch_size):
        with images.stopwatch.part("input_s"):
            view = plain_views(images.take(rows))
        label = images.label[rows].clamp_min(0).to(images.device)
        logits = torch.stack([learner.logits(view) for learner in learners])
        prob = logits.softmax(dim=2)
        target = label.expand(len(learners), -1)
        index.append(rows)
        losses.append(F.cross_entropy(logits.movedim(2, 1), target, reduction="none"))
        answers.append(prob.mean(dim=0).argmax(dim=1).short())
        probs.append(prob if with_prob else prob[:, :0])
    own, num_rows = torch.cat(index).to(images.device), len(images)
    parts = torch.cat(probs, dim=1)
    with images.stopwatch.part("division_s"):
        loss = gather_rows(own, torch.cat(losses, dim=1), num_rows, dim=1)
        answer = gather_rows(own, torch.cat(answers), num_rows)
        gathered = gather_rows(own, parts, num_rows, dim=1) if with_prob else parts
    if loss is None or answer is None or gathered is None:
        return None
    scores = Scores(
        class_names=class_names,
        label=images.label,
        is_labeled=images.label >= 0,
        loss=loss.cpu(),
        prob=gathered.cpu(),
    )
    return scores, answer.cpu()


def drawn_scores(
    memory: list[Float[Tensor, "sample class"]],
    label: Int[Tensor, " sample"],
    class_names: tuple[str, ...],
) -> tuple[Scores, Int[Tensor, " sample"]]:
    """Return the scores that networks made of the training images when they drew them.

    Args:
        memory: Running prediction of every network; rows of zeros for images never drawn.
        label: Labels as given.
        class_names: Names of the classes, in label order.

    Returns:
        Scores with cross-entropies of the running predictions, and the class predicted by their
        mean (int16).
    """
    prob = torch.stack(memory).cpu()
    total = prob.sum(dim=2, keepdim=True)
    prob = torch.where(total > 0, prob / total.clamp_min(1e-12), 1 / len(class_names))
    given = label.clamp_min(0).expand(len(prob), -1)[..., None]
    scores = Scores(
        class_names=class_names,
        label=label,
        is_labeled=label >= 0,
        loss=-prob.gather(2, given)[..., 0].clamp_min(1e-12).log(),
        prob=prob,
    )
    return scores, prob.mean(dim=0).argmax(dim=1).short()
