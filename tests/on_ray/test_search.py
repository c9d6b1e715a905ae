"""How a search ends that Tune gives up."""

import errno
from typing import NoReturn

import pytest
from ray import tune

from fer_ray.on_ray.search import unwrapped


def give_up(error: Exception) -> NoReturn:
    """As Tune does with an error of a callback."""
    try:
        raise error
    except Exception:
        raise tune.TuneError(f"Traceback ... {error}")  # noqa: B904


def test_a_full_disk_is_no_error_of_tune() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left") as raised, unwrapped():
        give_up(full)
    assert raised.value is full


def test_other_errors_of_tune_stay() -> None:
    with pytest.raises(tune.TuneError, match="a bug"), unwrapped():
        give_up(ValueError("a bug"))
