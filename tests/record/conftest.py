"""W&B without settings of the user, and a server for it on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wandb_stub import WandbStub, running_stub


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """No W&B settings of the user, and a W&B library without state."""
    import wandb

    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_SILENT", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, {"WANDB_SILENT": "true"}.get(name, "false"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    wandb.teardown()
    yield monkeypatch
    wandb.teardown()


@pytest.fixture
def server(machine: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    with running_stub() as stub:
        machine.setenv("WANDB_BASE_URL", stub.url)
        machine.setenv("WANDB_API_KEY", "0" * 40)
        yield stub
