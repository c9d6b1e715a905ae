"""How a search ends that Tune gives up."""

import errno

import pytest
from ray import tune

from fer_ray.on_ray.search import unwrapped


def test_a_full_disk_is_no_error_of_tune() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left") as raised, unwrapped():
        try:
            raise full
        except OSError as error:
            raise tune.TuneError(f"Traceback ... {error}")  # noqa: B904 - as Tune does
    assert raised.value is full


def test_other_errors_of_tune_stay() -> None:
    with pytest.raises(tune.TuneError, match="a bug"), unwrapped():
        try:
            raise ValueError("of a callback")
        except ValueError as error:
            raise tune.TuneError("a bug") from error
