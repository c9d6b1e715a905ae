"""The same algorithms as in a typical training script: correct and plain, but not optimized.

`epoch.py` compares fer_ray's loop with it. PIL transforms process images one by one. Every pass
makes a new DataLoader. Losses are written into their array one by one, as in the scripts of
DivideMix's authors (https://github.com/LiJunnan1992/DivideMix). Every forward pass is a separate
call, in float32 and contiguous memory. The networks, the number of steps and the split (mixture and
thresholds) are fer_ray's, so that both loops do the same work on the same images.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.reference_data import Batch, FaceDataset, plain_view, random_view
from fer_ray.config import RunConfig
from fer_ray.core.types import Scores, SplitResult
from fer_ray.data import FaceData
from fer_ray.methods.co_divide import CoDivide
from fer_ray.methods.dividemix import DivideMix
from fer_ray.training.models import FaceNetwork


@dataclass(slots=True)
class ReferenceLoop:
    """Runs epochs of cross_entropy, co_divide and dividemix (Clothing1M form).

    Attributes:
        run: Method, batch size, views, ...; its `compute` section is ignored.
        data: The data set.
        device: Where the networks are.
        num_workers: Number of loader processes.
        networks: One network, or the two that are co-trained.
        optimizers: One per network.
    """

    run: RunConfig
    data: FaceData
    device: torch.device
    num_workers: int
    networks: list[FaceNetwork]
    optimizers: list[torch.optim.Optimizer]

    def epoch(self, epoch: int) -> int:
        """Run one epoch (from 1) with validation; return the number of training images drawn."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                share = (epoch - 1) / self.run.optim.epochs
                group["lr"] = group["highest_lr"] * 0.5 * (1 + math.cos(math.pi * share))
        if self.run.method.is_warmup(epoch, self.run.optim.epochs):
            num_images = sum(self.warmup(number) for number in range(len(self.networks)))
        else:
            split = self.divide(epoch)
            num_images = sum(self.train(number, split) for number in range(len(self.networks)))
        self.validate()
        return num_images

    def loader(self, dataset: FaceDataset, batch_size: int, shuffle: bool) -> DataLoader[Any]:
        """Make a new loader with new processes."""
        return DataLoader(
            dataset, batch_size, shuffle=shuffle, drop_last=shuffle, num_workers=self.num_workers
        )

    def divide(self, epoch: int) -> SplitResult:
        """Score with every network, then split."""
        losses = torch.stack([self.score(network) for network in self.networks])
        label = torch.from_numpy(np.array(self.data.train.label))
        names = self.data.class_names
        scores = Scores(
            class_names=names,
            label=label,
            is_labeled=label >= 0,
            loss=losses,
            prob=torch.zeros(*losses.shape, len(names)),  # no method here reads it
        )
        return self.run.method.split(scores, None, epoch)

    @torch.no_grad()
    def score(self, network: FaceNetwork) -> Tensor:
        """Return the loss of every training image, in index order."""
        network.eval()
        dataset = FaceDataset(self.data.train, [plain_view()])
        losses = torch.zeros(len(dataset))
        for batch in self.loader(dataset, self.run.compute.eval_batch_size, shuffle=False):
            views, label, _, index = batch
            logits = network(views[0].to(self.device)).logits
            loss = F.cross_entropy(logits, label.to(self.device), reduction="none")
            for b in range(len(loss)):
                losses[index[b]] = loss[b]
        return losses

    @torch.no_grad()
    def validate(self) -> float:
        """Return the accuracy of the mean prediction on the validation images."""
        correct = 0
        for network in self.networks:
            network.eval()
        dataset = FaceDataset(self.data.val, [plain_view()])
        for batch in self.loader(dataset, self.run.compute.eval_batch_size, shuffle=False):
            image = batch[0][0].to(self.device)
            views = [image, image.flip(3)] if self.run.flip_average else [image]
            prob = sum(torch.softmax(net(x).logits, dim=1) for net in self.networks for x in views)
            assert isinstance(prob, Tensor)
            correct += int((prob.argmax(dim=1).cpu() == batch[1]).sum())
        return correct / len(dataset)

    def warmup(self, number: int) -> int:
        """Train a network on all labels with cross-entropy; return the number of images drawn."""
        dataset = FaceDataset(
            self.data.train, [random_view(self.run.strong_views(len(self.data.train)))]
        )
        self.networks[number].train()
        for batch in self.loader(dataset, self.run.optim.batch_size, shuffle=True):
            logits = self.networks[number](batch[0][0].to(self.device)).logits
            self.update(number, F.cross_entropy(logits, batch[1].to(self.device)))
        return len(dataset) - len(dataset) % self.run.optim.batch_size

    def train(self, number: int, split: SplitResult) -> int:
        """Train a network on its part of the split; return the number of images drawn."""
        kept = split.is_labeled[number]
        num_labeled = int(kept.sum())
        num_labeled -= num_labeled % min(self.run.optim.batch_size, num_labeled)
        rows = torch.arange(len(kept))
        if isinstance(self.run.method, CoDivide):
            self.train_co_divide(number, self.batches(rows[kept], split, number, weak=0, strong=1))
            return num_labeled
        labeled = self.batches(rows[kept], split, number, weak=2, strong=2)
        rest = rows[~kept]
        self.train_dividemix(number, labeled, lambda: self.batches(rest, split, number, 2, 2))
        return 2 * num_labeled

    def batches(
        self, rows: Tensor, split: SplitResult, number: int, weak: int, strong: int
    ) -> Iterator[Batch]:
        """Yield shuffled batches of some rows from a new loader."""
        augment = self.run.augment
        transforms = [random_view(augment.weak)] * weak + [
            random_view(self.run.strong_views(len(self.data.train)))
        ] * strong
        label, clean_prob = split.label[number].tolist(), split.clean_prob[number].tolist()
        dataset = FaceDataset(self.data.train, transforms, rows.tolist(), label, clean_prob)
        batch_size = min(self.run.optim.batch_size, len(dataset))
        for views, label_, prob, index in self.loader(dataset, batch_size, shuffle=True):
            yield Batch(
                [view.to(self.device) for view in views],
                label_.to(self.device),
                prob.float().to(self.device),
                index,
            )

    def train_co_divide(self, number: int, labeled: Iterator[Batch]) -> None:
        """Train with cross-entropy on the kept labels and the penalty on the mean prediction."""
        method = self.run.method
        assert isinstance(method, CoDivide)
        assert method.prior == "uniform"
        self.networks[number].train()
        for batch in labeled:
            logits = self.networks[number](batch.views[0]).logits
            loss = F.cross_entropy(logits, batch.label)
            self.update(number, loss + method.penalty_weight * uniform_penalty(logits))

    def train_dividemix(
        self, number: int, labeled: Iterator[Batch], new_unlabeled: Callable[[], Iterator[Batch]]
    ) -> None:
        """Co-refine, co-guess and mix; train on the mixed views of labelled images."""
        method = self.run.method
        assert isinstance(method, DivideMix)
        assert method.form == "clothing1m"
        student, peer = self.networks[number], self.networks[1 - number]
        unlabeled = new_unlabeled()
        for batch in labeled:
            rest = next(unlabeled, None)
            if rest is None:
                unlabeled = new_unlabeled()
                rest = next(unlabeled)
            target_x, target_u = guess(student, peer, batch, rest, method.temperature)
            inputs = torch.cat([*batch.views[2:], *rest.views[2:]])
            targets = torch.cat([target_x, target_x, target_u, target_u])
            share = np.random.beta(method.alpha, method.alpha)
            share = max(share, 1 - share)
            partner = torch.randperm(len(inputs)).to(self.device)
            num = 2 * len(batch.label)
            mixed = share * inputs[:num] + (1 - share) * inputs[partner][:num]
            mixed_target = share * targets[:num] + (1 - share) * targets[partner][:num]
            student.train()
            logits = student(mixed).logits
            loss = -(F.log_softmax(logits, dim=1) * mixed_target).sum(dim=1).mean()
            self.update(number, loss + method.penalty_weight * uniform_penalty(logits))

    def update(self, number: int, loss: Tensor) -> None:
        """Run one gradient step."""
        self.optimizers[number].zero_grad()
        loss.backward()
        limit = self.run.optim.clip_norm
        torch.nn.utils.clip_grad_norm_(self.networks[number].parameters(), limit)
        self.optimizers[number].step()


@torch.no_grad()
def guess(
    student: FaceNetwork, peer: FaceNetwork, batch: Batch, rest: Batch, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the targets of labelled and unlabelled images, from six separate forward passes."""
    student.eval()
    peer.eval()
    u1, u2 = rest.views[:2]
    prob_u = torch.softmax(student(u1).logits, dim=1) + torch.softmax(student(u2).logits, dim=1)
    prob_u += torch.softmax(peer(u1).logits, dim=1) + torch.softmax(peer(u2).logits, dim=1)
    power_u = (prob_u / 4) ** (1 / temperature)
    x1, x2 = batch.views[:2]
    prob_x = torch.softmax(student(x1).logits, dim=1) + torch.softmax(student(x2).logits, dim=1)
    given = F.one_hot(batch.label, prob_x.shape[1])
    share = batch.clean_prob[:, None]
    power_x = (share * given + (1 - share) * prob_x / 2) ** (1 / temperature)
    return power_x / power_x.sum(dim=1, keepdim=True), power_u / power_u.sum(dim=1, keepdim=True)


def uniform_penalty(logits: Tensor) -> Tensor:
    """Return KL(uniform prior || mean prediction of the batch)."""
    mean = torch.softmax(logits, dim=1).mean(dim=0)
    prior = torch.full_like(mean, 1 / len(mean))
    return (prior * torch.log(prior / mean)).sum()
