"""Data sets by spec: `open_data("synthetic")`, `open_data("raf-db:/path/basic")`.

What stands here is imported when it is asked for: the processes that only decode images import
modules below this one, and should not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "faces": ("CANNOT_TELL", "NOT_VERIFIED", "DataError", "FaceData", "Faces", "Verified"),
    "images": ("ImageRows",),
    "open": ("READERS", "SCHEMES", "list_records", "open_data", "prepared", "split_spec"),
    "verified": ("noise_of",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
