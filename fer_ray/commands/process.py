"""How a command ends: exit codes, error messages, signals."""

import atexit
import errno
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from fer_ray.core.errors import ConfigError, StartError
from fer_ray.core.secrets import check_no_secrets
from fer_ray.data import DataError
from fer_ray.on_ray import interrupts
from fer_ray.on_ray.interrupts import EXIT_INTERRUPTED
from fer_ray.record import scratch
from fer_ray.record.claims import abandon, is_unused
from fer_ray.record.console import error_paragraph
from fer_ray.record.places import StorageError
from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BAD_INPUT = (ConfigError, DataError, StorageError)


class InterruptedRunError(Exception):
    """The user interrupted a command; the message says how to resume."""


def command(work: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Bad input prints one paragraph to standard error; the exit code is then 2. SIGTERM, with which
    schedulers stop jobs, is handled like Ctrl-C; the exit code is then 130.

    Args:
        work: The command: a function of the arguments that returns the exit code.
        argv: The arguments; `None` for those of the process.
    """
    atexit.register(_leave_garbage)
    interrupts.install()
    try:
        _check_words(sys.argv[1:] if argv is None else argv)
        code = work(argv)
        interrupts.finish()
        return code
    except BAD_INPUT as error:
        error_paragraph(str(error))
        return EXIT_BAD_INPUT
    except StartError as error:
        error_paragraph(str(error))
        return EXIT_FAILED
    except InterruptedRunError as error:
        error_paragraph(str(error))
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        error_paragraph("interrupted")
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        error_paragraph(f"{error_text(error)}. Make space, then go on with --name and --resume")
        return 1


@contextmanager
def resumable(folder: Folder) -> Iterator[None]:
    """Say how to go on if the command is interrupted in the block.

    Raises:
        InterruptedRunError: If it is.
    """
    try:
        with interrupts.when_lost(partial(_leave, folder)):
            yield
    except KeyboardInterrupt:
        raise InterruptedRunError(_how_to_go_on(folder)) from None
    except Exception as error:
        # SIGTERM for a whole process group ends Ray before it ends the command.
        if interrupts.is_interrupted() and not isinstance(error, InterruptedRunError):
            raise InterruptedRunError(_how_to_go_on(folder)) from error
        raise


def _how_to_go_on(folder: Folder, what: str = "interrupted") -> str:
    if is_unused(folder):  # it is deleted
        return f"{what} before anything was written; start the same command again"
    return (
        f"{what}; all epochs so far are in {folder}. To resume, add --name {folder.name} "
        "--resume to the same command"
    )


def _leave(folder: Folder, what: str) -> str:
    """Leave nothing temporary, from any thread; return how to go on."""
    text = _how_to_go_on(folder, what)
    abandon(folder)
    scratch.remove_own()
    return text


def _check_words(words: Sequence[str]) -> None:
    """Refuse secrets in URIs before a parser repeats them.

    Raises:
        ConfigError: With the option, but without the secret.
    """
    option = ""
    for word in words:
        option = word.partition("=")[0] if word.startswith("--") else option
        check_no_secrets(word, option or "the command line")


def _leave_garbage() -> None:
    """Save half a second, because the interpreter collects garbage in all modules at its end.

    Triton, which torch brings in to compile and export, would report what is left as leaks.
    """
    if "triton" not in sys.modules:
        gc.freeze()
