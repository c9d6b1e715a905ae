"""Results and packs in an S3-compatible store, a server on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from fer_ray.data.open import prepared
from fer_ray.record.places import StorageError
from fer_ray.record.storage import Folder
from tests.conftest import Launch

PACK = "synthetic:train=300,test=70"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Options of a URI that lead to the server."""
    server = pytest.importorskip("moto.server", reason="moto, an S3-compatible server, is missing")
    threaded = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    threaded.start()
    host, port = threaded.get_host_and_port()
    yield f"?region=us-east-1&scheme=http&endpoint_override={quote(f'{host}:{port}', safe='')}"
    threaded.stop()


@pytest.fixture
def bucket(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A new bucket: its name."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    name = f"bucket-{abs(hash(request.node.name)) % 10**9}"
    options = f"{endpoint}&allow_bucket_creation=true&allow_bucket_deletion=true"
    Folder(f"s3://{name}{options}").make()
    yield name
    Folder(f"s3://{name}{options}").delete("")


def test_a_folder_in_a_store_works_like_one_here(
    bucket: str, endpoint: str, tmp_path: Path
) -> None:
    folder = Folder(f"s3://{bucket}/runs{endpoint}") / "search"
    assert not folder.exists()
    folder.check_writable()
    folder.write_text("a b.txt", "é")
    folder.write_bytes("trial/raw", b"\x00")
    assert folder.read_text("a b.txt") == "é"
    assert {"a b.txt", "trial"} <= set(folder.names())
    again = Folder(str(folder))
    assert again.read_bytes("trial/raw") == b"\x00"
    assert (again.download("trial", tmp_path / "trial") / "raw").read_bytes() == b"\x00"
    (folder / "copy").copy_tree_from(tmp_path / "trial")
    assert (folder / "copy").names() == ["raw"]
    folder.delete("trial")
    assert not folder.exists("trial/raw")
    with pytest.raises(FileNotFoundError):
        folder.read_text("trial/raw")


def test_a_bucket_that_is_not_there_is_refused_by_name(bucket: str, endpoint: str) -> None:
    with pytest.raises(
        StorageError, match=r"s3://no-bucket/runs.*expected a folder that can be wr"
    ):
        Folder(f"s3://no-bucket/runs{endpoint}").check_writable()


def test_a_pack_in_a_store_is_the_same_pack(bucket: str, endpoint: str, cache_dir: str) -> None:
    here = prepared(PACK)
    store = Folder(f"s3://{bucket}/packs/faces{endpoint}")
    store.copy_tree_from(here.folder)
    copy = prepared(f"pack:{store}")
    assert copy.folder.is_relative_to(cache_dir)
    assert copy.folder != here.folder
    assert (copy.images == here.images).all()
    assert (copy.label == here.label).all()


@pytest.mark.ray
def test_a_search_keeps_its_results_in_a_store(
    bucket: str, endpoint: str, launch: Launch, tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    run = {"data": PACK, "method": "cross_entropy", "optim": {"epochs": 2, "batch_size": 32}}
    parameters = {"optim.learning_rate": {"values": [0.01, 0.05]}}
    metric = {"name": "val/macro_recall", "goal": "maximize"}
    space.write_text(
        yaml.safe_dump({"run": run, "method": "grid", "metric": metric, "parameters": parameters})
    )
    storage = f"s3://{bucket}/runs{endpoint}"
    words = ["--space", space, "--storage", storage, "--name", "search", "--wandb", "disabled"]
    command = launch("fer_ray.tune", *words)
    assert command.wait() == 0, command.output
    folder = Folder(storage) / "search"
    assert json.loads(folder.read_text("summary.json"))["num_trials"] == 2
    assert len(folder.read_text("trial_001/metrics.jsonl").splitlines()) == 2
    assert "anything" not in command.output
