"""Reads one parameter of a sweep file: the distributions of W&B's format, by name.

https://docs.wandb.ai/models/sweeps/sweep-config-keys lists the format. `inv_log_uniform`, `beta`
and their variants are not supported. Two things differ from W&B: multiples of `q` stay inside the
bounds of the file, and unbounded distributions end at 4.75 standard deviations, so that every
corner of a space can be tried.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from fer_ray.core.errors import ConfigError
from fer_ray.search.continuous import Quantized, Real
from fer_ray.search.domains import Choice, Constant, Domain, Integers
from fer_ray.search.shapes import Number, Shape, is_number, tidy


def _bounds(raw: Mapping[str, Any], positive: bool) -> tuple[Number, Number]:
    low, high = raw["min"], raw["max"]
    if not low < high or (positive and low <= 0):
        need = "0 < min < max" if positive else "min < max"
        raise ValueError(f"needs {need}, got min={low} max={high}")
    return low, high


def _positive(raw: Mapping[str, Any], *keys: str) -> None:
    for key in keys:
        if raw[key] <= 0:
            raise ValueError(f"needs {key} > 0, got {key}={raw[key]}")


def _uniform(raw: Mapping[str, Any]) -> Real:
    low, high = map(float, _bounds(raw, positive=False))
    return Real(Shape("uniform", (low, high - low)), low, high, "linear")


def _log_uniform(raw: Mapping[str, Any]) -> Real:
    """Read `log_uniform`, whose bounds are natural logarithms."""
    low, high = _bounds(raw, positive=False)
    if max(abs(low), abs(high)) > 300:
        raise ValueError(
            f"takes natural logarithms in [-300, 300], got min={low} max={high}; "
            "log_uniform_values takes the values themselves"
        )
    return _log_uniform_values({"min": math.exp(low), "max": math.exp(high)})


def _log_uniform_values(raw: Mapping[str, Any]) -> Real:
    low, high = map(float, _bounds(raw, positive=True))
    return Real(Shape("loguniform", (low, high)), low, high, "log")


def _normal(raw: Mapping[str, Any]) -> Real:
    _positive(raw, "sigma")
    return _unbounded(Shape("norm", (float(raw["mu"]), float(raw["sigma"]))))


def _log_normal(raw: Mapping[str, Any]) -> Real:
    _positive(raw, "sigma")
    if abs(raw["mu"]) + 5 * raw["sigma"] > 300:
        raise ValueError(
            "takes natural logarithms with |mu| + 5 sigma of at most 300, got "
            f"mu={raw['mu']} sigma={raw['sigma']}"
        )
    return _unbounded(Shape("lognorm", (float(raw["sigma"]), 0.0, math.exp(raw["mu"]))))


def _unbounded(shape: Shape) -> Real:
    return Real(shape, tidy(shape.ppf(0.0)), tidy(shape.ppf(1.0)))


def _quantized(real: Real, q: Number) -> Quantized:
    """Return the multiples of `q` inside the bounds; cut-off tails end at the nearest multiple."""
    slack = 1e-9
    if real.native is None:
        first, last = round(real.low / q), round(real.high / q)
    else:
        first, last = math.ceil(real.low / q - slack), math.floor(real.high / q + slack)
    if first > last:
        raise ValueError(f"needs a multiple of q in [{real.low:g}, {real.high:g}], got q={q}")
    return Quantized(real.shape, q, first, last)


def _choice(raw: Mapping[str, Any]) -> Choice:
    values = raw["values"]
    if not isinstance(values, list) or not values:
        raise ValueError(f"needs a list with at least one value, got values={values!r}")
    for index, value in enumerate(values):
        if not (value is None or isinstance(value, str | bool) or is_number(value)):
            raise ValueError(f"needs numbers, text, true, false or null as values, got {value!r}")
        if value in values[:index]:
            raise ValueError(f"needs different values, got {value!r} twice")
    return Choice(tuple(values))


def _weighted_choice(raw: Mapping[str, Any]) -> Choice:
    values, probabilities = _choice(raw).values, raw["probabilities"]
    if not isinstance(probabilities, list) or len(probabilities) != len(values):
        raise ValueError(
            f"needs a probability for each of {len(values)} values, got {probabilities!r}"
        )
    if not all(is_number(share) and share >= 0 for share in probabilities):
        raise ValueError(f"needs probabilities of at least 0, got {probabilities}")
    if not math.isclose(sum(probabilities), 1.0, abs_tol=1e-6):
        raise ValueError(f"needs probabilities that sum to 1, got {sum(probabilities):g}")
    known = [(value, share) for value, share in zip(values, probabilities, strict=True) if share]
    return Choice(tuple(value for value, _ in known), tuple(float(share) for _, share in known))


def _integers(raw: Mapping[str, Any]) -> Integers:
    low, high = _bounds(raw, positive=False)
    if not (isinstance(low, int) and isinstance(high, int)):
        raise ValueError(
            f"needs whole numbers, got min={low} max={high}; uniform takes other numbers"
        )
    return Integers(low, high)


_BOUNDS, _MOMENTS = ("min", "max"), ("mu", "sigma")
_DEFAULTS: dict[str, Number] = {"q": 1, "mu": 0.0, "sigma": 1.0}
_REALS: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Real]]] = {
    "uniform": (_BOUNDS, _uniform),
    "log_uniform": (_BOUNDS, _log_uniform),
    "log_uniform_values": (_BOUNDS, _log_uniform_values),
    "normal": (_MOMENTS, _normal),
    "log_normal": (_MOMENTS, _log_normal),
}
_OTHERS: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Domain]]] = {
    "constant": (("value",), lambda raw: Constant(raw["value"])),
    "categorical": (("values",), _choice),
    "categorical_w_probabilities": (("values", "probabilities"), _weighted_choice),
    "int_uniform": (_BOUNDS, _integers),
}
DISTRIBUTIONS = (*_OTHERS, *_REALS, *(f"q_{name}" for name in _REALS))


def parse_domain(raw: object, place: str) -> Domain:
    """Read one parameter of a sweep file.

    Args:
        raw: Content of the file, such as `{distribution: uniform, min: 0.2, max: 0.9}`.
        place: File and dotted key, for messages.

    Raises:
        ConfigError: If the distribution is unknown, or a key is missing, unknown or out of range.

    >>> parse_domain({"min": 1, "max": 6}, "epochs").grid_values()
    [1, 2, 3, 4, 5, 6]
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{place}: expected value, values, or min and max, got {raw!r}")
    name = distribution_of(raw, place)
    if name not in DISTRIBUTIONS:
        raise ConfigError(
            f"{place}: expected one of the distributions {', '.join(DISTRIBUTIONS)}; got {name!r}"
        )
    try:
        return _build(name, {key: value for key, value in raw.items() if key != "distribution"})
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{place}: {name} {error}") from None


def _build(name: str, raw: Mapping[str, Any]) -> Domain:
    base = name.removeprefix("q_")
    keys, build = _OTHERS[name] if name in _OTHERS else _REALS[base]
    allowed = (*keys, "q") if name != base else keys
    filled = {key: _DEFAULTS[key] for key in allowed if key in _DEFAULTS} | dict(raw)
    if set(filled) != set(allowed):
        raise ValueError(f"takes the keys {', '.join(allowed)}, got {', '.join(map(str, raw))}")
    for key in allowed:
        if key not in ("value", "values", "probabilities") and not is_number(filled[key]):
            hint = "; YAML reads 1e-4 as text, write 1.0e-4" if _is_text(filled[key]) else ""
            raise ValueError(f"needs a number, got {key}={filled[key]!r}{hint}")
    if name == base:
        return build(filled)
    _positive(filled, "q")
    real = build(filled)
    assert isinstance(real, Real)
    return _quantized(real, filled["q"])


def _is_text(value: Any) -> bool:
    """Return whether a value is text that Python reads as a number."""
    try:
        return isinstance(value, str) and is_number(float(value))
    except ValueError:
        return False


def distribution_of(raw: Mapping[str, Any], place: str) -> Any:
    """Return the distribution that a parameter names, or infer it from its keys, as W&B does.

    Raises:
        ConfigError: If the keys fit no distribution.
    """
    if "distribution" in raw:
        return raw["distribution"]
    if "value" in raw:
        return "constant"
    if "values" in raw:
        return "categorical_w_probabilities" if "probabilities" in raw else "categorical"
    if "min" in raw and "max" in raw:
        whole = all(type(raw[key]) is int for key in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    raise ConfigError(
        f"{place}: expected value, values, min and max, or a distribution; got "
        f"{', '.join(map(str, raw)) or 'nothing'}"
    )
