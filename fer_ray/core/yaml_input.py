"""YAML as users write it: files and values, with errors that name the place."""

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from fer_ray.core.errors import ConfigError
from fer_ray.core.secrets import check_no_secrets

_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_MAX_VALUES = 100_000
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConfigError: If the file is missing, unreadable, not YAML (with the line) or no mapping, or
            if a URI in it holds a secret.
    """
    try:
        path = path.expanduser()
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else reason
        raise ConfigError(f"{path}: cannot be read: {reason}. Check the path.") from None
    try:
        content = _tree(yaml.load(text, Loader=_StrictLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {_reason(error)}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(content).__name__}")
    for text in _texts(content):
        for word in text.split():
            check_no_secrets(word, str(path))
    return content


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        yield from _texts(list(node.values()))
    elif isinstance(node, list):
        for item in node:
            yield from _texts(item)


def parse_yaml_value(text: str, place: str) -> Any:
    """Read one value, such as the right side of `key=value`.

    Numbers such as 1e-3 are numbers here, as on any command line: no word of a run looks like one.

    Raises:
        ConfigError: If it is not YAML.

    >>> parse_yaml_value("1e-3", "--set optim.learning_rate=1e-3")
    0.001
    """
    if _EXPONENT.fullmatch(text.strip()):
        return float(text)
    try:
        return _tree(yaml.load(text, Loader=_StrictLoader))
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{place}: the value is not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: the value is not YAML: {_reason(error)}") from None


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses what YAML 1.1 reads as something else than it looks like.

    That is a key given twice, where the last one would win; 010, which would be 8; 1:30, which
    would be 90; and 1e-3, which would be a word.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value; what is none, such as the date 2024-13-45, is an error with its place."""
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise _error(str(error), node) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # the base class says so, with the place
            if key in seen:
                raise _error(f"the key {key!r} is given twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number that is written as one; the base class reads it."""
        if _OCTAL.fullmatch(node.value):
            raise _error(f"{node.value} is read as an octal number; leave out the zeros", node)
        if ":" in node.value:
            raise _error(f"{node.value} is read in base 60; quote it, if it is text", node)
        is_int = node.tag == "tag:yaml.org,2002:int"
        value = self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)
        assert isinstance(value, int | float)
        return value

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """Text, unless it is a number that YAML 1.1 does not know."""
        if node.style is None and _EXPONENT.fullmatch(node.value):
            mantissa, _, power = node.value.lower().partition("e")
            mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
            power = power if power[0] in "+-" else f"+{power}"
            raise _error(
                f"{node.value} is read as a word; write {mantissa}e{power}, or quote it, if it is "
                "text",
                node,
            )
        return str(self.construct_scalar(node))


for _kind, _construct in (
    ("int", _StrictLoader.construct_number),
    ("float", _StrictLoader.construct_number),
    ("str", _StrictLoader.construct_text),
):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _construct)


def _tree(content: Any) -> Any:
    """The content, unless aliases put it inside itself or repeat it without measure.

    Raises:
        ValueError: If they do.
    """
    num_values = 0
    todo: list[tuple[Any, frozenset[int]]] = [(content, frozenset())]
    while todo:
        value, above = todo.pop()
        num_values += 1
        if id(value) in above:
            raise ValueError("an alias (*) stands inside of what it means")
        if num_values > _MAX_VALUES:
            raise ValueError(f"more than {_MAX_VALUES:,} values")
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            todo += [(item, above | {id(value)}) for item in inner]
    return content


def _error(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _reason(error: Exception) -> str:
    """One line; deep nesting has no message of its own."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return " ".join(str(error).split())
