"""Random and damaged inputs: `python -m tests.fuzz --cases 10000 --seed 0`.

Whatever the input, a command ends with 0 or 2 and one paragraph: never a traceback, never a value
that became another one.
"""

import argparse
import contextlib
import io
import os
import random
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import numpy as np
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_ray import audit, predict, report, train, tune
from fer_ray.data import __main__ as data_command
from fer_ray.data.packs.prepare import prepare
from tests.data.files import write_folder

_LIMIT_S = 120
_SPACE = """run: {data: synthetic, method: {name: cross_entropy}, seed: 3}
method: random
metric: {name: val/macro_recall, goal: maximize}
run_cap: 2
early_terminate: {type: hyperband, min_iter: 4, eta: 3}
parameters:
  optim.learning_rate: {distribution: log_uniform_values, min: 0.001, max: 0.1}
  optim.epochs: {values: [5, 6]}
"""
_LIST = "".join(f"train_{i:05d}.jpg {i % 7 + 1}\n" for i in range(1, 15))
_WORDS = (
    *("null", "true", "010", "1:30", "1e-3", ".inf", ".nan", "-1", "0", "99999999999999999999"),
    *(
        "[]",
        "{}",
        "[[[[",
        "!!int abc",
        "2024-13-45",
        "&a [*a]",
        "*a",
        "\0",
        "\ud83d",
        "é",
        "~",
        "''",
    ),
    *(
        "x" * 300,
        "a.b",
        "run:",
        "parameters:",
        "- ",
        ": ",
        "%",
        "\t",
        "1_0",
        "0x1f",
        "yes",
        "9" * 5000,
    ),
)
_KEYS = (
    *(
        "seed",
        "optim.epochs",
        "optim.learning_rate",
        "model.name",
        "data.size",
        "data.spec",
        "data",
    ),
    *(
        "method",
        "method.name",
        "metric",
        "prediction.prior",
        "optim",
        "augment.strong.erase",
        "nope",
    ),
    *("augment.strong.erase", "data.seed", "method.warmup_epochs", "flip_average", "a.b.c"),
    *("compute.bf16", "workers"),
)
_SCHEMES = (
    "folder",
    "raf-db",
    "affectnet",
    "fer2013",
    "expw",
    "arrays",
    "pack",
    "synthetic",
    "",
    "s4",
)
_WORD = st.one_of(st.sampled_from(_WORDS), st.text(max_size=20), st.integers().map(str))


class FuzzError(AssertionError):
    """A command ended in a way that no input may lead to."""


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """Content with a few bytes cut, changed, or put in."""

    def apply(changes: list[tuple[float, int, bytes]]) -> bytes:
        changed = content
        for place, length, new in changes:
            start = int(place * len(changed))
            changed = changed[:start] + new + changed[start + length :]
        return changed

    one = st.tuples(
        st.floats(0, 1),
        st.sampled_from((0, 0, 1, 1, 4, 30, 10**9)),
        st.one_of(st.binary(max_size=4), _WORD.map(lambda x: x.encode("utf-8", "replace"))),
    )
    return st.lists(one, min_size=1, max_size=3).map(apply)


def run(main: Callable[[Sequence[str]], int], argv: list[str]) -> tuple[int, str]:
    """Exit code and standard output of a command, called in this process.

    Raises:
        FuzzError: If it raises, takes too long, ends with another code, or has more than one
            paragraph to say.
    """

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no end within {_LIMIT_S} s")

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_LIMIT_S)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(argv)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        raise FuzzError(f"{argv!r:.2000}: {type(error).__name__}: {error!s:.500}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    said = err.getvalue()
    is_told = code == 0 or len(re.findall(r"^(?:.*: )?error: ", said, flags=re.M)) == 1
    if code not in (0, 2) or "Traceback" in said or not is_told:
        raise FuzzError(f"{argv!r:.2000}: exit code {code}: {said[-1500:]}")
    return code, out.getvalue()


def fuzz_set(data: st.DataObject, folder: Path) -> int:
    """`--set` words: what is accepted is what was written."""
    key, value = data.draw(st.sampled_from(_KEYS)), data.draw(_WORD)
    code, out = run(train.main, ["--print-config", "--set", f"{key}={value}"])
    if code == 0 and re.fullmatch(r"[0-9]+", value):
        node: Any = yaml.safe_load(out)
        for part in key.split("."):
            node = node[part]
        if str(node) != value and float(node) != float(value):
            raise FuzzError(f"--set {key}={value!r} became {node!r}")
    return code


def fuzz_space(data: st.DataObject, folder: Path) -> int:
    """Search spaces."""
    path = folder / "space.yaml"
    path.write_bytes(data.draw(mutated(_SPACE.encode())))
    words = ["--space", str(path), "--dry-run", "--storage", str(folder / "runs")]
    return run(tune.main, [*words, "--set", "data.spec=synthetic:train=200,test=70,size=16"])[0]


def fuzz_spec(data: st.DataObject, folder: Path) -> int:
    """Data specs of nothing."""
    options = data.draw(st.lists(st.tuples(st.sampled_from(_OPTIONS), _WORD), max_size=3))
    words = "".join(f",{key}={value}" for key, value in options)
    place = data.draw(st.one_of(_WORD, st.sampled_from((str(folder), "~nobody/x", ".."))))
    scheme = data.draw(st.sampled_from(_SCHEMES))
    return run(data_command.main, ["prepare", f"{scheme}:{place}{words}", "--out", f"{folder}/p"])[
        0
    ]


_OPTIONS = ("ids", "labels", "noise", "classes", "truth", "test", "ferplus", "column", "x", "size")


def fuzz_list(data: st.DataObject, folder: Path) -> int:
    """Lists of RAF-DB, and tables of labels."""
    for name in ("EmoLabel", "Image/aligned"):
        (folder / name).mkdir(parents=True)
    text = data.draw(mutated(_LIST.encode()))
    (folder / "EmoLabel" / "list_patition_label.txt").write_bytes(text)
    table = b"image,label\n" + text.replace(b" ", b",")
    (folder / "labels.csv").write_bytes(table)
    spec = data.draw(
        st.sampled_from(
            (
                f"raf-db:{folder}",
                f"folder:{folder},labels={folder}/labels.csv",
                f"folder:{folder},labels={folder}/labels.csv,ids=raf-db",
            )
        )
    )
    return run(data_command.main, ["prepare", spec, "--out", f"{folder}/p"])[0]


def fuzz_npz(data: st.DataObject, folder: Path) -> int:
    """Archives of arrays."""
    file = io.BytesIO()
    label = np.arange(24) % 2
    arrays: dict[str, Any] = {
        "images": np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8),
        "labels": label,
        "split": np.arange(24) // 12 * 2,
        "class_names": np.array(["happy", "sad"]),
    }
    np.savez(file, **arrays)
    (folder / "x.npz").write_bytes(data.draw(mutated(file.getvalue())))
    return run(data_command.main, ["prepare", f"arrays:{folder}/x.npz", "--out", f"{folder}/p"])[0]


def fuzz_pack(data: st.DataObject, folder: Path) -> int:
    """Packs of which a file is damaged."""
    with contextlib.redirect_stderr(io.StringIO()):
        prepare(write_folder(folder / "faces", 12, size=16), 16, folder / "pack")
    names = sorted(path.name for path in (folder / "pack").iterdir())
    path = folder / "pack" / data.draw(st.sampled_from(names))
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    noise = ["--noise", "symmetric:0.2", "--out", f"{folder}/out"]
    return run(data_command.main, ["corrupt", f"pack:{folder}/pack", *noise])[0]


def fuzz_run(data: st.DataObject, folder: Path) -> int:
    """Folders that are no runs, or damaged ones."""
    config = b"data: {spec: synthetic}\nmethod: {name: cross_entropy}\noptim: {epochs: 2}\n"
    names = (
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "trials.csv",
        "search.yaml",
        "split.npz",
    )
    for name in data.draw(st.lists(st.sampled_from(names), unique=True)):
        first = config if name.endswith("yaml") else b'{"epoch": 1, "val/accuracy": 0.5}\n'
        (folder / name).write_bytes(data.draw(mutated(first)))
    command = data.draw(st.sampled_from((report, audit, predict)))
    return run(command.main, [str(folder), *([str(folder)] if command is predict else [])])[0]


KINDS: dict[str, tuple[Callable[[st.DataObject, Path], int], int]] = {
    "set": (fuzz_set, 40),
    "space": (fuzz_space, 10),
    "spec": (fuzz_spec, 20),
    "list": (fuzz_list, 10),
    "npz": (fuzz_npz, 10),
    "pack": (fuzz_pack, 5),
    "run": (fuzz_run, 5),
}
"""What is tried, and its share of the cases in percent."""


def fuzz(kind: str, num_cases: int, seed: int) -> Counter[int]:
    """Try a kind of input; returns how often which exit code came.

    Raises:
        FuzzError: With the smallest input found that leads to it.
    """
    one, codes = KINDS[kind][0], Counter[int]()

    @hypothesis.seed(seed)
    @settings(
        max_examples=num_cases,
        deadline=None,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            codes[one(data, Path(folder))] += 1

    here = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # what a command writes by default lies there
        try:
            check()
        finally:
            os.chdir(here)
    return codes


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=tuple(KINDS), action="append")
    args = parser.parse_args()
    random.seed(args.seed)
    failed = 0
    for kind in args.kind or KINDS:
        num = max(1, args.cases * KINDS[kind][1] // 100)
        try:
            codes = fuzz(kind, num, args.seed)
        except BaseException as error:
            failed += 1
            print(f"{kind}: FAILED: {error!s:.3000}", flush=True)
            continue
        counts = ", ".join(f"{code}: {n}" for code, n in sorted(codes.items()))
        print(f"{kind}: {codes.total()} cases, exit codes {counts}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
