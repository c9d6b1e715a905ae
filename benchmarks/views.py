"""How fast are random views, compared with the same augmentation by torchvision's transforms?

    python benchmarks/views.py [--quick] [--repeats N]

Makes a batch of 64 weak or strong views, as a training step does: draw the random numbers, make the
views, return one float tensor. Times in turn, with one thread:

  ours    `augment.draw_views` and `make_views`: all images at once, each with its own numbers
  PIL     `torchvision.transforms.v2` on PIL images, one by one, then stacked
  tensor  the same on uint8 tensors, one by one, then stacked
  batch   the same on the whole uint8 batch at once; all images share the random numbers, so this is
          not the same augmentation but a lower bound for v2

Also times `F.grid_sample` alone, on float images and a grid made before, which is the part of ours
that cannot be shared within a batch.

The transforms are flip, affine (rotation, scale, shift; bilinear), brightness and contrast, the
conversion to float, erasing (strong views), and a normalisation by constants, where ours uses the
mean and the standard deviation of every image. On a GPU, all but PIL run there, and PIL's batch is
copied to it. Writes `results/views-<hardware>.json`.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from benchmarks import report
from fer_ray.config import AugmentConfig
from fer_ray.core.augment import ViewPolicy, draw_views, make_views, plain_views

BATCH, BATCHES = 64, 4
GOALS = {"pil": ">= 5", "tensor": ">= 3"}
"""Goals: way -> how many times faster ours should be."""
Case = Callable[[], Callable[[], object]]


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    parser.add_argument("--repeats", type=int, default=15, metavar="N")
    args = parser.parse_args()
    batch, repeats = (4, 1) if args.quick else (BATCH, args.repeats)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = [(1, 48), (3, 112)] + ([(3, 224)] if device.type == "cuda" else [])
    policies = {"weak": AugmentConfig().weak, "strong": AugmentConfig().strong}
    rows = [
        measure(f"{name}/{size}x{size}x{num_channels}/batch {batch}", policy, images, repeats)
        for num_channels, size in sizes
        for images in [make_images(batch, num_channels, size).to(device)]
        for name, policy in policies.items()
    ]
    goals = [goal for row in rows for goal in speed_goals(row)]
    report.print_table("Views, images a second", rows)
    report.print_goals(goals)
    if not args.quick:
        result = report.Report(benchmark="views", rows=rows, goals=goals)
        print("written:", result.write(f"views-{report.slug(report.hardware())}").name)


def make_images(batch: int, num_channels: int, size: int) -> Tensor:
    """Make smooth random images [batch, num_channels, size, size], uint8."""
    coarse = torch.rand(batch, num_channels, 6, 6, generator=torch.Generator().manual_seed(0))
    return (255 * F.interpolate(coarse, (size, size), mode="bilinear")).byte()


def measure(case: str, policy: ViewPolicy, images: Tensor, repeats: int) -> report.Row:
    """Time every way; return images per second, and the ratio of ours to each of the others."""
    ways: dict[str, Callable[[], object]] = {
        "ours": partial(ours, policy, torch.Generator().manual_seed(0), images),
        "pil": partial(one_by_one, transforms(policy), pil_images(images), images.device),
        "tensor": partial(one_by_one, transforms(policy), list(images), images.device),
        "batch": partial(transforms(policy), images),
        "sampling": sampling(policy, images),
    }
    cases: dict[str, Case] = {name: partial(partial, several, way) for name, way in ways.items()}
    timings = report.interleaved(cases, repeats, warmups=min(2, repeats))
    row: report.Row = {"case": case}
    for name, timing in timings.items():
        row[f"{name}_images_per_s"] = BATCHES * len(images) / timing.median
    for name in ("pil", "tensor", "batch", "sampling"):
        row[f"ratio_to_{name}"] = report.paired_ratio(
            timings[name].seconds, timings["ours"].seconds
        )
    return row | {"batch_draws": "one for all"}


def several(way: Callable[[], object]) -> None:
    """Make the batches of a round."""
    for _ in range(BATCHES):
        way()


def ours(policy: ViewPolicy, generator: torch.Generator, images: Tensor) -> Tensor:
    """Make views with `fer_ray.core.augment`."""
    return make_views(images, draw_views(policy, len(images), generator).to(images.device))


def sampling(policy: ViewPolicy, images: Tensor) -> Callable[[], object]:
    """Return the bilinear sampling of ours; everything else is done before."""
    view = plain_views(images)
    affine = draw_views(policy, len(images), torch.Generator().manual_seed(0)).affine
    grid = F.affine_grid(affine.to(images.device), list(view.shape), align_corners=False)
    return partial(F.grid_sample, view, grid, padding_mode="border", align_corners=False)


def one_by_one(
    transform: Callable[[Any], Tensor], images: list[Any], device: torch.device
) -> Tensor:
    """Transform images one by one, and stack them."""
    return torch.stack([transform(image) for image in images]).to(device)


def pil_images(images: Tensor) -> list[Any]:
    """Convert a batch to PIL images."""
    return [v2.functional.to_pil_image(image) for image in images.cpu()]


def transforms(policy: ViewPolicy) -> Callable[[Any], Tensor]:
    """Make torchvision's v2 transforms with the ranges of a policy."""
    steps: list[Any] = [
        v2.RandomHorizontalFlip(policy.flip),
        v2.RandomAffine(
            policy.rotate_deg,
            translate=(policy.shift, policy.shift),
            scale=(1 - policy.scale, 1 + policy.scale),
            interpolation=v2.InterpolationMode.BILINEAR,
        ),
        v2.ColorJitter(brightness=policy.brightness, contrast=policy.contrast),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5], [0.25]),
    ]
    if policy.erase:
        area = (0.0, policy.erase_area)
        steps.append(v2.RandomErasing(policy.erase, scale=area, ratio=(0.25, 4.0)))
    view: Callable[[Any], Tensor] = v2.Compose(steps)
    return view


def speed_goals(row: report.Row) -> list[report.Goal]:
    """Return the goals of one case."""
    return [
        report.Goal(
            name=f"images/s over v2 on {'PIL images' if name == 'pil' else 'tensors'} one by one, "
            f"{row['case']}",
            goal=goal,
            value=row[f"ratio_to_{name}"],
            why=f"with nothing but `F.grid_sample` it would be "
            f"{row[f'ratio_to_{name}'] / row['ratio_to_sampling']:.1f}",
        )
        for name, goal in GOALS.items()
    ]


if __name__ == "__main__":
    main()
