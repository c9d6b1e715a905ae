"""What makes the same arithmetic faster, behind one option: `compute.speedups`.

    none     torch's optimizer loop, the network called operation by operation
    fused    SGD in one kernel for all parameters
    compile  fused, and the network's forward and backward compiled; on CUDA without DDP around it,
             recorded as CUDA graphs too

Checkpoints of one load into the others, and their numbers differ as float32 sums do that are added
in another order. Gradient clipping is one call for all parameters in every case, as torch does it
by default, and copies from the host to a GPU are always pinned.
"""

import inspect
import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import SGD

from fer_ray.config import ComputeConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.types import ModelOutput

Speedups = Literal["none", "fused", "compile"]
Forward = Callable[[Tensor], ModelOutput]


def _undecorated(method: str) -> Any:
    """A method of torch's SGD as it is written, without what `torch.compile` wraps around it."""
    return inspect.unwrap(getattr(SGD, method))


class LightSGD(SGD):
    """`torch.optim.SGD` for training loops that are not compiled themselves.

    Every method of torch's optimizers imports `torch._dynamo`, lest `torch.compile` traces them:
    one and a half seconds (four without bytecode) in every process that trains, most of them trials
    of a search, which never compile. The arithmetic is the same.
    """

    add_param_group = _undecorated("add_param_group")
    load_state_dict = _undecorated("load_state_dict")
    state_dict = _undecorated("state_dict")
    step = torch.no_grad()(_undecorated("step"))
    zero_grad = _undecorated("zero_grad")


def resolve_speedups(config: ComputeConfig, device: torch.device) -> Speedups:
    """What `auto` is on `device`: `fused`, on CPUs and on CUDA.

    On CPUs by measurement (`benchmarks/speedups.py`): `fused` makes the optimizer's share of a step
    a third smaller and costs nothing, while `compile` saves up to a fifth of a step of the tiny
    network (3 % with bfloat16) only after half a minute or more of compiling, which thousands of
    steps gain back (tens of thousands). On CUDA `fused` launches fewer kernels for the same work;
    `compile` is not yet measured there, so it is for those who ask for it.
    """
    del device  # every device has the same default so far
    return "fused" if config.speedups == "auto" else config.speedups


def compiled_forward(module: torch.nn.Module, *, is_ddp: bool) -> Forward:
    """The call of `module`, compiled at its first use; `module` itself stays as it is.

    Forwards with and without gradient are compiled apart when they first occur. Those without are
    compiled for a range of batch sizes (from 16 on, say); those with gradient for the first batch
    size alone, and for a range when a second one comes. Networks of one kind share all of it.

    Args:
        module: A `FaceNetwork`, or DDP around one.
        is_ddp: Whether it is the latter; CUDA graphs would record its communication.

    Raises:
        ConfigError: If this machine has no compiler for the module's device.
    """
    device = next(module.parameters()).device
    if missing := _missing_for(device):
        raise ConfigError(
            f"compute.speedups: compile needs {missing} wherever it trains; install it, or take "
            "compute.speedups=fused"
        )
    graphs = device.type == "cuda" and not is_ddp
    compiled = torch.compile(module, mode="reduce-overhead" if graphs else "default")

    def forward(images: Tensor) -> ModelOutput:
        if not torch.is_grad_enabled():
            torch._dynamo.maybe_mark_dynamic(images, 0)
        output = compiled(images)
        # The next replay of a graph writes to the same memory; a step may look at several outputs.
        return ModelOutput(*(part.clone() for part in output)) if graphs else output

    return forward


def _missing_for(device: torch.device) -> str | None:
    """What compiling for a device lacks on this machine."""
    if device.type == "cuda":
        # Triton compiles kernels by itself, but their launchers with a C compiler.
        if find_spec("triton") is None:
            return "the package triton"
        found = any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang")))
        return None if found else "a C compiler (gcc or clang, or its path in CC)"
    default = "clang++" if sys.platform == "darwin" else "g++"
    found = shutil.which(os.environ.get("CXX", default)) is not None
    return None if found else f"a C++ compiler ({default}, or its path in CXX)"
