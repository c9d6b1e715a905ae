"""A search goes on without a host that is lost, and is resumed after the head was."""

import functools
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts import Hosts, wait_until, why_not
from tests.paths import ROOT
from tests.test_train import plain_rows

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(
        os.environ.get("FER_RAY_HOSTS") != "1", reason="takes some minutes; FER_RAY_HOSTS=1 runs it"
    ),
]
EPOCHS = 40
NUM_TRIALS = 3  # one for each host, which has one CPU
SPACE = {
    "run": {
        "data": "synthetic:train=300,test=70",
        "model": {"name": "tiny"},
        "method": {"name": "cross_entropy"},
        "optim": {"epochs": EPOCHS, "batch_size": 20},
        "workers": {"gpus_per_worker": 0},
    },
    "method": "grid",
    "metric": {"name": "val/macro_recall", "goal": "maximize"},
    "parameters": {"seed": {"values": list(range(NUM_TRIALS))}},
}
_SEARCH = (
    "python -m fer_ray.tune --space /mnt/space.yaml --storage /mnt/runs --name search "
    "--address auto --wandb disabled --no-report"
)
_PAUSE_S = 12


class Cluster:
    """Three hosts with Ray, the package and a shared folder, used over SSH."""

    def __init__(self, folder: Path, hosts: Hosts) -> None:
        self.folder, self.hosts = folder, hosts
        self.runs = hosts.shared / "runs" / "search"
        env = {
            "PATH": "/root/fer_venv/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": "/mnt/package",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_raylet_start_wait_time_s": "120",  # on a busy machine
            "OMP_NUM_THREADS": "1",
            "FER_RAY_CACHE": "/mnt/cache",
        }
        self._env = " ".join(f"{key}={value}" for key, value in env.items())
        shutil.copytree(ROOT / "fer_ray", hosts.shared / "package" / "fer_ray")
        (hosts.shared / "space.yaml").write_text(yaml.safe_dump(SPACE))

    def start_ray(self) -> None:
        """Start the head and the workers; what ran before is ended."""
        head = self.hosts.addresses[0]
        for i, address in enumerate(self.hosts.addresses):
            role = "--head --port=6379 --include-dashboard=false"
            role = role if i == 0 else f"--address={head}:6379"
            self.ssh(i, "ray stop --force")
            self.ssh(
                i,
                f"ray start {role} --node-ip-address={address} --num-cpus=1 "
                "--object-store-memory=150000000 --disable-usage-stats",
            )

    def ssh(self, i: int, line: str, timeout_s: float = 180) -> str:
        """Run a command on a host, and return what it prints."""
        with (self.folder / "ssh.log").open("w+") as log:
            code = self._popen(i, line, log).wait(timeout_s)
            log.seek(0)
            printed = log.read()
        assert code == 0, f"{line}:\n{printed[-4000:]}"
        return printed

    def search(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start the search on the head."""
        with (self.folder / "search.log").open("a") as log:
            return self._popen(0, " ".join([_SEARCH, *words]), log)

    def log(self) -> str:
        return (self.folder / "search.log").read_text()[-6000:]

    def _popen(self, i: int, line: str, log: Any) -> "subprocess.Popen[bytes]":
        words = ["ssh", "-i", str(self.hosts.key), "-o", "StrictHostKeyChecking=no"]
        words += ["-o", f"UserKnownHostsFile={self.folder / 'known'}", "-o", "LogLevel=ERROR"]
        words += [f"root@{self.hosts.addresses[i]}", f"env {self._env} sh -c {shlex.quote(line)}"]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def signal(self, i: int, number: int, wanted: Callable[[str], bool]) -> None:
        """Send a signal to processes of a host, chosen by their command lines."""
        name = self.hosts.names[i]
        for pid in self.hosts.processes(name):
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if wanted(line):
                    os.kill(pid, number)

    def num_rows(self) -> list[int]:
        """How many rows every trial has."""
        files = [self.runs / f"trial_{i + 1:03d}" / "metrics.jsonl" for i in range(NUM_TRIALS)]
        return [path.read_bytes().count(b"\n") if path.exists() else 0 for path in files]

    def wait_for_rows(self, number: int) -> None:
        wait_until(lambda: min(self.num_rows()) >= number, 300, self.log)

    def check_rows(self) -> None:
        """The trials have the rows of plain processes, and the search its result."""
        for i in range(NUM_TRIALS):
            trial = self.runs / f"trial_{i + 1:03d}"
            lines = (trial / "metrics.jsonl").read_text().splitlines()
            rows = [json.loads(line) for line in lines]
            found = [
                {key: value for key, value in row.items() if not key.startswith("time/")}
                for row in rows
            ]
            assert found == undisturbed((trial / "config.yaml").read_text()), trial.name
        assert json.loads((self.runs / "summary.json").read_text())["num_trials"] == NUM_TRIALS
        assert not list(self.runs.rglob("in_use*"))


@functools.cache
def undisturbed(config: str) -> list[dict[str, Any]]:
    """The rows of a trial in this process."""
    with tempfile.TemporaryDirectory() as folder:
        return plain_rows(yaml.safe_load(config), folder)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="fer-ray-lost-", dir="/var/tmp"))
    hosts = Hosts(folder / "hosts", NUM_TRIALS)
    (folder / "hosts").mkdir()
    try:
        hosts.start()
        found = Cluster(folder, hosts)
        found.start_ray()
        yield found
    finally:
        hosts.stop()
        shutil.rmtree(folder)


def test_a_search_goes_on_after_a_pause_and_without_a_lost_host(cluster: Cluster) -> None:
    search = cluster.search()
    cluster.wait_for_rows(2)

    cluster.signal(1, signal.SIGSTOP, lambda line: "sshd" not in line)
    with suppress(subprocess.TimeoutExpired):
        search.wait(_PAUSE_S)
    cluster.signal(1, signal.SIGCONT, lambda line: True)
    cluster.hosts.cut_off(2)
    cluster.signal(2, signal.SIGKILL, lambda line: True)
    assert min(cluster.num_rows()) < EPOCHS, "the search was over before"

    assert search.wait(600) == 0, cluster.log()
    cluster.check_rows()


def test_a_search_is_resumed_after_the_head_was_lost(cluster: Cluster) -> None:
    first = cluster.search()
    cluster.wait_for_rows(2)
    cluster.signal(0, signal.SIGKILL, lambda line: "sshd" not in line and "bash" not in line)
    first.wait(60)
    assert min(cluster.num_rows()) < EPOCHS, "the search was over before"

    cluster.start_ray()
    second = cluster.search("--resume")
    assert second.wait(600) == 0, cluster.log()
    cluster.check_rows()
