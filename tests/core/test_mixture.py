"""The mixture against scikit-learn's own posterior, and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fer_ray.core import mixture as mixture_module
from fer_ray.core.mixture import (
    Mixture,
    MixtureError,
    clean_prob_by_class,
    fit_class_mixtures,
    fit_mixture,
    normalize,
)
from tests import reference

pytestmark = pytest.mark.lowest


def two_heaps(seed: int = 0, num: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    clean = 0.2 + 0.05 * torch.randn(num, generator=generator).abs()
    noisy = 2.0 + 0.6 * torch.randn(num, generator=generator)
    return torch.cat([clean, noisy.clamp_min(0.5)])


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_clean_probability_is_scikit_learns_posterior_of_the_low_component(
    seed: int, random_start: bool
) -> None:
    loss = normalize(two_heaps(seed))
    mixture = fit_mixture(loss)
    expected = reference.co_divide(loss.double().numpy(), random_start=random_start)
    np.testing.assert_allclose(
        mixture.clean_prob(loss, monotone=False).numpy(), expected, atol=1e-5
    )
    assert float(mixture.mean[0]) < float(mixture.mean[1])


@given(
    values=st.lists(st.integers(0, 50), min_size=4, max_size=40).filter(lambda x: len(set(x)) > 1)
)
def test_any_losses_are_fitted_as_by_scikit_learn_from_the_best_two_means(
    values: list[int],
) -> None:
    """Equal losses among them, and few that are different."""
    loss = normalize(torch.tensor(values) / 7)
    mixture = fit_mixture(loss)
    expected = reference.co_divide(loss.double().numpy())
    found = mixture.clean_prob(loss, monotone=False).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@given(
    values=st.lists(st.floats(0, 1e3, width=32), min_size=3, max_size=40, unique=True),
    clip_quantile=st.sampled_from([0.5, 0.9, 0.99, 1.0]),
)
def test_normalize_is_min_max_below_the_quantile(values: list[float], clip_quantile: float) -> None:
    loss = torch.tensor(values)
    expected = reference.min_max(loss.double().numpy(), clip_quantile)
    np.testing.assert_allclose(
        normalize(loss, clip_quantile).numpy(), expected, rtol=1e-4, atol=1e-6
    )


def test_an_outlier_presses_the_rest_together_unless_it_is_clipped() -> None:
    loss = torch.cat([torch.linspace(0, 1, 99), torch.tensor([1000.0])])
    assert float(normalize(loss)[50]) < 0.01
    assert float(normalize(loss, 0.99)[50]) == pytest.approx(0.51, abs=0.01)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ([0.1, float("nan"), float("inf")], "2 of 3 losses are not finite"),
        ([0.5, 0.5, 0.5], "all 3 losses are 0.5: nothing to divide"),
    ],
)
def test_losses_that_cannot_be_divided_are_refused(loss: list[float], message: str) -> None:
    with pytest.raises(MixtureError, match=message):
        normalize(torch.tensor(loss))


def test_a_mixture_needs_two_losses() -> None:
    with pytest.raises(MixtureError, match="at least 2 losses, got 1"):
        fit_mixture(torch.tensor([0.5]))
    with pytest.raises(MixtureError, match=r"all 3 losses are 0\.5: nothing to divide"):
        fit_mixture(torch.full((3,), 0.5))


def make_mixture(stds: tuple[float, float]) -> Mixture:
    return Mixture(
        mean=torch.tensor([0.2, 0.7]), std=torch.tensor(stds), weight=torch.tensor([0.6, 0.4])
    )


@given(first=st.floats(0.03, 0.4), second=st.floats(0.03, 0.4))
def test_a_smaller_loss_is_never_less_clean_when_held_monotone(first: float, second: float) -> None:
    prob = make_mixture((first, second)).clean_prob(torch.linspace(0, 1, 201))
    assert bool((prob.diff() <= 1e-6).all())
    assert bool(((prob >= 0) & (prob <= 1)).all())


def test_the_papers_posterior_turns_round_and_the_held_one_does_not() -> None:
    mixture, loss = make_mixture((0.03, 0.4)), torch.linspace(0, 1, 201)
    plain, held = mixture.clean_prob(loss, monotone=False), mixture.clean_prob(loss)
    assert float(plain[0]) < float(plain.max()) - 0.1
    assert float(held[0]) == pytest.approx(float(plain.max()), abs=1e-3)
    beyond = loss > 0.25
    torch.testing.assert_close(plain[beyond], held[beyond])


def test_equal_variances_need_no_holding() -> None:
    mixture, loss = make_mixture((0.1, 0.1)), torch.linspace(0, 1, 50)
    torch.testing.assert_close(mixture.clean_prob(loss), mixture.clean_prob(loss, monotone=False))


def test_the_fit_is_the_same_every_time_and_ten_iterations_raise_no_warning() -> None:
    loss = normalize(torch.rand(200, generator=torch.Generator().manual_seed(0)))
    first, second = fit_mixture(loss), fit_mixture(loss)
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.std, second.std)
    assert float(first.weight.sum()) == pytest.approx(1)


def test_few_images_of_a_class_follow_the_fit_of_all() -> None:
    rng = np.random.default_rng(0)
    loss = torch.from_numpy(np.concatenate([rng.normal(0.2, 0.03, 300), rng.normal(0.7, 0.1, 200)]))
    loss, whole = loss.float(), fit_mixture(loss.float())
    label = torch.zeros(500, dtype=torch.int64)
    label[0], label[1:9], label[9] = 1, 2, -1
    same = fit_class_mixtures(loss, label, 4, whole, 1e9)
    own = fit_class_mixtures(loss, label, 4, whole, 0.0)
    half = fit_class_mixtures(loss, label, 4, whole, 8.0)
    assert own[1] is whole  # a single image
    assert own[3] is whole  # no image
    for number in (0, 2):
        torch.testing.assert_close(same[number].mean, whole.mean)
        torch.testing.assert_close(same[number].std, whole.std)
    torch.testing.assert_close(half[2].mean, (own[2].mean + whole.mean) / 2)
    torch.testing.assert_close(half[2].std ** 2, (own[2].std ** 2 + whole.std**2) / 2)
    torch.testing.assert_close(half[2].weight, (own[2].weight + whole.weight) / 2)
    assert all(bool(mixture.mean[0] <= mixture.mean[1]) for mixture in own)


@pytest.mark.parametrize("seed", range(4))
def test_many_losses_are_fitted_as_few_are(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = normalize(two_heaps(seed, 4000), 0.99)
    few = fit_mixture(loss)
    monkeypatch.setattr(mixture_module, "_MANY", 1000)
    many = fit_mixture(loss)
    assert not torch.equal(many.mean, few.mean)
    for key in ("mean", "std", "weight"):
        torch.testing.assert_close(getattr(many, key), getattr(few, key), rtol=0, atol=2e-4)
    torch.testing.assert_close(many.clean_prob(loss), few.clean_prob(loss), rtol=0, atol=1e-3)


def test_losses_judged_in_blocks_are_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = normalize(two_heaps(0, 500))
    mixture = fit_mixture(loss)
    whole = mixture.clean_prob(loss)
    monkeypatch.setattr(mixture_module, "_BLOCK", 7)
    torch.testing.assert_close(mixture.clean_prob(loss), whole, rtol=1e-6, atol=0)


def test_classes_of_many_losses_are_fitted_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = normalize(two_heaps(3, 6000), 0.99)
    label = torch.arange(len(loss)) % 4 - 1
    label[label == 2] = torch.where(torch.arange(int((label == 2).sum())) == 0, 2, 1)
    whole = fit_mixture(loss)
    few = fit_class_mixtures(loss, label, 4, whole, 50.0)
    monkeypatch.setattr(mixture_module, "_MANY", 1000)
    many = fit_class_mixtures(loss, label, 4, whole, 50.0)
    assert many[2] is whole  # one image
    assert many[3] is whole  # none
    for number in (0, 1):
        for key in ("mean", "std", "weight"):
            found, expected = getattr(many[number], key), getattr(few[number], key)
            torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)


def test_every_loss_is_judged_by_the_mixture_of_its_label() -> None:
    loss = normalize(two_heaps(1, 40000))
    label = torch.randint(3, (len(loss),), generator=torch.Generator().manual_seed(0))
    mixtures = [make_mixture(stds) for stds in ((0.03, 0.4), (0.3, 0.1), (0.1, 0.1))]
    for monotone in (False, True):
        prob = clean_prob_by_class(mixtures, loss, label, monotone=monotone)
        for number, mixture in enumerate(mixtures):
            own = label == number
            expected = mixture.clean_prob(loss[own], monotone=monotone)
            torch.testing.assert_close(prob[own], expected, rtol=0, atol=0)


@given(st.tuples(st.floats(0.03, 0.4), st.floats(0.03, 0.4)), st.floats(0.05, 0.95))
def test_the_posterior_is_that_of_the_densities(stds: tuple[float, float], weight: float) -> None:
    loss = torch.linspace(0, 1, 101)
    mixture = Mixture(
        mean=torch.tensor([0.2, 0.7]),
        std=torch.tensor(stds),
        weight=torch.tensor([weight, 1 - weight]),
    )
    normal = torch.distributions.Normal(mixture.mean.double(), mixture.std.double())
    log_joint = normal.log_prob(loss.double()[:, None]) + mixture.weight.double().log()
    prob = mixture.clean_prob(loss, monotone=False)
    torch.testing.assert_close(prob.double(), log_joint.softmax(1)[:, 0], rtol=1e-5, atol=1e-7)
