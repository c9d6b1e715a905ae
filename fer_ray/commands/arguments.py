"""What all commands share: arguments, names of runs, errors as one paragraph and an exit code."""

import argparse
from pathlib import Path
from typing import Any

from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.yaml_input import load_yaml, parse_assignments
from fer_ray.data.records import split_words
from fer_ray.methods import METHODS


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
