"""The choice of the folder that a command writes to."""

from pathlib import Path

import pytest

from fer_ray.commands import folders
from fer_ray.commands.folders import choose_folder, claim_folder
from fer_ray.core.errors import ConfigError
from fer_ray.record.storage import Folder


def make(storage: Path, *names: str) -> str:
    for name in names:
        (storage / name).mkdir(parents=True)
    return str(storage)


def test_a_new_folder_has_the_next_higher_number(tmp_path: Path) -> None:
    storage = make(tmp_path, "train-001", "train-007", "train-x", "trained-009", "other-012")
    assert choose_folder(storage, None, "train", resume=False).name == "train-008"
    assert choose_folder(storage, None, "scale", resume=False).name == "scale-001"


def test_numbers_grow_beyond_three_digits(tmp_path: Path) -> None:
    storage = make(tmp_path, "train-999", "train-1000")
    assert choose_folder(storage, None, "train", resume=False).name == "train-1001"


def test_without_a_name_the_latest_is_resumed(tmp_path: Path) -> None:
    storage = make(tmp_path, "train-002", "train-010")
    assert choose_folder(storage, None, "train", resume=True).name == "train-010"


def test_a_stem_is_not_a_pattern(tmp_path: Path) -> None:
    storage = make(tmp_path, "a.b-004", "aab-009")
    assert choose_folder(storage, None, "a.b", resume=True).name == "a.b-004"


def test_a_name_of_any_kind_becomes_a_folders_name(tmp_path: Path) -> None:
    storage = make(tmp_path, "My-sweep-lr-001")
    for resume, number in ((False, 2), (True, 1)):
        folder = choose_folder(storage, None, "My sweep (lr)", resume=resume)
        assert folder.name == f"My-sweep-lr-{number:03d}"


@pytest.mark.parametrize("name", ["a b", "a/b", "", "a:b"])
def test_an_invalid_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--name .*expected only letters, digits"):
        choose_folder(str(tmp_path), name, "train", resume=False)


def test_an_existing_folder_is_resumed_and_never_overwritten(tmp_path: Path) -> None:
    storage = make(tmp_path, "mine")
    assert choose_folder(storage, "mine", "train", resume=True).name == "mine"
    with pytest.raises(ConfigError, match="mine exists; resume it with --resume"):
        choose_folder(storage, "mine", "train", resume=False)
    with pytest.raises(ConfigError, match=r"yours does not exist; .* holds mine"):
        choose_folder(storage, "yours", "train", resume=True)


def test_a_number_that_another_command_takes_first_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = ["run-001", "run-001", "run-002"]

    def numbered(root: Folder, stem: str, *, after: bool) -> str:
        (tmp_path / "run-001").mkdir(exist_ok=True)  # meanwhile
        return numbers.pop(0)

    monkeypatch.setattr(folders, "_numbered", numbered)
    with claim_folder(str(tmp_path), None, "run", resume=False) as folder:
        assert folder.name == "run-002"
