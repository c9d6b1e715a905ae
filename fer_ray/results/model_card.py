"""The model card of a run: what it was trained on, how well it does, what it is not for."""

import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from jaxtyping import Float

from fer_ray.core.intervals import Interval, confusion_intervals, wilson
from fer_ray.data.records import split_words
from fer_ray.results.run_files import reading
from fer_ray.results.run_folder import FinishedRun

_SPLIT = "split.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNoise:
    """What a run found out about the given labels of its training images, by given class.

    Attributes:
        num: Images with the label.
        left_out: Share of them whose label was not trained on in the end, mean of the networks;
            NaN if the method believes all labels.
        wrong: Estimated share of wrong labels; NaN without an estimate.
        source: What the estimate comes from, in words.
    """

    num: Float[np.ndarray, " class"]
    left_out: Float[np.ndarray, " class"]
    wrong: Float[np.ndarray, " class"]
    source: str

    def overall(self, share: Float[np.ndarray, " class"]) -> float:
        """A share over all classes."""
        return float((share * self.num).sum() / max(self.num.sum(), 1))


def label_noise(run: FinishedRun) -> LabelNoise:
    """Read the last split of a run.

    Raises:
        StorageError: If its file cannot be read.
    """
    with reading(run.folder):
        content = run.folder.read_bytes(_SPLIT)
    split = np.load(io.BytesIO(content))
    label, kept, clean = split["label"], split["is_labeled"], split["clean_prob"]
    classes = range(len(run.class_names))
    nothing = np.full(len(classes), np.nan)
    num = np.array([(label == k).sum() for k in classes], dtype=float)
    if np.isnan(clean).all():
        return LabelNoise(num=num, left_out=nothing, wrong=nothing, source="")
    left_out = np.array([1 - kept[:, label == k].mean() for k in classes])
    if "transition" in split:
        joint = split["prior"][:, None] * split["transition"]
        wrong = 1 - joint.diagonal() / joint.sum(axis=0)
        source = "verified labels" if run.has_verified_noise else "the networks' own predictions"
    else:
        wrong = np.array([1 - clean[:, label == k].mean() for k in classes])
        source = "the method's own probabilities"
    return LabelNoise(num=num, left_out=left_out, wrong=wrong, source=source)


def model_card(run: FinishedRun, prior: str | Mapping[str, float] | None = None) -> str:
    """The card as Markdown.

    Args:
        run: The run.
        prior: The operating point of the export; by default the run's.

    Raises:
        StorageError: If a file of the run cannot be read.
    """
    noise = label_noise(run)
    parts = (_what(run), _how_to(run), _data(run, noise), _figures(run), _point(run, prior))
    return "\n".join(line for part in (*parts, iter(_NOT_FOR)) for line in part) + "\n"


def _what(run: FinishedRun) -> Iterator[str]:
    config, num = run.config, run.config.method.num_networks
    networks = f"{num} networks" if num > 1 else "a network"
    chosen = "the last" if config.select == "last" else f"the best by {config.metric}"
    yield f"# Model card: {(run.search or run.folder).name}\n"
    yield (
        f"Classifies the expression of a cropped face as {', '.join(run.class_names)}. Trained by "
        f"fer_ray {run.version}: {networks} `{config.model.name}`, method `{config.method.label}`, "
        f"{config.optim.epochs} epochs, seed {config.seed}; the weights are those of epoch "
        f"{run.summary['best']['epoch']}, {chosen}.\n"
    )


def _how_to(run: FinishedRun) -> Iterator[str]:
    height, width = run.image_size
    names, made_grey = ", ".join(run.class_names), ", made grey" if run.num_channels == 1 else ""
    size = "of any height and width" if height == width else f"of {width} x {height} pixels"
    yield "## Input and output\n"
    yield (
        f"- `image`: uint8 [batch, 3, height, width], red, green and blue from 0 to 255, {size}. "
        "One upright, cropped face each, as in the training images. Everything else is done "
        f"inside: the middle square is scaled to {width} x {height} pixels{made_grey} and "
        "normalised."
    )
    yield f"- `probabilities`: float32 [batch, {len(run.class_names)}]: {names}.\n"


def _data(run: FinishedRun, noise: LabelNoise) -> Iterator[str]:
    yield "## Data and label noise\n"
    yield (
        f"Data set `{data_name(run.config.data.spec)}`: {noise.num.sum():,.0f} training images. "
        f"{_noise_words(noise)}\n"
    )
    yield "| given label | training images | left out | estimated wrong |"
    yield "|---|---:|---:|---:|"
    columns = (noise.num.tolist(), noise.left_out.tolist(), noise.wrong.tolist())
    for row in zip(run.class_names, *columns, strict=True):
        yield f"| {row[0]} | {row[1]:,.0f} | {_percent(row[2])} | {_percent(row[3])} |"
    yield ""


def _noise_words(noise: LabelNoise) -> str:
    if not noise.source:
        return "The method believes every label, so nothing is known of wrong ones."
    return (
        f"At the end the method left {_percent(noise.overall(noise.left_out))} of the labels out, "
        f"and {_percent(noise.overall(noise.wrong))} are estimated to be wrong, by {noise.source}."
    )


def _figures(run: FinishedRun) -> Iterator[str]:
    confusion = np.array(run.summary["test"]["confusion_matrix"], dtype=np.int64)
    num, both = confusion.sum(axis=1), confusion_intervals(confusion)
    yield "## Test\n"
    yield (
        f"{num.sum():,} test images of the same data set, at the run's operating point, with 95 % "
        f"intervals: accuracy {_interval(both.accuracy)}, macro recall "
        f"{_interval(both.macro_recall)}. Test labels may be wrong too. The intervals are those of "
        "other images of this kind; with other cameras, ages, cultures or lighting it may be far "
        "worse.\n"
    )
    yield "| class | test images | recall | 95 % (Wilson) |"
    yield "|---|---:|---:|---:|"
    for k, name in enumerate(run.class_names):
        found = wilson(int(confusion[k, k]), int(num[k]))
        bounds = f"{_percent(found.low)} to {_percent(found.high)}"
        yield f"| {name} | {num[k]:,} | {_percent(found.value)} | {bounds} |"
    yield ""


def _point(run: FinishedRun, prior: str | Mapping[str, float] | None) -> Iterator[str]:
    shares = run.prior(prior)
    used = run.config.prediction.prior if prior is None else prior
    yield "## Operating point\n"
    if shares is None:
        yield "`trained`: probabilities are as the networks learnt them from the labels.\n"
        return
    word = used if isinstance(used, str) else "own shares"
    named = zip(run.class_names, shares.tolist(), strict=True)
    listed = ", ".join(f"{name} {_percent(share)}" for name, share in named)
    yield f"`{word}`: probabilities are for a population of {listed}."
    if used != run.config.prediction.prior:
        chosen = json.dumps(run.summary["prediction"]["prior"])
        yield f"The figures above are at another one, that of the run: {chosen}."
    yield ""


_NOT_FOR = (
    "## What it must not be used for\n",
    "An expression is not an emotion: a face does not tell what a person feels, means or is about "
    "to do. Do not use this model",
    "",
    "- to judge people, or decide about them: at work, in schools, in recruiting, in policing, at "
    "borders, in insurance, in health care; the law forbids some of these in places (in the "
    "European Union, Regulation (EU) 2024/1689, Article 5, on emotions at work and in education);",
    "- to watch people who have not agreed to it, or to identify anybody;",
    "- on photographs of whole scenes (find and crop the faces first), on children, or on groups "
    "that its data do not show, without a test of its own for them.",
    "",
    "The licence of the data set may forbid some uses of the weights, commercial ones above all.",
)


def data_name(spec: str) -> str:
    """A data spec without the folders of the machine it was on.

    >>> data_name("raf-db:/home/me/basic,noise=/home/me/noise.txt"), data_name("synthetic:train=9")
    ('raf-db:basic,noise=noise.txt', 'synthetic:train=9')
    """
    scheme, colon, rest = spec.partition(":")
    words = [word.split("?")[0] for word in split_words(rest)]
    short = [
        f"{key}{equals}{PurePath(value).name}"
        for key, equals, value in (
            word.partition("=") if "=" in word else ("", "", word) for word in words
        )
    ]
    return f"{scheme}{colon}{','.join(short)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "-"


def _interval(found: Interval) -> str:
    return f"{_percent(found.value)} ({_percent(found.low)} to {_percent(found.high)})"
