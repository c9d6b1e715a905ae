"""The files in `clusters/`, as far as they can be checked without the hosts they are for."""

import copy
import importlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any, NoReturn

import click
import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

from fer_ray.commands.arguments import parse_assignments
from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.yaml_input import load_yaml
from tests.kuberay_schema import SCHEMAS
from tests.paths import ROOT

CLUSTERS = ROOT / "clusters"
LAUNCHERS = ["aws-gpu.yaml", "gcp-gpu.yaml", "onprem.yaml"]
FILES = [*LAUNCHERS, "kuberay-rayjob.yaml", "slurm.sbatch", "README.md"]
SHELLCHECK = shutil.which("shellcheck")
DOCUMENTS: list[Any] = list(yaml.safe_load_all((CLUSTERS / "kuberay-rayjob.yaml").read_text()))
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|gh[opsu]_\w{20}|hf_\w{20}|xox[abp]-|AIza[\w-]{30}|[0-9a-fA-F]{32}"
    r"|(?i:key|token|secret|passw(or)?d)['\"]?\s*[:=]\s*['\"]?(?=[\w/+-]*\d)[\w/+-]{16}"
)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("a check of these files must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def load(name: str) -> Any:
    return yaml.safe_load((CLUSTERS / name).read_text())


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from strings(item)
    elif isinstance(node, str):
        yield node


def command_text(name: str) -> str:
    """What holds commands in a file: fenced blocks, code, YAML strings, indented comments."""
    text = (CLUSTERS / name).read_text()
    if name.endswith(".md"):
        return "\n".join(re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S))
    comments = "\n".join(re.findall(r"^ *#   +(.*)$", text, re.M))
    if name.endswith(".sbatch"):
        return comments + "\n" + re.sub(r"^#.*$", "", text, flags=re.M)
    return "\n".join([comments, *strings(list(yaml.safe_load_all(text)))])


def commands(name: str) -> Iterator[list[str]]:
    """The simple commands of a file that run ray or fer_ray, as words; variables read as 1."""
    text = command_text(name).replace("\\\n", " ").replace('"$@"', "")
    text = re.sub(r"[<$]\([^()]*\)|\$\{?\w+(:-\w*)?\}?", "1", text)
    for line in text.splitlines():
        if not re.search(r"\bray [a-z]|-m fer_ray\.", line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|<>"):
                yield words
                words = []
            else:
                words.append(word)


def own_commands(name: str) -> list[tuple[str, list[str]]]:
    """Module and arguments of every `python -m fer_ray.<module> ...`."""
    found = []
    for words in commands(name):
        for at, word in enumerate(words):
            if word in {"fer_ray.tune", "fer_ray.train"} and words[at - 1] == "-m":
                found.append((word, words[at + 1 :]))
    return found


def ray_commands(name: str) -> list[list[str]]:
    """The arguments of every `ray <command> ...`."""
    found = []
    for words in commands(name):
        if "ray" in words and re.fullmatch("[a-z-]+", words[words.index("ray") + 1]):
            found.append(words[words.index("ray") + 1 :])
    return found


def parse_with_ray(arguments: list[str]) -> dict[str, Any]:
    command: Any = ray_cli
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.get_command(click.Context(command), name)
        assert command is not None, f"ray has no command {name!r}"
    params: dict[str, Any] = command.make_context(command.name, arguments).params
    return params


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launcher_files_pass_the_validation_of_ray(name: str) -> None:
    validate_config(prepare_config(load(name)))


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("key", ["max_workers", "file_mounts", "head_start_ray_commands"])
def test_a_typo_in_a_launcher_file_is_refused(name: str, key: str) -> None:
    config = load(name)
    config[key + "x"] = config.pop(key)
    with pytest.raises(jsonschema.ValidationError, match=key + "x"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_mounted_files_are_the_package_and_a_private_token(name: str) -> None:
    config = load(name)
    assert set(config["file_mounts"].values()) == {"dist", "requirements.lock", "~/.ray/auth_token"}
    assert (ROOT / "requirements.lock").is_file()
    mount = next(key for key, value in config["file_mounts"].items() if "auth_token" in value)
    assert any(f"chmod 600 {mount}" in line for line in config["setup_commands"])


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_newest_wheel_is_installed_with_the_versions_of_the_lock(
    name: str, tmp_path: Path
) -> None:
    dist = tmp_path / "fer_ray/dist"
    dist.mkdir(parents=True)
    for age_s, old in enumerate(("fer_ray-0.1.0-py3-none-any.whl", "fer_ray-0.0.9-py3.whl")):
        (dist / old).touch()
        os.utime(dist / old, (1000 - age_s, 1000 - age_s))
    for folder in (tmp_path / "bin", tmp_path / "fer_venv/bin"):
        stand_in(folder, "pip", 'printf "<%s>" "$@"; echo')
    (command,) = (line for line in load(name)["setup_commands"] if "PACKAGE=" in line)
    ran = run_bash(["-c", command], tmp_path, tmp_path / "bin")
    assert ran.returncode == 0, ran.stderr
    wheel, lock = dist / "fer_ray-0.1.0-py3-none-any.whl", tmp_path / "fer_ray/requirements.lock"
    assert ran.stdout.splitlines() == [
        f"<install><-q><-c><{lock}><{wheel}>",
        f"<install><-q><--no-deps><--force-reinstall><{wheel}>",
    ]
    reference = re.search(r'^ +# (PACKAGE="fer-ray @ git.*")$', (CLUSTERS / name).read_text(), re.M)
    assert reference is not None
    swapped = re.sub(r"PACKAGE=\$\([^)]*\)", reference[1], command)
    ran = run_bash(["-c", swapped], tmp_path, tmp_path / "bin")
    assert ran.stdout.count("<fer-ray @ git+https://git.example/fer_ray@COMMIT>") == 2


def test_the_image_is_made_of_what_a_checkout_has() -> None:
    text = (CLUSTERS / "Dockerfile").read_text()
    copied = re.findall(r"^COPY --chown=1000:100 (.+) \S+$", text, re.M)
    sources = [word for line in copied for word in line.split()]
    assert sources == ["requirements.lock", "dist/fer_ray-*.whl", "search_spaces"]
    assert all((ROOT / source).exists() for source in sources if "*" not in source)
    assert all(user["runAsUser"] == 1000 for user in pod_security(DOCUMENTS[0]))


def pod_security(node: Any) -> Iterator[dict[str, Any]]:
    """The security settings of every pod."""
    if isinstance(node, dict):
        if "runAsUser" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from pod_security(item)


@pytest.mark.parametrize("name", ["aws-gpu.yaml", "gcp-gpu.yaml"])
def test_workers_come_and_go_and_their_number_is_capped(name: str) -> None:
    config = load(name)
    worker = config["available_node_types"]["gpu_worker"]
    assert worker["min_workers"] == 0
    assert config["max_workers"] == worker["max_workers"]
    assert config["idle_timeout_minutes"] == 5
    for _, arguments in own_commands(name):
        assert int(arguments[arguments.index("--concurrent") + 1]) == config["max_workers"]


def test_a_forgotten_cluster_ends_itself() -> None:
    aws, gcp = load("aws-gpu.yaml"), load("gcp-gpu.yaml")
    assert "sudo shutdown -h +1440" in aws["initialization_commands"]
    for kind in aws["available_node_types"].values():
        assert kind["node_config"]["InstanceInitiatedShutdownBehavior"] == "terminate"
    for kind in gcp["available_node_types"].values():
        scheduling = kind["node_config"]["scheduling"]
        assert scheduling["maxRunDuration"] == {"seconds": 86400}
        assert scheduling["instanceTerminationAction"] == "DELETE"
    assert DOCUMENTS[0]["spec"]["activeDeadlineSeconds"] == 86400
    assert re.search(r"^#SBATCH --time=", (CLUSTERS / "slurm.sbatch").read_text(), re.M)


def test_workers_are_spot_and_the_head_is_not() -> None:
    for name, spot in [("aws-gpu.yaml", "MarketType': 'spot'"), ("gcp-gpu.yaml", "SPOT")]:
        types = load(name)["available_node_types"]
        assert spot in str(types["gpu_worker"]["node_config"])
        assert not re.search("spot|preemptible", str(types["head"]["node_config"]), re.I)
        assert types["head"]["resources"]["trial_driver"] == 16
        assert types["head"]["resources"].get("GPU", 0) == 0


def test_aws_instances_answer_imdsv2_only() -> None:
    for kind in load("aws-gpu.yaml")["available_node_types"].values():
        assert kind["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert "IamInstanceProfile" in kind["node_config"]


def test_kubernetes_documents_fit_the_schema() -> None:
    assert [document["kind"] for document in DOCUMENTS] == ["RayJob", "NetworkPolicy"]
    for document in DOCUMENTS:
        jsonschema.Draft202012Validator(SCHEMAS[document["kind"]]).validate(document)


def test_the_network_policy_covers_every_pod_of_the_job() -> None:
    job, policy = (document["spec"] for document in DOCUMENTS)
    cluster = job["rayClusterSpec"]
    pods = [job["submitterPodTemplate"], cluster["headGroupSpec"]["template"]]
    pods += [group["template"] for group in cluster["workerGroupSpecs"]]
    for pod in pods:
        assert pod["metadata"]["labels"].items() >= policy["podSelector"]["matchLabels"].items()
    outside = [rule for rule in policy["ingress"] if "ports" in rule]
    assert [port["port"] for rule in outside for port in rule["ports"]] == [8265]


CLUSTER = ("spec", "rayClusterSpec")
WORKER = (*CLUSTER, "workerGroupSpecs", 0)
WORKER_CONTAINER = (*WORKER, "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (WORKER, {"maxReplicas": None, "maxReplica": 2}),
        ((*CLUSTER, "authOptions"), {"mode": "tokn"}),
        ((*CLUSTER, "authOptions"), {"mode": "disabled"}),
        (CLUSTER, {"authOptions": None}),
        (("spec",), {"shutdownAfterJobFinishes": False}),
        ((*CLUSTER, "headGroupSpec"), {"serviceType": "LoadBalancer"}),
        ((*WORKER_CONTAINER, "securityContext"), {"allowPrivilegeEscalation": True}),
        ((*WORKER_CONTAINER, "securityContext", "capabilities"), {"drop": ["NET_RAW"]}),
        ((*WORKER_CONTAINER, "resources", "limits"), {"nvidia.com/gpus": 1}),
        ((*WORKER, "template", "spec", "securityContext"), {"runAsUser": 0}),
        ((*WORKER, "template", "spec"), {"automountServiceAccountToken": True}),
    ],
)
def test_a_typo_or_a_weaker_setting_is_refused(
    place: tuple[Any, ...], change: dict[str, Any]
) -> None:
    document = copy.deepcopy(DOCUMENTS[0])
    node = reduce(lambda inner, key: inner[key], place, document)
    node.update(change)
    for key in [key for key, value in change.items() if value is None]:
        del node[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMAS["RayJob"]).validate(document)


@pytest.mark.parametrize("name", FILES)
def test_search_commands_are_understood_by_our_own_parsers(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = own_commands(name)
    assert found, f"no search command found in {name}"
    for module, arguments in found:
        parser: ArgumentParser = importlib.import_module(module).build_parser()
        try:
            parser.parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{name}: {module} {shlex.join(arguments)}: {capsys.readouterr().err}")


@pytest.mark.parametrize("name", FILES)
def test_search_commands_name_files_and_settings_that_exist(name: str) -> None:
    for module, arguments in own_commands(name):
        assert module == "fer_ray.train" or "--space" in arguments
        if "--space" not in arguments:
            continue
        # The working folder of a job is search_spaces, that of an image or a checkout its root.
        space = ROOT / "search_spaces" / Path(arguments[arguments.index("--space") + 1]).name
        settings = [arguments[at + 1] for at, word in enumerate(arguments) if word == "--set"]
        run = load_yaml(space)["run"]
        RunConfig.from_dict(with_overrides(run, parse_assignments(settings)))
        assert "workers.gpus_per_worker=1" in settings
        assert arguments[arguments.index("--address") + 1] == "auto"
        assert arguments[arguments.index("--data") + 1].startswith("pack:")


@pytest.mark.parametrize("name", FILES)
def test_ray_commands_are_understood_by_ray(name: str) -> None:
    found = ray_commands(name)
    assert found or name == "kuberay-rayjob.yaml"
    for arguments in found:
        params = parse_with_ray(arguments)
        named = [value for key, value in params.items() if key == "cluster_config_file"]
        assert all((ROOT / path).is_file() for path in named)
        if arguments[0] == "start":
            assert params["disable_usage_stats"]
            assert params["dashboard_host"] == "127.0.0.1"
        if arguments[0] == "symmetric-run":
            options = curate_and_validate_ray_start_args(arguments[1 : arguments.index("--")])
            started = parse_with_ray(["start", *options])
            assert started["disable_usage_stats"]
            assert started["dashboard_host"] == "127.0.0.1"


def test_ray_refuses_a_misspelt_option() -> None:
    with pytest.raises(click.NoSuchOption):
        parse_with_ray(["start", "--head", "--dashbord-host=127.0.0.1"])


@pytest.mark.parametrize("name", LAUNCHERS)
def test_on_premises_turns_the_new_autoscaler_off(name: str) -> None:
    launches = re.findall(r"^.*\bray (?:up|down) .*clusters/.*$", command_text(name), re.M)
    assert launches
    off = ["RAY_UP_enable_autoscaler_v2=0 ray" in line for line in launches]
    assert off == [name == "onprem.yaml"] * len(off)


@pytest.mark.parametrize("name", FILES)
def test_no_file_holds_a_secret(name: str) -> None:
    found = SECRET.search((CLUSTERS / name).read_text())
    assert found is None, found


@pytest.mark.parametrize(
    "text",
    [
        "WANDB_API_KEY: " + "0123456789" * 4,
        "password=hunter2hunter2hunter2",
        "AKIA" + "A1" * 8,
        '"auth_token": "abcdefgh1jklmnopq"',
    ],
)
def test_a_secret_would_be_found(text: str) -> None:
    assert SECRET.search(text)


@pytest.mark.parametrize("name", [*FILES, "Dockerfile"])
def test_all_files_name_the_installed_ray(name: str) -> None:
    text = (CLUSTERS / name).read_text()
    named = re.findall(r"^ray==([\d.]+)$", (ROOT / "requirements.lock").read_text(), re.M)
    named += re.findall(r"(?:rayproject/ray:|ray(?:\[\w+\])?==|rayVersion: )([\d.]+)", text)
    assert set(named) == {ray.__version__}


IN_EFFECT = {"RAY_AUTH_MODE=token", "GLOO_SOCKET_IFNAME=eth7", "NCCL_SOCKET_IFNAME=eth7"}


def stand_in(folder: Path, name: str, body: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def run_bash(
    command: list[str], folder: Path, stand_ins: Path, **env: str
) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{stand_ins}:/usr/bin:/bin", "HOME": str(folder), **env}
    return subprocess.run(
        ["bash", *command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("role", ["head", "worker"])
def test_ray_starts_with_a_token_and_an_interface(name: str, role: str, tmp_path: Path) -> None:
    stand_in(tmp_path / "bin", "ray", 'echo "ray $*"; env')
    stop, start = load(name)[f"{role}_start_ray_commands"]
    assert stop == "ray stop"
    # Ray joins its own `export` to the command like this; this host's routes are not asked.
    route = tmp_path / "route"
    route.write_text("Iface Destination\nlo 0000007F\neth7 00000000 0100000A\n")
    start = "export RAY_HEAD_IP='192.0.2.1';" + start.replace("/proc/net/route", str(route))
    ran = run_bash(["-c", start], tmp_path, tmp_path / "bin")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert set(lines) >= IN_EFFECT
    expected = "ray start --head " if role == "head" else "ray start --address=192.0.2.1:6379 "
    assert lines[0].startswith(expected)


def test_ray_does_not_start_in_token_mode_without_a_token(tmp_path: Path) -> None:
    loader = "ray._private.authentication.authentication_token_setup"
    code = f"from {loader} import ensure_token_if_auth_enabled as ensure; ensure(None, False)"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode != 0
    assert "AuthenticationError" in ran.stderr


def run_slurm(folder: Path, *arguments: str, iface: str = "eth7") -> list[str]:
    """Lines that `srun` would have seen: its words, then the environment."""
    tools = folder / "bin"
    stand_in(tools, "srun", 'printf "%s\\n" "$@"; env')
    stand_in(tools, "ip", "echo '2: eth7    inet 192.0.2.7/24 brd 192.0.2.255 scope global eth7'")
    stand_in(tools, "python", f'exec {shlex.quote(sys.executable)} "$@"')
    (folder / ".venv/bin").mkdir(parents=True, exist_ok=True)
    (folder / ".venv/bin/activate").touch()
    env = {"SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_ID": "123", "SLURM_JOB_NUM_NODES": "2"}
    env |= {"SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "1", "FER_RAY_IFACE": iface}
    ran = run_bash([str(CLUSTERS / "slurm.sbatch"), *arguments], folder, tools, **env)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_slurm_script_gives_every_job_its_own_token_in_the_environment(tmp_path: Path) -> None:
    first, second = run_slurm(tmp_path), run_slurm(tmp_path, "--resume")
    tokens = re.findall("^RAY_AUTH_TOKEN=([0-9a-f]{64})$", "\n".join([*first, *second]), re.M)
    assert len(set(tokens)) == 2
    assert set(first) >= IN_EFFECT
    words = first[: first.index("model.name=resnet18") + 1]
    assert not any(token in word for token in tokens for word in words)
    assert words[words.index("--address") + 1] == "192.0.2.7:20123"
    assert second[second.index("model.name=resnet18") + 1] == "--resume"


def test_slurm_script_is_bash_and_takes_whole_nodes() -> None:
    script = CLUSTERS / "slurm.sbatch"
    checked = subprocess.run(
        ["bash", "-n", str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "#SBATCH --exclusive" in script.read_text().splitlines()


def shell_commands(name: str) -> str:
    """The commands that a file gives to a shell, as a script."""
    if name.endswith(".sbatch"):
        return (CLUSTERS / name).read_text()
    keys = [key for key in load(name) if key.endswith("_commands")]
    lines = [line for key in keys for line in load(name)[key]]
    return "\n".join(["#!/bin/bash", *lines]) + "\n"


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("name", [*LAUNCHERS, "slurm.sbatch"])
def test_shellcheck_finds_nothing(name: str) -> None:
    assert SHELLCHECK is not None
    # 1091: what is sourced is not here; 2012: `ls -t` sorts by age, and the names are a wheel's;
    # 2016: a line for ~/.bashrc holds variables; 2155: the status of `$(...)` does not count.
    command = [SHELLCHECK, "--shell=bash", "--exclude=SC1091,SC2012,SC2016,SC2155", "-"]
    checked = subprocess.run(
        command, input=shell_commands(name), capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout
