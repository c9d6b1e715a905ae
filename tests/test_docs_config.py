"""`docs/config.md` is what the docstrings say, and they say it of every key."""

import runpy
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, get_origin

import pytest

from fer_ray.config import RunConfig
from fer_ray.core.augment import ViewPolicy
from fer_ray.core.bounds import interval_of
from fer_ray.methods import METHODS
from tests.paths import ROOT

pytestmark = pytest.mark.lowest

WRITER = runpy.run_path(str(ROOT / "docs" / "config_page.py"))
SECTIONS = [type(getattr(RunConfig(), x.name)) for x in fields(RunConfig)]
KINDS = [*(kind for kind in SECTIONS if hasattr(kind, "__dataclass_fields__")), *METHODS.values()]
KINDS = [RunConfig, ViewPolicy, *KINDS]


def test_the_page_is_up_to_date() -> None:
    """If not: `uv run python docs/config_page.py`."""
    page: Callable[[], str] = WRITER["page"]
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == page()


def test_every_key_of_a_run_is_on_the_page() -> None:
    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")

    def missing(values: dict[str, Any], prefix: str) -> list[str]:
        found = []
        for key, value in values.items():
            if isinstance(value, dict) and key not in ("thresholds", "prior"):
                found += missing(value, f"{prefix}{key}.")
            elif f"| `{prefix}{key}` |" not in text and key != "name":
                found.append(f"{prefix}{key}")
        return found

    for method in METHODS:
        assert missing(RunConfig.from_dict({"method": method}).to_dict(), "") == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_key_has_a_meaning(kind: type) -> None:
    meanings = WRITER["_meanings"](kind)
    silent = [x.name for x in fields(kind) if x.name != "name" and not meanings.get(x.name)]
    assert silent == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_number_has_a_range(kind: type) -> None:
    chosen = {x.name for x in fields(kind) if get_origin(x.type) is Literal}
    numbers = [x for x in fields(kind) if type(x.default) in (int, float) and x.name not in chosen]
    assert [x.name for x in numbers if not interval_of(x)] == []
