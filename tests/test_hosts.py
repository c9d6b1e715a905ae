"""A search on three hosts that `clusters/onprem.yaml` brings up; tearing down leaves nothing."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts import Hosts, wait_until, why_not
from tests.paths import ROOT

WANTED = os.environ.get("FER_RAY_HOSTS") == "1"
pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not WANTED, reason="takes some minutes; FER_RAY_HOSTS=1 runs it"),
]
RAY = Path(sys.executable).with_name("ray")
# One CPU on each host: workers of a trial never share one.
START_OPTIONS = "--num-cpus=1 --object-store-memory=150000000"
# Three of these four trials at a time need more CPUs than there are, and one has a worker on each
# host.
SPACE = {
    "run": {
        "data": "synthetic:train=300,test=70",
        "method": {"name": "cross_entropy"},
        "optim": {"epochs": 2, "batch_size": 30},
        "workers": {"gpus_per_worker": 0},
    },
    "method": "grid",
    "metric": {"name": "val/macro_recall", "goal": "maximize"},
    "parameters": {
        "workers.num_workers": {"values": [1, 3]},
        "seed": {"values": [0, 1]},
    },
}


class Launcher:
    """A machine's user with the files of `clusters/`, filled in for some hosts."""

    def __init__(self, folder: Path, hosts: Hosts) -> None:
        self.folder, self.hosts, self.port = folder, hosts, free_port()
        # Not the settings of the embedded Ray of other tests, such as its token.
        mine = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self.env = {**mine, "HOME": str(folder / "home"), "RAY_AUTH_MODE": "token"}
        self.env |= {
            "RAY_UP_enable_autoscaler_v2": "0",
            "PATH": f"{RAY.parent}:{os.environ['PATH']}",
        }
        token = folder / "home/.ray/auth_token"
        token.parent.mkdir(parents=True)
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        self.run("uv", "build", "-q", "--wheel", "--out-dir", str(folder / "dist"), str(ROOT))
        shutil.copy(ROOT / "requirements.lock", folder)
        (folder / "onprem.yaml").write_text(yaml.safe_dump(self.filled_in()))

    def filled_in(self) -> dict[str, Any]:
        """`clusters/onprem.yaml` with what is marked EDIT there, and with small hosts."""
        config: dict[str, Any] = yaml.safe_load((ROOT / "clusters/onprem.yaml").read_text())
        head, *workers = self.hosts.addresses
        config["provider"] |= {"head_ip": head, "worker_ips": workers}
        config["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.hosts.key)}
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            stop, start = config[key]
            config[key] = [stop, f"{start} {START_OPTIONS}"]
        return config

    def run(self, *words: str, timeout_s: float = 300) -> str:
        """Run a command in the folder, and return what it prints."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.env, text=True, timeout=timeout_s, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}:\n{done.stdout[-6000:]}"
        return done.stdout

    def ray(self, *words: str, timeout_s: float = 300) -> str:
        return self.run(str(RAY), *words, timeout_s=timeout_s)

    def tear_down(self) -> None:
        """`ray down`, and `ray stop` on the workers, where it leaves agents for minutes."""
        self.ray("down", "-y", "onprem.yaml")
        ssh = ["ssh", "-i", str(self.hosts.key), "-o", "StrictHostKeyChecking=no"]
        ssh += ["-o", f"UserKnownHostsFile={self.folder / 'known'}"]
        for worker in self.hosts.addresses[1:]:
            self.run(*ssh, f"root@{worker}", "PATH=~/fer_venv/bin:$PATH; ray stop")

    @contextmanager
    def tunnel(self) -> Iterator[str]:
        """`ray dashboard`: the address of the cluster's jobs on this machine."""
        words = [str(RAY), "dashboard", "--port", str(self.port), "onprem.yaml"]
        with (self.folder / "tunnel.log").open("wb") as log:
            process = subprocess.Popen(
                words, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(lambda: is_open(self.port), 60, (self.folder / "tunnel.log").read_text)
            yield f"http://127.0.0.1:{self.port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="fer-ray-hosts-", dir="/var/tmp"))
    hosts = Hosts(folder / "hosts", 3)
    (folder / "hosts").mkdir()
    try:
        hosts.start()
        yield Launcher(folder, hosts)
    finally:
        hosts.stop()
        shutil.rmtree(folder)


def test_a_search_runs_on_all_hosts_and_tearing_down_leaves_nothing(launcher: Launcher) -> None:
    hosts, job = launcher.hosts, launcher.folder / "job"
    job.mkdir()
    (job / "space.yaml").write_text(yaml.safe_dump(SPACE))
    launcher.ray("up", "-y", "--no-config-cache", "onprem.yaml")
    with launcher.tunnel() as address:
        wait_for_hosts(launcher, address)
        search = "python -m fer_ray.tune --space space.yaml --name search --address auto "
        search += "--concurrent 3 --trials 3 --storage /mnt/fer_ray/runs --wandb disabled"
        submit = ["job", "submit", "--address", address, "--working-dir", str(job), "--"]
        launcher.ray(*submit, *search.split(), timeout_s=420)
        nodes = listed(launcher, address, "nodes")
        actors = listed(launcher, address, "actors")

    address_of = {node["node_id"]: node["node_ip"] for node in nodes}
    trials = {address_of[actor["node_id"]] for actor in actors if is_trial(actor)}
    workers: dict[str, set[str]] = {}
    for actor in actors:
        if actor["class_name"] == "RayTrainWorker":
            where = workers.setdefault(actor["placement_group_id"], set())
            where.add(address_of[actor["node_id"]])
    assert trials
    assert trials.union(*workers.values()) == set(hosts.addresses)
    assert workers
    assert all(where == set(hosts.addresses) for where in workers.values())
    summary = json.loads((hosts.shared / "fer_ray/runs/search/summary.json").read_text())
    assert summary["num_trials"] == 3

    launcher.tear_down()
    wait_until(
        lambda: not any(running(hosts, name) for name in hosts.names),
        60,
        lambda: {name: running(hosts, name) for name in hosts.names},
    )


def wait_for_hosts(launcher: Launcher, address: str) -> None:
    def are_there() -> bool:
        alive = [node for node in listed(launcher, address, "nodes") if node["state"] == "ALIVE"]
        return len(alive) == len(launcher.hosts.names)

    wait_until(are_there, 180, lambda: listed(launcher, address, "nodes"))


def listed(launcher: Launcher, address: str, what: str) -> list[dict[str, Any]]:
    """What `ray list` knows of the cluster, also of what has ended."""
    options = ["--address", address, "--format", "json", "--detail", "--limit", "1000"]
    text = launcher.ray("list", what, *options)
    found: list[dict[str, Any]] = json.loads(text[text.index("[") :])
    return found


def is_trial(actor: dict[str, Any]) -> bool:
    """Whether an actor is a trial that trains in its own process: it holds a CPU."""
    cpus = [key for key in actor["required_resources"] if key.startswith("CPU")]
    return "ImplicitFunc" in actor["class_name"] and bool(cpus)


def running(hosts: Hosts, name: str) -> list[str]:
    """What runs on a host besides its SSH server."""
    own = ("sshd", "bash /var/tmp", "unshare", "ip netns")
    return [line for line in hosts.commands(name) if line and not any(x in line for x in own)]
