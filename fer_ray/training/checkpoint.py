"""The state of a run, and how it is saved to a checkpoint folder and loaded from it.

A checkpoint is complete: networks, optimizers, the last split, the best networks so far, and every
row reported. Random numbers need no saved state, because generators derive from (seed, epoch,
network, rank). Files hold only tensors and plain values and load with `weights_only=True`. The last
file to be written, `files.json`, lists the others with their sizes and checksums.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.types import SplitResult
from fer_ray.record.storage import Folder
from fer_ray.training.models import FaceNetwork
from fer_ray.training.optimizers import optimizer_tensors

Weights = list[dict[str, Tensor]]
Save = Callable[[Path], None]
"""Writes a checkpoint into an empty folder of this machine."""

_STATE = "state.pt"
_SPLIT = "split.pt"
_BEST = "best.pt"
_HISTORY = "metrics.jsonl"
_CONFIG = "config.yaml"
FILES = "files.json"
"""The list of a checkpoint's files, written last: without it, a checkpoint is not whole."""
_CHUNK = 2**24


@dataclass(slots=True, kw_only=True)
class Best:
    """The epoch whose networks are tested, by the run's `select`, and the weights at its end.

    Attributes:
        epoch: Number of the epoch, from 1.
        value: Value of the run's metric.
        weights: A state dict per network, on the CPU.
    """

    epoch: int
    value: float
    weights: Weights


@dataclass(slots=True, kw_only=True)
class TrainState:
    """Everything that changes during a run.

    Attributes:
        epoch: Number of finished epochs.
        networks: The networks that train, on their device.
        optimizers: One per network.
        averages: Moving average of every network; empty if there are none.
        memory: Per network, the numbers kept for every training image; empty if the method keeps
            none.
        num_steps: Number of steps of every network since its initialisation.
        split: The last split; `None` before the first.
        best: The epoch to test, if the run ended now.
        history: The rows reported, one per epoch.
        verified: `verified_digest` of the labels that it learned from; empty without a file.
    """

    epoch: int
    networks: list[FaceNetwork]
    optimizers: list[torch.optim.Optimizer]
    averages: list[FaceNetwork] = field(default_factory=list)
    memory: list[Float[Tensor, "sample number"]] = field(default_factory=list)
    num_steps: list[int] = field(default_factory=list)
    split: SplitResult | None = None
    best: Best | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    verified: str = ""

    @property
    def evaluated(self) -> list[FaceNetwork]:
        """The networks that score and are evaluated: the averages if there are any."""
        return self.averages or self.networks

    def trained_tensors(self, network: int) -> list[Tensor]:
        """Return all tensors that training a network changes, in the same order on every rank.

        The tensors are not copies.
        """
        modules = [self.networks[network], *self.averages[network : network + 1]]
        tensors = [x for module in modules for x in module.state_dict().values()]
        tensors += optimizer_tensors(self.optimizers[network])
        return [*tensors, *self.memory[network : network + 1]]


def copy_weights(networks: list[FaceNetwork]) -> Weights:
    """Copy the networks' state dicts to the CPU; later steps do not change the copies."""
    return [
        {key: value.detach().to("cpu", copy=True) for key, value in network.state_dict().items()}
        for network in networks
    ]


def save_checkpoint(state: TrainState, config: RunConfig, folder: Path) -> None:
    """Write a checkpoint into an empty folder."""
    _write(_contents(state), config, folder)


def copied_save(state: TrainState, config: RunConfig) -> Save:
    """Copy the state to the CPU's memory; return what writes the copy as `save_checkpoint` does.

    Later steps do not change it.
    """
    contents = _contents(state)
    contents[_STATE] = _copied(contents[_STATE])  # the other files are of values that stay
    return lambda folder: _write(contents, config, folder)


def _contents(state: TrainState) -> dict[str, Any]:
    """Return what is saved by file name: dicts of tensors, and text.

    Where the best networks are those at the end of this epoch, `best.pt` alone holds them.
    """
    best, split = state.best, state.split
    is_best = best is not None and best.epoch == state.epoch
    averages = [network.state_dict() for network in state.averages]
    networks = [network.state_dict() for network in state.networks]
    contents: dict[str, Any] = {
        _STATE: {
            "epoch": state.epoch,
            "networks": None if is_best and not averages else networks,
            "averages": None if is_best and averages else averages,
            "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
            "memory": state.memory,
            "num_steps": state.num_steps,
            "verified": state.verified,
        }
    }
    if split is not None:
        contents[_SPLIT] = _as_dict(split)
    if best is not None:
        contents[_BEST] = {"epoch": best.epoch, "value": best.value, "weights": best.weights}
    return contents | {_HISTORY: "".join(json.dumps(row) + "\n" for row in state.history)}


def _copied(value: Any) -> Any:
    """Copy nested dicts and lists with their tensors, which go to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _write(contents: Mapping[str, Any], config: RunConfig, folder: Path) -> None:
    contents = {**contents, _CONFIG: yaml.safe_dump(config.to_dict(), sort_keys=False)}
    files = {}
    for name, content in contents.items():
        path = folder / name
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            torch.save(content, path)
        files[name] = _fingerprint(path)
    (folder / FILES).write_text(json.dumps(files) + "\n", encoding="utf-8")


def retire(folder: Folder) -> None:
    """Delete what only a resumed run needs: most of a checkpoint's bytes.

    The best networks, the split and the rows stay, so the run can still be tested. Stopped at any
    moment, it leaves a checkpoint that is whole.
    """
    files = json.loads(folder.read_text(FILES))
    if files.pop(_STATE, None) is not None:
        folder.write_text(FILES, json.dumps(files) + "\n")
    folder.delete(_STATE)


def find_damage(folder: Path) -> str | None:
    """Compare the files of a checkpoint with the list that was written with them.

    Returns:
        What is wrong with the first file that is not as it was written; `None` if all are.
    """
    try:
        files = dict(json.loads((folder / FILES).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return f"{folder / FILES}: expected the list of the checkpoint's files, got none"
    for name, written in files.items():
        path = folder / name
        try:
            found = _fingerprint(path)
        except OSError:
            return f"{path}: expected a file of the checkpoint, got none"
        if found != written:
            return (
                f"{path}: expected {written[0]} bytes as they were written, got {found[0]} bytes "
                "that differ"
            )
    return None


def _fingerprint(path: Path) -> list[int]:
    """Return the size of a file in bytes and the CRC-32 of its content."""
    size = checksum = 0
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            size, checksum = size + len(part), zlib.crc32(part, checksum)
    return [size, checksum]


def load_checkpoint(state: TrainState, folder: Path) -> None:
    """Load a checkpoint into `state`, which was newly built from the same configuration.

    Raises:
        ConfigError: If the file of verified labels has changed since.
        ValueError: If the folder holds no readable checkpoint, or one of other networks.
    """
    saved = _load(folder / _STATE)
    if saved.get("verified", state.verified) != state.verified:
        raise ConfigError(
            f"data.verified: expected the verified labels that the run has learned from so far "
            f"({folder}), got other ones: the file has changed since. Put it back to resume, or "
            "start a new run"
        )
    best = load_best(folder)
    networks, averages = (
        best.weights if saved[key] is None and best is not None else saved[key]
        for key in ("networks", "averages")
    )
    _load_networks(state.networks, networks, "networks", folder)
    _load_networks(state.averages, averages, "moving averages", folder)
    for optimizer, values in zip(state.optimizers, saved["optimizers"], strict=True):
        _load_optimizer(optimizer, values)
    for memory, values in zip(state.memory, saved["memory"], strict=True):
        memory.copy_(values)
    state.epoch = saved["epoch"]
    state.num_steps = list(saved["num_steps"])
    state.split = load_split(folder)
    state.best = best
    state.history = load_history(folder)


def _load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load an optimizer's state; `foreach` and `fused` stay as this run has chosen them."""
    groups = [
        {**values, **{key: group[key] for key in ("foreach", "fused")}}
        for values, group in zip(saved["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**saved, "param_groups": groups})


def _load_networks(networks: list[FaceNetwork], saved: Weights, what: str, folder: Path) -> None:
    remedy = "resume with the configuration that wrote it"
    if len(saved) != len(networks):
        raise ValueError(
            f"{folder}: expected a checkpoint of {len(networks)} {what}, got {len(saved)}; {remedy}"
        )
    try:
        for network, weights in zip(networks, saved, strict=True):
            network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{folder}: the checkpoint is of another network; {remedy} ({error})"
        ) from None


def load_best(folder: Path) -> Best | None:
    """Load the best networks so far; `None` if no epoch had a finite metric.

    Raises:
        ValueError: If the file cannot be read.
    """
    path = folder / _BEST
    return Best(**_load(path)) if path.exists() else None


def load_split(folder: Path) -> SplitResult | None:
    """Load the last split of a checkpoint; `None` if there was none.

    Raises:
        ValueError: If the file cannot be read.
    """
    path = folder / _SPLIT
    return SplitResult(**_load(path)) if path.exists() else None


def load_history(folder: Path) -> list[dict[str, Any]]:
    """Load the rows reported up to the checkpoint, one per epoch."""
    text = (folder / _HISTORY).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _as_dict(split: SplitResult) -> dict[str, Any]:
    """Return the fields of a split by name, with its memory as a plain dict."""
    values = {item.name: getattr(split, item.name) for item in fields(split)}
    return values | {"memory": dict(split.memory)}


def _load(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path}: not a readable checkpoint ({type(error).__name__}: {error}); "
            "delete its folder to resume from the checkpoint before it"
        ) from None
    assert isinstance(content, Mapping)
    return dict(content)
