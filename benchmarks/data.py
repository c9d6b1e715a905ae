"""How fast is a data set prepared, drawn from in batches, and opened in many processes?

    python benchmarks/data.py [--only PART] [--images N] [--large N] [--repeats N] [--quick]

Has three parts, each of which compares within one run:

  prepare  preparing RGB JPEGs of drawn faces as a pack, from 100 pixels (as in RAF-DB) to 100 and
           from 600 pixels (as from a camera) to 112; compared with plain loops with PIL and with
           `torchvision.io`, which only decode and resize, in one thread. Also in seconds of the
           CPU for an image, which other users of the machine change less; and the time announced
           over the time taken
  batches  shuffled, augmented batches of a pack, made in this process with one thread per core;
           compared with a torchvision `DataLoader` with 2 workers that reads the JPEGs (as most
           scripts do), and with one that reads the decoded images
  open     a pack of 300,000 black images, opened by 4 processes that draw batches: the seconds to
           open it, and the private memory of the processes (anonymous pages in Linux), without the
           pages of the file, which they share

Writes `results/data-<hardware>.json`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.reference_data import random_view
from fer_ray.config import AugmentConfig
from fer_ray.core.augment import draw_views, make_views
from fer_ray.data.packs.pack import open_pack, write_columns, write_manifest
from fer_ray.data.packs.prepare import prepare
from fer_ray.data.records import Records
from fer_ray.data.subsets import pack_faces
from fer_ray.data.synthetic.faces import draw_faces
from fer_ray.training.learner import Images

CPU = torch.device("cpu")
PARTS = ("prepare", "batches", "open")
BATCH, NUM_WORKERS, LARGE_SIZE = 128, 2, 112
_POLICY = AugmentConfig().strong
# The program of each of the four processes; prints seconds and bytes.
_OPENER = """
import json, sys, time
from pathlib import Path
import numpy as np, psutil
from fer_ray.data.packs.pack import open_pack
from fer_ray.data.subsets import pack_faces
def own():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(1024 * int(x.split()[1]) for x in lines if x.startswith("Anonymous:"))
before = own(), psutil.Process().memory_info().rss
start = time.perf_counter()
pack = open_pack(Path(sys.argv[1]))
opened = time.perf_counter() - start
start = time.perf_counter()
data = pack_faces(pack, val_fraction=0.1, seed=0, deduplicate=True)
faces = time.perf_counter() - start
rng = np.random.default_rng(int(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    data.train.images[rng.integers(0, len(data.train), 128)].sum()
after = own(), psutil.Process().memory_info().rss
print(json.dumps([opened, faces, after[0] - before[0], after[1] - before[1]]), flush=True)
sys.stdin.read()
"""


def main() -> None:
    """Measure, print and write the results."""
    args = parse_arguments()
    rows: list[report.Row] = []
    goals: list[report.Goal] = []
    parts = PARTS if args.only is None else (args.only,)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for source, size, share in ((100, 100, 1), (600, 112, 8)):
            if "prepare" in parts or (source == size and "batches" in parts):
                records = write_images(work / str(source), max(8, args.images // share), source)
            if "prepare" in parts:
                rows += (prepared := prepare_rows(records, source, size, work, args.repeats))
                goals += prepare_goals(prepared)
            if source == size and "batches" in parts:
                pack = work / "pack"
                prepare(records, size, pack)
                more, batch_goals = batch_rows(records, pack, args.repeats)
                rows += more
                goals += batch_goals
        if "open" in parts:
            more, open_goals = open_rows(args.large, work, args.draws)
            rows += more
            goals += open_goals
    report.print_table("Data", rows)
    report.print_goals(goals)
    if not args.quick:
        made = report.Report(benchmark="data", rows=rows, goals=goals)
        name = "data" if args.only is None else f"data-{args.only}"
        print("written:", made.write(f"{name}-{report.slug(report.hardware())}").name)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; `--quick` makes everything small."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, help="measure one part alone")
    parser.add_argument("--images", type=int, metavar="N", help="number of JPEGs (default: 4000)")
    parser.add_argument(
        "--large", type=int, metavar="N", help="images in the large pack (default: 300000)"
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="rounds (default: 3)")
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    args = parser.parse_args()
    args.images = args.images or (64 if args.quick else 4000)
    args.large = args.large or (2000 if args.quick else 300_000)
    args.repeats = args.repeats or (1 if args.quick else 3)
    args.draws = 5 if args.quick else 200
    return args


def write_images(folder: Path, num: int, size: int) -> Records:
    """Write drawn, tinted faces as JPEGs of quality 92."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    few = draw_faces(np.arange(min(num, 200)) % 7, min(size, 256), rng)[0]
    for i in range(num):
        face = Image.fromarray(few[i % len(few)]).resize((size, size), Image.Resampling.BICUBIC)
        tint = rng.uniform(0.7, 1.0, 3)
        pixels = (np.asarray(face)[:, :, None] * tint + rng.normal(0, 4, (size, size, 3))).clip(0)
        Image.fromarray(pixels.clip(max=255).astype(np.uint8)).save(
            folder / f"{i:06d}.jpg", quality=92
        )
    label = np.arange(num) % 7
    return Records(
        name="folder:drawn",
        root=folder,
        path=tuple(f"{i:06d}.jpg" for i in range(num)),
        listed=("",) * num,
        label=label,
        true_label=label,
        subset=np.where(np.arange(num) % 10, 0, 2),
        class_names=("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger"),
    )


def prepare_rows(
    records: Records, source: int, size: int, work: Path, repeats: int
) -> list[report.Row]:
    """Return a row with the images per second of `prepare` and of both plain loops."""
    counter = iter(range(1_000_000))
    cpu: dict[str, list[float]] = {"pil": [], "torchvision": [], "prepare": []}
    announced: list[float] = []

    def ours() -> Callable[[], object]:
        target = work / f"out-{source}-{next(counter)}"
        return lambda: prepare(
            records, size, target, announce=lambda expected, _: announced.append(expected.seconds)
        )

    def counted(name: str, begin: Callable[[], Callable[[], object]]) -> Callable[[], object]:
        timed = begin()

        def run() -> None:
            before = sum(os.times()[:4])
            timed()
            cpu[name].append(sum(os.times()[:4]) - before)

        return run

    paths = [records.root / name for name in records.path]
    works: dict[str, Callable[[], Callable[[], object]]] = {
        "pil": lambda: lambda: [pil(path, size) for path in paths],
        "torchvision": lambda: lambda: [tv(path, size) for path in paths],
        "prepare": ours,
    }
    timings = report.interleaved(
        {name: partial(counted, name, begin) for name, begin in works.items()}, repeats
    )
    row: report.Row = {"case": f"prepare/{source}px to {size}px", "images": len(paths)}
    for name, timing in timings.items():
        row[f"{name}_images_per_s"] = len(paths) / timing.median
    for name in ("pil", "torchvision"):
        row[f"ratio_to_{name}"] = report.paired_ratio(
            timings[name].seconds, timings["prepare"].seconds
        )
    row["cpu_us_pil"] = 1e6 * float(np.median(cpu["pil"][-repeats:])) / len(paths)
    row["cpu_us_prepare"] = 1e6 * float(np.median(cpu["prepare"][-repeats:])) / len(paths)
    taken = timings["prepare"].seconds
    row["announced_over_taken"] = report.paired_ratio(announced[-len(taken) :], taken)
    return [row]


def prepare_goals(rows: list[report.Row]) -> list[report.Goal]:
    """Return the goals of preparing: two processes, each nearly as fast as a plain loop."""
    return [
        goal
        for row in rows
        for goal in (
            report.Goal(
                name=f"{row['case']}: over a plain loop with PIL",
                goal=">= 1.8",
                value=row["ratio_to_pil"],
                why=f"{row['cpu_us_prepare']:.0f} us of CPU an image against "
                f"{row['cpu_us_pil']:.0f}, with checks, checksums and the search for copies",
            ),
            report.Goal(
                name=f"{row['case']}: time announced over time taken",
                goal=">= 0.67",
                value=row["announced_over_taken"],
            ),
        )
    ]


def pil(path: Path, size: int) -> np.ndarray:
    """Decode and resize one image with PIL."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def tv(path: Path, size: int) -> torch.Tensor:
    """Decode and resize one image with torchvision."""
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.v2.functional import resize

    image = decode_image(str(path), mode=ImageReadMode.RGB)
    scaled: torch.Tensor = resize(image, [size, size], antialias=True)
    return scaled


class Files(Dataset[tuple[torch.Tensor, int]]):
    """JPEGs or decoded images, augmented by torchvision's transforms on PIL images."""

    def __init__(self, paths: list[Path] | None, images: np.ndarray, label: np.ndarray) -> None:
        self._paths, self._images, self._label = paths, images, label
        self._view = random_view(_POLICY)

    def __len__(self) -> int:
        return len(self._label)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        if self._paths is None:
            image = Image.fromarray(np.ascontiguousarray(self._images[number].transpose(1, 2, 0)))
        else:
            image = Image.open(self._paths[number]).convert("RGB")
        return self._view(image), int(self._label[number])


def batch_rows(
    records: Records, folder: Path, repeats: int
) -> tuple[list[report.Row], list[report.Goal]]:
    """Time an epoch of batches from the pack and from two loaders."""
    pack = open_pack(folder)
    data = pack_faces(pack, val_fraction=0.1, seed=0, deduplicate=False)
    images = Images(data.train, CPU)
    paths = [records.root / str(pack.path[i]) for i in np.flatnonzero(pack.subset == 0)]
    rows = np.flatnonzero(pack.subset == 0)
    decoded, label = np.asarray(pack.images[rows]), np.asarray(pack.label[rows])
    loaders = {
        "loader_jpeg": loader(Files(paths, decoded, label)),
        "loader_decoded": loader(Files(None, decoded, label)),
    }

    def ours() -> object:
        generator = torch.Generator().manual_seed(0)
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            view = make_views(images.take(batch), draw_views(_POLICY, len(batch), generator))
        return view

    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)

    def epoch(batches: "DataLoader[tuple[torch.Tensor, int]]") -> object:
        return [len(batch) for batch in batches]

    epochs: dict[str, Callable[[], Callable[[], object]]] = {"pack": lambda: ours}
    for name, batches in loaders.items():
        epochs[name] = partial(partial, epoch, batches)
    timings = report.interleaved(epochs, repeats)
    torch.set_num_threads(threads)
    num = {"pack": len(images), "loader_jpeg": len(paths), "loader_decoded": len(paths)}
    speed = {
        name: [num[name] / seconds for seconds in timing.seconds]
        for name, timing in timings.items()
    }
    row: report.Row = {"case": "batches/100px"}
    for name, timing in timings.items():
        row[f"{name}_images_per_s"] = num[name] / timing.median
    goals = []
    for name in loaders:
        row[f"ratio_to_{name}"] = ratio = report.paired_ratio(speed["pack"], speed[name])
        why = "" if ratio >= 10 else "affine sampling and scaling in float32 are what is left"
        goals.append(
            report.Goal(name=f"batches over {name} (2 workers)", goal=">= 10", value=ratio, why=why)
        )
    return [row], goals


def loader(files: Files) -> "DataLoader[tuple[torch.Tensor, int]]":
    """Make a loader as a script would, with persistent workers."""
    workers = min(NUM_WORKERS, len(files))
    return DataLoader(
        files, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=True
    )


def open_rows(num: int, work: Path, draws: int) -> tuple[list[report.Row], list[report.Goal]]:
    """Open the same large pack in four processes."""
    folder = write_zeros(work / "large", num)
    num_bytes = (folder / "images.npy").stat().st_size
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OPENER, str(folder), str(seed), str(draws)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
        )
        for seed in range(4)
    ]
    found = []
    for process in processes:
        assert process.stdout is not None
        found.append(json.loads(process.stdout.readline()))
    for process in processes:
        process.communicate()
    opened, faces, own, resident = np.array(found).T
    row: report.Row = {
        "case": f"open/{num:,} images of {LARGE_SIZE}px, 4 processes",
        "pack_gb": num_bytes / 1e9,
        "open_ms": 1000 * float(np.median(opened)),
        "ready_to_train_ms": 1000 * float(np.median(opened + faces)),
        "own_mb_a_process": float(own.mean()) / 1e6,
        "resident_mb_a_process": float(resident.mean()) / 1e6,
        "own_share_of_pack": float(own.sum()) / num_bytes,
    }
    goals = [
        report.Goal(
            name="memory of 4 processes' own over the pack's bytes",
            goal="<= 0.05",
            value=float(own.sum()) / num_bytes,
            why="" if num_bytes > 1e9 else "a small pack",
        ),
        report.Goal(name="milliseconds to open", goal="<= 50", value=row["open_ms"]),
    ]
    return [row], goals


def write_zeros(folder: Path, num: int) -> Path:
    """Write a pack of black images, as a sparse file if the file system supports it."""
    folder.mkdir()
    shape = (num, 3, LARGE_SIZE, LARGE_SIZE)
    np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    label = np.arange(num) % 7
    subset = np.searchsorted([0.8 * num, 0.9 * num], np.arange(num), side="right")
    write_columns(
        folder,
        {
            "label": label,
            "true_label": label,
            "subset": subset,
            "row": np.arange(num),
            "path": np.array([f"{i:07d}.jpg" for i in range(num)]),
            "group": np.full(num, -1),
            "near_train": np.full(num, -1, dtype=np.float32),
            "original_size": np.full((num, 2), LARGE_SIZE),
        },
    )
    names = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
    write_manifest(folder, name="zeros", class_names=names, problems=(), notes=(), more={})
    return folder


if __name__ == "__main__":
    main()
