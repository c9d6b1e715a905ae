"""Arrays and packs with some other labels."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fer_ray.data.classes import canonical_name
from fer_ray.data.packs.pack import VERIFIED, Pack
from fer_ray.data.packs.store import SOURCE_COLUMNS, write_pack
from fer_ray.data.readers.npz import load_npz, text_column
from fer_ray.data.records import Records, Source


def write_arrays(source: Source, records: Records, names: Mapping[int, str], out: Path) -> None:
    """The `.npz` file with other labels; all of its other arrays stay."""
    raw = load_npz(source.path)
    key = "label_fer2013" if "label_fer2013" in raw else "labels"
    classes = [canonical_name(name) for name in text_column(source.path, raw["class_names"])]
    has_rows = key == "label_fer2013" and "row" in raw
    row = raw["row"] if has_rows else np.arange(len(raw[key]))
    place = {int(number): i for i, number in enumerate(row)}
    label = raw[key].copy()
    for i, name in names.items():
        label[place[int(records.row_numbers[i])]] = classes.index(name)
    arrays = {**raw, key: label}
    with out.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def write_corrected_pack(pack: Pack, names: Mapping[int, str], out: Path) -> None:
    """A pack with other labels, by places in the old one."""
    kept = SOURCE_COLUMNS if pack.verified is None else (*SOURCE_COLUMNS, VERIFIED)
    columns = {key: np.array(getattr(pack, key)) for key in kept}
    for i, name in names.items():
        columns["label"][i] = pack.class_names.index(name)
    write_pack(
        out,
        images=pack.images,
        columns=columns,
        name=pack.name,
        class_names=pack.class_names,
        notes=[*pack.notes, f"{len(names)} labels were corrected by a person"],
        more={"corrected": len(names)},
    )
