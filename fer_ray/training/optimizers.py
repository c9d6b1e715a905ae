"""Builds a network's optimizer: SGD, Muon or AdamW."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from fer_ray.config import RunConfig
from fer_ray.training.models import FaceNetwork
from fer_ray.training.speedups import resolve_speedups

# What suits the same `optim.learning_rate` and `optim.weight_decay` as SGD's.
_MUON_RATE, _ADAMW_RATE, _ADAMW_DECAY = 1 / 5, 1 / 30, 100.0
_ADAMW_SECOND_DECAY = 0.999
# At 3,216 steps of `peer_posterior` on 3,428 faces of FER2013 Muon is ahead of SGD by 0.6 to 1.4
# points of accuracy at the natural and 1.9 to 3.2 of macro recall at the balanced operating point
# (three seeds); at 7,562 it is behind by 0.8 and level, and at 3,750 of cross-entropy behind by 0.4
# and ahead by 1.0 (one seed each).
_MUON_STEPS = 3500
# Quintic Newton-Schulz iteration (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon):
# coefficients, and how often it is repeated; torch's Muon repeats it five times, but three are as
# good here and cheaper.
_NEWTON_SCHULZ, _NUM_ITERATIONS = (3.4445, -4.7750, 2.0315), 3


def _undecorated(kind: type[Optimizer], method: str) -> Any:
    """Return a method of a torch optimizer without the wrapper that keeps `torch.compile` away."""
    return inspect.unwrap(getattr(kind, method))


class LightSGD(SGD):
    """`torch.optim.SGD` for training loops that are not compiled themselves.

    Every method of torch's optimizers imports `torch._dynamo` to keep `torch.compile` from tracing
    it. This takes 1.5 seconds (4 without cached bytecode) in every process that trains; most of
    these are trials of a search, which never compile. The arithmetic is the same.
    """

    add_param_group = _undecorated(SGD, "add_param_group")
    load_state_dict = _undecorated(SGD, "load_state_dict")
    state_dict = _undecorated(SGD, "state_dict")
    step = torch.no_grad()(_undecorated(SGD, "step"))
    zero_grad = _undecorated(SGD, "zero_grad")


class LightAdamW(AdamW):
    """`torch.optim.AdamW` as `LightSGD` is `torch.optim.SGD`."""

    add_param_group = _undecorated(AdamW, "add_param_group")
    load_state_dict = _undecorated(AdamW, "load_state_dict")
    state_dict = _undecorated(AdamW, "state_dict")
    step = torch.no_grad()(_undecorated(AdamW, "step"))
    zero_grad = _undecorated(AdamW, "zero_grad")


class Muon(LightSGD):
    """SGD with momentum that orthogonalises the updates of some groups (Jordan et al. 2024).

    In groups with `is_orthogonal`, the update of a kernel [out, in, height, width] is the nearest
    semi-orthogonal matrix [out, in * height * width] to its Nesterov momentum, times
    sqrt(max(1, out / rest)). `torch.optim.Muon` is the same for matrices, and takes nothing else.
    The state of a weight is its `momentum_buffer`, as in SGD.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all weights."""
        assert closure is None, "the loop needs no closure"
        rest = [group for group in self.param_groups if not group["is_orthogonal"]]
        whole, self.param_groups = self.param_groups, rest
        try:
            super().step()
        finally:
            self.param_groups = whole
        for group in self.param_groups:
            if group["is_orthogonal"]:
                for weight in group["params"]:
                    self._orthogonal_step(weight, group)

    def _orthogonal_step(self, weight: Tensor, group: dict[str, Any]) -> None:
        if weight.grad is None:
            return
        (buffer,) = _state_of(self, weight)
        buffer.lerp_(weight.grad, 1 - group["momentum"])
        update = weight.grad.lerp(buffer, group["momentum"])
        matrix = orthogonalize(update.flatten(1))
        scale = math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(matrix.view(update.shape), alpha=-group["lr"] * scale)


def orthogonalize(
    matrix: Float[Tensor, "row column"], num_iterations: int = _NUM_ITERATIONS
) -> Float[Tensor, "row column"]:
    """Bring all singular values near 1 by Newton-Schulz iterations; singular vectors stay.

    In float32. After five iterations they lie between about 0.7 and 1.2, as in torch's Muon.
    """
    first, third, fifth = _NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    rows = (matrix.T if is_tall else matrix).float()
    rows = rows / rows.norm().clamp_min(1e-7)
    for _ in range(num_iterations):
        gram = rows @ rows.T
        rows = first * rows + (third * gram + fifth * gram @ gram) @ rows
    result: Tensor = rows.T if is_tall else rows
    return result.to(matrix.dtype)


def resolve_optimizer(run: RunConfig, num_images: int) -> Literal["sgd", "muon", "adamw"]:
    """Replace `auto`: Muon for short runs, in which it is ahead, else SGD.

    Args:
        run: Names the optimizer, and sets epochs and batch size.
        num_images: Number of training images.
    """
    if run.optim.name != "auto":
        return run.optim.name
    return "muon" if run.num_steps(num_images) <= _MUON_STEPS else "sgd"


def new_optimizer(run: RunConfig, network: FaceNetwork, num_images: int) -> Optimizer:
    """Build a network's optimizer; there is no weight decay on vectors (biases, normalisation).

    Every group has its highest learning rate as `highest_lr`.

    Args:
        run: The optimizer's settings.
        network: The network to train.
        num_images: Number of training images.
    """
    name, optim = resolve_optimizer(run, num_images), run.optim
    speedups = resolve_speedups(run.compute, network.classifier.weight.device)
    fused = None if speedups == "none" else True  # None: torch's default
    weights = list(network.parameters())
    # Those of the stem, which see pixels, stay with SGD, as embeddings do in language models.
    kernels = [x for x in weights if name == "muon" and x.ndim == 4 and x.shape[1] > 3]
    known = set(map(id, kernels))
    rate = optim.learning_rate * (_ADAMW_RATE if name == "adamw" else 1)
    decay = optim.weight_decay * (_ADAMW_DECAY if name == "adamw" else 1)
    matrices = [x for x in weights if x.ndim > 1 and id(x) not in known]
    vectors = [x for x in weights if x.ndim <= 1]
    groups = [_group(matrices, rate, decay), _group(vectors, rate, 0.0)]
    if kernels:
        groups.append(_group(kernels, rate * _MUON_RATE, decay / _MUON_RATE, is_orthogonal=True))
    if name == "adamw":
        betas = (optim.momentum, _ADAMW_SECOND_DECAY)
        return LightAdamW(groups, lr=rate, betas=betas, fused=fused)
    kind = Muon if name == "muon" else LightSGD
    nesterov = optim.momentum > 0
    return kind(groups, lr=rate, momentum=optim.momentum, nesterov=nesterov, fused=fused)


def _group(
    weights: Sequence[Tensor], rate: float, decay: float, *, is_orthogonal: bool = False
) -> dict[str, Any]:
    return {
        "params": list(weights),
        "lr": rate,
        "highest_lr": rate,
        "weight_decay": decay,
        "is_orthogonal": is_orthogonal,
    }


def optimizer_tensors(optimizer: Optimizer) -> list[Tensor]:
    """Return all tensors of an optimizer's state, in the same order on every rank.

    The tensors are not copies. What a weight has no state of yet is created as zeros, which is what
    the optimizers start from.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return [tensor for weight in weights for tensor in _state_of(optimizer, weight)]


def _state_of(optimizer: Optimizer, weight: Tensor) -> list[Tensor]:
    """Return the state tensors of a weight; the missing ones become zeros."""
    state = optimizer.state[weight]
    if isinstance(optimizer, AdamW):
        if "step" not in state:
            state["step"] = torch.zeros((), device=weight.device)
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        return [state["step"], state["exp_avg"], state["exp_avg_sq"]]
    if not optimizer.defaults["momentum"] and not isinstance(optimizer, Muon):
        return []
    if state.get("momentum_buffer") is None:
        state["momentum_buffer"] = torch.zeros_like(weight)
    return [state["momentum_buffer"]]
