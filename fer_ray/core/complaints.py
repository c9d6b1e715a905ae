"""What is wrong with a configuration, in one sentence that a user can act on."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

# What pydantic puts in the location of an error for each member of a union it tried.
_UNION_MEMBER = re.compile(r"^(bool|str|int|float|none|(function-|literal\[|dict\[|is-).*)$")


def complaint(errors: Sequence[Any], kind: type, methods: Mapping[str, type]) -> str:
    """The most specific of the errors that pydantic found.

    Args:
        errors: Of one `ValidationError`.
        kind: The dataclass that was read.
        methods: What its field `method` may be, by name.
    """
    path = max((_path(error, methods) for error in errors), key=len)
    found = [error for error in errors if _path(error, methods) == path]
    error, given, key = found[0]["type"], found[0]["input"], ".".join(path)
    if error == "unexpected_keyword_argument":
        return unknown_key(path[-1], path[:-1], _keys_at(kind, found[0]["loc"][:-1], methods))
    if error == "union_tag_invalid":
        return f"{key}.name: one of {', '.join(methods)}; got {given.get('name')!r}"
    if error == "value_error":
        return ".".join(part for part in (key, str(found[0]["ctx"]["error"])) if part)
    if error == "dataclass_type":
        return f"{key}: expected a section of keys, got {given!r}"
    texts = [one["msg"][0].lower() + one["msg"][1:] for one in found]
    others = [text.removeprefix("input should be ") for text in texts[1:]]
    return f"{key}: {' or '.join([texts[0], *others])}, got {given!r}"


def unknown_key(key: str, path: Sequence[str], known: Sequence[str]) -> str:
    """Message about an unknown key: it names the nearest known key, or all of them.

    >>> unknown_key("epoch", ["optim"], ["epochs", "momentum"])
    'optim.epoch: unknown key; did you mean epochs?'
    """
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
    return f"{'.'.join((*path, key))}: unknown key; {hint}"


def _path(error: Any, methods: Mapping[str, type]) -> list[str]:
    """Keys down to the value, without what pydantic adds for unions."""
    parts = [str(part) for part in error["loc"]]
    if parts[:1] == ["method"] and parts[1:2] and parts[1] in methods:
        del parts[1]
    return [part for part in parts if not _UNION_MEMBER.match(part)]


def _keys_at(kind: type, location: Sequence[Any], methods: Mapping[str, type]) -> list[str]:
    """Keys of the section at a location of pydantic's, which names the method after `method`."""
    for part in location:
        kind = methods[part] if part in methods else get_type_hints(kind)[part]
    return [item.name for item in fields(kind)]
