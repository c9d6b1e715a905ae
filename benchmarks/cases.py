"""What `methods.py` compares: configurations, and variants of the data set with other labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import noise_runs
from benchmarks.plan import Case
from fer_ray.config import RunConfig, with_overrides
from fer_ray.data import FaceData, Faces, open_data
from fer_ray.methods.crest import CReST

BASELINE = "cross_entropy"
NUM_TRUSTED = 60
"""Images per class with a true label in the trusted subset; fewer if a class has fewer."""
SHORT_EPOCHS = 8
"""Factor for the epochs of cross_entropy on the trusted subset, to make about as many steps."""
RIGHT_KEPT, WRONG_KEPT = 0.82, 0.5
"""Shares of right and of wrong labels that the `random` protocol keeps; those of co_divide."""

GIVEN, RIGHT, TRUE, TRUSTED, RANDOM = "given", "right", "true", "trusted", "random"
# Name of the case, its data, and the fields of its method that differ from the defaults.
Choice = tuple[str, str, Mapping[str, Any]]
CIFAR_FORM: Mapping[str, Any] = {"form": "cifar", "unlabeled_weight": 25.0, "alpha": 4.0}
_CASES: tuple[Choice, ...] = (
    (BASELINE, GIVEN, {"name": "cross_entropy"}),
    (
        "cross_entropy, balanced softmax",
        GIVEN,
        {"name": "cross_entropy", "balanced_softmax": True},
    ),
    ("co_divide", GIVEN, {"name": "co_divide"}),
    (
        "co_divide, mixture per class, estimated prior",
        GIVEN,
        {"name": "co_divide", "mixture": "class", "prior": "estimated"},
    ),
    ("co_divide, no penalty", GIVEN, {"name": "co_divide", "penalty_weight": 0.0}),
    ("dividemix, Clothing1M form", GIVEN, {"name": "dividemix"}),
    ("dividemix, CIFAR form", GIVEN, {"name": "dividemix", **CIFAR_FORM}),
    ("robust_loss, GCE", GIVEN, {"name": "robust_loss"}),
    ("robust_loss, GCE, q 0.3", GIVEN, {"name": "robust_loss", "q": 0.3}),
    ("robust_loss, SCE", GIVEN, {"name": "robust_loss", "loss": "sce"}),
    (
        "robust_loss, SCE, ce_weight 1",
        GIVEN,
        {"name": "robust_loss", "loss": "sce", "ce_weight": 1.0},
    ),
    ("co_teaching", GIVEN, {"name": "co_teaching"}),
    ("elr", GIVEN, {"name": "elr"}),
    ("elr+", GIVEN, {"name": "elr", "variant": "elr+"}),
    ("elr+, weight 1", GIVEN, {"name": "elr", "variant": "elr+", "weight": 1.0}),
    ("eac", GIVEN, {"name": "eac"}),
    ("eac, weight 0.2", GIVEN, {"name": "eac", "consistency_weight": 0.2}),
    ("ada_cm", GIVEN, {"name": "ada_cm"}),
    ("crest", GIVEN, {"name": "crest"}),
    ("trusted: cross_entropy", TRUSTED, {"name": "cross_entropy"}),
    ("trusted: ada_cm", TRUSTED, {"name": "ada_cm", "labels": "trusted"}),
    ("trusted: crest", TRUSTED, {"name": "crest", "labels": "trusted"}),
    ("oracle: cross_entropy on right labels only", RIGHT, {"name": "cross_entropy"}),
    ("oracle: cross_entropy on true labels", TRUE, {"name": "cross_entropy"}),
    ("oracle: cross_entropy on labels kept at random", RANDOM, {"name": "cross_entropy"}),
)


def make_cases(
    specs: Mapping[str, str],
    epochs: int,
    *,
    is_quick: bool = False,
    choices: Sequence[Choice] = _CASES,
) -> list[Case]:
    """Make all cases.

    Args:
        specs: Data set of every protocol, from `write_variants`.
        epochs: Number of epochs of every run.
        is_quick: Whether to use small batches and a short warm-up.
        choices: Name, protocol and method of every case.
    """
    cases = []
    for name, protocol, method in choices:
        raw: dict[str, Any] = {"data": specs[protocol], "method": dict(method)}
        # An epoch of cross_entropy is one pass over the labelled images, which are few here.
        is_short = protocol == TRUSTED and method["name"] == BASELINE
        raw["optim"] = {"epochs": epochs * SHORT_EPOCHS if is_short else epochs}
        if is_quick:
            raw = with_overrides(raw, {"optim.batch_size": 32})
            if hasattr(RunConfig.from_dict(raw).method, "warmup_epochs"):
                raw = with_overrides(raw, {"method.warmup_epochs": 1})
        run = RunConfig.from_dict(raw)
        if isinstance(run.method, CReST):
            share = (epochs - run.method.num_warmup(epochs)) // run.method.num_generations
            raw = with_overrides(raw, {"method.generation_epochs": max(1, share)})
        full = RunConfig.from_dict(raw).to_dict()
        cases.append(Case(name=name, raw=full, epochs=str(full["optim"]["epochs"])))
    return cases


def write_variants(spec: str, work: Path) -> dict[str, str]:
    """Write the data set with other training labels to `work`, unless it is there; return specs.

    `right` has only the right labels. `true` has the true labels, and none where the truth is not
    known. `trusted` has the true labels of a few images per class. `random` keeps as many right and
    wrong labels as a co-divide does, but drawn at random. Validation and test images do not change.
    """
    data = open_data(spec)
    truth = data.train.true_label
    is_right = data.train.label == truth
    drawn = np.random.default_rng(0).random(len(truth))
    labels = {
        RANDOM: np.where(drawn < np.where(is_right, RIGHT_KEPT, WRONG_KEPT), data.train.label, -1),
        RIGHT: np.where(is_right, truth, -1),
        TRUE: truth,
        TRUSTED: np.where(_few(truth, NUM_TRUSTED), truth, -1),
    }
    specs = {GIVEN: spec}
    for name, label in labels.items():
        path = (work / f"{name}.npz").absolute()
        if not path.exists():
            _write(data, label, path)
        specs[name] = f"arrays:{path}"
    return specs


def _few(label: np.ndarray, num: int) -> np.ndarray:
    """Return a mask of the first `num` images of every class, in the order of the data set."""
    chosen = np.zeros(len(label), dtype=bool)
    for number in range(label.max() + 1):
        chosen[np.flatnonzero(label == number)[:num]] = True
    return chosen


def _write(data: FaceData, label: np.ndarray, path: Path) -> None:
    subsets: tuple[Faces, ...] = (data.train, data.val, data.test)
    part = path.with_suffix(".part.npz")
    images = np.concatenate([subset.images for subset in subsets])
    np.savez(
        part,
        images=images[:, 0] if data.num_channels == 1 else images.transpose(0, 2, 3, 1),
        labels=np.concatenate([label, data.val.label, data.test.label]),
        true_labels=np.concatenate([subset.true_label for subset in subsets]),
        split=np.repeat([0, 1, 2], [len(subset) for subset in subsets]),
        class_names=np.array(data.class_names),
    )
    part.replace(path)


BASE = "cross_entropy x 2"
"""The case whose cost is the budget, and with which the others are compared."""


def noise_cases() -> list[noise_runs.Case]:
    """Make the cases of `real_noise.py`, in the order of the table."""
    ours = {"method.name": "peer_posterior"}
    divide = {"method.name": "co_divide"}
    cases = [
        noise_runs.Case(name=BASELINE, values={"method.name": BASELINE}),
        noise_runs.Case(name=BASE, values={"method.name": BASELINE}, num_members=2),
        noise_runs.Case(
            name=f"{BASE}, verified",
            values={"method.name": BASELINE},
            num_members=2,
            knows_verified=True,
        ),
        noise_runs.Case(name="peer_posterior", values=ours, has_noise_model=True),
        noise_runs.Case(
            name="peer_posterior, verified", values=ours, has_noise_model=True, knows_verified=True
        ),
    ]
    for name, values in ABLATION.items():
        cases.append(
            noise_runs.Case(
                name=f"peer_posterior, verified, {name}",
                values=ours | dict(values),
                has_noise_model=values.get("method.noise") != "none",
                knows_verified=True,
            )
        )
    posterior = divide | {"method.clean_prob": "posterior"}
    cases += [
        noise_runs.Case(name="co_divide", values=divide),
        noise_runs.Case(name="co_divide, posterior", values=posterior, has_noise_model=True),
        noise_runs.Case(
            name="co_divide, posterior, verified",
            values=posterior,
            has_noise_model=True,
            knows_verified=True,
        ),
    ]
    for name, _, method in OTHERS:
        values = {f"method.{key}": value for key, value in method.items()}
        cases.append(noise_runs.Case(name=name, values=values))
    return cases


ABLATION: Mapping[str, Mapping[str, Any]] = {
    "own posterior": {"method.teacher": "own"},
    "noise not used": {"method.noise": "none"},
    "noise estimated": {"method.noise": "estimated"},
    "labels kept as given": {"data.use_verified": False},
    "no penalty": {"method.penalty_weight": 0.0},
    "thresholds 0.5": {"method.thresholds.default": 0.5},
    "targets without memory": {"method.target_momentum": 0.0},
    "last prediction of the peer": {"method.prediction_momentum": 0.0},
}
"""Ingredients of peer_posterior switched off or changed: values by dotted key."""
OTHERS: tuple[Choice, ...] = (
    ("dividemix", GIVEN, {"name": "dividemix"}),
    ("elr", GIVEN, {"name": "elr"}),
    ("elr+", GIVEN, {"name": "elr", "variant": "elr+"}),
    ("co_teaching", GIVEN, {"name": "co_teaching"}),
    ("robust_loss, GCE", GIVEN, {"name": "robust_loss"}),
    ("robust_loss, SCE", GIVEN, {"name": "robust_loss", "loss": "sce"}),
    ("eac", GIVEN, {"name": "eac"}),
    ("ada_cm", GIVEN, {"name": "ada_cm"}),
    ("crest", GIVEN, {"name": "crest"}),
)
