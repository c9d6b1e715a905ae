"""Training runs of `real_noise.py`: resumable after every epoch; their predictions are kept."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.counting import count_passes
from benchmarks.noise_sets import NoiseSet
from benchmarks.plan import digest, read_json, write_json
from benchmarks.runs import ENSEMBLE_OFFSET, clock, num_warmup, predict_all, read_run
from benchmarks.verified import write_verified
from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.errors import ConfigError
from fer_ray.core.noise_model import NoiseModel
from fer_ray.data import noise_of, open_data
from fer_ray.methods.crest import CReST
from fer_ray.training.checkpoint import Save, TrainState, load_checkpoint
from fer_ray.training.learner import Learners
from fer_ray.training.loop import fit
from fer_ray.training.runtime import ProcessRuntime, open_run_data, train_run, use_device
from fer_ray.training.state import new_state

_PLACES = ("data", "workers", "compute", "seed")


class PausedError(Exception):
    """The time is over; what was trained is in the checkpoint of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A row of the table.

    Attributes:
        name: Name in the table.
        values: Values of the run by dotted key that differ from the defaults.
        num_members: Runs whose mean prediction is judged, each with a seed of its own.
        knows_verified: Whether the run reads the verified labels.
        has_noise_model: Whether the clean probability of its splits is the posterior of the given
            label; that of all others is what the networks say of it.
    """

    name: str
    values: Mapping[str, Any]
    num_members: int = 1
    knows_verified: bool = False
    has_noise_model: bool = False

    def raw(self, faces: NoiseSet, work: Path, seed: int) -> dict[str, Any]:
        """Return the configuration of a run, without its number of epochs."""
        values: dict[str, Any] = {"data.spec": faces.spec, "data.deduplicate": False}
        values |= {"optim.batch_size": faces.batch_size, "seed": seed, **self.values}
        if self.knows_verified:
            values["data.verified"] = str(verified_path(faces, work, seed))
        return with_overrides({}, values)


def verified_path(faces: NoiseSet, work: Path, seed: int) -> Path:
    """Return the file of a seed's verified labels, and write it if it is missing."""
    path = (work / f"verified-{digest(asdict(faces))}-seed{seed}.csv").absolute()
    if not path.exists():
        part = path.with_suffix(f".part{os.getpid()}")
        write_verified(faces.spec, part, faces.num_verified, faces.sample, seed)
        part.replace(path)
    return path


def verified_rows(faces: NoiseSet, work: Path, seed: int) -> np.ndarray:
    """Return which training images are verified with a seed, as a mask."""
    path = str(verified_path(faces, work, seed))
    verified = open_data(faces.spec, deduplicate=False, verified=path).verified
    assert verified is not None
    return verified.is_seen


def verified_model(faces: NoiseSet, work: Path, seed: int) -> NoiseModel:
    """Estimate the noise from the verified labels of a seed."""
    data = open_data(faces.spec, deduplicate=False, verified=str(verified_path(faces, work, seed)))
    model = noise_of(data)
    assert model is not None, "more images are verified than an estimate needs"
    return model


def measure_cost(case: Case, faces: NoiseSet, work: Path) -> dict[str, Any]:
    """Count the forward-equivalents per training image of an epoch, of all members.

    Trains a few epochs: the counts depend on how many labels a method keeps.

    Returns:
        `warmup` and `later`: of an epoch without and with a split; and the `config`.
    """
    raw, epochs = case.raw(faces, work, 0), faces.pilot_epochs
    run = read_run(with_epochs(raw, epochs))
    data, device = open_run_data(run), use_device(run)
    counts: dict[bool, list[float]] = {False: [], True: []}
    with count_passes() as counter:
        for row in fit(run, data, device, new_state(run, data, device)):
            counts["split/labeled_fraction" in row].append(counter.take() / len(data.train))
    warmup, later = (
        float(case.num_members * np.mean(values)) if values else 0.0 for values in counts.values()
    )
    config = RunConfig.from_dict(raw).to_dict()
    return {"warmup": warmup or later, "later": later or warmup, "config": config}


def cost_path(case: Case, faces: NoiseSet, work: Path) -> Path:
    """Return the file of a new `measure_cost`."""
    config = RunConfig.from_dict(case.raw(faces, work, 0)).to_dict()
    stem = report.slug(f"cost {faces.name} {case.name}")
    return work / f"{stem}-{digest(_learning(config))}.json"


def known_cost(case: Case, faces: NoiseSet, work: Path) -> dict[str, Any] | None:
    """Read the cost of a case whose configuration agrees; `None` if it is not known."""
    wanted = RunConfig.from_dict(case.raw(faces, work, 0)).to_dict()
    for path in sorted(
        work.glob(f"{report.slug(f'cost {faces.name} {case.name}')}-????????????.json")
    ):
        cost = read_json(path)
        if agrees(cost["config"], wanted):
            return cost
    return None


def fitted_epochs(raw: Mapping[str, Any], cost: Mapping[str, Any], budget: float) -> int:
    """Return the number of epochs whose forward-equivalents come nearest to the budget.

    Args:
        raw: Configuration; its own number of epochs does not count.
        cost: From `measure_cost`.
        budget: Forward-equivalents per training image, of all members.
    """
    most = int(np.ceil(budget / min(cost["warmup"], cost["later"]))) + 1
    misses = {}
    for epochs in range(1, most + 1):
        try:
            warmup = num_warmup(RunConfig.from_dict(with_epochs(raw, epochs)))
        except ConfigError:  # shorter than the method's warm-up
            continue
        total = warmup * cost["warmup"] + (epochs - warmup) * cost["later"]
        misses[epochs] = abs(total - budget)
    return min(misses, key=lambda epochs: misses[epochs])


def with_epochs(raw: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """Set the number of epochs; CReST shares them out among its generations."""
    raw = with_overrides(raw, {"optim.epochs": epochs})
    method = RunConfig.from_dict(raw).method
    if isinstance(method, CReST):
        share = (epochs - num_warmup(RunConfig.from_dict(raw))) // method.num_generations
        raw = with_overrides(raw, {"method.generation_epochs": max(1, share)})
    return raw


class DeadlineRuntime(ProcessRuntime):
    """A plain process that keeps seconds and passes of every epoch, and stops at a deadline."""

    def __init__(self, folder: Path, counter: Any, num_images: int, deadline: float) -> None:
        super().__init__(folder)
        self._path, self._counter = folder / "cost.json", counter
        self._num_images, self._deadline = num_images, deadline
        self._since = clock()

    @property
    def cost(self) -> dict[str, float]:
        """Sums over all epochs."""
        epochs = read_json(self._path).values()
        return {key: sum(epoch[key] for epoch in epochs) for key in ("seconds", "passes")}

    def write(self, epoch: int, save: Save) -> None:
        """Stop the clock while a checkpoint is written."""
        start = clock()
        super().write(epoch, save)
        self._since += clock() - start

    def report(self, row: Mapping[str, Any]) -> None:
        """Keep the cost of the epoch, and stop if the time is over."""
        self._folder.mkdir(parents=True, exist_ok=True)
        costs = read_json(self._path) if self._path.exists() else {}
        passes = self._counter.take() / self._num_images
        costs[str(row["epoch"])] = {"seconds": clock() - self._since, "passes": passes}
        write_json(self._path, costs)
        super().report(row)
        if time.time() > self._deadline:
            raise PausedError
        self._since = clock()


def train_case(
    case: Case, faces: NoiseSet, epochs: int, seed: int, work: Path, deadline: float
) -> Path:
    """Train the members of a case, and write the predictions of their last epoch.

    Args:
        case: What to train.
        faces: On what.
        epochs: Number of epochs of every member.
        seed: Seed of the first member.
        work: Folder of checkpoints and predictions.
        deadline: Time (of `time.time`) after which training stops at the end of an epoch.

    Returns:
        The file: `test` and `train` (float16 [image, class], mean over members and mirror images),
        `figures` and `config` (JSON).

    Raises:
        PausedError: If the deadline has passed.
    """
    raw = with_epochs(case.raw(faces, work, seed), epochs)
    path = outcome_path(case, faces, raw, seed, work)
    members = []
    for number in range(case.num_members):
        run = read_run(raw | {"seed": seed + number * ENSEMBLE_OFFSET})
        folder = path.with_suffix("") / str(number)
        members.append(_train_member(run, folder, deadline))
    cost = {key: sum(figures[key] for _, figures in members) for key in ("seconds", "passes")}
    arrays = {key: np.mean([part[key] for part, _ in members], axis=0) for key in members[0][0]}
    arrays = {key: value.astype(np.float16) for key, value in arrays.items()}
    texts = {"figures": json.dumps(cost), "config": json.dumps(RunConfig.from_dict(raw).to_dict())}
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **arrays, **texts)  # type: ignore[arg-type]
    part.replace(path)
    shutil.rmtree(path.with_suffix(""))
    return path


def _train_member(
    run: RunConfig, folder: Path, deadline: float
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    device, data = use_device(run), open_run_data(run)
    with count_passes() as counter:
        runtime = DeadlineRuntime(folder, counter, len(data.train), deadline)
        train_run(run, runtime, data=data)
    state = new_state(run, data, device)
    load_checkpoint(state, max(folder.glob("epoch_*")))
    learners = Learners(state.networks, state.averages, run.compute, device).evaluated
    subsets = {"test": data.test, "train": data.train}
    arrays = {
        key: predict_all(learners, faces, run, device).numpy() for key, faces in subsets.items()
    }
    return arrays | clean_prob_of(state), runtime.cost


def clean_prob_of(state: TrainState) -> dict[str, np.ndarray]:
    """Return the mean clean probability of both networks at the last split, if there was one."""
    if state.split is None:
        return {}
    return {"clean_prob": state.split.clean_prob.mean(dim=0).numpy()}


def outcome_path(
    case: Case, faces: NoiseSet, raw: Mapping[str, Any], seed: int, work: Path
) -> Path:
    """Return the file of a run: the finished one of this configuration, or a new one.

    A finished run whose configuration lacks keys that exist by now is as good as a new one.
    """
    wanted = RunConfig.from_dict(raw).to_dict()
    stem = f"{report.slug(f'{faces.name} {case.name}')}-seed{seed}"
    for path in sorted(work.glob(f"{stem}-????????????.npz")):
        with np.load(path) as file:
            if agrees(json.loads(str(file["config"])), wanted):
                return path
    return work / f"{stem}-{digest(_learning(wanted))}.npz"


def agrees(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether two configurations have the same values for the keys of both.

    Where the data are and how they are computed does not count.

    >>> agrees({"optim": {"epochs": 3}}, {"optim": {"epochs": 3, "name": "sgd"}, "seed": 1})
    True
    >>> agrees({"optim": {"epochs": 3}}, {"optim": {"epochs": 4}})
    False
    """
    kept_leaves, wanted_leaves = (dict(_leaves(_learning(x))) for x in (kept, wanted))
    common = kept_leaves.keys() & wanted_leaves.keys()
    return all(kept_leaves[key] == wanted_leaves[key] for key in common)


def _learning(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _PLACES}


def _leaves(node: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value
