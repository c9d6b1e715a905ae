"""Views, loop and checkpoints give the same on every device; the tests on CUDA are marked `gpu`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_ray.config import RunConfig
from fer_ray.core.augment import ViewPolicy, draw_views, make_several, plain_views
from fer_ray.training.checkpoint import TrainState, load_checkpoint, save_checkpoint
from fer_ray.training.learner import Images
from fer_ray.training.loop import fit
from fer_ray.training.state import new_state
from fer_ray.training.stopwatch import Stopwatch
from tests.samples import CPU, faces, make_run, timeless, train

CUDA = torch.device("cuda")
devices = pytest.mark.parametrize(
    "device",
    [
        pytest.param(CPU, id="cpu"),
        pytest.param(
            CUDA,
            id="cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
            ],
        ),
    ],
)


def train_on(
    device: torch.device, run: RunConfig, num_epochs: int | None = None
) -> tuple[TrainState, list[dict[str, Any]]]:
    return train(run, faces(num_train=192, num_val=200), num_epochs=num_epochs, device=device)


@devices
def test_views_match_those_on_the_cpu(device: torch.device) -> None:
    images = torch.from_numpy(np.array(faces(size=48, num_channels=3).train.images))
    policy = ViewPolicy(erase=0.5, rotate_deg=20.0, shift=0.1)
    params = [draw_views(policy, len(images), torch.Generator().manual_seed(k)) for k in range(2)]
    expected = [plain_views(images), *make_several(images, params)]
    there = images.to(device)
    found = [plain_views(there), *make_several(there, [param.to(device) for param in params])]
    for one, other in zip(found, expected, strict=True):
        assert one.device.type == device.type
        # A rectangle's edge may fall on the centre of a pixel, so a few pixels may differ.
        is_close = torch.isclose(one.cpu(), other, atol=1e-3)
        assert float(is_close.float().mean()) > 0.9999


@devices
@pytest.mark.parametrize("method", ["cross_entropy", "co_divide", "dividemix", "elr"])
def test_a_run_matches_the_run_on_the_cpu(method: str, device: torch.device) -> None:
    run = make_run(method, optim__learning_rate=0.002)
    _, expected = train_on(CPU, run)
    _, found = train_on(device, run)
    for key in ("train/loss", "val/loss"):
        values = [[row[key] for row in rows] for rows in (found, expected)]
        assert values[0] == pytest.approx(values[1], rel=2e-2)


@devices
@pytest.mark.parametrize("speedups", ["none", "fused"])
def test_a_resumed_run_equals_the_uninterrupted_one(
    speedups: str, device: torch.device, tmp_path: Path
) -> None:
    run = make_run("co_divide", compute__speedups=speedups)
    whole, _ = train_on(device, run)
    half, _ = train_on(device, run, num_epochs=3)
    save_checkpoint(half, run, tmp_path)
    resumed = new_state(run, faces(num_train=192, num_val=200), device)
    load_checkpoint(resumed, tmp_path)
    list(fit(run, faces(num_train=192, num_val=200), device, resumed))
    if device.type == "cpu":
        assert timeless(resumed.history) == timeless(whole.history)
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert ours["val/loss"] == pytest.approx(theirs["val/loss"], rel=1e-2)


@devices
def test_bf16_and_channels_last_train_like_float32(device: torch.device) -> None:
    plain, fast = (
        make_run(
            "co_divide",
            optim__learning_rate=0.002,
            compute__bf16=value,
            compute__channels_last=value,
        )
        for value in (False, True)
    )
    (_, expected), (_, found) = train_on(device, plain), train_on(device, fast)
    assert found[-1]["val/loss"] == pytest.approx(expected[-1]["val/loss"], rel=2e-2)


@devices
def test_images_reach_the_device_whether_or_not_they_fit(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, rows = faces().train, torch.tensor([5, 0, 7])
    taken = [Images(data, device).take(rows)]
    monkeypatch.setattr(
        "fer_ray.training.learner._DEVICE_SHARE", 0.0
    )  # packed images stay on the host
    taken.append(Images(data, device).take(rows))
    for images in taken:
        assert images.device.type == device.type
        assert torch.equal(images.cpu(), torch.from_numpy(np.array(data.images[rows.numpy()])))


@devices
def test_parts_are_timed_on_the_device(device: torch.device) -> None:
    watch = Stopwatch(device)
    with watch.part("input_s"):
        torch.ones(100, 100, device=device) @ torch.ones(100, 100, device=device)
    assert 0 < watch.read()["input_s"] < 60
    assert watch.read() == {}


@devices
def test_trained_tensors_are_on_the_device(device: torch.device) -> None:
    state, _ = train_on(device, make_run("elr", method__variant="elr+"), num_epochs=2)
    tensors = [x for k in range(len(state.networks)) for x in state.trained_tensors(k)]
    assert {x.device.type for x in tensors} == {device.type}
