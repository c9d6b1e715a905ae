"""Ctrl-C and SIGTERM: both raise `KeyboardInterrupt`, also while Ray starts; twice ends at once."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import ClassVar, NoReturn

EXIT_INTERRUPTED = 130
_EXIT_LOST = 1


class _Signals:
    """What has come so far in this process.

    Attributes:
        is_held: Whether an interruption waits for the end of `held`.
        num_interrupts: How often the process was interrupted.
        is_terminated: Whether SIGTERM has come.
        has_come: Whether a signal has come of which the main thread may not have been told.
        arrivals: Where the number of a signal arrives at once; the main thread hears of it when it
            returns from what it waits for.
        leaves: What is to be done before the process ends from another thread.
    """

    is_held = False
    num_interrupts = 0
    is_terminated = False
    has_come = False
    arrivals: tuple[socket.socket, socket.socket] | None = None
    leaves: ClassVar[list[Callable[[str], str]]] = []


def install_early() -> None:
    """Handle both before `install`, while a command imports what it needs: it ends at once.

    Nothing has been started then. Call it before these imports, which take seconds.
    """
    with suppress(ValueError):  # outside of the main thread
        signal.signal(signal.SIGINT, _end_at_once)
        signal.signal(signal.SIGTERM, _end_at_once)


def install() -> None:
    """Handle Ctrl-C and SIGTERM, with which schedulers stop jobs, from now on."""
    _Signals.num_interrupts, _Signals.is_terminated, _Signals.is_held = 0, False, False
    _Signals.has_come = False
    _set_handlers()
    if _Signals.arrivals is None:
        with suppress(ValueError):  # outside of the main thread
            _Signals.arrivals = socket.socketpair()
            for end in _Signals.arrivals:
                end.setblocking(False)
            signal.set_wakeup_fd(_Signals.arrivals[1].fileno(), warn_on_full_buffer=False)


def is_interrupted() -> bool:
    """Return whether the process was interrupted, so that errors of what ends are no errors."""
    return _Signals.num_interrupts > 0 or _Signals.is_terminated


def was_signalled() -> bool:
    """`is_interrupted`, or will be as soon as the main thread returns from what it waits for."""
    if _Signals.arrivals is not None:
        with suppress(BlockingIOError):
            numbers = _Signals.arrivals[0].recv(4096)
            _Signals.has_come |= bool({signal.SIGINT, signal.SIGTERM} & set(numbers))
    return _Signals.has_come or is_interrupted()


@contextmanager
def when_lost(leave: Callable[[str], str]) -> Iterator[None]:
    """Let `end_lost` do something first, as long as the block lasts.

    Args:
        leave: Gets what has happened; returns what the user is told, which says how to go on.
    """
    _Signals.leaves.append(leave)
    try:
        yield
    finally:
        _Signals.leaves.remove(leave)


def end_lost(what: str) -> NoReturn:
    """End the process from any thread: what the main thread waits for will never come.

    Args:
        what: What has happened, for the user; not said where the process was interrupted.
    """
    from fer_ray.record.console import error_paragraph, open_console  # `install_early` goes first

    code = EXIT_INTERRUPTED if was_signalled() else _EXIT_LOST
    text = what = "interrupted" if code == EXIT_INTERRUPTED else what
    for leave in reversed(_Signals.leaves):
        text = leave(what)
    open_console(stderr=True).show_cursor()
    error_paragraph(text)
    os._exit(code)


@contextmanager
def held() -> Iterator[None]:
    """Let an interruption wait until the end of the block, which starts processes.

    Raises:
        KeyboardInterrupt: At the end, if the process was interrupted meanwhile.
    """
    before = _Signals.num_interrupts
    _Signals.is_held = True
    try:
        yield
    finally:
        _Signals.is_held = False
        _set_handlers()  # Ray and its C++ library have set their own for SIGTERM
    if _Signals.num_interrupts > before:
        raise KeyboardInterrupt


def finish() -> None:
    """Let an interruption do nothing from now on, because the command's work is done.

    What is left takes a moment. Twice still ends at once.
    """
    _Signals.is_held = True


def _set_handlers() -> None:
    with suppress(ValueError):  # outside of the main thread, as in tests
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _terminate)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    del number, frame
    print("error: interrupted; nothing was started", file=sys.stderr, flush=True)
    os._exit(EXIT_INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    _Signals.num_interrupts += 1
    if _Signals.num_interrupts > 1:
        print("\ninterrupted twice: ended at once; --resume goes on", file=sys.stderr, flush=True)
        os._exit(EXIT_INTERRUPTED)  # Ray's processes end with the one that started them
    if not _Signals.is_held:
        raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does now: Tune has a handler of its own while it runs.

    Schedulers may send SIGTERM to a process and to its group: once it ends, more change nothing.
    """
    del number, frame
    if not is_interrupted():
        _Signals.is_terminated = True
        signal.raise_signal(signal.SIGINT)
