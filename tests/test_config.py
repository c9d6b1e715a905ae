"""Configurations: strict at the door, one sentence per complaint, and back to a dict unchanged."""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fer_ray.config import RunConfig, check_metric, with_overrides
from fer_ray.core.errors import ConfigError
from fer_ray.methods import METHODS
from fer_ray.methods.cross_entropy import CrossEntropy

pytestmark = pytest.mark.lowest

CO_DIVIDE = {"name": "co_divide"}
PAIR = {"name": "peer_posterior", "num_networks": 2}


def test_the_defaults_make_a_run() -> None:
    assert RunConfig.from_dict({}) == RunConfig()


@pytest.mark.parametrize("method", METHODS)
def test_a_run_survives_yaml(method: str) -> None:
    raw = {"method": {"name": method}, "optim": {"epochs": 3}, "seed": 4, "mode": "min"}
    run = RunConfig.from_dict(raw)
    assert RunConfig.from_dict(yaml.safe_load(yaml.safe_dump(run.to_dict()))) == run
    assert run.to_dict()["method"]["name"] == method


@given(
    epochs=st.integers(2, 500),
    learning_rate=st.floats(1e-6, 10),
    fear=st.floats(0, 1),
    flip=st.floats(0, 1),
    seed=st.integers(0, 2**40),
    gpus=st.sampled_from(["auto", 0.0, 0.25, 1.0]),
    prior=st.sampled_from(["uniform", {"fear": 1.0, "anger": 2.5}]),
)
def test_any_valid_run_is_the_same_after_a_round_trip(
    epochs: int,
    learning_rate: float,
    fear: float,
    flip: float,
    seed: int,
    gpus: float | str,
    prior: str | dict[str, float],
) -> None:
    raw = {
        "method": {"name": "co_divide", "thresholds": {"fear": fear}, "prior": prior},
        "optim": {"epochs": epochs, "learning_rate": learning_rate},
        "augment": {"weak": {"flip": flip}},
        "workers": {"gpus_per_worker": gpus},
        "seed": seed,
    }
    run = RunConfig.from_dict(raw)
    assert run.augment.weak.flip == flip
    assert RunConfig.from_dict(run.to_dict()) == run


def test_a_section_may_be_one_word() -> None:
    run = RunConfig.from_dict({"data": "synthetic:train=200", "method": "dividemix"})
    assert run.data.spec == "synthetic:train=200"
    assert run.method == METHODS["dividemix"]()


def test_a_method_section_without_a_name_is_the_default_method() -> None:
    run = RunConfig.from_dict({"method": {"penalty_weight": 3.0}})
    assert run.to_dict()["method"] == {**RunConfig().to_dict()["method"], "penalty_weight": 3.0}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"seed": "7"}, r"^seed: input should be a valid integer, got '7'"),
        ({"seed": True}, r"^seed: .*integer, got True"),
        ({"seed": 1.0}, r"^seed: .*integer, got 1\.0"),
        ({"flip_average": "off"}, r"^flip_average: .*boolean, got 'off'"),
        ({"flip_average": 1}, r"^flip_average: .*boolean, got 1"),
        ({"optim": {"learning_rate": True}}, r"^optim\.learning_rate: .*number, got True"),
        (
            {"optim": {"learning_rate": math.inf}},
            r"^optim\.learning_rate: .*finite.*got inf",
        ),
        ({"optim": {"momentum": math.nan}}, r"^optim\.momentum: .*finite number, got nan"),
        (
            {"method": {"name": "co_divide", "prior": {"fear": math.nan}}},
            r"^method\.prior\.fear: .*finite number, got nan",
        ),
        (
            {"method": {"name": "co_divide", "thresholds": {"fear": math.nan}}},
            r"^method\.thresholds\.fear: .*finite number, got nan",
        ),
        ({"method": {"name": ["co_divide"]}}, r"^method\.name: one of .*; got \['co_divide'\]"),
        (
            {"workers": {"gpus_per_worker": True}},
            r"^workers\.gpus_per_worker: input should be a valid number or 'auto', got True",
        ),
        ({"augment": {"weak": 3}}, r"^augment\.weak: .*got 3"),
    ],
)
def test_nothing_is_read_loosely(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict(raw)


def test_a_whole_number_may_stand_for_a_real_one() -> None:
    assert RunConfig.from_dict({"optim": {"learning_rate": 1}}).optim.learning_rate == 1.0


def test_a_method_added_later_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Added(CrossEntropy):
        name: Literal["added"] = "added"  # type: ignore[assignment]

    monkeypatch.setitem(METHODS, "added", Added)
    assert RunConfig.from_dict({"method": "added"}).method == Added()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
KEYS = [
    "data",
    "model",
    "method",
    "optim",
    "augment",
    "workers",
    "checkpoint",
    "metric",
    "seed",
    "x",
]
INNER = ["name", "spec", "epochs", "thresholds", "prior", "weak", "gpus_per_worker", "size", "y"]


@given(st.dictionaries(st.sampled_from(KEYS), JUNK | st.dictionaries(st.sampled_from(INNER), JUNK)))
def test_whatever_is_read_is_a_run_or_a_config_error(raw: dict[str, Any]) -> None:
    with suppress(ConfigError):
        assert isinstance(RunConfig.from_dict(raw), RunConfig)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"optm": {}}, r"^optm: unknown key; did you mean optim\?"),
    ({"zzzzz": 1}, r"^zzzzz: unknown key; known are data, model, method"),
    ({"optim": {"epoch": 3}}, r"^optim\.epoch: unknown key; did you mean epochs\?"),
    ({"augment": {"weak": {"flp": 0.1}}}, r"^augment\.weak\.flp: unknown key; did you mean flip\?"),
    (
        {"method": {**CO_DIVIDE, "penalty": 1}},
        r"^method\.penalty: unknown key; did you mean penalty_weight\?",
    ),
    (
        {"method": {"name": "cross_entropy", "thresholds": {}}},
        r"^method\.thresholds: unknown key; known are name",
    ),
    (
        {"method": "mixmatch"},
        r"^method\.name: one of cross_entropy, co_divide, .*, peer_posterior; got 'mixmatch'",
    ),
    ({"method": 3}, r"^method: expected a section with a name, got 3"),
    ({"optim": 3}, r"^optim: expected a section of keys, got 3"),
    ({"optim": None}, r"^optim: expected a section of keys, got None"),
    ({"optim": {"epochs": "many"}}, r"^optim\.epochs: input should be a valid integer.*got 'many'"),
    ({"optim": {"epochs": 2.5}}, r"^optim\.epochs: .*integer.*got 2\.5"),
    ({"optim": {"learning_rate": None}}, r"^optim\.learning_rate: .*number.*got None"),
    ({"model": {"name": "vgg"}}, r"^model\.name: input should be 'tiny', .*got 'vgg'"),
    ({"compute": {"bf16": "maybe"}}, r"^compute\.bf16: .*got 'maybe'"),
    (
        {"compute": {"speedups": "fast"}},
        r"^compute\.speedups: input should be 'auto', 'none', 'fused' or 'compile', got 'fast'",
    ),
    ({"compute": {"speedups": False}}, r"^compute\.speedups: .*'none'.*got False"),
    ({"seed": "x"}, r"^seed: .*integer.*got 'x'"),
    ({"mode": "best"}, r"^mode: input should be 'max' or 'min', got 'best'"),
    (
        {"method": {**CO_DIVIDE, "thresholds": {"fear": "high"}}},
        r"^method\.thresholds\.fear: .*number.*got 'high'",
    ),
    ({"optim": {"epochs": 0}}, r"^optim\.epochs: at least 1, got 0"),
    ({"optim": {"batch_size": 0}}, r"^optim\.batch_size: at least 1, got 0"),
    ({"optim": {"learning_rate": 0}}, r"^optim\.learning_rate: above 0, got 0"),
    ({"optim": {"clip_norm": -1}}, r"^optim\.clip_norm: above 0, got -1"),
    ({"optim": {"momentum": 1}}, r"^optim\.momentum: in \[0, 1\), got 1"),
    ({"optim": {"weight_decay": -1}}, r"^optim\.weight_decay: in \[0, 1\), got -1"),
    ({"optim": {"learning_rate": float("nan")}}, r"^optim\.learning_rate: .*finite number"),
    ({"data": {"val_fraction": 1}}, r"^data\.val_fraction: in \(0, 1\), got 1"),
    ({"data": {"seed": -1}}, r"^data\.seed: at least 0, got -1"),
    ({"seed": -1}, r"^seed: at least 0, got -1"),
    ({"model": {"weights": "torchvision"}}, r"^model\.weights: torchvision has none for tiny"),
    ({"compute": {"eval_batch_size": 0}}, r"^compute\.eval_batch_size: at least 1, got 0"),
    ({"augment": {"strong": {"erase": 2}}}, r"^augment\.strong\.erase: in \[0, 1\], got 2"),
    ({"workers": {"num_workers": 0}}, r"^workers\.num_workers: at least 1, got 0"),
    ({"workers": {"cpus_per_worker": 0}}, r"^workers\.cpus_per_worker: above 0, got 0"),
    ({"workers": {"gpus_per_worker": -1}}, r"^workers\.gpus_per_worker: at least 0, got -1"),
    ({"workers": {"gpus_per_worker": "all"}}, r"^workers\.gpus_per_worker: .*got 'all'"),
    (
        {"workers": {"num_workers": 2, "gpus_per_worker": 0.5}},
        r"^workers\.gpus_per_worker: expected whole GPUs with 2 workers.*got 0\.5",
    ),
    (
        {"workers": {"num_workers": 3}, "optim": {"batch_size": 64}},
        r"^optim\.batch_size: 64 images a step do not divide among 3 workers; take a multiple of 3",
    ),
    (
        {"method": PAIR, "workers": {"num_workers": 4}, "optim": {"batch_size": 2}},
        r"^optim\.batch_size: at least 2 images for each of 2 workers.*got 2",
    ),
    (
        {"workers": {"num_workers": 3, "parallel": "networks"}, "optim": {"batch_size": 63}},
        r"^workers\.parallel: .*even number of.*got 3 workers and peer_posterior\. Take auto",
    ),
    (
        {"workers": {"num_workers": 2, "parallel": "networks"}, "method": {"name": "dividemix"}},
        r"^workers\.parallel: .*do not look at each other.*got 2 workers and dividemix",
    ),
    ({"metric": "test/accuracy"}, r"^metric: one of val/macro_recall, .*peek at the test set"),
    ({"metric": "val/acuracy"}, r"^metric: one of .*got 'val/acuracy'"),
    (
        {"method": {**CO_DIVIDE, "thresholds": {"fear": 1.5}}},
        r"^method\.thresholds\.fear: a clean probability in \[0, 1\], got 1\.5",
    ),
    (
        {"method": {**CO_DIVIDE, "penalty_weight": -1}},
        r"^method\.penalty_weight: at least 0, got -1",
    ),
    ({"method": {**CO_DIVIDE, "clip_quantile": 0.3}}, r"^method\.clip_quantile: in \[0\.5, 1\]"),
    ({"method": {**CO_DIVIDE, "warmup_epochs": 0}}, r"^method\.warmup_epochs: at least 1.*got 0"),
    (
        {"method": {**CO_DIVIDE, "warmup_epochs": 1.5}},
        r"^method\.warmup_epochs: .*an integer.*or a share of all epochs in \(0, 1\), got 1\.5",
    ),
    ({"method": {**CO_DIVIDE, "warmup_epochs": 1.0}}, r"^method\.warmup_epochs: .*got 1\.0"),
    ({"method": {**CO_DIVIDE, "warmup_epochs": -0.5}}, r"^method\.warmup_epochs: .*got -0\.5"),
    (
        {"method": {**CO_DIVIDE, "warmup_epochs": True}},
        r"^method\.warmup_epochs: .*valid integer or a valid number, got True",
    ),
    (
        {"method": {**CO_DIVIDE, "warmup_epochs": "half"}},
        r"^method\.warmup_epochs: .*valid integer or a valid number, got 'half'",
    ),
    (
        {"method": {**CO_DIVIDE, "warmup_epochs": 12}},
        r"^method\.warmup_epochs: 12 is 12 of 12 epochs.*never divide.*epochs of at least 13",
    ),
    (
        {"method": {"name": "crest", "warmup_epochs": 0.9}, "optim": {"epochs": 4}},
        r"^method\.warmup_epochs: 0\.9 is 4 of 4 epochs.*crest would never.*at least 5",
    ),
    (
        {"method": {**CO_DIVIDE, "prior": "flat"}},
        r"^method\.prior: given, verified, uniform, estimated or a weight per class",
    ),
    ({"method": {**CO_DIVIDE, "prior": {}}}, r"^method\.prior: weights >= 0 with a positive sum"),
    ({"method": {**CO_DIVIDE, "prior": {"fear": -1}}}, r"^method\.prior: weights >= 0"),
    ({"method": {"name": "dividemix", "form": "cifar10"}}, r"^method\.form: .*'clothing1m'"),
    ({"method": {"name": "dividemix", "temperature": 0}}, r"^method\.temperature: above 0"),
    ({"method": {"name": "dividemix", "alpha": -1}}, r"^method\.alpha: above 0"),
    ({"method": {"name": "dividemix", "clean_threshold": 2}}, r"^method\.clean_threshold: in \[0"),
    (
        {"method": {"name": "dividemix", "unlabeled_weight": -1}},
        r"^method\.unlabeled_weight: at le",
    ),
    ({"method": {"name": "dividemix", "loss_history": 0}}, r"^method\.loss_history: at least 1"),
]


@pytest.mark.parametrize(("raw", "message"), BAD, ids=[str(raw) for raw, _ in BAD])
def test_a_bad_value_is_named_by_its_dotted_key(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        RunConfig.from_dict(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "metric",
    [
        *("val/macro_recall", "val/accuracy", "val/loss", "val/recall/fear"),
        *("val/natural/accuracy", "val/balanced/macro_recall", "val/trained/accuracy"),
        *("val/corrected/accuracy", "val/corrected/natural/accuracy", "val/forward_loss"),
    ],
)
def test_validation_metrics_may_be_selected_by(metric: str) -> None:
    check_metric(metric)
    assert RunConfig.from_dict({"metric": metric}).metric == metric


@pytest.mark.parametrize("metric", ["val/natural/loss", "val/corrected/loss", "test/accuracy"])
def test_other_metrics_may_not_be_selected_by(metric: str) -> None:
    with pytest.raises(ConfigError, match=r"^metric: one of val/macro_recall, .*natural, balanced"):
        RunConfig.from_dict({"metric": metric})


@pytest.mark.parametrize("prior", ["verified", {"fear": 0.25, "anger": 1}])
def test_a_prior_is_a_word_or_a_share_per_class(prior: Any) -> None:
    run = RunConfig.from_dict({"prediction": {"prior": prior}})
    assert run.prediction.prior == prior
    assert RunConfig.from_dict(run.to_dict()) == run


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("flat", r"^prediction\.prior: trained, given, verified, uniform or .*got 'flat'"),
        ({"fear": -1}, r"^prediction\.prior: shares >= 0 with a positive sum"),
        ({"fear": "much"}, r"^prediction\.prior\.fear: .*valid number, got 'much'"),
        (0.5, r"^prediction\.prior: .*got 0\.5"),
    ],
)
def test_a_bad_prior_is_named_by_its_key(prior: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict({"prediction": {"prior": prior}})


def test_overrides_leave_the_original_alone() -> None:
    raw: dict[str, Any] = {"optim": {"epochs": 3}, "data": "synthetic"}
    value = {"fear": 0.1}
    changed = with_overrides(
        raw, {"optim.epochs": 5, "data.seed": 2, "method.thresholds": value, "seed": 1}
    )
    value["fear"] = 0.9
    assert raw == {"optim": {"epochs": 3}, "data": "synthetic"}
    assert changed == {
        "optim": {"epochs": 5},
        "data": {"spec": "synthetic", "seed": 2},
        "method": {"thresholds": {"fear": 0.1}},
        "seed": 1,
    }
    assert RunConfig.from_dict(changed).data.seed == 2


def test_an_override_through_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^optim\.epochs\.more: optim\.epochs is a value, not a"):
        with_overrides({"optim": {"epochs": 3}}, {"optim.epochs.more": 1})


def test_an_empty_section_can_be_overridden() -> None:
    assert with_overrides({"optim": None}, {"optim.epochs": 1}) == {"optim": {"epochs": 1}}


@pytest.mark.parametrize(
    ("method", "parallel", "num_workers", "num_teams"),
    [
        ({"name": "co_divide"}, "auto", 1, 1),
        ({"name": "co_divide"}, "auto", 2, 2),
        ({"name": "co_divide"}, "networks", 6, 2),
        ({"name": "co_divide"}, "networks", 1, 1),
        ({"name": "co_divide"}, "auto", 3, 1),
        ({"name": "co_divide"}, "images", 2, 1),
        ({"name": "dividemix"}, "auto", 2, 1),
        ({"name": "dividemix", "guesses": "scored"}, "auto", 2, 2),
        ({"name": "cross_entropy"}, "auto", 2, 1),
    ],
)
def test_networks_train_at_the_same_time_where_they_can(
    method: dict[str, Any], parallel: str, num_workers: int, num_teams: int
) -> None:
    workers = {"num_workers": num_workers, "parallel": parallel}
    raw = {"method": method, "workers": workers, "optim": {"batch_size": 96}}
    assert RunConfig.from_dict(raw).num_teams(num_workers) == num_teams


@pytest.mark.parametrize(("num_images", "strength"), [(32_000, 0.6), (33_000, 1.0)])
def test_views_of_a_run_of_few_steps_are_milder(num_images: int, strength: float) -> None:
    run = RunConfig.from_dict({"optim": {"epochs": 4, "batch_size": 64}})
    assert run.strong_views(num_images) == run.augment.strong.scaled(strength)
    fixed = run.with_values({"augment.strength": 0.3})
    assert fixed.strong_views(num_images) == run.augment.strong.scaled(0.3)


def test_a_batch_is_shared_by_the_workers_of_one_network() -> None:
    """Seven images a step divide among one worker a network, not among two."""
    raw = {"method": PAIR, "workers": {"num_workers": 2}, "optim": {"batch_size": 7}}
    assert RunConfig.from_dict(raw).num_teams(2) == 2
    with pytest.raises(ConfigError, match="7 images a step do not divide among 2 workers"):
        RunConfig.from_dict(with_overrides(raw, {"workers.parallel": "images"}))
