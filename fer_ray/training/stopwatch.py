"""Measures the seconds of the parts of an epoch, on the device that computes them."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of named parts.

    On a GPU, CUDA events mark the start and the end of a part. They are read only at the end, so
    that measuring does not wait for the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        """Start at zero; `device` is where the parts are computed."""
        self._device = device
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._is_running = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time spent inside; a part within a part counts as the outer one."""
        if self._is_running:
            yield
            return
        self._is_running = True
        try:
            if self._device.type == "cuda":
                first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                first.record()
                yield
                last.record()
                self._events.append((name, first, last))
            else:
                start = time.perf_counter()
                yield
                self._seconds[name] += time.perf_counter() - start
        finally:
            self._is_running = False

    def add(self, name: str, seconds: float) -> None:
        """Add seconds measured elsewhere."""
        self._seconds[name] += seconds

    def read(self) -> dict[str, float]:
        """Return the seconds by part since the last call; waits for a GPU to finish."""
        if self._events:
            torch.cuda.synchronize(self._device)
            for name, first, last in self._events:
                self._seconds[name] += first.elapsed_time(last) / 1000
        seconds = dict(self._seconds)
        self._seconds.clear()
        self._events.clear()
        return seconds
