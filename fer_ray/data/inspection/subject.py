"""A data set that is inspected, whichever way its images are held."""

from dataclasses import dataclass, fields

import numpy as np

from fer_ray.data.faces import UNKNOWN, FaceData
from fer_ray.data.packs.copies import exact_groups, near_train
from fer_ray.data.packs.pack import Pack, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A data set to inspect, with the fields of a `Pack`; index i of every array is image i."""

    name: str
    class_names: tuple[str, ...]
    images: np.ndarray
    label: np.ndarray
    true_label: np.ndarray
    split: np.ndarray
    path: np.ndarray
    group: np.ndarray
    near_train: np.ndarray
    original_size: np.ndarray
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_pack(cls, pack: Pack) -> "Subject":
        """A prepared data set; the images stay on disk."""
        return cls(**{name: getattr(pack, name) for name in (field.name for field in fields(cls))})

    @classmethod
    def from_faces(cls, data: FaceData) -> "Subject":
        """A data set of arrays; `path` is the row in its source. Looks for copies."""
        subsets = (data.train, data.val, data.test)
        images = np.concatenate([faces.images[:] for faces in subsets])
        split = np.repeat(np.arange(3), [len(faces) for faces in subsets])
        return cls(
            name=data.name,
            class_names=data.class_names,
            images=images,
            label=np.concatenate([faces.label for faces in subsets]),
            true_label=np.concatenate([faces.true_label for faces in subsets]),
            split=split,
            path=np.concatenate([faces.row for faces in subsets]).astype(np.str_),
            group=exact_groups(images),
            near_train=near_train(images, split),
            original_size=np.tile(np.array(data.image_size), (len(images), 1)),
            notes=data.notes,
        )

    def name_of(self, label: int) -> str:
        """Name of a class, or a dash where there is no label."""
        return "-" if label == UNKNOWN else self.class_names[label]
