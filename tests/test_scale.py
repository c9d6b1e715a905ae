"""`python -m fer_ray.scale`: which runs it trains, how it compares them, and the command itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale import by_command
from fer_ray.commands.arguments import read_run
from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.record.plots import scaling_png
from fer_ray.scale import build_parser
from fer_ray.training.scaling import PARTS, Point, make_cases, make_point
from tests.conftest import Command, Launch

pytestmark = pytest.mark.lowest


def cases(*argv: str, num_images: int = 100) -> list[tuple[str, RunConfig]]:
    args = build_parser().parse_args(argv)
    return [
        *make_cases(
            read_run(args),
            num_images,
            workers=args.workers,
            num_epochs=args.epochs,
            scalings=args.scaling,
        )
    ]


def test_the_batch_stays_or_grows_and_the_warmup_is_short() -> None:
    found = cases("--workers", "2", "1", "2", "--epochs", "3", "--set", "optim.batch_size=16")
    points = [(kind, run.workers.num_workers, run.optim.batch_size) for kind, run in found]
    assert points == [("strong", 1, 16), ("strong", 2, 16), ("weak", 1, 16), ("weak", 2, 32)]
    for _, run in found:
        assert getattr(run.method, "warmup_epochs", None) == 6
        assert run.optim.epochs == 10


@pytest.mark.parametrize(("num_images", "warmup"), [(30, 6), (2400, 6), (7200, 2), (10**6, 1)])
def test_many_images_need_few_epochs_of_warmup(num_images: int, warmup: int) -> None:
    ((_, run),) = cases("--workers", "1", "--scaling", "weak", num_images=num_images)
    assert getattr(run.method, "warmup_epochs", None) == warmup


def test_a_method_without_warmup_has_none() -> None:
    ((_, run),) = cases("--workers", "1", "--scaling", "weak", "--set", "method.name=cross_entropy")
    assert run.optim.epochs == 5


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--workers", "0"], "--workers: expected at least 1 each, got 0"),
        (["--epochs", "0"], "--epochs: expected at least 1, got 0"),
        (["--workers", "3"], "optim.batch_size: 64 images a step do not divide among 3 workers"),
        (["--set", "optim.epoch=3"], "optim.epoch: unknown key; did you mean epochs?"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(argv: Sequence[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cases(*argv)


def row(speed: float) -> dict[str, Any]:
    return {
        "time/images_per_s": speed,
        "time/epoch_s": 2.0,
        "time/input_s": 0.2,
        "time/communication_s": 0.4,
        "time/division_s": 0.1,
    }


def test_efficiency_is_against_the_fewest_workers_of_the_same_scaling() -> None:
    runs = {num: cases("--workers", str(num))[0][1] for num in (2, 4)}
    points: list[Point] = []
    for kind, num, speed in (("strong", 2, 100.0), ("strong", 4, 150.0), ("weak", 2, 90.0)):
        rows = [row(speed), row(speed - 5), row(speed + 50)]
        points.append(make_point(kind, runs[num], rows, points))  # type: ignore[arg-type]
    assert [point.efficiency for point in points] == [1.0, 0.75, 1.0]
    share = points[0].share
    assert share == pytest.approx(
        {"compute": 0.65, "communication": 0.2, "split": 0.05, "input": 0.1}
    )
    assert tuple(share) == PARTS


@pytest.mark.ray
def test_the_command_measures_and_draws(tmp_path: Path) -> None:
    """It is called as the benchmark calls it."""
    options = ["--data", "synthetic:train=120,test=28", "--set", "optim.batch_size=16"]
    options += ["--workers", "2", "--epochs", "1", "--scaling", "weak"]
    points = by_command(options, tmp_path)
    (point,) = points
    assert (point["num_workers"], point["batch_size"], point["efficiency"]) == (2, 32, 1.0)
    assert point["images_per_s"] > 0
    assert sum(point["share"].values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in point["share"].values())
    assert point["share"]["communication"] > 0
    picture = (tmp_path / "scale" / "scale.png").read_bytes()
    assert picture == scaling_png(points, "peer_posterior, tiny, synthetic")


@pytest.mark.ray
def test_sigterm_ends_a_measurement_and_leaves_nothing(launch: Launch, tmp_path: Path) -> None:
    options = ["--data", "synthetic:train=300,test=28", "--epochs", "400", "--workers", "1"]
    command = launch("fer_ray.scale", *options, "--storage", tmp_path)
    command.wait_until(lambda: _trains(command))
    command.process.terminate()
    assert command.wait() == 130, command.output
    assert "interrupted; nothing was written" in " ".join(command.output.split())
    assert "Traceback" not in command.output
    assert command.leftovers() == []
    assert list(tmp_path.iterdir()) == []


def _trains(command: Command) -> bool:
    words = [process.cmdline() for process in command.processes()]
    return any(line[0].startswith("ray::RayTrainWorker") for line in words if line)
