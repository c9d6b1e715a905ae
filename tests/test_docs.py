"""What the documentation names is there: files, commands, keys, search spaces, methods."""

import importlib
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from fer_ray.commands.arguments import read_run, run_overrides
from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.errors import ConfigError
from fer_ray.data.classes import CANONICAL
from fer_ray.methods import METHODS
from fer_ray.search.distributions import DISTRIBUTIONS
from fer_ray.search.reading import load_space
from tests.paths import ROOT, SPACES

README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "clusters" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
MAX_README_LINES, MAX_PICTURE_BYTES = 150, 200 * 1024

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_SECTION = r"(?:data|model|method|optim|augment|workers|compute|checkpoint|prediction)"
_KEY = re.compile(rf"`({_SECTION}(?:\.\w+)+)(?:=([^`]*))?`")


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def on_pages(*paths: Path) -> pytest.MarkDecorator:
    """Run a test for each of some pages."""
    return pytest.mark.parametrize("page", paths, ids=page_id)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """What `#...` may name on a page: its headings, as a code host writes them."""
    found: set[str] = set()
    for title in re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(bool(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", known)) for known in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


def broken_links(page: Path) -> Iterator[str]:
    """Relative links of a page that lead to no file or to no heading."""
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or ROOT not in (target, *target.parents):
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors(target):
            yield f"{link}: no such heading; there are {', '.join(sorted(anchors(target)))}"


@dataclass(frozen=True, slots=True)
class Command:
    """A `python -m fer_ray.<module> ...` on a page."""

    module: str
    arguments: tuple[str, ...]


def commands(text: str) -> Iterator[Command]:
    """Commands of this package in the fenced blocks of a page."""
    for language, block in _FENCE.findall(text):
        if language not in ("sh", "bash"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.whitespace_split = True
            words = list(lexer)
            for at, word in enumerate(words[1:], start=1):
                if word.startswith("fer_ray.") and words[at - 1] == "-m":
                    rest = words[at + 1 :]
                    ends = [i for i, x in enumerate(rest) if set(x) <= set(";&|")]
                    yield Command(word, tuple(rest[: min(ends, default=len(rest))]))


def complaint(command: Command, capsys: pytest.CaptureFixture[str]) -> str | None:
    """What is wrong with a command: its words, its keys, or its search space."""
    place = "fer_ray.data.__main__" if command.module == "fer_ray.data" else command.module
    try:
        args = importlib.import_module(place).build_parser().parse_args(command.arguments)
        if hasattr(args, "space"):
            # A job on a cluster is given the folder of spaces as its working folder.
            places = (ROOT / args.space, ROOT / "search_spaces" / args.space)
            load_space(next(filter(Path.exists, places), args.space), run_overrides(args))
        elif hasattr(args, "assignments"):
            read_run(args)
    except SystemExit:
        return capsys.readouterr().err
    except (ImportError, ConfigError) as error:
        return str(error)
    return None


@on_pages(*PAGES)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert list(broken_links(page)) == []


@on_pages(*PAGES)
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(page.read_text(encoding="utf-8")):
        assert complaint(command, capsys) is None, command


def test_commands_are_found() -> None:
    found = {command.module for page in PAGES for command in commands(page.read_text())}
    assert found >= {f"fer_ray.{name}" for name in ("train", "tune", "scale", "data")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("python -m fer_ray.train --datum synthetic", "--datum"),
        ("uv run python -m fer_ray.train --set optim.epoch=3", "optim.epoch"),
        ("python -m fer_ray.train --set method.name=elr --set method.top=3", "method.top"),
        ("pip install uv && python -m fer_ray.tune --space search_spaces/x.yaml", "x.yaml"),
        ("python -m fer_ray.data inspekt synthetic", "inspekt"),
        ("python -m fer_ray.trains --data synthetic; true", "fer_ray.trains"),
    ],
)
def test_a_wrong_command_is_seen(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = commands(f"```sh\n{line}\n```\n")
    assert said in (complaint(command, capsys) or "")


def test_a_broken_link_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_docs.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# A `title`, twice\n# A title, twice\n"
        "[1](#a-title-twice) [2](page.md#a-title-twice-1) [3](#a-title) [4](none.md)\n"
        "[5](../page.md) [6](https://example.org/#x)\n```sh\n# no heading\n[7](none.md)\n```\n"
        "[8](#no-heading)\n"
    )
    assert [link.split(":")[0] for link in broken_links(page)] == [
        "#a-title",
        "none.md",
        "../page.md",
        "#no-heading",
    ]


def flat(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of a nested dict, those of its sections too."""
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")


@cache
def known_keys() -> frozenset[str]:
    """The keys of a run, whatever its method; thresholds have one for every class."""
    runs = [RunConfig.from_dict({"method": name}).to_dict() for name in METHODS]
    keys = {key for run in runs for key in flat(run)}
    return frozenset(keys | {f"method.thresholds.{name}" for name in CANONICAL})


def fits_a_run(key: str, value: str) -> bool:
    """Whether a run of some method may have this value, given as YAML."""
    for name in METHODS:
        raw = with_overrides({"method": name}, {key: yaml.safe_load(value)})
        with suppress(ConfigError):
            RunConfig.from_dict(raw)
            return True
    return False


@on_pages(*PAGES)
def test_keys_in_the_text_are_keys_of_a_run(page: Path) -> None:
    for key, value in _KEY.findall(prose(page)):
        assert key in known_keys(), key
        assert not value or fits_a_run(key, value), f"{key}={value}"


@on_pages(*PAGES, ROOT / "CHANGELOG.md")
def test_search_spaces_exist(page: Path) -> None:
    for name in re.findall(r"search_spaces/([\w-]+\.yaml)", page.read_text(encoding="utf-8")):
        assert (SPACES / name).is_file(), name


def test_the_page_of_search_spaces_names_them_all_and_all_distributions() -> None:
    page = prose(ROOT / "docs" / "search_spaces.md")
    text = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    for name in [path.name for path in SPACES.glob("*.yaml")] + list(DISTRIBUTIONS):
        assert f"`{name}`" in text, name


def test_readme_is_short_and_its_pictures_are_small() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_README_LINES
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 4
    for name in pictures:
        assert (ROOT / name).stat().st_size <= MAX_PICTURE_BYTES, name


def test_the_first_line_about_pytest_is_the_test_command() -> None:
    """CI runs it."""
    lines = README.read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if re.search(r"uv run .*pytest", line))
    assert first == "pip install uv && uv run pytest -n auto"


@on_pages(README, ROOT / "docs" / "methods.md")
def test_every_method_has_its_row(page: Path) -> None:
    named = re.findall(r"^\| `(\w+)` \| \D.*\]\(https?://", page.read_text(), re.MULTILINE)
    assert [name for name in named if name in METHODS] == list(METHODS)
