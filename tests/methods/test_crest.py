"""CReST against loops: who is admitted, alignment, generations."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fer_ray.core.types import Scores, SplitResult
from fer_ray.methods.crest import CReST, admit
from fer_ray.training.loop import fit
from fer_ray.training.state import begin_generation, new_state
from tests import reference
from tests.gloo import GlooRanks
from tests.methods.batches import (
    context,
    labeled_batch,
    numpy_weight,
    reference_clean_prob,
    scores,
    torch_gradient,
    unlabeled_batch,
)
from tests.samples import CPU, faces, linear_network, make_run, train

OTHERS = (3.0, 0.5, 1.5)  # what the answers that another rank remembers add up to


def one_network(seed: int, **options: Any) -> Scores:
    given = scores(seed, **options)
    return replace(given, loss=given.loss[:1], prob=given.prob[:1])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [[90, 60, 7], [7, 90, 60], [5, 5, 5], [8, 0, 1], [0, 0, 0]])
def test_who_is_admitted(seed: int, count: list[int]) -> None:
    given = one_network(seed, num=120, unlabelled=70)
    chosen, answer = admit(given.prob[0], given.is_labeled, torch.tensor(count), 1 / 3)
    expected, guesses = reference.admitted(
        given.prob[0].double().numpy(), given.is_labeled.numpy(), count, 1 / 3
    )
    assert set(torch.nonzero(chosen)[:, 0].tolist()) == expected
    assert answer.tolist() == guesses


def test_classes_need_not_be_sorted_by_frequency() -> None:
    prob = torch.eye(3).repeat(8, 1) * 0.9 + 0.05
    nobody = torch.zeros(24, dtype=torch.bool)
    by_class = [
        [int(chosen[c::3].sum()) for c in range(3)]
        for chosen, _ in (
            admit(prob, nobody, torch.tensor(count), 1 / 3) for count in ([64, 27, 8], [8, 64, 27])
        )
    ]
    # 8 images of each: (8/64)^(1/3) = 1/2 of the most frequent, 3/4 of the next, all of the rarest.
    assert by_class == [[4, 6, 8], [8, 4, 6]]


def test_a_share_that_should_be_whole_is_not_rounded_off() -> None:
    prob = torch.tensor([[0.9, 0.1]]).expand(22, -1)
    nobody = torch.zeros(22, dtype=torch.bool)
    chosen, _ = admit(prob, nobody, torch.tensor([22**3, 15**3]), 1 / 3)
    assert int(chosen.sum()) == 15  # (15/22 of 22), which floating point has as 14.999...


def test_generations_and_their_cosines() -> None:
    method = CReST(warmup_epochs=2, generation_epochs=3, num_generations=3)
    assert [method.generation(epoch, 13) for epoch in range(1, 14)] == [0] * 5 + [1] * 3 + [2] * 5
    assert [method.cycle(epoch, 13) for epoch in (1, 5, 6, 8, 9, 13)] == [
        (1, 5),
        (1, 5),
        (6, 8),
        (6, 8),
        (9, 13),
        (9, 13),
    ]
    assert method.cycle(4, 4) == (1, 4)
    assert CReST(num_generations=1).cycle(30, 40) == (1, 40)
    assert [method.temper(number) for number in range(3)] == [1.0, 0.75, 0.5]
    assert CReST(num_generations=1).temper(0) == 1.0


@pytest.mark.parametrize("labels", ["noisy", "trusted"])
def test_a_generation_keeps_its_split_and_the_next_admits_and_starts_anew(labels: Any) -> None:
    method = CReST(
        labels=labels,
        mixture="global",
        warmup_epochs=2,
        generation_epochs=2,
        clean_threshold=0.4,
        min_class_fraction=0.0,
    )
    first_scores, later = (one_network(seed, num=120, unlabelled=70) for seed in (0, 1))
    first = method.split(first_scores, None, 3)
    assert not first.reset_networks
    kept = first_scores.is_labeled.numpy()
    if labels == "noisy":
        kept = kept & (reference_clean_prob(first_scores, 0.99)[0] > 0.4)
    assert np.array_equal(first.is_labeled[0].numpy(), kept)
    count = np.bincount(first_scores.label.numpy()[kept], minlength=3) + 1
    np.testing.assert_allclose(first.memory["target"].numpy(), count / count.sum(), rtol=1e-6)

    same = method.split(later, first, 4)
    assert torch.equal(same.is_labeled, first.is_labeled)
    assert not same.reset_networks

    second = method.split(later, same, 5)
    assert second.reset_networks
    kept = later.is_labeled.numpy()
    if labels == "noisy":
        kept = kept & (reference_clean_prob(later, 0.99)[0] > 0.4)
    count = np.bincount(later.label.numpy()[kept], minlength=3)
    chosen, answer = reference.admitted(later.prob[0].double().numpy(), kept, count.tolist(), 1 / 3)
    expected = kept.copy()
    expected[list(chosen)] = True
    assert np.array_equal(second.is_labeled[0].numpy(), expected)
    for row in range(120):
        label = answer[row] if row in chosen else int(later.label[row])
        assert int(second.label[0, row]) == label
    assert torch.equal(second.memory["target"], first.memory["target"])
    assert not method.split(later, second, 6).reset_networks


def split_of(method: CReST, generation: int) -> SplitResult:
    split = method.split(one_network(3), None, 20)
    memory = {
        **split.memory,
        "generation": torch.tensor(generation),
        "target": torch.tensor([0.6, 0.3, 0.1]),
    }
    return replace(split, memory=memory)


@pytest.mark.parametrize("alignment", ["progressive", "none"])
@pytest.mark.parametrize("seed", range(3))
def test_loss_gradient_and_memory_are_those_of_a_loop(seed: int, alignment: Any) -> None:
    student = linear_network(4, 3, seed, spread=2.0)
    labeled, unlabeled = labeled_batch(seed, 0, 1), unlabeled_batch(seed, 1, 1, batch=7)
    memory = torch.zeros(120, 3)
    memory[:4] = torch.rand(4, 3, generator=torch.Generator().manual_seed(seed)).softmax(1)
    before = memory.double().numpy().copy()
    known, weak, strong = (
        view.double().numpy()
        for view in (labeled.strong[0], unlabeled.weak[0], unlabeled.strong[0])
    )
    weight = numpy_weight(student)
    answers = guess = reference.linear_prob(weak, weight)
    if alignment == "progressive":
        seen = np.concatenate([before[:4], guess])
        mean = (seen.sum(axis=0) + OTHERS) / (len(seen) + sum(OTHERS))
        guess = reference.aligned(guess, np.array([0.6, 0.3, 0.1]), mean, 0.75)
    confidence = float(np.sort(guess.max(axis=1))[2:4].mean())
    answer, sure = guess.argmax(axis=1), guess.max(axis=1) >= confidence
    assert sure.sum() == 4
    method = CReST(confidence=confidence, pseudo_weight=1.5, alignment=alignment)
    over_ranks = context(
        memory=memory, mean_over_ranks=lambda own: (own + torch.tensor(OTHERS)) / 2
    )
    given = replace(over_ranks, split=split_of(method, 1))
    output = method.step(student, None, labeled, unlabeled, given)
    after = before.copy()
    if alignment == "progressive":
        after[100:107] = answers
    np.testing.assert_allclose(memory.numpy(), after, atol=1e-6)

    def loss(weight: reference.Floats) -> float:
        prob = reference.linear_prob(known, weight)
        labeled_loss = reference.soft_cross_entropy(prob, np.eye(3)[labeled.label.numpy()])
        pseudo = reference.confident_cross_entropy(
            reference.linear_prob(strong, weight), answer, sure
        )
        return labeled_loss + 1.5 * pseudo

    assert output.loss.item() == pytest.approx(loss(weight), rel=1e-5)
    np.testing.assert_allclose(
        torch_gradient(output, student), reference.numerical_gradient(loss, weight), atol=1e-5
    )


def generations(seed: int = 0) -> tuple[Tensor, list[int], Tensor]:
    run = make_run("crest", method__generation_epochs=1, method__num_generations=3, seed=seed)
    state, rows = train(run, faces(noise=0.4))
    assert state.split is not None
    return (
        state.split.is_labeled,
        [int(96 * row["split/labeled_fraction"] + 0.5) for row in rows[2:]],
        state.memory[0],
    )


def test_networks_start_anew_with_every_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    from fer_ray.training import state

    original = state._new_network

    def noted(run: Any, data: Any, device: Any, number: int, epoch: int) -> Any:
        built.append(epoch)
        return original(run, data, device, number, epoch)

    monkeypatch.setattr(state, "_new_network", noted)
    _, kept, memory = generations()
    assert built == [0, 4]  # epochs 3 and 4 are generations 0 and 1
    assert kept[1] >= kept[0]
    assert bool((memory.sum(dim=1) < 1.001).all())


def test_a_generation_begins_with_nothing_of_the_last() -> None:
    run, data = make_run("crest"), faces()
    state = new_state(run, data, CPU)
    old = (state.networks[0], state.optimizers[0], state.averages[0])
    state.memory[0].fill_(1.0)
    begin_generation(state, run, data, CPU, 3)
    network, average = state.networks[0], state.averages[0]
    assert network is not old[0]
    assert state.optimizers[0] is not old[1]
    assert average is not old[2]
    assert not bool(state.memory[0].any())
    values = zip(network.state_dict().values(), average.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in values)
    learnt = [value for group in state.optimizers[0].param_groups for value in group["params"]]
    assert {id(value) for value in learnt} == {id(value) for value in network.parameters()}


def test_every_generation_has_a_cosine_of_its_own() -> None:
    run = make_run("crest", method__generation_epochs=2, method__num_generations=2, optim__epochs=6)
    state = new_state(run, faces(), CPU)
    rates = [state.optimizers[0].param_groups[0]["lr"] for _ in fit(run, faces(), CPU, state)]
    # Epochs 1 to 4 are one cosine, 5 and 6 another; a rate is that of an epoch's last step.
    assert rates[:4] == sorted(rates[:4], reverse=True)
    assert rates[3] < 0.2 * rates[0]
    assert rates[4] > 0.4 * run.optim.learning_rate
    assert rates[5] < rates[4]


def test_what_is_reported_is_of_the_labels_that_are_trained_on() -> None:
    """Half of the given labels are wrong; those that join count with the label that they get."""
    run = make_run("crest", method__generation_epochs=1, method__num_generations=3)
    data = faces(noise=0.5)
    state, _ = train(run, data, num_epochs=3)
    assert state.split is not None
    before = state.split.memory["kept_splits"][0].numpy()
    _, rows = train(run, data, state)
    split = state.split
    kept, trained = split.is_labeled[0].numpy(), split.label[0].numpy()
    assert (kept & (trained != data.train.label)).any(), "no image has a label of its own"
    right = trained[kept] == data.train.true_label[kept]
    assert rows[-1]["split/precision"] == pytest.approx(right.mean())
    believed = kept & (trained == data.train.label)
    assert np.array_equal(split.memory["kept_splits"][0].numpy(), before + believed)


def test_ranks_admit_alike(gloo_pair: GlooRanks) -> None:
    (first, kept, memory), (second, other, others) = gloo_pair.run(generations)
    assert torch.equal(first, second)
    assert kept == other
    torch.testing.assert_close(memory, others)


def test_without_alignment_nothing_is_remembered() -> None:
    assert CReST(alignment="none").memory_size(7) == 0
    assert CReST().memory_size(7) == 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": "some"},
        {"num_generations": 0},
        {"generation_epochs": 0},
        {"power": 0.0},
        {"confidence": 1.5},
        {"pseudo_weight": -1.0},
        {"alignment": "full"},
        {"alignment_end": -0.1},
        {"network_decay": 1.0},
    ],
)
def test_fields_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    key, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=rf"method\.{key}|{key}:"):
        make_run("crest", **{f"method__{key}": value})
