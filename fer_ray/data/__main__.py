"""Prepare, inspect or corrupt a data set: `python -m fer_ray.data`."""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal

from fer_ray.commands.arguments import absolute_spec, at_least, some_path
from fer_ray.commands.process import command
from fer_ray.commands.tables import print_notes
from fer_ray.data.corruption import NOISES, corrupt
from fer_ray.data.inspection.findings import inspect
from fer_ray.data.inspection.page import write_page
from fer_ray.data.inspection.tables import noise_table, tables
from fer_ray.data.open import list_records, prepared
from fer_ray.data.packs.pack import Pack
from fer_ray.data.packs.prepare import prepare
from fer_ray.data.packs.progress import Preparing
from fer_ray.data.subsets import pack_faces
from fer_ray.data.verified import noise_of
from fer_ray.data.verified_file import verified_of
from fer_ray.record.console import open_console


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_ray.data`."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_ray.data", description="Prepare, inspect or corrupt a data set."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    images = argparse.ArgumentParser(add_help=False)
    images.add_argument("spec", metavar="SPEC", help="data set, such as raf-db:/path/basic")
    images.add_argument(
        "--size",
        type=_pixels,
        metavar="PIXELS",
        help="height and width of the images, 16 to 1024 (default: 112, or their own where that is "
        "smaller)",
    )
    images.add_argument(
        "--max-missing-fraction",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="share of listed images that may be missing or unreadable (default: 0.01)",
    )
    images.add_argument(
        "--refresh", action="store_true", help="prepare the images again, even if nothing changed"
    )

    one = commands.add_parser("prepare", parents=[images], help="decode once, into a pack")
    one.add_argument(
        "--out", type=some_path, required=True, metavar="DIR", help="folder of the pack"
    )
    one.add_argument(
        "--processes",
        type=at_least(1),
        metavar="N",
        help="processes that decode (default: one per core)",
    )
    one.set_defaults(work=_prepare)

    two = commands.add_parser("inspect", parents=[images], help="print tables, write an HTML page")
    two.add_argument(
        "--out", type=some_path, metavar="FILE", help="the page (default: inspect-<name>.html here)"
    )
    two.add_argument(
        "--verified",
        metavar="FILE",
        help="verified labels (data.verified): print the noise of the labels that they show",
    )
    two.set_defaults(work=_inspect)

    three = commands.add_parser(
        "corrupt", parents=[images], help="make a noisy or long-tailed variant, keep the truth"
    )
    three.add_argument("--noise", metavar="NOISE", help=f"{NOISES}, list:FILE")
    three.add_argument(
        "--imbalance",
        type=float,
        metavar="RATIO",
        help="training images of the largest class over the smallest",
    )
    three.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="of the draws (default: 0)"
    )
    three.add_argument(
        "--out", type=some_path, required=True, metavar="DIR", help="folder of the pack"
    )
    three.set_defaults(work=_corrupt)
    return parser


def _pixels(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of 16 to 1024 pixels, got {text!r}; leave it out for the "
            "default: 112, or what the images have where that is smaller"
        ) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return command(_run, argv)


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command == "corrupt" and args.noise is None and args.imbalance is None:
        parser.error("corrupt: --noise, --imbalance or both")
    args.spec = absolute_spec(args.spec)
    console = open_console()
    args.work(args, console)
    return 0


def _prepare(args: argparse.Namespace, console: Console) -> None:
    records = list_records(args.spec, refresh=args.refresh)
    start = time.perf_counter()
    with Preparing(records) as progress:
        pack = prepare(
            records,
            args.size,
            args.out,
            max_missing_fraction=args.max_missing_fraction,
            num_processes=args.processes,
            announce=progress.announce,
            advance=progress.advance,
            advance_copies=progress.advance_copies,
            refresh=args.refresh,
        )
    print_notes(console, pack.notes)
    seconds = time.perf_counter() - start
    console.print(
        f"{len(pack):,} images, {decimal(pack.images.nbytes)}, {seconds:.1f} s. "
        f"Train on it: --data pack:{args.out}",
        highlight=False,
        soft_wrap=True,
    )


def _inspect(args: argparse.Namespace, console: Console) -> None:
    # An inspection is to show what is broken, however much of it.
    pack = prepared(args.spec, size=args.size, max_missing_fraction=1.0, refresh=args.refresh)
    found = inspect(pack)
    for table in tables(found):
        console.print(table)
        console.print()
    if args.verified is not None:
        _print_noise(pack, args.verified, console)
    name = "".join(c if c.isalnum() else "-" for c in pack.name)
    out = args.out or Path(f"inspect-{name}.html")
    write_page(found, pack, out)
    console.print(f"page: {out}", highlight=False, soft_wrap=True)


def _print_noise(pack: Pack, verified: str, console: Console) -> None:
    data = pack_faces(
        pack, val_fraction=0.15, seed=0, deduplicate=False, verified=verified_of(pack, verified)
    )
    print_notes(console, data.notes[len(pack.notes) :])
    model = noise_of(data)
    if model is not None:
        console.print(noise_table(model, data.class_names))
    console.print()


def _corrupt(args: argparse.Namespace, console: Console) -> None:
    pack = prepared(
        args.spec,
        size=args.size,
        max_missing_fraction=args.max_missing_fraction,
        refresh=args.refresh,
    )
    made = corrupt(pack, args.noise, args.imbalance, args.seed, args.out)
    print_notes(console, made.notes)
    console.print(f"Train on it: --data pack:{args.out}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
