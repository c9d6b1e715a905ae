"""Evaluates networks: their mean prediction, or each one's loss and softmax."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.augment import plain_views
from fer_ray.core.types import Scores
from fer_ray.training.gather import gather_rows
from fer_ray.training.learner import Images, Learner, mean_prediction


def evaluate(
    learners: list[Learner], images: Images, run: RunConfig, num_classes: int
) -> Float[Tensor, "image class"] | None:
    """Compute the networks' mean prediction for every image; every rank takes its share of them.

    Args:
        learners: The networks.
        images: The images.
        run: Sets the batch size (`compute.eval_batch_size`) and `flip_average`.
        num_classes: Number of classes.

    Returns:
        On rank zero the mean softmax in index order, on the CPU; `None` on the other ranks.
    """
    index = [torch.empty(0, dtype=torch.int64)]
    probs = [torch.empty(0, num_classes, device=images.device)]
    for rows in images.shards(run.compute.eval_batch_size):
        with images.stopwatch.part("input_s"):
            packed = images.take(rows)
        index.append(rows)
        probs.append(mean_prediction(learners, packed, flip_average=run.flip_average))
    prob = gather_rows(torch.cat(index).to(images.device), torch.cat(probs), len(images))
    return None if prob is None else prob.cpu()


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
