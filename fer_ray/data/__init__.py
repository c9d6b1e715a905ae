"""Data sets by spec: `open_data("synthetic")`, `open_data("raf-db:/path/basic")`."""

from fer_ray.data.faces import DataError, FaceData, Faces
from fer_ray.data.images import ImageRows
from fer_ray.data.open import READERS, SCHEMES, list_records, open_data, prepared, split_spec

__all__ = [
    "READERS",
    "SCHEMES",
    "DataError",
    "FaceData",
    "Faces",
    "ImageRows",
    "list_records",
    "open_data",
    "prepared",
    "split_spec",
]
