"""Networks as methods see them, and images as the loop reads them."""

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from fer_ray.config import ComputeConfig, ModelConfig
from fer_ray.core.augment import plain_views
from fer_ray.core.types import Network
from fer_ray.data import Faces
from fer_ray.training import learner as learner_module
from fer_ray.training.distributed import rank
from fer_ray.training.learner import (
    Images,
    Learner,
    generator_for,
    mean_prediction,
    resolve_compute,
    seed_for,
)
from fer_ray.training.models import FaceNetwork, build_network
from fer_ray.training.phase import Phase
from fer_ray.training.state import new_state
from tests.gloo import GlooRanks
from tests.samples import CPU, faces, make_run, train


def network(seed: int = 0) -> FaceNetwork:
    return build_network(ModelConfig(), num_classes=4, num_channels=1, image_size=16, seed=seed)


def learner(seed: int = 0, *, bf16: bool = False, channels_last: bool = False) -> Learner:
    return Learner(network(seed), bf16=bf16, channels_last=channels_last)


def views(num: int = 6, seed: int = 0) -> Tensor:
    return 2 + 3 * torch.randn(num, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


def buffers(student: Learner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in student.module.named_buffers()}


def changed(student: Learner, before: dict[str, Tensor]) -> bool:
    return any(
        not torch.equal(value, before[name]) for name, value in student.module.named_buffers()
    )


# --- seeds ----------------------------------------------------------------------------------------


@given(key=st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
def test_a_seed_is_a_function_of_its_key_alone(key: list[int]) -> None:
    assert seed_for(*key) == seed_for(*key)
    assert 0 <= seed_for(*key) < 2**63


def test_different_keys_give_different_numbers() -> None:
    keys = [(0, 1, 0, 1), (1, 1, 0, 1), (0, 2, 0, 1), (0, 1, 1, 1), (0, 1, 0, 2), (1, 0, 0, 1)]
    draws = [float(torch.rand(1, generator=generator_for(*key))) for key in keys]
    assert len(set(draws)) == len(keys)


# --- the network ----------------------------------------------------------------------------------


def test_a_learner_is_a_network() -> None:
    assert isinstance(learner(), Network)


@pytest.mark.parametrize("look", [Learner.predict, Learner.logits])
def test_predicting_changes_no_statistics_and_keeps_no_gradient(look: object) -> None:
    student = learner()
    assert callable(look)
    before = buffers(student)
    output = look(student, views())
    assert not output.requires_grad
    assert not changed(student, before)


def test_predicting_between_steps_does_not_stop_the_statistics() -> None:
    student = learner()
    student(views())
    student.predict(views())
    before = buffers(student)
    assert student(views()).logits.requires_grad
    assert changed(student, before)


def test_predictions_do_not_depend_on_the_batch() -> None:
    student = learner()
    student(views())
    together = student.predict(views())
    alone = torch.cat([student.predict(view[None]) for view in views()])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.sum(dim=1), torch.ones(6))
    torch.testing.assert_close(together, student.logits(views()).softmax(dim=1))


@pytest.mark.parametrize(
    ("bf16", "channels_last", "close"), [(True, True, 0.05), (False, True, 1e-5)]
)
def test_number_and_memory_formats_hardly_change_the_output(
    bf16: bool, channels_last: bool, close: float
) -> None:
    plain, fast = learner(), learner(bf16=bf16, channels_last=channels_last)
    output = fast(views())
    assert output.logits.dtype == output.features.dtype == torch.float32
    torch.testing.assert_close(plain(views()).logits, output.logits, rtol=close, atol=close)


def test_sync_changes_no_statistics_in_one_process() -> None:
    student = learner()
    student(views())
    before = buffers(student)
    student.sync_statistics()
    assert not changed(student, before)


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_explicit_choices_are_kept(bf16: bool, channels_last: bool) -> None:
    config = ComputeConfig(bf16=bf16, channels_last=channels_last)
    assert resolve_compute(config, CPU) == (bf16, channels_last)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({}, False),
        ({"avx2": True}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
    ],
)
def test_auto_takes_bfloat16_where_the_cpu_computes_in_it(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_compute(ComputeConfig(), CPU)[0] == expected


def statistics(seed: int) -> list[Tensor]:
    state = new_state(make_run("cross_entropy"), faces(), CPU)
    learner = Learner(state.networks[0], bf16=False, channels_last=False)
    generator = torch.Generator().manual_seed(seed)
    learner(3 * torch.randn(8, 1, 16, 16, generator=generator))
    name = "backbone.1.running_mean"
    before = state.networks[0].state_dict()[name].clone()
    learner.sync_statistics()
    after = state.networks[0].state_dict()
    counts = [value for key, value in after.items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 1 for count in counts)
    return [before, after[name]]


def test_sync_averages_statistics_over_ranks(gloo_pair: GlooRanks) -> None:
    first, second = gloo_pair.outcomes(statistics, [(1,), (2,)])
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    torch.testing.assert_close(first[1], (first[0] + second[0]) / 2)


def figures_of_ddp(is_gone: bool) -> list[float]:
    """Seconds of waiting with and without the figures that DDP keeps to itself."""
    with pytest.MonkeyPatch.context() as patch:
        if is_gone:
            patch.delattr(DistributedDataParallel, "_get_ddp_logging_data")
        _, rows = train(make_run("cross_entropy", optim__epochs=1), faces())
    return [row["time/communication_s"] for row in rows]


def test_training_goes_on_without_the_private_figures_of_ddp(gloo_pair: GlooRanks) -> None:
    with_figures, without = (gloo_pair.run(figures_of_ddp, x) for x in (False, True))
    assert all(math.isfinite(seconds) for rank in (*with_figures, *without) for seconds in rank)
    assert [len(rank) for rank in without] == [1, 1]


def epochs_with_a_late_rank(late: int) -> list[tuple[float, float]]:
    """Seconds of waiting and of the whole, by epoch; one rank is two seconds late to the first."""
    epochs = iter(range(99))

    def train_late(phase: Phase) -> dict[str, float]:
        if next(epochs) == 0 and rank() == late:
            time.sleep(2)
        return train_phase(phase)

    train_phase = Phase.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phase, "train", train_late)
        _, rows = train(make_run("cross_entropy", optim__epochs=3), faces())
    return [(row["time/communication_s"], row["time/epoch_s"]) for row in rows]


def test_waiting_counts_for_the_epoch_that_waited(gloo_pair: GlooRanks) -> None:
    first, *others = gloo_pair.run(epochs_with_a_late_rank, 1)[0]
    assert 1 < first[0] < first[1]
    assert all(0 <= waits < whole for waits, whole in others)


# --- images ---------------------------------------------------------------------------------------


def test_images_are_taken_from_a_memory_map_in_the_given_order(tmp_path: Path) -> None:
    whole = faces().train
    np.save(tmp_path / "images.npy", whole.images)
    mapped = Faces(
        images=np.load(tmp_path / "images.npy", mmap_mode="r"),
        label=whole.label,
        true_label=whole.true_label,
        row=whole.row,
    )
    images, rows = Images(mapped, CPU), torch.tensor([5, 0, 5, 90])
    assert len(images) == 96
    assert np.array_equal(images.take(rows).numpy(), whole.images[[5, 0, 5, 90]])
    assert np.array_equal(images.label.numpy(), whole.label)
    assert images.take(rows[:0]).shape == (0, 1, 16, 16)


@given(num=st.integers(1, 40), world_size=st.integers(1, 7), batch_size=st.integers(1, 12))
def test_every_row_is_on_exactly_one_rank(num: int, world_size: int, batch_size: int) -> None:
    images = Images(faces().train.take(np.arange(num)), CPU)
    rows: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner_module, "world_size", lambda: world_size)
        for rank in range(world_size):
            patch.setattr(learner_module, "rank", lambda rank=rank: rank)
            shards = list(images.shards(batch_size))
            assert all(0 < len(shard) <= batch_size for shard in shards)
            rows += [int(row) for shard in shards for row in shard]
    assert sorted(rows) == list(range(num))


# --- predictions of all networks ------------------------------------------------------------------


def packed(num: int = 5) -> Tensor:
    return torch.from_numpy(faces().train.images[:num].copy())


def test_the_mean_prediction_averages_the_networks() -> None:
    both = [learner(1), learner(2)]
    expected = sum(student.predict(plain_views(packed())) for student in both) / 2
    found = mean_prediction(both, packed(), flip_average=False)
    torch.testing.assert_close(found, torch.as_tensor(expected))


def test_averaging_over_the_mirror_image_makes_predictions_symmetric() -> None:
    both = [learner(1), learner(2)]
    straight, mirrored = packed(), packed().flip(3)
    expected = (
        mean_prediction(both, straight, flip_average=False)
        + mean_prediction(both, mirrored, flip_average=False)
    ) / 2
    found = mean_prediction(both, straight, flip_average=True)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found, mean_prediction(both, mirrored, flip_average=True))
