"""How a command ends: exit codes, errors as one paragraph, signals."""

import atexit
import gc
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from fer_ray.core.errors import ConfigError
from fer_ray.data import DataError
from fer_ray.record.console import error_paragraph
from fer_ray.record.places import StorageError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class InterruptedRunError(Exception):
    """The user stopped a run; the message says how to go on."""


def command(work: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run a command; bad input is one paragraph on standard error and exit code 2.

    A SIGTERM (a scheduler's way to stop a job) is handled like Ctrl-C.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.raise_signal(signal.SIGINT)

    # Half a second sooner: an interpreter that ends looks for garbage in all modules.
    atexit.register(gc.freeze)
    with suppress(ValueError):  # not in the main thread, as in tests
        signal.signal(signal.SIGTERM, interrupt)
    try:
        return work(argv)
    except (ConfigError, DataError, StorageError) as error:
        error_paragraph(str(error))
        return EXIT_BAD_INPUT
    except InterruptedRunError as error:
        error_paragraph(str(error))
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        error_paragraph("interrupted")
        return EXIT_INTERRUPTED
