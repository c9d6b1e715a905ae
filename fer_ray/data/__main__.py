"""Prepare, inspect or corrupt a data set: `python -m fer_ray.data`."""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal

from fer_ray.commands.arguments import absolute_spec
from fer_ray.commands.process import command
from fer_ray.data import READERS, list_records, open_data, prepared, split_spec
from fer_ray.data.corruption import NOISES, corrupt
from fer_ray.data.inspection.inspect import inspect
from fer_ray.data.inspection.page import write_page
from fer_ray.data.inspection.subject import Subject
from fer_ray.data.inspection.tables import tables
from fer_ray.data.packs.pack import Pack
from fer_ray.data.packs.prepare import auto_size, prepare
from fer_ray.data.packs.progress import Preparing
from fer_ray.data.packs.store import store_faces


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_ray.data`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_ray.data", description="Prepare, inspect or corrupt a data set."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    images = argparse.ArgumentParser(add_help=False)
    images.add_argument("spec", metavar="SPEC", help="such as raf-db:/path/basic")
    images.add_argument(
        "--size", type=int, metavar="PIXELS", help="of the images (default: 112 or their own)"
    )
    images.add_argument(
        "--max-missing-fraction",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="of listed images that may be missing or unreadable (default: 0.01)",
    )

    one = commands.add_parser("prepare", parents=[images], help="decode once, into a pack")
    one.add_argument("--out", type=Path, required=True, metavar="DIR")
    one.add_argument("--threads", type=int, metavar="N", help="default: all of this machine")
    one.set_defaults(work=_prepare)

    two = commands.add_parser("inspect", parents=[images], help="tables and an HTML page")
    two.add_argument("--out", type=Path, metavar="FILE", help="default: inspect-<name>.html here")
    two.set_defaults(work=_inspect)

    three = commands.add_parser(
        "corrupt", parents=[images], help="a noisy or long-tailed variant, with the truth kept"
    )
    three.add_argument("--noise", metavar="NOISE", help=f"{NOISES}, list:FILE")
    three.add_argument("--imbalance", type=float, metavar="RATIO", help="largest over smallest")
    three.add_argument("--seed", type=int, default=0, metavar="N")
    three.add_argument("--out", type=Path, required=True, metavar="DIR")
    three.set_defaults(work=_corrupt)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return command(_run, argv)


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command == "corrupt" and args.noise is None and args.imbalance is None:
        parser.error("corrupt: --noise, --imbalance or both")
    args.spec = absolute_spec(args.spec)
    console = Console()
    args.work(args, console)
    return 0


def _prepare(args: argparse.Namespace, console: Console) -> None:
    records = list_records(args.spec)
    start = time.perf_counter()
    with Preparing(records) as progress:
        pack = prepare(
            records,
            args.size or auto_size(records),
            args.out,
            max_missing_fraction=args.max_missing_fraction,
            num_threads=args.threads,
            announce=progress.announce,
            advance=progress.advance,
            advance_copies=progress.advance_copies,
        )
    _print_notes(console, pack)
    seconds = time.perf_counter() - start
    console.print(
        f"{len(pack):,} images, {decimal(pack.images.nbytes)}, {seconds:.1f} s. "
        f"Train on it: --data pack:{args.out}",
        highlight=False,
        soft_wrap=True,
    )


def _inspect(args: argparse.Namespace, console: Console) -> None:
    scheme, _ = split_spec(args.spec)
    if scheme in READERS:
        subject = Subject.from_faces(open_data(args.spec))
    else:
        # An inspection is to show what is broken, however much of it.
        subject = Subject.from_pack(prepared(args.spec, size=args.size, max_missing_fraction=1.0))
    found = inspect(subject)
    for table in tables(found):
        console.print(table)
        console.print()
    name = "".join(c if c.isalnum() else "-" for c in subject.name)
    out = args.out or Path(f"inspect-{name}.html")
    write_page(found, subject, out)
    console.print(f"page: {out}", highlight=False, soft_wrap=True)


def _corrupt(args: argparse.Namespace, console: Console) -> None:
    scheme, _ = split_spec(args.spec)
    with tempfile.TemporaryDirectory() as scratch:
        pack = (
            store_faces(open_data(args.spec), Path(scratch) / "pack")
            if scheme in READERS
            else prepared(args.spec, size=args.size, max_missing_fraction=args.max_missing_fraction)
        )
        made = corrupt(pack, args.noise, args.imbalance, args.seed, args.out)
    _print_notes(console, made)
    console.print(f"Train on it: --data pack:{args.out}", highlight=False, soft_wrap=True)


def _print_notes(console: Console, pack: Pack) -> None:
    for note in pack.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
