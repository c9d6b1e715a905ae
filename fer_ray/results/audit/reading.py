"""Reads what a finished run says of labels, from its files and its data set.

What the run has kept of its training images (`split.npz`) counts, and what its networks say of them
now.
"""

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fer_ray.config import RunConfig
from fer_ray.core.noise_model import NoiseModel
from fer_ray.data import FaceData, Faces, Verified
from fer_ray.data.faces import NOT_VERIFIED, UNLABELED
from fer_ray.methods.peer_posterior import PeerPosterior
from fer_ray.results.audit.beliefs import LEARNT, METHOD, POSTERIOR, UNSEEN, Beliefs
from fer_ray.results.audit.posteriors import (
    estimated_noise,
    of_given,
    posterior_of,
    under_noise,
)
from fer_ray.results.run_files import RunFolderError
from fer_ray.results.run_folder import FinishedRun
from fer_ray.training.finish import SPLIT, evaluation_device
from fer_ray.training.learner import Images, Learner, mean_prediction, resolve_compute


def read_beliefs(run: FinishedRun, data: FaceData) -> Beliefs:
    """Read what a run says of its training and validation images.

    Args:
        run: The run.
        data: Its data set.

    Raises:
        RunFolderError: If the data set is not as the run has seen it, or files of the run are
            missing or damaged.
        StorageError: If the folder cannot be read.
    """
    split = read_split(run, data)
    learners = _learners(run, data)
    faces = _as_given(data)
    said = _predicted(learners, faces, run.config)
    noise, temperature = _noise(run, split)
    late = noise
    if noise is not None and not run.has_verified_noise:
        late = estimated_noise(said, faces)  # networks know more now than after warm-up
    train = _of_train(data, split, said)
    if "posterior" in split:
        # What networks said while they learned was said of distorted views. What they say at the
        # end is too sure of labels that they have learned, but tells better which are odd.
        taught = under_noise(_taught(split), faces, noise, late)
        now = posterior_of(said, faces, late, temperature)
        train = replace(train, score=of_given((taught + now) / 2, faces).mean(axis=0))
    said = _predicted(learners, data.val, run.config)
    told = posterior_of(said, data.val, noise, temperature)
    val = _part(data.class_names, data.val, data.verified_val, told)
    now = posterior_of(said, data.val, late, temperature)
    val = replace(
        val,
        score=of_given(now, data.val).mean(axis=0),
        source=(UNSEEN,) * len(val),
        is_train=np.zeros(len(val), dtype=bool),
    )
    return _joined(train, val)


def read_split(run: FinishedRun, data: FaceData) -> dict[str, np.ndarray]:
    """Read `split.npz` of a run, and check that it is of these images.

    Raises:
        RunFolderError: If it is missing, damaged, or of other images.
    """
    place = run.folder / SPLIT
    try:
        with np.load(io.BytesIO(run.folder.read_bytes(SPLIT)), allow_pickle=False) as file:
            split = {key: np.asarray(file[key]) for key in file.files}
        num = len(split["row"])
        classes = tuple(split["class_names"].tolist())
    except Exception as error:  # a damaged archive raises whatever its bytes lead to
        raise RunFolderError.at(
            place,
            expected="what the run knows of its training images",
            got=f"{type(error).__name__}: {error}"[:200],
            remedy="Copy the run's folder anew, or train it again.",
        ) from None
    if classes != data.class_names or not np.array_equal(split["row"], data.train.row):
        raise RunFolderError.at(
            place,
            expected=f"the {len(data.train):,} training images of {data.name} as they are now",
            got=f"{num:,} images of {', '.join(classes)}, in another order or of another data set",
            remedy="The data set has changed since, or data.seed or data.val_fraction have: train "
            "again, or name the data set that the run learned from with --data.",
        )
    return split


def _of_train(
    data: FaceData,
    split: Mapping[str, np.ndarray],
    said: Float[np.ndarray, "network sample class"],
) -> Beliefs:
    """The training images, of which the tested networks have `said` something."""
    faces = _as_given(data)
    if "posterior" in split:
        prob, source = _taught(split), POSTERIOR
    else:
        prob, source = said, LEARNT
    part = _part(data.class_names, faces, data.verified, prob)
    clean = split["clean_prob"].astype(np.float64)
    if source == LEARNT and np.isfinite(clean).all():
        is_open = faces.label != UNLABELED
        right = np.where(is_open, clean, np.nan)
        part, source = replace(part, right=right, score=right.mean(axis=0)), METHOD
    if "kept_splits" in split:
        part = replace(
            part,
            kept=split["kept_splits"].mean(axis=0).astype(np.float64),
            num_splits=int(split["num_splits"]),
        )
    if "trained_label" in split:
        # Networks that both learn a label learn the same one.
        part = replace(part, trained=split["trained_label"].max(axis=0).astype(np.int64))
    return replace(part, source=(source,) * len(part))


def _taught(
    split: Mapping[str, np.ndarray],
) -> Float[np.ndarray, "network sample class"]:
    """The posteriors by which the method taught its networks."""
    taught = split["posterior"].astype(np.float64)
    posterior: np.ndarray = taught / taught.sum(axis=2, keepdims=True)
    return posterior


def _part(
    class_names: tuple[str, ...],
    faces: Faces,
    verified: Verified | None,
    posterior: Float[np.ndarray, "network sample class"],
) -> Beliefs:
    """The images of one subset; what is said of splits and sources is not known here."""
    num = len(faces)
    right = of_given(posterior, faces)
    several = len(posterior) > 1
    overlap = posterior.min(axis=0).sum(axis=1) if several else np.full(num, np.nan)
    return Beliefs(
        class_names=class_names,
        row=np.asarray(faces.row),
        is_train=np.ones(num, dtype=bool),
        given=np.asarray(faces.label),
        verified=np.full(num, NOT_VERIFIED) if verified is None else verified.label,
        is_random=np.zeros(num, dtype=bool)
        if verified is None
        else verified.is_seen & verified.is_random,
        right=right,
        score=right.mean(axis=0),
        posterior=posterior.mean(axis=0),
        agreement=overlap.clip(0, 1),
        kept=np.full(num, np.nan),
        trained=np.full(num, UNLABELED),
        num_splits=0,
        source=("",) * num,
    )


def _joined(first: Beliefs, second: Beliefs) -> Beliefs:
    keys = ("row", "is_train", "given", "verified", "is_random", "posterior", "agreement")
    arrays: dict[str, Any] = {
        key: np.concatenate([getattr(first, key), getattr(second, key)])
        for key in (*keys, "kept", "trained", "score")
    }
    return replace(
        first,
        **arrays,
        right=np.concatenate([first.right, second.right], axis=1),
        source=first.source + second.source,
    )


def _as_given(data: FaceData) -> Faces:
    """The training images with their labels as given, whatever is verified."""
    label = data.train.label if data.verified is None else data.verified.given
    return replace(data.train, label=np.asarray(label))


def _noise(run: FinishedRun, split: Mapping[str, np.ndarray]) -> tuple[NoiseModel | None, float]:
    """The noise that the method ended with, if it went by one, and the temperature before it.

    Predictions meet an estimated noise as they are.
    """
    method = run.config.method
    if not isinstance(method, PeerPosterior) or "transition" not in split or method.noise == "none":
        return None, 1.0
    transition, prior = (torch.from_numpy(split[key]).double() for key in ("transition", "prior"))
    noise = NoiseModel(transition=transition, prior=prior)
    return noise, method.temperature if run.has_verified_noise else 1.0


def _learners(run: FinishedRun, data: FaceData) -> list[Learner]:
    """The tested networks, ready to predict.

    Raises:
        RunFolderError: If they are missing, or take images of another kind.
    """
    if (data.num_channels, data.image_size) != (run.num_channels, run.image_size):
        raise RunFolderError.at(
            run.folder,
            expected=f"images of {run.image_size} pixels and {run.num_channels} channels",
            got=f"{data.image_size} and {data.num_channels} in {data.name}",
            remedy="Name the data set that the run learned from.",
        )
    device = evaluation_device()
    bf16, channels_last = resolve_compute(run.config.compute, device)
    return [
        Learner(network.to(device), bf16=bf16, channels_last=channels_last, trained=False)
        for network in run.networks()
    ]


def _predicted(
    learners: list[Learner], faces: Faces, config: RunConfig
) -> Float[np.ndarray, "network sample class"]:
    """What every network says of every image."""
    images = Images(faces, learners[0].device)
    parts: list[Tensor] = []
    for rows in images.shards(config.compute.eval_batch_size):
        packed = images.take(rows)
        one = [mean_prediction([x], packed, flip_average=config.flip_average) for x in learners]
        parts.append(torch.stack(one).cpu())
    said: np.ndarray = torch.cat(parts, dim=1).double().numpy()
    return said
