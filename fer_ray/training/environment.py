"""On what a run was trained: versions of packages, and the machine, for whoever repeats it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

_PACKAGES = ("torch", "torchvision", "ray", "optuna", "numpy", "scikit-learn")


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on, the system and the device."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["system"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    has_gpu = torch.cuda.is_available()
    found["device"] = torch.cuda.get_device_name() if has_gpu else "CPU"
    return found
