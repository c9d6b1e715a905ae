"""Builds the networks, optimizers, averages and memory that a run or a generation starts with."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch

from fer_ray.config import RunConfig
from fer_ray.data import FaceData
from fer_ray.data.verified_file import verified_digest
from fer_ray.training.checkpoint import TrainState, Weights
from fer_ray.training.learner import INIT_STREAM, seed_for
from fer_ray.training.models import FaceNetwork, build_network
from fer_ray.training.optimizers import new_optimizer


def new_state(run: RunConfig, data: FaceData, device: torch.device) -> TrainState:
    """Build the state before the first epoch, the same on every rank."""
    networks = new_networks(run, data, device)
    size = run.method.memory_size(data.num_classes)
    return TrainState(
        epoch=0,
        networks=networks,
        optimizers=[new_optimizer(run, net, len(data.train)) for net in networks],
        averages=_new_averages(run, networks),
        memory=[torch.zeros(len(data.train), size, device=device) for _ in networks if size],
        num_steps=[0 for _ in networks],
        verified=verified_digest(run.data.verified),
    )


def new_networks(run: RunConfig, data: FaceData, device: torch.device) -> list[FaceNetwork]:
    """Build the networks of a run with their initial weights, to train them or to load others."""
    return [_new_network(run, data, device, x, 0) for x in range(run.method.num_networks)]


def saved_networks(
    run: RunConfig,
    weights: Weights,
    *,
    num_classes: int,
    num_channels: int,
    image_size: tuple[int, int],
) -> list[FaceNetwork]:
    """Build the networks of a run on the CPU with saved weights; initial weights are not read.

    Args:
        run: Its model is built.
        weights: A state dict per network.
        num_classes: Number of classes.
        num_channels: 1 for grey images, 3 for colour.
        image_size: Height and width of the images that they were trained on.

    Raises:
        RuntimeError: If the weights are those of other networks.
    """
    networks = []
    for state in weights:
        network = build_network(
            replace(run.model, weights=None),
            num_classes=num_classes,
            num_channels=num_channels,
            image_size=min(image_size),
            seed=0,
        )
        network.load_state_dict(state)
        networks.append(network)
    return networks


def begin_generation(
    state: TrainState, run: RunConfig, data: FaceData, device: torch.device, epoch: int
) -> None:
    """Replace networks, optimizers and averages in `state` by new ones, and zero the memory."""
    for number in range(len(state.networks)):
        network = _new_network(run, data, device, number, epoch)
        state.networks[number] = network
        state.optimizers[number] = new_optimizer(run, network, len(data.train))
    state.averages[:] = _new_averages(run, state.networks)
    for memory in state.memory:
        memory.zero_()
    state.num_steps[:] = [0 for _ in state.networks]


def _new_network(
    run: RunConfig, data: FaceData, device: torch.device, number: int, epoch: int
) -> FaceNetwork:
    network = build_network(
        run.model,
        num_classes=data.num_classes,
        num_channels=data.num_channels,
        image_size=min(data.image_size),
        seed=seed_for(run.seed, epoch, number, INIT_STREAM),
    )
    return network.to(device)


def _new_averages(run: RunConfig, networks: Sequence[FaceNetwork]) -> list[FaceNetwork]:
    """Copy the networks as the start of their moving averages; no copies without a decay."""
    if not run.average_decay:
        return []
    return [copy.deepcopy(network).requires_grad_(False) for network in networks]
