"""Data sets by spec: `open_data("synthetic")`, `open_data("raf-db:/path/basic")`."""

from fer_ray.data.faces import CANNOT_TELL, NOT_VERIFIED, DataError, FaceData, Faces, Verified
from fer_ray.data.images import ImageRows
from fer_ray.data.open import READERS, SCHEMES, list_records, open_data, prepared, split_spec
from fer_ray.data.verified import noise_of

__all__ = [
    "CANNOT_TELL",
    "NOT_VERIFIED",
    "READERS",
    "SCHEMES",
    "DataError",
    "FaceData",
    "Faces",
    "ImageRows",
    "Verified",
    "list_records",
    "noise_of",
    "open_data",
    "prepared",
    "split_spec",
]
