"""Opens a finished run, or the best trial of a finished search, from its files alone."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.operating_points import check_prior
from fer_ray.methods.peer_posterior import PeerPosterior
from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text
from fer_ray.results.run_files import (
    CONFIG,
    SUMMARY,
    WEIGHTS,
    RunFolderError,
    damaged,
    entry,
    names_in,
    no_run,
    other_version,
    read_summary,
    read_text,
    reading,
    unfinished_search,
)
from fer_ray.search.layout import SEARCH
from fer_ray.training.models import FaceNetwork
from fer_ray.training.operating_point import chosen_prior
from fer_ray.training.state import saved_networks


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run whose best networks were tested; nothing of its data set is needed.

    Attributes:
        folder: The run's own folder; of a search that of its best trial.
        search: Folder of the search, if that was given.
        config: What was trained.
        summary: Content of the run's `summary.json`.
        class_names: Names of the classes, in label order.
        num_channels: 1 for grey images, 3 for RGB.
        image_size: Height and width of the training images, in pixels.
        given: Class shares of the given training labels.
        verified: Class shares of the truth by verified labels; `None` if there were too few.
        mean_prediction: Mean prediction of the validation images, by which predictions are brought
            to an operating point.
    """

    folder: Folder
    search: Folder | None
    config: RunConfig
    summary: Mapping[str, Any]
    class_names: tuple[str, ...]
    num_channels: int
    image_size: tuple[int, int]
    given: Float[Tensor, " class"]
    verified: Float[Tensor, " class"] | None
    mean_prediction: Float[Tensor, " class"]

    @property
    def version(self) -> str:
        """Version of fer_ray that finished the run."""
        return str(self.summary["version"])

    @property
    def has_verified_noise(self) -> bool:
        """Whether the method went by the noise matrix of verified labels."""
        method = self.config.method
        wants = isinstance(method, PeerPosterior) and method.noise == "verified"
        return wants and self.verified is not None

    def prior(
        self, choice: str | Mapping[str, float] | None = None
    ) -> Float[Tensor, " class"] | None:
        """Class shares to predict for; `None` where predictions stay as trained.

        Args:
            choice: As `prediction.prior` of a run; by default the run's own.

        Raises:
            ConfigError: If it needs verified labels and the run had too few, or its classes are not
                those of the run.
        """
        if choice is None:
            choice = self.config.prediction.prior
        try:
            check_prior(choice)
        except ValueError as error:
            raise ConfigError(f"prediction.{error}") from None
        return chosen_prior(choice, self.class_names, self.given, self.verified)

    def networks(self) -> list[FaceNetwork]:
        """The chosen networks of the run, on the CPU, in evaluation mode.

        Raises:
            RunFolderError: If the run has no checkpoint, or it is damaged or of other networks.
            StorageError: If the folder cannot be read.
        """
        place = self.folder / WEIGHTS
        remedy = "Train the run again, or copy its folder anew."
        with reading(self.folder):
            content = self.folder.read_bytes(WEIGHTS) if self.folder.exists(WEIGHTS) else None
        if content is None:
            raise RunFolderError.at(
                self.folder,
                expected=f"the networks in {WEIGHTS}",
                got="no such file",
                remedy=remedy,
            )
        try:
            saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            networks = saved_networks(
                self.config,
                saved["weights"],
                num_classes=len(self.class_names),
                num_channels=self.num_channels,
                image_size=self.image_size,
            )
            if len(networks) != self.config.method.num_networks:
                raise ValueError(f"{len(networks)} networks")
        except Exception as error:  # a damaged file raises whatever its bytes lead to
            raise RunFolderError.at(
                place,
                expected=f"{self.config.method.num_networks} networks as in {CONFIG}",
                got=f"a file that is damaged or of another run ({error_text(error)[:200]})",
                remedy=remedy,
            ) from None
        return [network.eval().requires_grad_(False) for network in networks]


def open_run(place: str | os.PathLike[str] | Folder) -> FinishedRun:
    """Open the folder of a finished run, or of a finished search: its best trial.

    Args:
        place: A path or URI.

    Raises:
        RunFolderError: If it is no such folder, did not finish, was made by another version, or its
            files are damaged.
        StorageError: If the folder cannot be read.
    """
    folder = place if isinstance(place, Folder) else Folder(place)
    names = names_in(folder)
    if SEARCH not in names:
        return _open(folder, names, None)
    if SUMMARY not in names:
        raise unfinished_search(folder, names)
    trial = entry(folder, read_summary(folder), ("best", "trial"), str)
    return _open(folder / trial, names_in(folder / trial), folder)


def _open(folder: Folder, names: list[str], search: Folder | None) -> FinishedRun:
    """Read a run; `search` is the one that it is the best trial of."""
    if not {CONFIG, SUMMARY} <= set(names):
        raise no_run(folder, names)
    summary = read_summary(folder)
    classes = tuple(entry(folder, summary, ("classes",), list))
    size = entry(folder, summary, ("images", "size"), list)
    source = entry(folder, summary, ("prediction", "natural_source"), str)
    entry(folder, summary, ("version",), str)

    def shares(key: str) -> Float[Tensor, " class"]:
        named = entry(folder, summary, ("prediction", key), dict)
        try:
            values = torch.tensor([float(named[name]) for name in classes], dtype=torch.float64)
        except (KeyError, TypeError, ValueError):
            raise damaged(folder, f"prediction.{key}", "a share of every class", named) from None
        if not (values >= 0).all() or abs(float(values.sum()) - 1) > 1e-3:
            raise damaged(folder, f"prediction.{key}", "shares that sum to 1", named)
        return values

    return FinishedRun(
        folder=folder,
        search=search,
        config=_config(folder, summary),
        summary=summary,
        class_names=classes,
        num_channels=entry(folder, summary, ("images", "num_channels"), int),
        image_size=(int(size[0]), int(size[1])),
        given=shares("given"),
        verified=shares("natural") if source == "verified" else None,
        mean_prediction=shares("mean_prediction"),
    )


def _config(folder: Folder, summary: Mapping[str, Any]) -> RunConfig:
    text = read_text(folder, CONFIG)
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raw = " ".join(str(error).split())
    if not isinstance(raw, dict):
        raise RunFolderError.at(
            folder / CONFIG,
            expected="the configuration of a run as YAML",
            got=f"a damaged file ({str(raw)[:200]})",
            remedy="Copy the run's folder anew, or train it again.",
        )
    try:
        return RunConfig.from_dict(raw)
    except ConfigError as error:
        raise RunFolderError(
            f"{folder / CONFIG}: {error} {other_version(summary.get('version'))}"
        ) from None
