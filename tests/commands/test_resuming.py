"""A resumed run is the one that was started."""

from pathlib import Path

import pytest
import yaml

from fer_ray import train
from fer_ray.config import RunConfig, with_overrides
from fer_ray.core.errors import ConfigError

STARTED = {
    "data.spec": "synthetic:train=200,test=70",
    "seed": 7,
    "method.name": "cross_entropy",
    "optim.epochs": 3,
}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    for number, seed in ((1, 6), (2, 7)):
        run = RunConfig.from_dict(with_overrides({}, {**STARTED, "seed": seed}))
        folder = tmp_path / f"cross_entropy-00{number}"
        folder.mkdir()
        (folder / "config.yaml").write_text(yaml.safe_dump(run.to_dict()))
    return tmp_path


def resumed(storage: Path, *words: str) -> tuple[RunConfig, str]:
    args = train.build_parser().parse_args(["--storage", str(storage), "--resume", *words])
    return train._read_run(args), args.name


def test_the_latest_folder_is_resumed_with_its_configuration(storage: Path) -> None:
    run, name = resumed(storage, "--set", "method.name=cross_entropy")
    assert (run.seed, run.optim.epochs, name) == (7, 3, "cross_entropy-002")
    run, _ = resumed(storage, "--name", "cross_entropy-001", "--workers", "2")
    assert (run.seed, run.workers.num_workers) == (6, 2)
    run, _ = resumed(storage, "--name", "cross_entropy-001", "--set", "checkpoint.every=4")
    assert (run.seed, run.checkpoint.every) == (6, 4)


def test_a_run_that_was_killed_before_it_wrote_anything_is_started(storage: Path) -> None:
    (storage / "new").mkdir()
    with pytest.raises(ConfigError, match="new holds no run"):
        resumed(storage, "--name", "new")
    (storage / "new" / "in_use.json").touch()
    run, _ = resumed(storage, "--name", "new", "--set", "seed=3")
    assert run.seed == 3


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--set", "optim.epochs=9"], r"optim\.epochs \(3, asked 9\)"),
        (["--set", "seed=0"], r"seed \(7, asked 0\)"),
        (["--data", "synthetic:train=300"], r"data\.spec \('synthetic:train=200,test=70', asked"),
    ],
)
def test_another_configuration_is_refused_and_nothing_is_written(
    words: list[str], key: str, storage: Path
) -> None:
    before = (storage / "cross_entropy-002" / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=rf"--resume: {key}.* differs from what .*leave it out"):
        resumed(storage, "--set", "method.name=cross_entropy", *words)
    assert (storage / "cross_entropy-002" / "config.yaml").read_bytes() == before


def test_another_file_is_refused(storage: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("method: {name: cross_entropy}\nseed: 7\n")
    with pytest.raises(ConfigError, match=r"data\.spec .*, optim\.epochs .* differs from"):
        resumed(storage, "--config", str(file))


@pytest.mark.parametrize("content", ["", "[", "seed: 1\nmeth", "nothing: 3"])
def test_a_damaged_configuration_is_named(content: str, storage: Path) -> None:
    (storage / "cross_entropy-001" / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"001/config\.yaml: expected the configuration .* copy"):
        resumed(storage, "--name", "cross_entropy-001")


def test_changed_verified_labels_are_refused_before_any_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_workers(*args: object) -> None:
        raise RuntimeError("Ray was started")

    monkeypatch.setattr(train, "connect", no_workers)
    labels = tmp_path / "verified.csv"
    labels.write_text("index,label,sample\n3,neutral,random\n")
    words = ["--storage", str(tmp_path), "--name", "mine", "--wandb", "disabled"]
    settings = [f"data.verified={labels}", "method.name=cross_entropy", "optim.epochs=1"]
    spec = "synthetic:train=70,test=35,size=24"
    start = [*words, "--data", spec]
    for value in settings:
        start += ["--set", value]
    with pytest.raises(RuntimeError, match="Ray was started"):
        train.main(start)
    folder = tmp_path / "mine"
    run = RunConfig.from_dict(
        with_overrides({}, {**STARTED, "data.spec": spec, "data.verified": str(labels)})
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(run.to_dict()))
    with pytest.raises(RuntimeError, match="Ray was started"):
        train.main([*words, "--resume"])  # the same labels
    labels.write_text("index,label,sample\n3,anger,random\n")
    capsys.readouterr()
    assert train.main([*words, "--resume"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: data.verified: expected the verified labels that")
    assert "verified.csv has changed since. Put it back to resume" in " ".join(error.split())
    assert "\n\n" not in error
