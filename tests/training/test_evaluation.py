"""Evaluation of the mean prediction, over the mirror image if asked, and over all ranks."""

import numpy as np
import pytest
import torch

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

    found = evaluate(learners, images, run, data.num_classes)

    assert found is not None
    prob = mean_prediction(learners, everything, flip_average=flip_average)
    torch.testing.assert_close(found, prob)
    other = mean_prediction(learners, everything, flip_average=not flip_average)
    assert not torch.allclose(found, other)


def evaluate_few(run: RunConfig, num: int) -> list[list[float]] | None:
    data = faces(num_val=4)
    state = new_state(run, data, CPU)
    learners = [Learner(net, bf16=False, channels_last=False) for net in state.networks]
    few = Images(data.val.take(np.arange(num)), CPU)
    prob = evaluate(learners, few, run, 4)
    return None if prob is None else prob.tolist()


@pytest.mark.parametrize("num", [0, 1, 3])
def test_ranks_with_unequal_shares_predict_every_image_once(num: int, gloo_pair: GlooRanks) -> None:
    run = make_run("co_divide")
    alone = evaluate_few(run, num)
    first, second = gloo_pair.run(evaluate_few, run, num)
    assert second is None
    assert first is not None
    assert len(first) == num
    assert np.array(first) == pytest.approx(np.array(alone), rel=1e-5)


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
