"""Reads when weak trials are stopped: `early_terminate` of a W&B sweep file, ASHA in Ray."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fer_ray.core.errors import ConfigError
from fer_ray.search.shapes import is_number
from fer_ray.search.sweep import check_keys

_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")


@dataclass(frozen=True)
class EarlyTerminate:
    """When weak trials are stopped: `hyperband` in W&B's format, ASHA in Ray.

    Attributes:
        min_iter: Number of epochs before which no trial is stopped, at least 1; `None` until the
            warm-ups of the space are known (see `fer_ray.search.rungs`).
        eta: Every rung keeps one trial in `eta`; above 1.
        last: Number of epochs after which no trial is stopped; `None` for the whole run.
    """

    min_iter: int | None
    eta: float = 3.0
    last: float | None = None


def read_early_terminate(raw: Mapping[str, Any], place: str) -> EarlyTerminate | None:
    """Read when trials are stopped early; `None` if the file does not say.

    The rungs are given from the first one on (`min_iter`), or back from the last epoch: `s` rungs,
    of which the last is at `max_iter / eta`.

    Raises:
        ConfigError: If the type is not hyperband, or a number is missing or out of range.
    """
    stop, where = raw.get("early_terminate"), f"{place}: early_terminate"
    if stop is None:
        return None
    if not isinstance(stop, Mapping) or stop.get("type") != "hyperband":
        got = stop.get("type") if isinstance(stop, Mapping) else stop
        raise ConfigError(
            f"{where}.type: expected {{type: hyperband, min_iter: 4, eta: 3}}, got {got!r}"
        )
    check_keys(stop, _KEYS, where)
    for key, what in (("min_iter", "epochs"), ("max_iter", "epochs"), ("s", "rungs")):
        value = stop.get(key)
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(
                f"{where}.{key}: expected a whole number of {what} of at least 1, or nothing; "
                f"got {value!r}"
            )
    eta = stop.get("eta", 3)
    if not is_number(eta) or eta <= 1:
        raise ConfigError(f"{where}.eta: expected a number above 1, got {eta!r}")
    if stop.get("strict", True) is not True:
        raise ConfigError(
            f"{where}.strict: expected true, or nothing, got {stop['strict']!r}. ASHA compares "
            "trials by their values at a rung, which is the strict way; it has no other"
        )
    return _rungs(stop, float(eta), where)


def _rungs(stop: Mapping[str, Any], eta: float, where: str) -> EarlyTerminate:
    max_iter, num_rungs = stop.get("max_iter"), stop.get("s")
    if max_iter is None and num_rungs is None:
        return EarlyTerminate(stop.get("min_iter"), eta)
    if max_iter is None or num_rungs is None or "min_iter" in stop:
        given = ", ".join(f"{key}: {stop[key]}" for key in stop if key != "type")
        raise ConfigError(
            f"{where}: expected either min_iter, or max_iter together with s (the rungs before "
            f"it), got {given}"
        )
    first = int(max_iter / eta**num_rungs)
    if first < 1:
        raise ConfigError(
            f"{where}: expected at most as many rungs as fit before max_iter, got s: {num_rungs}, "
            f"of which the first would come before epoch 1 (max_iter: {max_iter}, eta: {eta:g})"
        )
    return EarlyTerminate(first, eta, max_iter / eta)
