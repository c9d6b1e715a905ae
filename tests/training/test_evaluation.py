"""Evaluation does what the run says: averages over the mirror image, or does not."""

import pytest
import torch
import torch.nn.functional as F

from fer_ray.training.evaluation import evaluate
from fer_ray.training.learner import Images, Learner, mean_prediction
from fer_ray.training.state import new_networks
from tests.samples import CPU, faces, make_run


@pytest.mark.parametrize("flip_average", [True, False])
def test_the_mirror_image_counts_only_if_the_run_says_so(flip_average: bool) -> None:
    run, data = make_run(flip_average=flip_average), faces(num_val=37)
    networks = new_networks(run, data, CPU)
    learners = [Learner(network, bf16=False, channels_last=False) for network in networks]
    images = Images(data.val, CPU)
    everything = images.take(torch.arange(37))

    matrix, loss = evaluate(learners, images, run, data.num_classes)

    prob = mean_prediction(learners, everything, flip_average=flip_average)
    assert loss == pytest.approx(float(F.nll_loss(prob.log(), images.label)), rel=1e-5)
    counts = torch.zeros_like(matrix)
    for label, answer in zip(images.label.tolist(), prob.argmax(dim=1).tolist(), strict=True):
        counts[label, answer] += 1
    assert torch.equal(matrix, counts)
    other = mean_prediction(learners, everything, flip_average=not flip_average)
    assert loss != pytest.approx(float(F.nll_loss(other.log(), images.label)), rel=1e-5)
