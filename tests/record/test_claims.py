"""A folder belongs to one command at a time."""

import json
import multiprocessing
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from pyarrow import fs

from fer_ray.commands.folders import claim_folder
from fer_ray.core.errors import ConfigError
from fer_ray.record.claims import CLAIM, InUseError, claimed
from fer_ray.record.places import Uri
from fer_ray.record.storage import Folder

OTHER = {"host": "elsewhere", "pid": 7, "since": "2026-01-01 10:00:00"}


def test_a_folder_in_use_is_refused_by_name_with_who_uses_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    with claimed(folder, is_new=True):
        folder.write_text("config.yaml", "")
        user = re.escape(f"{os.getpid()} on {socket.gethostname()} since 20")
        message = rf"/run: expected a folder that no command uses, .*process {user}"
        with pytest.raises(InUseError, match=message), claimed(folder, is_new=False):
            pass
        with pytest.raises(FileExistsError), claimed(folder, is_new=True):
            pass
    assert folder.names() == ["config.yaml"]
    with claimed(folder, is_new=False):
        pass


def test_a_new_folder_in_which_nothing_was_written_is_deleted(tmp_path: Path) -> None:
    with claimed(Folder(tmp_path / "run"), is_new=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_claim_of_a_dead_process_is_taken_over_and_that_of_another_host_is_not(
    tmp_path: Path,
) -> None:
    folder = Folder(tmp_path)
    folder.write_text(CLAIM, json.dumps({**OTHER, "host": socket.gethostname()}))
    with claimed(folder, is_new=False):
        assert json.loads(folder.read_text(CLAIM))["pid"] == os.getpid()
    folder.write_text(CLAIM, json.dumps(OTHER))
    with (
        pytest.raises(InUseError, match=r"process 7 on elsewhere .* delete .*in_use\.json"),
        claimed(folder, is_new=False),
    ):
        pass
    assert folder.exists(CLAIM)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder that pyarrow takes for a store."""
    filesystem = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    opened = (filesystem, "runs", Uri("s3://bucket/runs"))
    monkeypatch.setattr("fer_ray.record.storage.open_place", lambda place: opened)
    monkeypatch.setattr("fer_ray.record.claims._WAIT_S", 0.0)
    return Folder("s3://bucket/runs")


def test_in_a_store_a_command_gives_way_to_an_earlier_claim(store: Folder) -> None:
    folder = store / "run"
    with claimed(folder, is_new=True):
        folder.write_text("config.yaml", "")
        for is_new, error in ((False, InUseError), (True, FileExistsError)):
            with pytest.raises(error), claimed(folder, is_new=is_new):
                pass
    gone = subprocess.Popen(["true"])
    gone.wait()
    user = {**OTHER, "host": socket.gethostname(), "pid": gone.pid}
    folder.write_text("in_use/a.json", json.dumps(user))
    with claimed(folder, is_new=False):
        assert not folder.exists("in_use/a.json")
    folder.write_text("in_use/b.json", json.dumps(OTHER))
    with (
        pytest.raises(InUseError, match="process 7 on elsewhere since 2026-01-01"),
        claimed(folder, is_new=False),
    ):
        pass


def _claim(storage: str, barrier: "multiprocessing.synchronize.Barrier", name: str | None) -> None:
    barrier.wait()
    try:
        with claim_folder(storage, name, "run", resume=False) as folder:
            folder.write_text(f"by-{os.getpid()}", "")
    except ConfigError:
        Path(storage, f"refused-{os.getpid()}").touch()


@pytest.mark.parametrize("name", [None, "same"])
def test_commands_that_start_together_lose_nothing(name: str | None, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    barrier = fork.Barrier(5)
    args = (str(tmp_path), barrier, name)
    processes = [fork.Process(target=_claim, args=args) for _ in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert all(process.exitcode == 0 for process in processes)
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert all(len(list(folder.iterdir())) == 1 for folder in folders)
    refused = list(tmp_path.glob("refused-*"))
    assert (len(folders), len(refused)) == ((5, 0) if name is None else (1, 4))
