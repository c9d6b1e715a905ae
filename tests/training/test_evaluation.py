"""Evaluation of the mean prediction, over the mirror image if asked, and over all ranks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fer_ray.config import RunConfig
from fer_ray.training.evaluation import drawn_scores, evaluate
from fer_ray.training.learner import Images, Learner, mean_prediction
from fer_ray.training.state import new_state
from tests.gloo import GlooRanks
from tests.samples import CPU, faces, make_run, train


@pytest.mark.parametrize("flip_average", [True, False])
def test_the_mean_prediction_is_evaluated_over_the_mirror_image_if_asked(
    flip_average: bool,
) -> None:
    run, data = make_run(flip_average=flip_average), faces(num_val=37)
    state, _ = train(run, data, num_epochs=3)
    learners = [Learner(network, bf16=False, channels_last=False) for network in state.networks]
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


def evaluate_few(run: RunConfig, num: int) -> tuple[list[list[int]], float]:
    data = faces(num_val=4)
    state = new_state(run, data, CPU)
    learners = [Learner(net, bf16=False, channels_last=False) for net in state.networks]
    few = Images(data.val.take(np.arange(num)), CPU)
    confusion, loss = evaluate(learners, few, run, 4)
    return confusion.tolist(), loss


@pytest.mark.parametrize("num", [1, 3])
def test_ranks_with_unequal_shares_count_every_image_once(num: int, gloo_pair: GlooRanks) -> None:
    run = make_run("co_divide")
    alone = evaluate_few(run, num)
    for confusion, loss in gloo_pair.run(evaluate_few, run, num):
        assert confusion == alone[0]
        assert loss == pytest.approx(alone[1], rel=1e-5)


def test_scores_of_drawn_images_are_the_running_predictions() -> None:
    first = torch.tensor([[0.2, 0.6], [0.0, 0.0], [0.3, 0.1]])
    second = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
    label = torch.tensor([1, 0, -1])
    scores, predicted = drawn_scores([first, second], label, ("fear", "anger"))
    expected = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]])  # an image never drawn: 0.5
    torch.testing.assert_close(scores.prob, torch.stack([expected, second]))
    assert scores.is_labeled.tolist() == [True, True, False]
    losses = -torch.tensor([[0.75, 0.5, 0.75], [0.1, 0.5, 0.4]]).log()
    torch.testing.assert_close(scores.loss, losses)
    assert predicted.tolist() == [0, 0, 0]
