"""The arguments that commands share, and the run that they describe."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.errors import ConfigError
from fer_ray.core.yaml_input import load_yaml, parse_yaml_value
from fer_ray.data.records import split_words
from fer_ray.methods import METHODS


def run_parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser with the arguments of the commands that train a run or search one."""
    parser = base_parser(program, description)
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes per run (key workers.num_workers)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the interrupted run in the folder --name"
    )
    parser.add_argument(
        "--wandb",
        choices=("offline", "online", "disabled"),
        help="how to record in Weights & Biases (default: WANDB_MODE, else online if there is an "
        "API key, else offline)",
    )
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
        "--data",
        metavar="SPEC",
        help="data set: synthetic | raf-db:/path/basic | folder:/path | arrays:/path.npz | ... "
        "(key data.spec)",
    )
    parser.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a key of the run, such as optim.epochs=30; may be repeated; docs/config.md lists all",
    )
    parser.add_argument(
        "--refresh",
        action="store_true",
        help="prepare the data set again, even if the cache holds it",
    )
    parser.add_argument(
        "--name", help="name of the folder (default: what is run, and a number: thresholds-001)"
    )
    parser.add_argument(
        "--storage", default="runs", metavar="DIR|URI", help="where folders go (default: runs)"
    )
    parser.add_argument(
        "--address",
        metavar="ADDR",
        help="Ray cluster to use: auto, host:port or ray://... (default: RAY_ADDRESS, else this "
        "machine)",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the resolved configuration of the run as YAML and stop",
    )
    return parser


def absolute_spec(spec: str) -> str:
    """Make the local paths of a data spec absolute, because workers have other folders.

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


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` words; values are YAML.

    Raises:
        ConfigError: If a word has no `=` or its value is not YAML.

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


def read_run(args: argparse.Namespace) -> RunConfig:
    """The run as `--config` and the command line give it, its data by an absolute path.

    Raises:
        ConfigError: If the file cannot be read or a key or value is wrong.
    """
    raw = load_yaml(args.config) if args.config else {}
    return with_absolute_data(RunConfig.from_dict(with_overrides(raw, run_overrides(args))))


def with_absolute_data(run: RunConfig) -> RunConfig:
    """The run with its data by an absolute path, because workers have their own folder."""
    return replace(run, data=replace(run.data, spec=absolute_spec(run.data.spec)))
