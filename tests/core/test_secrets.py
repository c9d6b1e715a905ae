"""URIs with secrets are refused, and nothing repeats the secrets."""

import importlib
import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.secrets import OPEN_OPTIONS, check_no_secrets
from fer_ray.core.yaml_input import load_yaml
from fer_ray.record.places import StorageError, open_place

SECRET = "hunter2"
SCHEMES = st.sampled_from(["s3", "gs", "abfs", "abfss", "hdfs", "mock", "unheard-of"])
SECRETS = st.text(string.ascii_letters + string.digits + "/+=!%:;*,'- ", min_size=1).map(
    lambda text: f"{text}{SECRET}"
)
IN_URIS = [
    f"s3://me:{SECRET}@faces/raf",
    f"s3://{SECRET}@faces/raf",
    f"s3://me:12/{SECRET}@faces/raf",
    f"s3://faces/raf?secret_key={SECRET}",
    f"s3://faces/raf?region=eu&{SECRET}",
    f"s3://faces/raf?endpoint_override=http://me:{SECRET}@host",
    f"abfs://faces@account/raf?client_secret={SECRET}",
    f"https://account.blob.core.windows.net/faces?sv=1&sig={SECRET}",
    f"https://me:{SECRET}@example.org/faces.csv",
]


@given(SCHEMES, SECRETS, st.booleans())
def test_a_password_is_found_whatever_it_looks_like(
    scheme: str, secret: str, is_quoted: bool
) -> None:
    password = quote(secret, safe="") if is_quoted else secret
    with pytest.raises(ConfigError, match="without secrets") as caught:
        check_no_secrets(f"folder:{scheme}://me:{password}@host/x", "--data")
    assert SECRET not in str(caught.value)
    with pytest.raises(StorageError) as refused:
        open_place(f"{scheme}://me:{password}@host/x")
    assert SECRET not in str(refused.value)


@given(SCHEMES, st.from_regex(r"\A[a-z_]{1,12}\Z"), SECRETS)
def test_an_option_that_is_not_known_is_refused(scheme: str, name: str, secret: str) -> None:
    if name in OPEN_OPTIONS:
        return
    scheme = "s3" if scheme == "unheard-of" else scheme
    with pytest.raises(ConfigError, match=f"the option {name}, which is not shown") as caught:
        check_no_secrets(f"{scheme}://host/x?region=eu&{name}={quote(secret)}", "--storage")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "runs",
        "folder:/data/a?b@c",
        "s3://bucket/runs?region=eu-north-1&endpoint_override=127.0.0.1%3A9000&scheme=http",
        "s3://bucket/me@example.org/runs",
        "abfs://faces@account/runs",
        "hdfs://me@host:8020/runs",
        "gs://anonymous@bucket/runs",
        "affectnet:s3://b/x,classes=8,verified=abfs://faces@account/y.csv",
        "https://example.org/page?id=17",
        "ray://127.0.0.1:10001",
    ],
)
def test_places_without_secrets_are_let_through(text: str) -> None:
    check_no_secrets(text, "here")


@pytest.mark.parametrize("uri", IN_URIS)
def test_a_file_of_a_run_must_not_hold_one(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"data: {{spec: 'folder:{uri}'}}\nlist: [1, 'a {uri}']\n")
    with pytest.raises(ConfigError, match=r"run.yaml: expected URIs without secrets") as caught:
        load_yaml(path)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["spec", "verified"])
@pytest.mark.parametrize("uri", IN_URIS)
def test_a_run_must_not_hold_one(uri: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.{key}: expected URIs without") as caught:
        RunConfig.from_dict({"data": {key: f"folder:{uri}"}})
    assert SECRET not in str(caught.value)


COMMANDS = [
    ("tune", ["--space", "none.yaml", "--storage"], "--storage: "),
    ("tune", ["--space", "none.yaml", "--trials"], "--trials: "),  # argparse would repeat it
    ("train", ["--print-config", "--data"], "--data: "),
    ("train", ["--set", "--model.weights="], "--model.weights: "),
    ("scale", ["--data"], "--data: "),
    ("report", [], "the command line: "),
    ("audit", [], "the command line: "),
    ("predict", ["/runs/x"], "the command line: "),
    ("sweep", [], "the command line: "),
    ("data.__main__", ["inspect"], "the command line: "),
]


@pytest.mark.parametrize("uri", IN_URIS)
@pytest.mark.parametrize(("module", "words", "place"), COMMANDS)
def test_no_command_repeats_or_stores_one(
    module: str,
    words: list[str],
    place: str,
    uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    *before, last = [*words, ""] if not words or not words[-1].endswith("=") else words
    assert importlib.import_module(f"fer_ray.{module}").main([*before, f"{last}{uri}"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert f"error: {place}expected URIs without secrets" in error
    assert SECRET not in error
    assert list(tmp_path.iterdir()) == []
