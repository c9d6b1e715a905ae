"""Faster ways to do the same arithmetic, chosen by one option: `compute.speedups`.

    none     torch's default optimizer loop; the network runs operation by operation
    fused    SGD as one kernel for all parameters
    compile  as fused, and the network's forward and backward passes are compiled; on CUDA without
             DDP they are also recorded as CUDA graphs

A checkpoint of one loads into the others. Their results differ only by rounding, as float32 sums do
when the order of the terms changes. In all cases gradients are clipped in one call for all
parameters, torch's default, and copies from the host to a GPU use pinned memory.
"""

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from fer_ray.config import ComputeConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.types import ModelOutput

Speedups = Literal["none", "fused", "compile"]
Forward = Callable[[Tensor], ModelOutput]


def resolve_speedups(config: ComputeConfig, device: torch.device) -> Speedups:
    """Replace `auto` by its value on `device`: `fused`, on CPUs and on CUDA.

    On CPUs this was measured (`benchmarks/speedups.py`): `fused` makes the optimizer's share of a
    step a third smaller and costs nothing. `compile` saves up to a fifth of a step of the tiny
    network (3 % with bfloat16), but compiling takes half a minute or more, which pays off only
    after thousands of steps (tens of thousands with bfloat16). On CUDA, `fused` launches fewer
    kernels for the same work; `compile` was not measured there yet, so `auto` does not choose it.
    """
    del device  # every device has the same default so far
    return "fused" if config.speedups == "auto" else config.speedups


def compiled_forward(module: torch.nn.Module, *, is_ddp: bool) -> Forward:
    """Return the forward pass of `module`, compiled at first use; `module` itself does not change.

    Forward passes with and without gradients are compiled separately, each when it first occurs.
    Those without gradients are compiled for a range of batch sizes (such as 16 and above). Those
    with gradients are compiled for the first batch size, and for a range when a second size occurs.
    Networks of the same architecture share the compiled code.

    Args:
        module: A `FaceNetwork`, or DDP around one.
        is_ddp: Whether it is DDP; CUDA graphs are not used then, because they would record its
            communication.

    Raises:
        ConfigError: If this machine has no compiler for the module's device.
    """
    device = next(module.parameters()).device
    if missing := _missing_for(device):
        raise ConfigError(
            f"compute.speedups: compile needs {missing} on every machine that trains; install it, "
            "or set compute.speedups=fused"
        )
    graphs = device.type == "cuda" and not is_ddp
    compiled = torch.compile(module, mode="reduce-overhead" if graphs else "default")

    def forward(images: Tensor) -> ModelOutput:
        if not torch.is_grad_enabled():
            torch._dynamo.maybe_mark_dynamic(images, 0)
        output = compiled(images)
        # The next replay of a graph overwrites its output, and a step may use several outputs.
        return ModelOutput(*(part.clone() for part in output)) if graphs else output

    return forward


def _missing_for(device: torch.device) -> str | None:
    """Return what this machine lacks to compile for a device; `None` if nothing."""
    if device.type == "cuda":
        # Triton compiles kernels itself, but needs a C compiler for their launchers.
        if find_spec("triton") is None:
            return "the package triton"
        found = any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang")))
        return None if found else "a C compiler (gcc or clang, or its path in CC)"
    default = "clang++" if sys.platform == "darwin" else "g++"
    found = shutil.which(os.environ.get("CXX", default)) is not None
    return None if found else f"a C++ compiler ({default}, or its path in CXX)"
