"""Where prepared data sets are kept on this machine."""

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "FER_RAY_CACHE"
"""Environment variable that names the cache directory."""


def cache_root() -> Path:
    """`$FER_RAY_CACHE`, else the user's cache directory."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("fer_ray"))
