"""What a run is: frozen dataclasses, read strictly from a nested dict.

A run starts as a plain nested dict (a YAML file, `--set key=value`, a sampled configuration), and
becomes a `RunConfig` once: unknown keys, wrong types and values out of range end there, by name.
This file is longer than others, because it is the one page that shows every key of a run.
"""

import copy
import functools
import json
import math
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema

from fer_ray.core.augment import ViewPolicy
from fer_ray.core.bounds import bounded, check_bounds
from fer_ray.core.complaints import complaint
from fer_ray.core.errors import ConfigError
from fer_ray.core.operating_points import POINTS, check_prior
from fer_ray.core.secrets import check_no_secrets
from fer_ray.methods import METHODS, Method
from fer_ray.methods.base import SplitMethod

# Sections that may be given as one word, and the key that the word is.
_SHORT = {"data": "spec", "method": "name"}
Select = Literal["best", "last"]
"""Epochs whose networks are tested: the best by the metric, or the last."""
_POINT_PREFIXES = ("", *(f"{point}/" for point in POINTS))
# The limit lies between 640 steps, where milder views are ahead, and 3,216, where they are not
# (FER2013, by 3.5 points of accuracy, two seeds).
_MILD_STEPS, _MILD_STRENGTH = 2000, 0.6
_SECTIONS = (
    "data",
    "model",
    "method",
    "optim",
    "augment",
    "workers",
    "compute",
    "checkpoint",
    "prediction",
)


class _ByName:
    """Lets pydantic read a method as the member of `METHODS` that its `name` says."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        del source
        union: Any = functools.reduce(operator.or_, METHODS.values())
        return handler.generate_schema(Annotated[union, Discriminator("name")])


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which images.

    Attributes:
        spec: Data set as `open_data` reads it: `synthetic`, `raf-db:/path/basic`, ...
        val_fraction: Share of the training images set aside for validation if the data set has no
            validation images; about this share, see docs/data.md.
        seed: Seed of that choice; apart from the run's seed, so that runs with other seeds compare
            on the same images.
        size: Height and width of the images in pixels. By default images of files have 112, or
            their own size where that is smaller, and arrays keep theirs.
        deduplicate: Whether test images that are copies of training images are left out.
        max_missing_fraction: Share of listed image files that may be missing or unreadable.
        verified: A csv file of labels that a person has verified, see docs/data.md; null: none, but
            those of the data set itself.
        use_verified: Whether training images get their verified label in place of the given one.
    """

    spec: str = "synthetic"
    val_fraction: float = bounded(0.15, "(0, 1)")
    seed: int = bounded(0, "[0, inf)")
    size: int | None = bounded(None, "[16, 1024]")
    deduplicate: bool = True
    max_missing_fraction: float = bounded(0.01, "[0, 1)")
    verified: str | None = None
    use_verified: bool = True

    def __post_init__(self) -> None:
        check_bounds(self)
        check_no_secrets(self.spec, "spec")
        check_no_secrets(self.verified or "", "verified")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which network.

    Attributes:
        name: `tiny` (0.2 M parameters, for CPUs) or one of torchvision's ResNets.
        stem: `imagenet` (7x7, stride 2, max-pool), `small` (3x3, stride 1), or `auto`: small below
            64 pixels. `tiny` has its own.
        weights: Initial weights: null (random), `torchvision` (trained on ImageNet) or the path of
            a state dict.
    """

    name: Literal["tiny", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "tiny"
    stem: Literal["auto", "small", "imagenet"] = "auto"
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.name == "tiny" and self.weights == "torchvision":
            raise ValueError(
                "weights: torchvision has none for tiny; take a ResNet, a path or null"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """The optimizer: its learning rate rises linearly, then falls to 0 as half a cosine.

    Attributes:
        name: `sgd` (Nesterov momentum), `muon` (SGD whose updates of the convolutions' kernels are
            orthogonalised: fewer steps to the same accuracy), `adamw`, or `auto`: muon for runs of
            up to 3,500 steps, else sgd (see `fer_ray.training.optimizers`).
        epochs: All epochs, warm-up included.
        batch_size: Labelled images per step, over all workers.
        learning_rate: Highest learning rate, of SGD. Muon's kernels have a fifth of it, and AdamW
            has a thirtieth.
        lr_warmup: Share of the steps over which the learning rate rises from 0.
        momentum: Momentum of SGD and Muon, and first decay rate of AdamW.
        weight_decay: Weight decay of SGD, of Muon and, a hundred times as much, of AdamW; biases
            and normalisation layers have none.
        clip_norm: Norm to which larger gradients are scaled down.
        average_decay: How much of itself the moving average of a network's weights keeps at every
            step. The average scores, is validated and is tested in the network's place. 0: there is
            none. A method with a decay of its own uses that.
    """

    name: Literal["auto", "sgd", "muon", "adamw"] = "auto"
    epochs: int = bounded(12, "[1, inf)")
    batch_size: int = bounded(64, "[1, inf)")
    learning_rate: float = bounded(0.1, "(0, inf)")
    lr_warmup: float = bounded(0.2, "[0, 1)")
    momentum: float = bounded(0.9, "[0, 1)")
    weight_decay: float = bounded(5e-4, "[0, 1)")
    clip_norm: float = bounded(5.0, "(0, inf)")
    average_decay: float = bounded(0.995, "[0, 1)")

    def __post_init__(self) -> None:
        check_bounds(self)


def _strong_views() -> ViewPolicy:
    return ViewPolicy(
        rotate_deg=15.0,
        scale=0.15,
        shift=0.08,
        brightness=0.5,
        contrast=0.35,
        erase=0.5,
        erase_area=0.25,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """The two kinds of random view.

    Attributes:
        weak: Of which labels are guessed and pseudo-labels made.
        strong: Of which networks learn.
        strength: Factor on all changes that `strong` makes, or `auto`: 0.6 for runs of up to 2,000
            steps, which are too short to learn from strongly changed faces, else 1.
    """

    weak: ViewPolicy = field(default_factory=ViewPolicy)
    strong: ViewPolicy = field(default_factory=_strong_views)
    strength: float | Literal["auto"] = bounded("auto", "[0, 1]")

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Processes of a run and what each of them gets.

    Attributes:
        num_workers: Number of worker processes.
        min_workers: Fewest workers that a run begins or goes on with. Where a host is lost, it goes
            on from its last epoch with as many as there is room for, and with more when there is
            room again; its numbers are then no longer those of an undisturbed run. null: it needs
            all of them.
        cpus_per_worker: CPUs of a worker; also its number of torch threads if it has no GPU.
        gpus_per_worker: GPUs of a worker. A fraction puts several one-worker trials on a device;
            `auto` is 1 if there are as many GPUs as workers, else 0.
        parallel: What workers share out between them. `images`: all train the same network, each
            on its part of a batch. `networks`: half of the workers trains A while the other half
            trains B, which needs a method whose networks do not look at each other within an epoch
            (`Method.asks_peer`) and an even number of workers; two workers then compute what one
            does (but for the rounding of scores, whose batches differ) and meet once an epoch
            instead of once a step. `auto`: networks where that is possible.
    """

    num_workers: int = bounded(1, "[1, inf)")
    min_workers: int | None = bounded(None, "[1, inf)")
    cpus_per_worker: float = bounded(1.0, "(0, inf)")
    gpus_per_worker: float | Literal["auto"] = bounded("auto", "[0, inf)")
    parallel: Literal["auto", "images", "networks"] = "auto"

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(
                f"min_workers: expected at most num_workers ({self.num_workers}), got "
                f"{self.min_workers}"
            )
        gpus = self.gpus_per_worker
        if gpus != "auto" and self.num_workers > 1 and gpus != int(gpus):
            raise ValueError(
                f"gpus_per_worker: expected whole GPUs with {self.num_workers} workers, because "
                f"NCCL refuses two ranks on one device; got {gpus}"
            )

    @property
    def sizes(self) -> range:
        """Numbers of workers that a run may have while it lasts."""
        return range(self.min_workers or self.num_workers, self.num_workers + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """How the arithmetic is done; none of it changes what is computed.

    Attributes:
        bf16: Autocast to bfloat16; `auto` is what `benchmarks/epoch.py` measured to be faster.
        channels_last: Memory format; likewise.
        speedups: `none`, `fused` (SGD in one kernel), `compile` (the network compiled too, which
            takes minutes before the first step), or `auto`: what is never slower, on any device
            `fused`.
        eval_batch_size: Images per forward pass without gradient.
    """

    bf16: bool | Literal["auto"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    speedups: Literal["auto", "none", "fused", "compile"] = "auto"
    eval_batch_size: int = bounded(512, "[1, inf)")

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """How often a run is saved; it changes no result.

    Attributes:
        every: Epochs from one checkpoint to the next. The first and the last epoch always have one.
            What was cut off repeats the epochs since its newest checkpoint, with the same rows. A
            larger number saves time where networks are large and the storage is slow. Not for
            searches with `early_terminate`: a trial is stopped in any epoch, and is tested in it.
    """

    every: int = bounded(1, "[1, inf)")

    def __post_init__(self) -> None:
        check_bounds(self)

    def is_due(self, epoch: int, num_epochs: int) -> bool:
        """Whether an epoch of a run has a checkpoint.

        >>> [epoch for epoch in range(1, 9) if CheckpointConfig(every=3).is_due(epoch, 8)]
        [1, 3, 6, 8]
        """
        return epoch % self.every == 0 or epoch in (1, num_epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionConfig:
    """For which population networks predict: validation and test are judged there.

    Attributes:
        prior: Class shares of the population: `trained` (predictions stay as they are), `given`
            (shares of the given training labels), `verified` (shares of the true classes, as
            verified labels tell them), `uniform` (all classes equally), or a share per class.
            Predictions are multiplied by the shares and divided by their mean over the validation
            images.
    """

    prior: str | Mapping[str, float] = "trained"

    def __post_init__(self) -> None:
        check_prior(self.prior)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's numbers, and where they are computed.

    Attributes:
        data: Which images.
        model: Which network.
        method: How it learns from noisy labels.
        optim: The optimizer and its schedule.
        augment: Random views.
        workers: Processes.
        compute: Arithmetic.
        checkpoint: What a run resumes from.
        prediction: The operating point.
        metric: Metric by which trials and epochs are compared: `val/macro_recall`, `val/accuracy`,
            `val/loss`, `val/recall/<class>`, or `accuracy` or `macro_recall` at another operating
            point, such as `val/natural/accuracy`, which orders trials best where no label is
            verified. With verified labels also those against the truth, such as
            `val/corrected/accuracy`, and `val/forward_loss` (with `mode=min`).
        mode: Whether the best metric is the largest or the smallest.
        select: Whether the networks of the `best` epoch by the metric are tested and saved, or
            those of the `last` epoch; trials of a search are compared at that epoch.
        seed: Seed of network initialisation, image order and random views.
        flip_average: Whether predictions average an image and its mirror image.
    """

    # Holds for the sections too. Strict: `true` is no number, "3" no integer.
    __pydantic_config__: ClassVar[Mapping[str, object]] = {
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
    }

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: Annotated[Method, _ByName()] = field(default_factory=METHODS["peer_posterior"])
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    workers: WorkerConfig = field(default_factory=WorkerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    metric: str = "val/natural/accuracy"
    mode: Literal["max", "min"] = "max"
    select: Select = "last"
    seed: int = bounded(0, "[0, inf)")
    flip_average: bool = True

    def __post_init__(self) -> None:
        check_bounds(self)
        check_metric(self.metric)
        self._check_warmup()
        for num_workers in self.workers.sizes:
            self._check_workers(num_workers)

    def _check_workers(self, num_workers: int) -> None:
        batch, teams = self.optim.batch_size, self.num_teams(num_workers)
        if teams == 1 and self.workers.parallel == "networks" and num_workers > 1:
            raise ValueError(
                f"workers.parallel: networks train at the same time on an even number of workers "
                f"and with a method of two that do not look at each other within an epoch, such as "
                f"co_divide; got {num_workers} workers and {self.method.label}. Take auto"
            )
        sharing = num_workers // teams
        if batch % sharing:
            every = math.lcm(*(num // self.num_teams(num) for num in self.workers.sizes))
            raise ValueError(
                f"optim.batch_size: {batch} images a step do not divide among {sharing} workers; "
                f"take a multiple of {every}"
            )
        if batch < 2 * sharing:
            raise ValueError(
                f"optim.batch_size: at least 2 images for each of {sharing} workers, because "
                f"BatchNorm needs two; got {batch}"
            )

    def _check_warmup(self) -> None:
        method, num_epochs = self.method, self.optim.epochs
        if isinstance(method, SplitMethod) and method.num_warmup(num_epochs) >= num_epochs:
            raise ValueError(
                f"method.warmup_epochs: {method.warmup_epochs} is {method.num_warmup(num_epochs)} "
                f"of {num_epochs} epochs, so {method.label} would never divide the data. Take a "
                f"shorter warm-up, or optim.epochs of at least {method.num_warmup(num_epochs) + 1}"
            )

    def num_steps(self, num_images: int) -> float:
        """About how many steps a run on this many training images has."""
        return self.optim.epochs * num_images / self.optim.batch_size

    def strong_views(self, num_images: int) -> ViewPolicy:
        """The views that networks learn from on this many training images."""
        strength = self.augment.strength
        if strength == "auto":
            is_mild = self.num_steps(num_images) <= _MILD_STEPS
            strength = _MILD_STRENGTH if is_mild else 1.0
        return self.augment.strong.scaled(strength)

    @property
    def average_decay(self) -> float:
        """Decay of the moving averages of weights; 0: there are none."""
        return self.method.average_decay or self.optim.average_decay

    def num_teams(self, num_workers: int) -> int:
        """Teams of workers that train a network each at the same time; 1: all train the same."""
        num = self.method.num_networks
        can = num > 1 and not self.method.asks_peer and num_workers % num == 0
        return num if can and self.workers.parallel != "images" else 1

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> "RunConfig":
        """Build from a nested dict as YAML gives it.

        Raises:
            ConfigError: For an unknown key (with the nearest known one), a wrong type or a value
                out of range, with the dotted key.
        """
        sections = {str(key): _spelled_out(str(key), value) for key, value in raw.items()}
        try:
            # As JSON, because only there a strict dataclass may be given as a mapping.
            text = json.dumps(sections, default=str)
            run: RunConfig = _adapter(tuple(METHODS.values())).validate_json(text)
        except ValidationError as error:
            raise ConfigError(complaint(error.errors(), RunConfig, METHODS)) from None
        except RecursionError:
            raise ConfigError("the configuration is nested too deeply") from None
        return run

    def with_values(self, values: Mapping[str, Any]) -> "RunConfig":
        """This run with other values, by dotted key: how a sampled configuration is applied.

        Raises:
            ConfigError: See `from_dict`.
        """
        return RunConfig.from_dict(with_overrides(self.to_dict(), values))

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dict; `from_dict` of it is this configuration again."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def check_metric(metric: str) -> None:
    """Refuse a metric that is not of the validation set or that no run reports.

    Raises:
        ValueError: Saying which metrics there are.
    """
    pairs = [f"{at}{key}" for at in _POINT_PREFIXES for key in ("macro_recall", "accuracy")]
    plain = {"val/loss", *(f"val/{pair}" for pair in pairs)}
    corrected = {"val/forward_loss", *(f"val/corrected/{pair}" for pair in pairs)}
    if metric not in plain | corrected and not metric.startswith("val/recall/"):
        raise ValueError(
            "metric: one of val/macro_recall, val/accuracy, val/loss, val/recall/<class>, the "
            f"first two at a point ({', '.join(POINTS)}), such as val/natural/accuracy, or against "
            f"the truth, such as val/corrected/accuracy, or val/forward_loss; got {metric!r}. "
            "Selection on anything but validation data would peek at the test set."
        )


def needs_noise(metric: str) -> bool:
    """Whether a metric is reported only where verified labels tell the noise of the labels.

    >>> needs_noise("val/corrected/accuracy"), needs_noise("val/accuracy")
    (True, False)
    """
    return metric.startswith("val/corrected/") or metric == "val/forward_loss"


def with_overrides(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Deep copy of `raw` with dotted keys set.

    Raises:
        ConfigError: If a dotted key leads through something that is not a section.

    >>> with_overrides({"data": "synthetic"}, {"optim.epochs": 3})
    {'data': 'synthetic', 'optim': {'epochs': 3}}
    """
    result = copy.deepcopy(dict(raw))
    for dotted, value in overrides.items():
        *path, last = dotted.split(".")
        node: dict[str, Any] = result
        for depth, key in enumerate(path):
            child = node.get(key)
            if depth == 0 and key in _SHORT and isinstance(child, str):
                child = node[key] = {_SHORT[key]: child}
            if child is None:
                child = node[key] = {}
            if not isinstance(child, dict):
                raise ConfigError(
                    f"{dotted}: {'.'.join(path[: depth + 1])} is a value, not a section"
                )
            node = child
        node[last] = copy.deepcopy(value)
    return result


def flat_values(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key.

    >>> flat_values({"optim": {"epochs": 3}, "seed": 1})
    {'optim.epochs': 3, 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in section.items():
        inner = flat_values(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat |= {f"{prefix}{key}": value} if inner is None else inner
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _spelled_out(key: str, value: Any) -> Any:
    """A section as a mapping, where one word may stand for it; a method with its name.

    Raises:
        ConfigError: If it is something else.
    """
    if key in _SHORT and isinstance(value, str):
        return {_SHORT[key]: value}
    if key not in _SECTIONS:
        return value
    if not isinstance(value, Mapping):
        named = "with a name" if key == "method" else "of keys"
        raise ConfigError(f"{key}: expected a section {named}, got {value!r}")
    return {"name": RunConfig().method.label, **value} if key == "method" else value


@functools.cache
def _adapter(methods: tuple[type[Method], ...]) -> Any:
    """Reads runs; another one as soon as `METHODS` has other members."""
    del methods
    return TypeAdapter(RunConfig)
