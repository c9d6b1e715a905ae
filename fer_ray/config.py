"""What a run is: frozen dataclasses, read strictly from YAML. Only here and in `space` is checked.

A run starts as a plain nested dict (a YAML file, `--set key=value`, a sampled configuration), and
becomes a `RunConfig` once: unknown keys and values out of range end there, by name.
"""

import copy
import difflib
import functools
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from fer_ray.core.augment import ViewPolicy
from fer_ray.methods import METHODS, Method

# What pydantic puts in the location of an error for each member of a union it tried.
_UNION_MEMBER = re.compile(r"^(bool|str|int|float|none|(function-|literal\[|dict\[|is-).*)$")
# Sections that may be given as one word, and the key that the word is.
_SHORT = {"data": "spec", "method": "name"}
_STRICT: Mapping[str, object] = {"extra": "forbid"}


class ConfigError(ValueError):
    """A configuration that cannot run; the message says where, what was expected and what came."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which images.

    Attributes:
        spec: Data set as `open_data` reads it: `synthetic`, `raf-db:/path/basic`, ...
        val_fraction: Share of the training images set aside for validation if there are none.
        seed: Of that division; apart from the run's seed, so that runs compare on the same images.
        size: Height and width of images read from files, 16 to 1024; by default 112, or their own
            where that is smaller.
        deduplicate: Whether test images that are copies of training images are left out.
        max_missing_fraction: Share of listed image files that may be missing or unreadable.
    """

    __pydantic_config__: ClassVar = _STRICT
    spec: str = "synthetic"
    val_fraction: float = 0.15
    seed: int = 0
    size: int | None = None
    deduplicate: bool = True
    max_missing_fraction: float = 0.01

    def __post_init__(self) -> None:
        _require(self.size is None or 16 <= self.size <= 1024, f"size: 16 to 1024, got {self.size}")
        _require(
            0 <= self.max_missing_fraction < 1,
            f"max_missing_fraction: in [0, 1), got {self.max_missing_fraction}",
        )
        _require(0 < self.val_fraction < 1, f"val_fraction: in (0, 1), got {self.val_fraction}")
        _require(self.seed >= 0, f"seed: at least 0, got {self.seed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which network.

    Attributes:
        name: `tiny` (0.2 M parameters, for CPUs) or one of torchvision's ResNets.
        stem: `imagenet` (7x7, stride 2, max-pool), `small` (3x3, stride 1), or `auto`: small below
            64 pixels. `tiny` has its own.
        weights: Start: None (random), `torchvision` (ImageNet) or the path of a state dict.
    """

    __pydantic_config__: ClassVar = _STRICT
    name: Literal["tiny", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "tiny"
    stem: Literal["auto", "small", "imagenet"] = "auto"
    weights: str | None = None

    def __post_init__(self) -> None:
        _require(
            not (self.name == "tiny" and self.weights == "torchvision"),
            "weights: torchvision has none for tiny; take a ResNet, a path or null",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """SGD with Nesterov momentum and one cosine from `learning_rate` to 0.

    Attributes:
        epochs: All epochs, warm-up included.
        batch_size: Labelled images a step, over all ranks.
        learning_rate: At the start.
        momentum: Of SGD.
        weight_decay: Of SGD, not on biases and normalisation.
        clip_norm: Largest norm of the gradient.
    """

    __pydantic_config__: ClassVar = _STRICT
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size"):
            _require(getattr(self, key) >= 1, f"{key}: at least 1, got {getattr(self, key)}")
        for key in ("learning_rate", "clip_norm"):
            _require(getattr(self, key) > 0, f"{key}: above 0, got {getattr(self, key)}")
        for key in ("momentum", "weight_decay"):
            _require(0 <= getattr(self, key) < 1, f"{key}: in [0, 1), got {getattr(self, key)}")


def _strong_views() -> ViewPolicy:
    return ViewPolicy(
        rotate_deg=10.0, scale=0.1, shift=0.05, brightness=0.3, contrast=0.2, erase=0.25
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """The two kinds of random view."""

    __pydantic_config__: ClassVar = _STRICT
    weak: ViewPolicy = field(default_factory=ViewPolicy)
    strong: ViewPolicy = field(default_factory=_strong_views)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Processes of a run and what each of them gets.

    Attributes:
        num_workers: Ranks.
        cpus_per_worker: CPUs of a rank; also its number of torch threads on a CPU.
        gpus_per_worker: GPUs of a rank; a fraction packs several one-worker trials on a device;
            `auto` is 1 where there are as many GPUs as workers, else 0.
        parallel: What workers share out between them. `images`: all train the same network, each
            on its part of a batch. `networks`: half of the workers trains A while the other half
            trains B, which needs a method whose networks do not look at each other within an epoch
            (`Method.asks_peer`) and an even number of workers; two workers then compute what one
            does (but for the rounding of scores, whose batches differ) and meet once an epoch
            instead of once a step. `auto`: networks where that is possible.
    """

    __pydantic_config__: ClassVar = _STRICT
    num_workers: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float | Literal["auto"] = "auto"
    parallel: Literal["auto", "images", "networks"] = "auto"

    def __post_init__(self) -> None:
        _require(self.num_workers >= 1, f"num_workers: at least 1, got {self.num_workers}")
        _require(self.cpus_per_worker > 0, f"cpus_per_worker: above 0, got {self.cpus_per_worker}")
        gpus = self.gpus_per_worker
        if gpus == "auto":
            return
        _require(gpus >= 0, f"gpus_per_worker: at least 0, got {gpus}")
        _require(
            self.num_workers == 1 or gpus == int(gpus),
            f"gpus_per_worker: whole GPUs with {self.num_workers} workers, for NCCL refuses two "
            f"ranks on a device; got {gpus}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """How the arithmetic is done; none of it changes what is computed.

    Attributes:
        bf16: Autocast to bfloat16; `auto` is what `benchmarks/epoch.py` measured to be faster.
        channels_last: Memory format; likewise.
        speedups: `none`, `fused` (SGD in one kernel), `compile` (the network compiled too, which
            takes minutes before the first step), or `auto`: what is never slower, on any device
            `fused`.
        eval_batch_size: Images a forward without gradient.
    """

    __pydantic_config__: ClassVar = _STRICT
    bf16: bool | Literal["auto"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    speedups: Literal["auto", "none", "fused", "compile"] = "auto"
    eval_batch_size: int = 512

    def __post_init__(self) -> None:
        _require(
            self.eval_batch_size >= 1, f"eval_batch_size: at least 1, got {self.eval_batch_size}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's numbers, and where they are computed.

    Attributes:
        metric: What is best; a `val/...` key, never of the test set.
        mode: Whether the best metric is the largest or the smallest.
        seed: Of networks, orders and views.
        flip_average: Whether predictions average an image and its mirror image.
    """

    __pydantic_config__: ClassVar = _STRICT
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: Method = field(default_factory=METHODS["co_divide"])
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    workers: WorkerConfig = field(default_factory=WorkerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    metric: str = "val/macro_recall"
    mode: Literal["max", "min"] = "max"
    seed: int = 0
    flip_average: bool = True

    def __post_init__(self) -> None:
        check_metric(self.metric)
        batch, teams = self.optim.batch_size, self.num_teams(self.workers.num_workers)
        _require(
            teams > 1 or self.workers.parallel != "networks" or self.workers.num_workers == 1,
            f"workers.parallel: networks train at the same time on an even number of workers and "
            f"with a method of two that do not look at each other within an epoch, such as "
            f"co_divide; got {self.workers.num_workers} workers and {self.method.label}. Take auto",
        )
        sharing = self.workers.num_workers // teams
        _require(
            batch % sharing == 0,
            f"optim.batch_size: {batch} images a step do not divide among {sharing} workers; "
            f"take a multiple of {sharing}",
        )
        _require(
            batch >= 2 * sharing,
            f"optim.batch_size: at least 2 images for each of {sharing} workers, for BatchNorm "
            f"needs two; got {batch}",
        )
        _require(self.seed >= 0, f"seed: at least 0, got {self.seed}")

    def num_teams(self, num_workers: int) -> int:
        """Teams of workers that train a network each at the same time; 1: all train the same."""
        num = self.method.num_networks
        can = num > 1 and not self.method.asks_peer and num_workers % num == 0
        return num if can and self.workers.parallel != "images" else 1

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> "RunConfig":
        """Build from a nested dict as YAML gives it.

        Raises:
            ConfigError: For an unknown key (with the nearest known one), a type or a value out
                of range, with the dotted key.
        """
        parts: dict[str, Any] = {}
        known = [item.name for item in fields(RunConfig)]
        sections: dict[str, Any] = {
            "data": DataConfig,
            "model": ModelConfig,
            "optim": OptimConfig,
            "augment": AugmentConfig,
            "workers": WorkerConfig,
            "compute": ComputeConfig,
        }
        for key, value in raw.items():
            if key not in known:
                raise ConfigError(_unknown(str(key), "", known))
            if key == "method":
                parts[key] = _method(_spelled_out(key, value))
            elif key in sections:
                parts[key] = _validated(sections[key], _spelled_out(key, value), key)
            else:
                parts[key] = value
        scalars = {key: value for key, value in parts.items() if key not in (*sections, "method")}
        checked = _validated(_Scalars, scalars, "")
        parts |= {key: getattr(checked, key) for key in scalars}
        try:
            return RunConfig(**parts)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dict; `from_dict` of it is this configuration again."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scalars:
    """The top-level values of `RunConfig`, for their types."""

    __pydantic_config__: ClassVar = _STRICT
    metric: str = "val/macro_recall"
    mode: Literal["max", "min"] = "max"
    seed: int = 0
    flip_average: bool = True


def check_metric(metric: str) -> None:
    """Refuse a metric that is not of the validation set or that no run reports.

    Raises:
        ValueError: Saying which metrics there are.
    """
    reported = ("val/macro_recall", "val/accuracy", "val/loss")
    if metric not in reported and not metric.startswith("val/recall/"):
        raise ValueError(
            f"metric: one of {', '.join(reported)} or val/recall/<class>; got {metric!r}. "
            "Selection on anything but validation data would peek at the test set."
        )


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


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` words; values are YAML.

    Raises:
        ConfigError: If a word has no `=` or its value is not YAML.

    >>> parse_assignments(["optim.epochs=3", "model.name=tiny"])
    {'optim.epochs': 3, 'model.name': 'tiny'}
    """
    parsed: dict[str, Any] = {}
    for word in assignments:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {word}: expected key=value, such as optim.epochs=30")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {word}: the value is not YAML: {error}") from None
    return parsed


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConfigError: If the file is missing, unreadable, not YAML (with the line) or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}. Check the path.") from None
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(content).__name__}")
    return content


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, where YAML would let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # the base class says so, with the place
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _spelled_out(key: str, value: Any) -> Any:
    """A section given as one word, such as `data: synthetic`, as a mapping."""
    return {_SHORT[key]: value} if key in _SHORT and isinstance(value, str) else value


def _method(raw: Any) -> Method:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"method: expected a section with a name, got {raw!r}")
    name = raw.get("name", RunConfig().method.label)
    if name not in METHODS:
        raise ConfigError(f"method.name: one of {', '.join(METHODS)}; got {name!r}")
    method = _validated(METHODS[name], raw, "method")
    assert isinstance(method, Method)
    return method


def _validated(kind: type, raw: Any, place: str) -> Any:
    """Let pydantic check one section and say its first complaint in one sentence."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{place}: expected a section of keys, got {raw!r}")
    try:
        return _adapter(kind).validate_python(dict(raw))
    except ValidationError as error:
        raise ConfigError(_complaint(error.errors()[0], kind, place)) from None


@functools.cache
def _adapter(kind: type) -> Any:
    return TypeAdapter(kind)


def _complaint(error: Any, kind: type, place: str) -> str:
    path = [str(part) for part in error["loc"] if not _UNION_MEMBER.match(str(part))]
    dotted = ".".join([place, *path]).strip(".")
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        parent: Any = kind
        for key in path[:-1]:
            parent = next(item.type for item in fields(parent) if item.name == key)
        return _unknown(path[-1], ".".join([place, *path[:-1]]).strip("."), _names(parent))
    if error["type"] == "value_error":
        return ".".join(part for part in (dotted, str(error["ctx"]["error"])) if part)
    return f"{dotted}: {error['msg'][0].lower()}{error['msg'][1:]}, got {error['input']!r}"


def _names(kind: type) -> list[str]:
    return [item.name for item in fields(kind)]


def _unknown(key: str, place: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
    return f"{'.'.join(part for part in (place, key) if part)}: unknown key; {hint}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
