"""YAML files are mappings; what is wrong with one is named with file and line."""

from pathlib import Path

import pytest

from fer_ray.core.errors import ConfigError
from fer_ray.core.yaml_input import load_yaml

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


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_yaml(tmp_path)
