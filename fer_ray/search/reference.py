"""The reference of a search: a run of another method, for as much time as a default trial has."""

from collections.abc import Mapping
from typing import Any

from fer_ray.config import RunConfig, flat_values, with_overrides
from fer_ray.core.errors import ConfigError
from fer_ray.search.space import SearchSpace


def read_reference(raw: Mapping[str, Any], space: SearchSpace) -> RunConfig | None:
    """Read the section `reference`: what differs from a default trial, at least the method.

    Without `optim.epochs`, the reference has as many epochs of all its networks together as a
    default trial has of its own: one network of cross-entropy has twice the epochs of two. That is
    the same training time, or a little more, where a method leaves images out or scores them first,
    and it does not depend on how busy the machine is.

    Args:
        raw: Content of the file.
        space: The space without its reference.

    Returns:
        The run; `None` if the file has no such section.

    Raises:
        ConfigError: If it is not a section with a method, or not a valid run.
    """
    section, place = raw.get("reference"), f"{space.place}: reference"
    if section is None:
        return None
    if not isinstance(section, Mapping) or "method" not in section:
        raise ConfigError(
            f"{place}: expected a section with a method, such as {{method: cross_entropy}}, "
            f"got {section!r}"
        )
    trial = space.run_config(space.default_params())
    try:
        values = flat_values({key: x for key, x in section.items() if key != "method"})
        base = {**trial.to_dict(), "method": section["method"]}
        run = RunConfig.from_dict(with_overrides(base, values))
        if "optim.epochs" in values:
            return run
        epochs = trial.optim.epochs * trial.method.num_networks // run.method.num_networks
        return run.with_values({"optim.epochs": max(1, epochs)})
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None
