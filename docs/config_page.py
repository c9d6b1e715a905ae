"""Writes `docs/config.md` from the docstrings: `uv run python docs/config_page.py`."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse

from fer_ray.config import RunConfig
from fer_ray.core.bounds import in_words, interval_of
from fer_ray.methods import METHODS, Method

PAGE = Path(__file__).with_name("config.md")
_HEAD = """# Configuration keys

Every key of a run. Give them in a YAML file (`--config`), as `--set key=value`, or under `run:` and
`parameters:` in a [search space](search_spaces.md); keys are dotted there, such as `optim.epochs`.
`--print-config` prints the configuration that a command would use.

This page is written by `docs/config_page.py` from the docstrings; a test holds it to them.
"""
_NAMES = {
    int: "integer",
    float: "number",
    bool: "`true`, `false`",
    str: "text",
    type(None): "`null`",
}


def page() -> str:
    """The whole page."""
    run = fields(RunConfig)
    top = [item for item in run if not _is_section(_hint(RunConfig, item.name))]
    parts = [_HEAD, "## Top level\n", _table(RunConfig, top, "")]
    for item in run:
        kind = _hint(RunConfig, item.name)
        if not _is_section(kind):
            continue
        if kind is Method:
            parts += _methods()
        else:
            parts += _section(kind, item.name)
    return "\n".join(parts)


def _section(kind: Any, name: str, level: int = 2) -> Iterator[str]:
    """Heading, what the section is about, and its table; then the sections within it."""
    yield f"{'#' * level} `{name}`\n\n{_summary(kind)}\n"
    own = [item for item in fields(kind) if not _is_section(_hint(kind, item.name))]
    if own:
        yield _table(kind, own, f"{name}.")
    for item in fields(kind):
        if item not in own:
            inner = _hint(kind, item.name)
            yield f"{'#' * (level + 1)} `{name}.{item.name}`\n\n{_meanings(kind)[item.name]}\n"
            start = getattr(kind(), item.name)
            yield _table(inner, fields(inner), f"{name}.{item.name}.", start)


def _methods() -> Iterator[str]:
    """A table for every method; `method.name` chooses among them."""
    yield (
        "## `method`\n\nHow networks learn from noisy labels. `method.name` chooses a method "
        f"(default: `{RunConfig().method.label}`); its own keys stand beside it. "
        "[Methods](methods.md) says more about each.\n"
    )
    for name, kind in METHODS.items():
        yield f"### `method.name: {name}`\n\n{_summary(kind)} ({kind.paper})\n"
        own = [item for item in fields(kind) if item.name != "name"]
        yield _table(kind, own, "method.")


def _table(kind: Any, items: Any, prefix: str, start: Any = None) -> str:
    """A row per key; `start` has the defaults where they are not those of the fields."""
    rows = ["| key | type | range | default | meaning |", "|---|---|---|---|---|"]
    meanings = _meanings(kind)
    for item in items:
        default = _default(item) if start is None else getattr(start, item.name)
        cells = [
            f"`{prefix}{item.name}`",
            _type(_hint(kind, item.name)),
            in_words(interval_of(item)) if interval_of(item) else "",
            _shown(default),
            meanings[item.name].replace("|", "\\|"),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _meanings(kind: Any) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each attribute."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for parameter in parse(base.__doc__ or "").params:
            text = " ".join((parameter.description or "").split())
            found[parameter.arg_name] = text
    return found


def _summary(kind: Any) -> str:
    return " ".join((parse(kind.__doc__ or "").short_description or "").split())


def _hint(kind: Any, name: str) -> Any:
    hint = get_type_hints(kind)[name]
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_section(hint: Any) -> bool:
    return is_dataclass(hint)


def _type(hint: Any) -> str:
    """A type in words."""
    origin = get_origin(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if origin in (Union, types.UnionType):
        return ", ".join(_type(part) for part in get_args(hint))
    if origin is not None and issubclass(origin, Mapping):
        return f"{_type(get_args(hint)[1])} per class"
    return _NAMES[hint]


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _shown(value: Any) -> str:
    """A default as one writes it in YAML."""
    if isinstance(value, Mapping):
        return f"`{{{', '.join(f'{key}: {_plain(item)}' for key, item in value.items())}}}`"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
