"""The arguments that commands share, and the run that they describe."""

import argparse
import ast
import math
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fer_ray.commands.output import add_output_arguments
from fer_ray.config import DataConfig, RunConfig, flat_values, with_overrides
from fer_ray.core.errors import ConfigError
from fer_ray.core.yaml_input import load_yaml, parse_yaml_value
from fer_ray.data.records import split_words
from fer_ray.methods import METHODS
from fer_ray.search.conditions import METHOD_KEY
from fer_ray.search.reading import parse_space


def run_parser(program: str, description: str) -> argparse.ArgumentParser:
    """Make a parser for a command that trains one run or many."""
    parser = base_parser(program, description)
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="worker processes per run (workers.num_workers)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume what was interrupted in the folder --name (default: the latest folder)",
    )
    parser.add_argument(
        "--wandb",
        choices=("offline", "online", "disabled"),
        help="how to record in Weights & Biases (default: WANDB_MODE; if it is not set, online "
        "with an API key and offline without one)",
    )
    parser.add_argument(
        "--artifacts",
        action=argparse.BooleanOptionalAction,
        help="send the best networks, what is known of the labels, and the report to Weights & "
        "Biases (default: with runs that are recorded online)",
    )
    add_output_arguments(parser)
    return parser


def base_parser(program: str, description: str) -> argparse.ArgumentParser:
    """Make a parser with the arguments of every command that trains."""
    parser = argparse.ArgumentParser(
        prog=f"python -m fer_ray.{program}",
        description=description,
        epilog=f"methods (--set method.name=...):\n{_method_list()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        metavar="SPEC",
        help="data set, such as synthetic, raf-db:/path/basic, folder:/path or arrays:/path.npz "
        "(data.spec); docs/data.md lists all",
    )
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a key of the run, such as optim.epochs=30; may be repeated; docs/config.md lists "
        "all keys",
    )
    parser.add_argument(
        "--refresh",
        action="store_true",
        help="prepare the data set again, even if it is in the cache",
    )
    parser.add_argument(
        "--name", help="name of the output folder (default: a numbered one, such as thresholds-001)"
    )
    parser.add_argument(
        "--storage",
        default="runs",
        metavar="DIR|URI",
        help="where output folders are created (default: runs)",
    )
    parser.add_argument(
        "--address",
        metavar="ADDR",
        help="Ray cluster to use: auto, host:port or ray://... (default: RAY_ADDRESS; if it is not "
        "set, start Ray on this machine)",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the resolved configuration of the run as YAML and exit",
    )
    return parser


def _method_list() -> str:
    """List the methods for `--help`, wrapped to 80 columns."""
    indent = 17 * " "
    return "\n".join(
        textwrap.fill(method.paper, 79, initial_indent=f"  {name:15}", subsequent_indent=indent)
        for name, method in METHODS.items()
    )


def at_least(lowest: int) -> Callable[[str], int]:
    """A type of arguments: whole numbers from `lowest`.

    >>> at_least(1)("2")
    2
    """

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if value < lowest:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {lowest}, got {text!r}"
            )
        return value

    return whole_number


def some_path(text: str) -> Path:
    """A type of arguments: a path that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty word")
    return Path(text)


def absolute_spec(spec: str) -> str:
    """Make the local paths in a data spec absolute, because workers have their own folders.

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
        is_file = value != "" and os.path.isfile(os.path.expanduser(value))
        words.append(f"{key}={_absolute(value)}" if is_file else option)
    return ",".join(words)


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` assignments; values are YAML.

    Raises:
        ConfigError: If an assignment has no `=`, or its value is not YAML.

    >>> parse_assignments(["optim.epochs=3", "model.name=tiny"])
    {'optim.epochs': 3, 'model.name': 'tiny'}
    """
    parsed: dict[str, Any] = {}
    for word in assignments:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {word}: expected key=value, such as optim.epochs=30")
        parsed[key] = parse_yaml_value(value, f"--set {word[:80]}")
    return parsed


def add_agent_words(parser: argparse.ArgumentParser) -> None:
    """Accept `key=value` without `--set` in front, which is how agents of W&B give values."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="KEY=VALUE",
        help="the same as --set KEY=VALUE, as Weights & Biases' agents write it",
    )


def agent_words(argv: Sequence[str]) -> list[str]:
    """Return a command line with `--section.key=value` as `section.key=value`.

    W&B's agents write the first for `${args}`, the second for `${args_no_hyphens}`; nested
    parameters are one word for a section.

    >>> agent_words(["--json", "--optim.epochs=3", "--method={'alpha': 1.0}"])
    ['--json', 'optim.epochs=3', "method={'alpha': 1.0}"]
    """
    keys = [item.name for item in fields(RunConfig) if item.name not in ("data", "workers")]
    pattern = re.compile(rf"--((?:{'|'.join(keys)}|data|workers)(?:\.\w+)+|{'|'.join(keys)})=")
    return [word[2:] if pattern.match(word) else word for word in argv]


def parse_agent_words(words: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` words as W&B's agents write them: values are Python's, or plain text.

    >>> parse_agent_words(["optim.learning_rate=1e-05", "method={'name': 'elr', 'lam': None}"])
    {'optim.learning_rate': 1e-05, 'method.name': 'elr', 'method.lam': None}
    """
    parsed: dict[str, Any] = {}
    for word in words:
        try:
            key, _, text = word.partition("=")
            parsed |= flat_values({key: ast.literal_eval(text)})
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            parsed |= parse_assignments([word])
    return parsed


def run_overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Return the values of `--set`, `--data`, `--workers` and words of agents by dotted key.

    `--workers` counts only if it is one number.

    Raises:
        ConfigError: If a `--set` is not key=value.
    """
    overrides = parse_agent_words(getattr(args, "words", [])) | parse_assignments(args.assignments)
    if args.data is not None:
        overrides["data.spec"] = absolute_spec(args.data)
    if isinstance(args.workers, int):
        overrides["workers.num_workers"] = args.workers
    return overrides


def read_run(args: argparse.Namespace) -> RunConfig:
    """Read the run from `--config` and the command line, with absolute paths of its data.

    If the file is that of a search, the run is what is fixed in it, with what the command line
    gives: that is how an agent of W&B trains a trial.

    Raises:
        ConfigError: If the file cannot be read, or a key or value is wrong.
    """
    raw = load_yaml(args.config) if args.config else {}
    if "parameters" in raw:
        return with_absolute_paths(run_of_space(raw, str(args.config), run_overrides(args)))
    return with_absolute_paths(RunConfig.from_dict(with_overrides(raw, run_overrides(args))))


def run_of_space(raw: Mapping[str, Any], place: str, values: Mapping[str, Any]) -> RunConfig:
    """Return the run of a search space with some values; those of other methods are left out.

    Args:
        raw: Content of the file.
        place: The file, for messages.
        values: Values by dotted key: of the parameters, and of other keys of the run.

    Raises:
        ConfigError: If the space or the run is not valid.
    """
    space = parse_space(raw, place)
    active = space.active(values.get(METHOD_KEY, space.default_method))
    own = {key: x for key, x in values.items() if key in active or key not in space.parameters}
    return space.run_config(own)


def with_absolute_paths(run: RunConfig) -> RunConfig:
    """Return the run with absolute paths of its data (see `absolute_spec`) and of its weights."""
    model = replace(run.model, weights=absolute_weights(run.model.weights))
    return replace(run, data=absolute_data(run.data), model=model)


def absolute_weights(weights: str | None) -> str | None:
    """Return `model.weights` as an absolute path, if it is a file's."""
    return weights if weights in (None, "torchvision") else _absolute(weights)


def absolute_data(data: DataConfig) -> DataConfig:
    """Return the data with absolute paths of the data set and of the verified labels."""
    verified = None if data.verified is None else _absolute(data.verified)
    return replace(data, spec=absolute_spec(data.spec), verified=verified)


def add_prior(parser: argparse.ArgumentParser) -> None:
    """Add `--prior`, the operating point of predictions; see `parse_prior`."""
    parser.add_argument(
        "--prior",
        metavar="PRIOR",
        help="class shares of the faces to predict: trained, given, verified, uniform, or a share "
        "for every class, such as happiness=0.4,fear=0.1,... (default: prediction.prior of the "
        "run); see docs/operating_points.md",
    )


def parse_prior(text: str | None) -> str | dict[str, float] | None:
    """Read the value of `--prior` as `prediction.prior` has it; `None` if it is not given.

    Raises:
        ConfigError: If a share is no number.

    >>> parse_prior("uniform"), parse_prior("fear=0.25, anger=0.75")
    ('uniform', {'fear': 0.25, 'anger': 0.75})
    """
    if text is None or "=" not in text:
        return text
    shares: dict[str, float] = {}
    for word in text.split(","):
        name, _, value = (part.strip() for part in word.partition("="))
        try:
            shares[name] = float(value)
        except ValueError:
            shares[name] = math.nan
        if not math.isfinite(shares[name]):
            raise ConfigError(
                f"--prior {text}: expected class=share for every class, such as happiness=0.4; got "
                f"{word.strip()!r}"
            )
    return shares
