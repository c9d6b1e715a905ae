"""Draws a file of verified labels from a data set whose truth is known, in place of a person.

    python benchmarks/verified.py SPEC [--num 200] [--sample random|even] [--seed 0] [--out FILE]

`random` draws training images plainly, `even` as many of every given label. `--doubtful` draws
images whose truth is not known too, as images whose class nobody can tell. The file is what
`data.verified` reads.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Literal, get_args

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fer_ray.data import prepared
from fer_ray.data.faces import UNKNOWN_TRUTH, UNLABELED
from fer_ray.data.records import TRAIN

Sample = Literal["random", "even"]


def main() -> None:
    """Draw the images and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("spec", metavar="SPEC")
    parser.add_argument("--num", type=int, default=200, metavar="N")
    parser.add_argument("--sample", choices=get_args(Sample), default="random")
    parser.add_argument("--doubtful", action="store_true")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--out", type=Path, default=Path("verified.csv"), metavar="FILE")
    args = parser.parse_args()
    num = write_verified(
        args.spec, args.out, args.num, args.sample, args.seed, is_doubtful=args.doubtful
    )
    print(f"{num} verified labels: --set data.verified={args.out}")


def write_verified(
    spec: str,
    out: Path,
    num: int = 200,
    sample: Sample = "random",
    seed: int = 0,
    *,
    is_doubtful: bool = False,
) -> int:
    """Write verified labels of training images; return how many.

    Args:
        spec: Data set, with true labels.
        out: File to write.
        num: Images to draw.
        sample: `random`, or `even`: as many of every given label (fewer where there are not as
            many), the nearest to `num` in all.
        seed: Of the draw.
        is_doubtful: Whether images of unknown truth are drawn too; they get an empty label.

    Raises:
        DataError: If the data set cannot be opened.
    """
    pack = prepared(spec)
    can_draw = (pack.subset == TRAIN) & (pack.label != UNLABELED)
    if not is_doubtful:
        can_draw &= pack.true_label != UNKNOWN_TRUTH
    rows = np.flatnonzero(can_draw)
    drawn = rows[draw(pack.label[rows], num, sample, np.random.default_rng(seed))]
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("index", "label", "sample"))
        for i in drawn.tolist():
            truth = int(pack.true_label[i])
            name = "" if truth == UNKNOWN_TRUTH else pack.class_names[truth]
            table.writerow((int(pack.row[i]), name, "random"))
    return len(drawn)


def draw(label: np.ndarray, num: int, sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Return the places of the images drawn, in order.

    Args:
        label: Given labels.
        num: Images to draw.
        sample: See `write_verified`.
        rng: Of the draw.
    """
    order = rng.permutation(len(label))
    if sample == "random":
        return np.sort(order[:num])
    classes = np.unique(label)
    each = max(1, round(num / len(classes)))
    return np.sort(np.concatenate([order[label[order] == k][:each] for k in classes]))


if __name__ == "__main__":
    main()
