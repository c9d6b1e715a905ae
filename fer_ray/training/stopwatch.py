"""Seconds of the parts of an epoch, on the clock of the device that does them."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of named parts.

    On a GPU the parts are bracketed by its own events, which are read at the end, so that measuring
    makes nobody wait.
    """

    def __init__(self, device: torch.device) -> None:
        """Start with nothing; `device` is where the parts are computed."""
        self._device = device
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._is_running = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done inside; a part within a part belongs to the outer one."""
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
        """Count seconds measured elsewhere."""
        self._seconds[name] += seconds

    def read(self) -> dict[str, float]:
        """Seconds by part since the last reading; waits for a GPU to finish."""
        if self._events:
            torch.cuda.synchronize(self._device)
            for name, first, last in self._events:
                self._seconds[name] += first.elapsed_time(last) / 1000
        seconds = dict(self._seconds)
        self._seconds.clear()
        self._events.clear()
        return seconds
