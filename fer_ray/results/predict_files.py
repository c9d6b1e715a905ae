"""Predicts image files, however many: decoded by threads, predicted in batches, a row for each."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fer_ray.data.packs.read import ImageError
from fer_ray.results.pictures import looks_like_photograph
from fer_ray.results.prediction_files import Row, Write, columns
from fer_ray.results.predictor import Predictor


@dataclass(slots=True)
class Outcome:
    """What became of the images.

    Attributes:
        num_images: How many there were.
        errors: Path of every image that could not be used, and why.
        num_photographs: How many of the others look like photographs of scenes.
    """

    num_images: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)
    num_photographs: int = 0


@dataclass(frozen=True, slots=True)
class _Decoded:
    path: str
    pixels: np.ndarray | None
    is_photograph: bool = False
    error: str = ""


def predict_files(
    predictor: Predictor,
    paths: Sequence[str],
    write: Write,
    *,
    batch_size: int,
    advance: Callable[[int], None],
) -> Outcome:
    """Predict files and write a row for each, in their order.

    Args:
        predictor: The networks.
        paths: The files.
        write: Takes rows with `columns`.
        batch_size: Images per forward pass.
        advance: Told how many more images are done.
    """
    outcome = Outcome()
    for batch in _decoded(predictor, paths, batch_size):
        pixels = [item.pixels for item in batch if item.pixels is not None]
        prob = iter(predictor.prob(np.stack(pixels)).tolist() if pixels else [])
        write([_row(predictor.classes, x, None if x.error else next(prob)) for x in batch])
        outcome.num_images += len(batch)
        outcome.errors += [(item.path, item.error) for item in batch if item.error]
        outcome.num_photographs += sum(item.is_photograph for item in batch)
        advance(len(batch))
    return outcome


def _decoded(
    predictor: Predictor, paths: Sequence[str], batch_size: int
) -> Iterator[list[_Decoded]]:
    """Batches of decoded images; the next is decoded while the caller has the one before it."""

    def decode(path: str) -> _Decoded:
        try:
            pixels, original = predictor.prepare_sized(Path(path))
        except ImageError as error:
            return _Decoded(path, None, error=str(error))
        return _Decoded(path, pixels, looks_like_photograph(original, predictor.run.image_size))

    starts = range(0, len(paths), batch_size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead: Iterator[_Decoded] = iter(())
        for start in starts:
            batch, ahead = ahead, pool.map(decode, paths[start : start + batch_size])
            if start:
                yield list(batch)
        yield list(ahead)


def _row(classes: Sequence[str], item: _Decoded, prob: list[float] | None) -> Row:
    path = item.path.encode(errors="backslashreplace").decode()
    values: tuple[Any, ...] = (path, None, None, *(None for _ in classes), item.error)
    if prob is not None:
        best = max(range(len(prob)), key=prob.__getitem__)
        values = (path, classes[best], prob[best], *prob, None)
    return dict(zip(columns(classes), values, strict=True))
