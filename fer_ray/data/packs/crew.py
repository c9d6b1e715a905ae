"""Chunks of a pack made by several processes, of which this one is the first.

The others are programs of their own (`worker`), neither forked nor `multiprocessing`'s: a fork of a
process with threads of torch or Ray may hang, and a spawned one imports the user's main module
again, and torch with it. They are ended before the call returns; should this process be killed,
they notice and end themselves.
"""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict
from queue import SimpleQueue
from threading import Thread
from typing import Any

from fer_ray.data.faces import DataError
from fer_ray.data.packs.chunks import Target
from fer_ray.data.packs.worker import PROGRAM

_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
_Done = tuple[int, dict[str, Any]] | BaseException


def make_chunks(
    target: Target,
    starts: Iterable[int],
    own: Callable[[int], dict[str, Any]],
    request: Callable[[int], tuple[list[str], list[Any]]],
    num_helpers: int,
) -> Generator[tuple[int, dict[str, Any]]]:
    """Make chunks here and in other processes; yields start and mark of each as it is done.

    Args:
        target: Where they go.
        starts: Place of the first image of every chunk.
        own: Makes a chunk in this process.
        request: Paths and boxes of a chunk, for another process.
        num_helpers: Other processes.

    Raises:
        DataError: If a process ends amid a chunk, as when the machine runs out of memory.
        OSError: If a chunk cannot be written.
    """
    todo, done = deque(starts), SimpleQueue[_Done]()
    num = len(todo)
    helpers = [_Helper(target, todo, done, request) for _ in range(min(num_helpers, num - 1))]
    try:
        while num:
            if done.empty() and todo:
                try:
                    start = todo.popleft()
                except IndexError:  # a helper was faster
                    continue
                found: _Done = (start, own(start))
            else:
                found = done.get()
            if isinstance(found, BaseException):
                raise found
            num -= 1
            yield found
    finally:
        for helper in helpers:
            helper.end()


class _Helper:
    """Another process, and the thread that hands it chunks."""

    def __init__(
        self,
        target: Target,
        todo: deque[int],
        done: SimpleQueue[_Done],
        request: Callable[[int], tuple[list[str], list[Any]]],
    ) -> None:
        self._target, self._todo, self._done, self._request = target, todo, done, request
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ONE_THREAD,
            process_group=0,  # Ctrl-C is for this process, which ends the others
        )
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Kill the process: what it has not marked as done is not done."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # what it has not read
                continue

    def _run(self) -> None:
        try:
            self._hand_out()
        except BaseException as error:
            self._done.put(error)

    def _hand_out(self) -> None:
        if self._ask(asdict(self._target)) is None:
            return  # it could not start, and said why; the others do its share
        while True:
            try:
                start = self._todo.popleft()
            except IndexError:
                return
            answer = self._ask([start, *self._request(start)])
            if answer is None:
                raise DataError.at(
                    f"process {self._process.pid}",
                    expected="images decoded to the end",
                    got=f"its end with exit code {self._process.wait()}",
                    remedy="What is done is kept: prepare again. It may have run out of memory; "
                    "--processes 1 needs the least.",
                )
            if "failed" in answer:
                raise OSError(*answer["failed"])
            self._done.put((start, answer))

    def _ask(self, question: Any) -> Any:
        """The answer, or `None` if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None
