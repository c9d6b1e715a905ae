"""YAML files are mappings; what is wrong with one is named with file and line."""

from pathlib import Path

import pytest

from fer_ray.core.errors import ConfigError
from fer_ray.core.yaml_input import load_yaml, parse_yaml_value

pytestmark = pytest.mark.lowest


def test_a_yaml_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("data: synthetic\noptim:\n  epochs: 3  # few\n", encoding="utf-8")
    assert load_yaml(path) == {"data": "synthetic", "optim": {"epochs": 3}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"optim:\n  epochs: 3\n  epochs: 4\n",
            r"line 3, column 3: not valid YAML: the key 'epochs' is given twice",
        ),
        (b"seed: 1\nmode: max\nseed: 2\n", r"line 3, column 1: .*'seed' is given twice"),
        (b"optim: [1\n", r"line 2, column 1: not valid YAML"),
        (b"? [a]\n: 1\n", r"line 1, column 3: not valid YAML: found unhashable key"),
        (b"seed: \x07\n", r"not valid YAML"),
        (b"a: 1\nseed: 010\n", r"line 2, column 7: .*010 is read as an octal number"),
        (b"a: 1:30\n", r"line 1, column 4: .*1:30 is read in base 60; quote it"),
        (b"a: [1e-3]\n", r"line 1, column 5: .*1e-3 is read as a word; write 1\.0e-3"),
        (b"a: -2.5E4\n", r"-2\.5E4 is read as a word; write -2\.5e\+4"),
        (b"a: 1\nb: 2024-13-45\n", r"line 2, column 4: .*month must be in 1"),
        (b"a: !!int abc\n", r"line 1, column 4: .*invalid literal"),
        (b"a: " + 5000 * b"1", r"line 1, column 4: .*4300 digits"),
        (b"a: " + 2000 * b"[", r"nested too deeply|line 1"),
        (b"", r"expected a mapping of keys, got NoneType"),
        (b"- 1\n", r"expected a mapping of keys, got list"),
        (b"seed: \xff\n", r"cannot be read: not UTF-8 text\. Check the path"),
    ],
)
def test_a_bad_yaml_file_is_named_with_the_place(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{path}.*{message}"):
        load_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("2E5", 2e5),
        ("0", 0),
        ("-5", -5),
        ("0.10", 0.1),
        ("1.0e-3", 0.001),
        ("'1e-3'", "1e-3"),
        ("'010'", "010"),
    ],
)
def test_numbers_that_are_what_they_look_like_are_read(text: str, value: object) -> None:
    found = parse_yaml_value(text, "--set x")
    assert found == value
    assert type(found) is type(value)


def test_a_value_that_is_read_as_another_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--set seed: .*010 is read as an octal number"):
        parse_yaml_value("010", "--set seed")


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_yaml(tmp_path)


def test_aliases_do_not_make_circles_or_bombs() -> None:
    assert parse_yaml_value("[&a [1], *a]", "--set x") == [[1], [1]]
    with pytest.raises(ConfigError, match=r"--set x: .*stands inside of what it means"):
        parse_yaml_value("&a [*a]", "--set x")
    bomb = "[&a0 [1]" + "".join(f", &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))
    with pytest.raises(ConfigError, match=r"more than 100,000 values"):
        parse_yaml_value(f"{bomb}]", "--set x")
