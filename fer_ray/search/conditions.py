"""Conditional parameters: a method's fields exist only in trials with that method."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fer_ray.core.errors import ConfigError
from fer_ray.methods import METHODS
from fer_ray.search.domains import Domain
from fer_ray.search.sweep import check_keys

METHOD_KEY = "method.name"

_ELSEWHERE = {
    "data": "a section; search data.spec",
    "method": f"a section; search {METHOD_KEY}",
    "metric": "what the search optimises; write it beside `parameters`",
    "mode": "what the search optimises; write metric.goal beside `parameters`",
}


def has_key(method: str, key: str) -> bool:
    """Return whether a run with this method has a dotted key; only keys of `method` can differ.

    >>> has_key("cross_entropy", "method.thresholds.fear"), has_key("cross_entropy", "optim.epochs")
    (False, True)
    """
    section, _, rest = key.partition(".")
    own = [item.name for item in fields(METHODS[method])]
    return section != "method" or rest.partition(".")[0] in own


def lookup(nested: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key; `None` if there is none.

    A class without its own value has that of `default`.

    >>> lookup({"method": {"thresholds": {"default": 0.5}}}, "method.thresholds.fear")
    0.5
    """
    node: Any = nested
    for part in key.split("."):
        node = node.get(part, node.get("default")) if isinstance(node, Mapping) else None
    return node


def check_methods(parameters: Mapping[str, Domain], run: Mapping[str, Any], place: str) -> None:
    """Refuse unknown methods, and keys that none of the searched methods has.

    Args:
        parameters: What is searched, by dotted key.
        run: What is fixed, nested.
        place: The file, for messages.

    Raises:
        ConfigError: If there is one; names the method or the key.
    """
    for key in parameters:
        if key in _ELSEWHERE:
            raise ConfigError(f"{place}: parameters.{key}: this is {_ELSEWHERE[key]}")
    if METHOD_KEY not in parameters:
        return
    for method in parameters[METHOD_KEY].corners():
        if not isinstance(method, str) or method not in METHODS:
            raise ConfigError(
                f"{place}: parameters.{METHOD_KEY}: expected one of {', '.join(METHODS)}; "
                f"got {method!r}"
            )
    choice = parameters[METHOD_KEY].grid_values()
    known = sorted({f"method.{item.name}" for name in choice for item in fields(METHODS[name])})
    section = run.get("method", {})
    fixed = section if isinstance(section, Mapping) else {}
    check_keys([f"method.{key}" for key in fixed], known, f"{place}: run")
    searched = [".".join(key.split(".")[:2]) for key in parameters if key.startswith("method.")]
    check_keys(searched, known, f"{place}: parameters")
