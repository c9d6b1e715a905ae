"""Sends what one rank computed to all ranks; an exception is raised on all ranks."""

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fer_ray.training.distributed import is_distributed, rank, team

T = TypeVar("T")


def from_rank_zero(make: Callable[[], T]) -> T:
    """Run `make` on rank zero and return its result on all ranks; see `from_rank`."""
    return from_rank(0, make)


def from_rank(source: int, make: Callable[[], T]) -> T:
    """Run `make` on rank `source` and return its result on all ranks.

    The result is pickled between the ranks of one run; nothing from outside is unpickled. CPU
    tensors in it are sent separately, which saves a copy. Needs all ranks, so it must not be called
    inside `Teams.apart`.

    Raises:
        Exception: Whatever `make` raises, on all ranks.
    """
    assert team() is None
    if not is_distributed():
        return make()
    head: list[Any] = [b"", [], None]
    tensors: list[Tensor | None] = []
    if rank() == source:
        try:
            result = make()
            head[0], found = _without_tensors(result)
            head[1] = [_Layout.of(tensor) for tensor in found]
            tensors = list(found)
        except Exception as error:
            head[2] = error
    dist.broadcast_object_list(head, src=source)
    content, layouts, failure = head
    if failure is not None:
        raise failure
    if rank() != source:
        tensors = [None] * len(layouts)
    received = [layout.broadcast(x, source) for layout, x in zip(layouts, tensors, strict=True)]
    return result if rank() == source else _with_tensors(content, received)


class _TensorPickler(pickle.Pickler):
    """Leaves tensors out of the pickle, so that they can be sent without a copy."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []

    def persistent_id(self, value: Any) -> int | None:
        """Return a number for a tensor; `None` for any other object, which is then pickled."""
        if not isinstance(value, Tensor):
            return None
        self.tensors.append(value)
        return len(self.tensors) - 1


class _TensorUnpickler(pickle.Unpickler):
    """Puts the tensors that were sent separately back into the unpickled object."""

    def __init__(self, file: io.BytesIO, tensors: Sequence[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, number: Any) -> Tensor:
        """Return the tensor with this number."""
        tensor: Tensor = self._tensors[int(number)]
        return tensor


def _without_tensors(value: Any) -> tuple[bytes, list[Tensor]]:
    """Pickle `value` without its tensors, and return these separately."""
    file = io.BytesIO()
    pickler = _TensorPickler(file)
    pickler.dump(value)
    return file.getvalue(), pickler.tensors


def _with_tensors(content: bytes, tensors: Sequence[Tensor]) -> Any:
    """Undo `_without_tensors`."""
    return _TensorUnpickler(io.BytesIO(content), tensors).load()


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a rank must know about a tensor to receive it.

    Attributes:
        shape: Shape of the tensor.
        dtype: Its data type.
        is_repeated: Whether all slices along dimension 0 share the same memory, as after `expand`;
            then only one of them is sent.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_repeated: bool

    @classmethod
    def of(cls, tensor: Tensor) -> "_Layout":
        """Describe a tensor."""
        repeated = tensor.ndim > 1 and tensor.shape[0] > 1 and tensor.stride(0) == 0
        return cls(tuple(tensor.shape), tensor.dtype, repeated)

    def broadcast(self, tensor: Tensor | None, source: int) -> Tensor:
        """Send the tensor from rank `source`, which alone passes it, to every rank's CPU."""
        shape = self.shape[1:] if self.is_repeated else self.shape
        if tensor is None:
            body = torch.empty(shape, dtype=self.dtype)
        else:
            body = (tensor[0] if self.is_repeated else tensor).contiguous()
        if body.numel():
            # As bytes, because not every backend supports every dtype.
            data = body.view(-1).view(torch.uint8)
            sent = data
            if dist.get_backend() == "nccl":
                sent = data.to(torch.device("cuda", torch.cuda.current_device()))
            dist.broadcast(sent, src=source)
            if sent is not data and tensor is None:
                data.copy_(sent)
        return body.expand(self.shape) if self.is_repeated else body
