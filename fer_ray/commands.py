"""What all commands share: arguments, names of runs, errors as one paragraph and an exit code."""

import argparse
import atexit
import gc
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from fer_ray.config import (
    ConfigError,
    RunConfig,
    load_yaml,
    parse_assignments,
    with_overrides,
)
from fer_ray.console import confusion_table, error_paragraph, recall_table
from fer_ray.data import DataError, FaceData
from fer_ray.data.records import split_words
from fer_ray.methods import METHODS
from fer_ray.storage import Folder, StorageError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class InterruptedRunError(Exception):
    """The user stopped a run; the message says how to go on."""


def run_parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser with the arguments of the commands that train a run or search one."""
    parser = base_parser(program, description)
    parser.add_argument("--workers", type=int, metavar="N", help="processes a run")
    parser.add_argument("--resume", action="store_true", help="go on where --name stopped")
    parser.add_argument("--wandb", choices=("offline", "online", "disabled"))
    return parser


def base_parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every command with a run takes."""
    methods = "\n".join(f"  {name:14} {method.paper}" for name, method in METHODS.items())
    parser = argparse.ArgumentParser(
        prog=f"python -m fer_ray.{program}",
        description=description,
        epilog=f"methods (--set method.name=...):\n{methods}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", metavar="SPEC", help="synthetic | raf-db:/path/basic | arrays:/path.npz | ..."
    )
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a key of the run, such as optim.epochs=30; may be given again",
    )
    parser.add_argument("--name", help="name of the folder; by default a numbered one")
    parser.add_argument(
        "--storage", default="runs", metavar="DIR|URI", help="where folders go (default: runs)"
    )
    parser.add_argument("--address", metavar="ADDR", help="a Ray cluster; by default this machine")
    return parser


def absolute_spec(spec: str) -> str:
    """A data spec whose local paths hold in every working directory, for workers have their own.

    >>> absolute_spec("synthetic:train=300")
    'synthetic:train=300'
    """
    scheme, colon, rest = spec.partition(":")
    if not colon or scheme == "synthetic":
        return spec
    path, *options = split_words(rest)
    words = [f"{scheme}:{_absolute(path)}"]
    for option in options:
        key, _, value = option.partition("=")
        is_file = Path(value).expanduser().is_file()
        words.append(f"{key}={_absolute(value)}" if is_file else option)
    return ",".join(words)


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())


def choose_folder(storage: str, name: str | None, stem: str, *, resume: bool) -> Folder:
    """The folder of a run: a new one, or with `resume` the one named or the latest of its stem.

    Raises:
        ConfigError: If a new folder exists already, or the one to resume does not.
        StorageError: If the storage cannot be written.
    """
    root = Folder(storage)
    root.check_writable()
    if name is None:
        numbers = _numbers(root, stem)
        number = max(numbers, default=0) + (0 if resume and numbers else 1)
        name = f"{stem}-{number:03d}"
    if re.fullmatch(r"[\w.-]+", name) is None:
        raise ConfigError(f"--name {name!r}: expected letters, digits, '.', '_' and '-' only")
    exists = (root / name).exists()
    if resume and not exists:
        known = ", ".join(root.names()) or "nothing"
        raise ConfigError(f"--resume: there is no {root / name}; {root} holds {known}")
    if exists and not resume:
        raise ConfigError(
            f"--name {name}: {root / name} exists; go on with it by --resume, or take another name"
        )
    return root / name


def _numbers(root: Folder, stem: str) -> list[int]:
    pattern = re.compile(rf"{re.escape(stem)}-(\d{{3,}})")
    return [int(match[1]) for match in map(pattern.fullmatch, root.names()) if match]


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


def run_overrides(args: argparse.Namespace) -> dict[str, Any]:
    """What `--set`, `--data` and, where it is one number, `--workers` say, by dotted key.

    Raises:
        ConfigError: If a `--set` is not key=value.
    """
    overrides = parse_assignments(args.assignments)
    if args.data is not None:
        overrides["data.spec"] = absolute_spec(args.data)
    if isinstance(args.workers, int):
        overrides["workers.num_workers"] = args.workers
    return overrides


def raw_config(args: argparse.Namespace) -> dict[str, Any]:
    """The run as `--config` and the command line give it, its data by an absolute path.

    Raises:
        ConfigError: If the file cannot be read or a key or value is wrong.
    """
    raw = with_overrides(load_yaml(args.config) if args.config else {}, run_overrides(args))
    spec = RunConfig.from_dict(raw).data.spec
    return with_overrides(raw, {"data.spec": absolute_spec(spec)})


def wandb_directory(folder: Folder) -> Path:
    """Where W&B's local files go: into the run's folder if that is on this machine."""
    return folder.local_path if folder.is_local else Path.cwd()


def print_result(
    console: Console, summary: Mapping[str, Any], data: FaceData, folder: Folder
) -> None:
    """The test set's recall and confusion tables, and where the files are."""
    test, best = summary["test"], summary["best"]
    support = dict(zip(data.class_names, map(sum, test["confusion_matrix"]), strict=True))
    console.print(
        f"\nTest set, networks of epoch {best['epoch']} (best {summary['metric']} on validation):",
        highlight=False,
    )
    console.print(recall_table(test["recall"], test["macro_recall"], test["accuracy"], support))
    console.print(confusion_table(test["confusion_matrix"], data.class_names))
    console.print(f"files: {folder}", highlight=False, soft_wrap=True)
