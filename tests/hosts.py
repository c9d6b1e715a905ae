"""Hosts on this machine that Ray takes for machines of their own.

Each is a network namespace with an address, in mount, PID and UTS namespaces, with sshd. Their
/root, /tmp, /dev/shm and /run are their own, /mnt is shared by all like a folder of NFS, and the
rest is this machine's. They reach each other and this machine, and nothing else: what a package
needs is taken from the environment that runs the tests.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

TOOLS = ("ip", "unshare", "sshd", "ssh-keygen", "rsync", "uv")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"

_INIT = """\
set -eu
hostname {name}
mount --make-rprivate /
{keep}
mount --bind {here}/mnt /mnt
mount --rbind {here}/{name}/root /root
mount --rbind {here}/{name}/tmp /tmp
mount -t tmpfs -o size=512m tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir /run/sshd
export HOME=/root
cd /root
{python} -m venv fer_venv
echo {packages} > fer_venv/lib/{version}/site-packages/packages.pth
printf '#!/root/fer_venv/bin/python\\nfrom ray.scripts.scripts import main\\nmain()\\n' \
  > fer_venv/bin/ray
chmod 755 fer_venv/bin/ray
exec $(command -v sshd) -D -e -f {config}
"""

_PIP = "[install]\nno-index = true\nno-deps = true\n"

_SSHD = """\
ListenAddress {address}
HostKey {here}/{name}/hostkey
AuthorizedKeysFile /root/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
"""


def why_not() -> str | None:
    """Why there can be no hosts on this machine; `None` if there can."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=_PATH) is None]
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "ip", "link"],
        env={**os.environ, "PATH": _PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


class Hosts:
    """Some hosts, from `start` to `stop`.

    Attributes:
        names: Of the hosts; also of their network namespaces.
        addresses: Of the hosts, in the same order.
        key: File of the SSH key that opens them, for root.
        shared: The folder that is /mnt on every host.
    """

    def __init__(self, folder: Path, number: int) -> None:
        """Choose names and addresses.

        Args:
            folder: For the files of the hosts; should be short, and outside of /tmp and /root.
            number: How many.
        """
        self._folder = folder
        self._tag = f"fr{os.getpid() % 100_000}"
        self._network = f"198.18.{os.getpid() % 250}"  # kept for tests of networks
        self._started: list[subprocess.Popen[bytes]] = []
        self.names = [f"{self._tag}h{i}" for i in range(number)]
        self.addresses = [f"{self._network}.{i + 10}" for i in range(number)]
        self.key = folder / "key"
        self.shared = folder / "mnt"

    def start(self) -> None:
        """Start the hosts, and wait until they answer."""
        self.shared.mkdir()
        _key(self.key)
        _ip(f"link add {self._tag}b type bridge")
        _ip(f"addr add {self._network}.1/24 dev {self._tag}b")
        _ip(f"link set {self._tag}b up")
        for i in range(len(self.names)):
            self._start(i)
        for process, address in zip(self._started, self.addresses, strict=True):
            self._await(process, address)

    def stop(self) -> None:
        """End every process on the hosts, and remove them."""
        for name in self.names:
            for pid in self.processes(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.wait(30)
        for i, name in enumerate(self.names):
            _ip(f"link del {self._tag}v{i}", check=False)  # with its namespace it goes later
            _ip(f"netns del {name}", check=False)
        _ip(f"link del {self._tag}b", check=False)

    def cut_off(self, i: int) -> None:
        """Take a host off the network: nobody hears that its processes end."""
        _ip(f"link set {self._tag}v{i} down")

    def processes(self, name: str) -> list[int]:
        """The processes on a host, by their number on this machine."""
        listed = _ip(f"netns pids {name}", check=False)
        return [int(pid) for pid in listed.split()]

    def commands(self, name: str) -> list[str]:
        """The command lines of the processes on a host."""
        found = []
        for pid in self.processes(name):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                found.append(b" ".join(words).decode(errors="replace").strip())
        return found

    def _start(self, i: int) -> None:
        name, address, folder = self.names[i], self.addresses[i], self._folder / self.names[i]
        ends = f"{self._tag}v{i}", f"{self._tag}e{i}"
        for line in (
            f"netns add {name}",
            f"link add {ends[0]} type veth peer name {ends[1]}",
            f"link set {ends[0]} master {self._tag}b up",
            f"link set {ends[1]} netns {name}",
            f"-n {name} addr add {address}/24 dev {ends[1]}",
            f"-n {name} link set {ends[1]} up",
            f"-n {name} link set lo up",
            f"-n {name} route add default via {self._network}.1",
        ):
            _ip(line)
        for part in ("root/.ssh", "root/.config/pip", "tmp"):
            (folder / part).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        (folder / "root/.bashrc").touch()
        (folder / "root/.config/pip/pip.conf").write_text(_PIP)
        shutil.copy(self.key.with_suffix(".pub"), folder / "root/.ssh/authorized_keys")
        _key(folder / "hostkey")
        config = folder / "sshd_config"
        config.write_text(_SSHD.format(address=address, here=self._folder, name=name))
        script = folder / "init.sh"
        script.write_text(self._init(name, config))
        with (folder / "log").open("wb") as log:
            isolated = ["unshare", "--mount", "--pid", "--uts", "--fork", "--mount-proc"]
            self._started.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, *isolated, "bash", str(script)],
                    env={"PATH": _PATH},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def _init(self, name: str, config: Path) -> str:
        """The script that becomes the first process of a host."""
        packages = sysconfig.get_paths()["purelib"]
        folder, keep = self._folder / name, []
        for path in dict.fromkeys([sys.base_prefix, packages]):  # under what will be hidden
            for hidden in ("/root", "/tmp"):
                if Path(path).is_relative_to(hidden):
                    inside = shlex.quote(f"{folder}{path}")
                    keep += [f"mkdir -p {inside}", f"mount --bind {shlex.quote(path)} {inside}"]
        return _INIT.format(
            name=name,
            keep="\n".join(keep),
            here=shlex.quote(str(self._folder)),
            python=shlex.quote(f"{sys.base_prefix}/bin/{_PYTHON}"),
            version=_PYTHON,
            packages=shlex.quote(packages),
            config=shlex.quote(str(config)),
        )

    def _await(self, process: subprocess.Popen[bytes], address: str) -> None:
        def answers() -> bool:
            if process.poll() is not None:
                raise RuntimeError(self._logs())
            with suppress(OSError), socket.create_connection((address, 22), 1):
                return True
            return False

        wait_until(answers, 90, self._logs)

    def _logs(self) -> str:
        return "\n".join((self._folder / name / "log").read_text() for name in self.names)


def wait_until(happened: Callable[[], bool], timeout_s: float, state: Callable[[], object]) -> None:
    """Wait for a condition; `state` says what is, if it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {state()}")
        time.sleep(0.5)


def _ip(line: str, *, check: bool = True) -> str:
    done = subprocess.run(
        ["ip", *line.split()],
        env={**os.environ, "PATH": _PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"ip {line}: {done.stderr.strip()}")
    return done.stdout


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
