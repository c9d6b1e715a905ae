"""A network as methods see it, images as the loop reads them, and the seeds of both."""

import functools
import inspect
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fer_ray.config import ComputeConfig
from fer_ray.core.augment import plain_views
from fer_ray.core.types import ModelOutput
from fer_ray.data import Faces
from fer_ray.training.distributed import Teams, rank, sum_over_ranks, team, world_size
from fer_ray.training.models import FaceNetwork
from fer_ray.training.speedups import Forward, compiled_forward, resolve_speedups
from fer_ray.training.stopwatch import Stopwatch

# Independent streams of random numbers for one (seed, epoch, network).
INIT_STREAM, ORDER_STREAM, METHOD_STREAM = 0, 1, 2
# Share of a GPU's free memory that packed images may take; a larger set stays on the host.
_DEVICE_SHARE = 0.4
# torch 2.15 renamed the option and warns about the old name; older versions know only that one.
_NO_BUFFER_SYNC: dict[str, Any] = (
    {"forward_sync_buffers": False}
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else {"broadcast_buffers": False}
)


def generator_for(*key: int) -> torch.Generator:
    """Return a CPU generator that depends only on `key`, such as (seed, epoch, network, rank).

    >>> first, second = generator_for(0, 1), generator_for(0, 1)
    >>> bool(torch.rand(1, generator=first) == torch.rand(1, generator=second))
    True
    """
    return torch.Generator().manual_seed(seed_for(*key))


def seed_for(*key: int) -> int:
    """Return a seed in [0, 2**63) that depends only on `key`."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def resolve_compute(config: ComputeConfig, device: torch.device) -> tuple[bool, bool]:
    """Return whether to use bfloat16 and channels_last on `device`.

    `auto` takes bfloat16 where the device computes in it (CUDA devices that say so, and CPUs with
    AVX-512 BF16 or AMX), and channels_last everywhere. `benchmarks/epoch.py` measures the gain.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        fast = bool(can.get("avx512_bf16") or can.get("amx_bf16"))

    def choose(value: bool | Literal["auto"], default: bool) -> bool:
        return default if value == "auto" else value

    return choose(config.bf16, fast), choose(config.channels_last, True)


class Learner:
    """A `types.Network` that trains through DDP and predicts through the bare module.

    A learner that is not `trained` (a moving average, a network of a checkpoint) has no DDP. With
    `compiles`, only the forward pass is compiled: `module` and the names of its weights stay.
    """

    def __init__(
        self,
        module: FaceNetwork,
        *,
        bf16: bool,
        channels_last: bool,
        trained: bool = True,
        compiles: bool = False,
    ) -> None:
        self.module = module
        self.device = module.classifier.weight.device
        self._bf16 = bf16
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        module.to(memory_format=self._format)  # type: ignore[call-overload]
        # `sync_statistics` averages buffers once per phase; no broadcast at every forward pass.
        self._look: Forward = compiled_forward(module, is_ddp=False) if compiles else module
        self._learn: Forward = self._look
        self._ddp: DistributedDataParallel | None = None
        if trained and world_size() > 1:
            self._ddp = DistributedDataParallel(module, process_group=team(), **_NO_BUFFER_SYNC)
            measure_every = getattr(self._ddp, "_set_ddp_runtime_logging_sample_rate", None)
            if self.device.type == "cpu" and measure_every is not None:
                measure_every(1)
            self._learn = compiled_forward(self._ddp, is_ddp=True) if compiles else self._ddp

    def __call__(self, images: Float[Tensor, "batch channel height width"], /) -> ModelOutput:
        """Run a forward pass in training mode, with gradients."""
        self.module.train()
        return self._forward(self._learn, images)

    @torch.no_grad()
    def logits(
        self, images: Float[Tensor, "batch channel height width"], /
    ) -> Float[Tensor, "batch class"]:
        """Return the logits, in evaluation mode and without gradients."""
        self.module.eval()
        return self._forward(self._look, images).logits

    def predict(
        self, images: Float[Tensor, "batch channel height width"], /
    ) -> Float[Tensor, "batch class"]:
        """Return the softmax, in evaluation mode and without gradients."""
        return self.logits(images).softmax(dim=1)

    def _forward(self, call: Forward, images: Tensor) -> ModelOutput:
        images = images.contiguous(memory_format=self._format)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            output = call(images)
        return ModelOutput(*(part.float() for part in output))

    @property
    def waiting_s(self) -> float:
        """Seconds that gradients were exchanged after the backward pass; 0 on one rank.

        DDP measures it: on a CPU of the step before the newest, on a GPU (where it has to wait to
        measure) of the newest among the first ten steps and every hundredth step after those. It
        is no public figure; of a torch without it, none is reported (0).
        """
        measured = getattr(self._ddp, "_get_ddp_logging_data", None)
        if measured is None:
            return 0.0
        known = measured()
        travels = float(known.get("backward_comm_time", 0))
        overlaps = float(known.get("backward_compute_comm_overlap_time", 0))
        return max(0.0, travels - overlaps) / 1e9

    @torch.no_grad()
    def sync_statistics(self) -> None:
        """Average the BatchNorm statistics over ranks, so that rank zero can save for all."""
        if world_size() == 1:
            return
        buffers = [value for value in self.module.buffers() if value.is_floating_point()]
        if not buffers:
            return
        flat = sum_over_ranks(torch.cat([value.flatten() for value in buffers])) / world_size()
        for value, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
            value.copy_(mean.view_as(value))


class Learners:
    """The networks of a run by role: those that train, those that are evaluated, and the peers.

    With `teams`, a rank trains only the network of its own team.
    """

    def __init__(
        self,
        networks: Sequence[FaceNetwork],
        averages: Sequence[FaceNetwork],
        compute: ComputeConfig,
        device: torch.device,
        teams: Teams | None = None,
    ) -> None:
        bf16, channels_last = resolve_compute(compute, device)
        compiles = resolve_speedups(compute, device) == "compile"
        wrap = functools.partial(Learner, bf16=bf16, channels_last=channels_last, compiles=compiles)
        with teams.apart() if teams else nullcontext():
            self.students = [
                wrap(network, trained=teams is None or teams.own == number)
                for number, network in enumerate(networks)
            ]
        self.averages = [wrap(network, trained=False) for network in averages]

    @property
    def evaluated(self) -> list[Learner]:
        """The networks that score and are evaluated: the averages if there are any."""
        return self.averages or self.students

    def peer(self, network: int, *, is_average: bool) -> Learner | None:
        """Return the other network, or its average; of a single network its own average.

        Args:
            network: Number of the network whose peer is asked for.
            is_average: Whether the method's peers are averages.
        """
        others = self.averages if is_average else self.students
        if len(self.students) == 2:
            return others[1 - network]
        return self.averages[0] if is_average else None

    def sync_statistics(self, network: int) -> None:
        """Average the BatchNorm statistics of a network and of its average over ranks."""
        self.students[network].sync_statistics()
        if self.averages:
            self.averages[network].sync_statistics()


@torch.no_grad()
def move_average(average: FaceNetwork, network: FaceNetwork, decay: float, num_steps: int) -> None:
    """Update the moving average: `average` keeps `decay` of itself, less in the first steps.

    Parameters and BatchNorm statistics are averaged in the same way. After n = `num_steps` steps
    the average keeps at most (1 + n) / (10 + n) of itself, so that a short run forgets its random
    start (as TensorFlow's `ExponentialMovingAverage` does).
    """
    kept = min(decay, (1 + num_steps) / (10 + num_steps))
    means, values = average.state_dict().values(), network.state_dict().values()
    pairs = [pair for pair in zip(means, values, strict=True) if pair[0].is_floating_point()]
    get_ema_multi_avg_fn(kept)([mean for mean, _ in pairs], [value for _, value in pairs], None)


class Images:
    """Packed images of one subset: on the GPU if they fit there, else memory-mapped on the host."""

    def __init__(self, faces: Faces, device: torch.device) -> None:
        self.device = device
        self.stopwatch = Stopwatch(device)
        self.label = torch.from_numpy(np.array(faces.label))
        self.true_label = torch.from_numpy(np.array(faces.true_label))
        self._host = faces.images
        self._packed: Tensor | None = None
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if faces.images.nbytes < _DEVICE_SHARE * free:
                self._packed = torch.from_numpy(np.array(faces.images)).to(device)

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: Int[Tensor, " batch"]) -> UInt8[Tensor, "batch channel height width"]:
        """Return the images of some rows (CPU indices), on the device."""
        if self._packed is not None:
            return self._packed[rows.to(self.device, non_blocking=True)]
        host = torch.from_numpy(np.ascontiguousarray(self._host[rows.numpy()]))
        if self.device.type == "cuda":
            host = host.pin_memory()
        return host.to(self.device, non_blocking=True)

    def shards(self, batch_size: int) -> Iterator[Int[Tensor, " batch"]]:
        """Yield this rank's rows in batches: every row is on exactly one rank, without padding."""
        rows = torch.arange(len(self))[rank() :: world_size()]
        if len(rows):  # with fewer images than ranks: no batch instead of an empty one
            yield from rows.split(batch_size)


@torch.no_grad()
def mean_prediction(
    learners: list[Learner],
    images: UInt8[Tensor, "batch channel height width"],
    *,
    flip_average: bool,
) -> Float[Tensor, "batch class"]:
    """Return the mean softmax of all networks, over each image and, if asked, its mirror image."""
    view = plain_views(images)
    views = (view, view.flip(3)) if flip_average else (view,)
    return torch.stack([x.predict(view) for x in learners for view in views]).mean(dim=0)
