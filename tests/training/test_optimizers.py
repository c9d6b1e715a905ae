"""Optimizers: Muon against torch's own, groups and rates, state that ranks share."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fer_ray.training.optimizers import (
    LightAdamW,
    LightSGD,
    Muon,
    new_optimizer,
    optimizer_tensors,
    orthogonalize,
    resolve_optimizer,
)
from fer_ray.training.state import new_networks, new_state
from tests.samples import CPU, faces, make_run, same_weights, train

KINDS = {"sgd": LightSGD, "muon": Muon, "adamw": LightAdamW}


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(2, 24), columns=st.integers(2, 24), seed=st.integers(0, 99))
def test_orthogonalizing_brings_singular_values_near_one(
    rows: int, columns: int, seed: int
) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalize(matrix, 5)
    inner = left.T @ result @ right.T
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=2e-3, rtol=0)
    large = values > 0.05 * values.norm()
    assert (inner.diagonal()[large] > 0.5).all()
    assert (inner.diagonal() < 1.3).all()


@pytest.mark.parametrize("shape", [(6, 10), (12, 4)])
def test_muon_equals_torchs_on_matrices(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch iterates five times, in bfloat16: the two agree to its precision."""
    monkeypatch.setattr(orthogonalize, "__defaults__", (5,))
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    group = {"params": [ours], "is_orthogonal": True, "weight_decay": 0.1}
    own = Muon([group], lr=0.05, momentum=0.9, nesterov=True)
    reference = torch.optim.Muon([theirs], lr=0.05, momentum=0.9, weight_decay=0.1, nesterov=True)
    for step in range(4):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(step + 1))
        for weight, optimizer in ((ours, own), (theirs, reference)):
            weight.grad = gradient.clone()
            optimizer.step()
    assert not torch.allclose(ours, start, atol=0.1)
    torch.testing.assert_close(ours, theirs, atol=0.03, rtol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_updated_as_a_matrix(memory_format: torch.memory_format) -> None:
    start = torch.randn(4, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    weight = nn.Parameter(start.clone().contiguous(memory_format=memory_format))
    weight.grad = torch.randn(4, 8, 3, 3).contiguous(memory_format=memory_format)
    group = {"params": [weight], "is_orthogonal": True, "weight_decay": 0.0}
    Muon([group], lr=0.5, momentum=0.9, nesterov=True).step()
    update = ((start - weight.detach()) / 0.5).flatten(1)
    torch.testing.assert_close(update, orthogonalize(weight.grad.flatten(1)), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_every_weight_has_one_optimizer_group(name: str) -> None:
    run, data = make_run(optim__name=name), faces()
    network = new_networks(run, data, CPU)[0]
    optimizer = new_optimizer(run, network, len(data.train))
    assert type(optimizer) is KINDS[name]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(map(id, weights)) == sorted(map(id, network.parameters()))
    for group in optimizer.param_groups:
        assert group["lr"] == group["highest_lr"]
        for weight in group["params"]:
            assert group["is_orthogonal"] == (
                name == "muon" and weight.ndim == 4 and weight.shape[1] > 1
            )
            assert (group["weight_decay"] == 0) == (weight.ndim == 1)


@pytest.mark.parametrize(
    ("num_images", "epochs", "expected"), [(1600, 70, "muon"), (1600, 71, "sgd"), (99, 1, "muon")]
)
def test_auto_depends_on_the_number_of_steps(num_images: int, epochs: int, expected: str) -> None:
    run = make_run("cross_entropy", optim__name="auto", optim__epochs=epochs, optim__batch_size=32)
    assert resolve_optimizer(run, num_images) == expected
    assert resolve_optimizer(make_run(optim__name="adamw"), num_images) == "adamw"


@pytest.mark.parametrize("name", KINDS)
def test_zeros_in_place_of_a_missing_state_change_nothing(name: str) -> None:
    """A rank that did not train a network creates its state as zeros to receive it."""
    run, data = make_run("cross_entropy", optim__name=name, optim__epochs=2), faces()
    plain, _ = train(run, data)
    state = new_state(run, data, CPU)
    tensors = optimizer_tensors(state.optimizers[0])
    assert tensors
    assert all(not tensor.any() for tensor in tensors)
    ready, _ = train(run, data, state)
    assert same_weights(plain, ready)
    assert all(x is y for x, y in zip(tensors, optimizer_tensors(state.optimizers[0]), strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_every_optimizer_learns(name: str) -> None:
    run = make_run("cross_entropy", optim__name=name, optim__epochs=6, optim__learning_rate=0.1)
    _, rows = train(run, faces(noise=0.0))
    assert rows[-1]["train/loss"] < 0.7 * rows[0]["train/loss"]
    assert rows[-1]["val/accuracy"] > 0.6
