"""The reference: a run of another method with the training time of a default trial."""

from typing import Any

import pytest

from fer_ray.core.errors import ConfigError
from fer_ray.search.layout import REFERENCE_CONFIG, is_reference, run_of, sampled, trial_name
from fer_ray.search.reading import parse_space
from fer_ray.search.space import SearchSpace
from tests.search.spaces import FEAR

pytestmark = pytest.mark.lowest

RAW: dict[str, Any] = {
    "run": {"method": "co_divide", "optim": {"epochs": 9, "batch_size": 32}},
    "method": "random",
    "parameters": {FEAR: {"min": 0.2, "max": 0.9}},
}


def space_with(reference: Any, **overrides: Any) -> SearchSpace:
    fixed = {key.replace("__", "."): value for key, value in overrides.items()}
    return parse_space({**RAW, "reference": reference}, "file", fixed)


def test_a_space_need_not_have_one() -> None:
    assert parse_space(RAW, "file").reference is None


@pytest.mark.parametrize(("method", "epochs"), [("cross_entropy", 18), ("dividemix", 9)])
def test_its_networks_have_as_many_epochs_together(method: str, epochs: int) -> None:
    reference = space_with({"method": method}).reference
    assert reference is not None
    assert (reference.method.label, reference.optim.epochs) == (method, epochs)
    assert reference.optim.batch_size == 32


def test_one_network_is_compared_with_two_at_half_the_epochs() -> None:
    raw = {**RAW, "parameters": {"seed": {"min": 0, "max": 3}}}
    raw |= {"run": {"method": "cross_entropy", "optim": {"epochs": 20}}}
    reference = parse_space({**raw, "reference": {"method": "co_divide"}}, "file").reference
    assert reference is not None
    assert reference.optim.epochs == 10


def test_what_it_names_is_its_own() -> None:
    section = {
        "method": {"name": "cross_entropy", "label_smoothing": 0.1},
        "optim": {"epochs": 5, "learning_rate": 0.03},
    }
    reference = space_with(section).reference
    assert reference is not None
    assert reference.to_dict()["method"]["label_smoothing"] == 0.1
    assert (reference.optim.epochs, reference.optim.learning_rate) == (5, 0.03)
    assert reference.optim.batch_size == 32


def test_overrides_hold_for_it_too() -> None:
    space = space_with({"method": "cross_entropy"}, optim__epochs=4, method__penalty_weight=2.0)
    assert space.reference is not None
    assert space.reference.optim.epochs == 8
    fixed = space.fixed({"workers.gpus_per_worker": 0.0}).reference
    assert fixed is not None
    assert fixed.workers.gpus_per_worker == 0.0


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("cross_entropy", "reference: expected a section with a method, .* got 'cross_entropy'"),
        ({"optim": {"epochs": 3}}, "reference: expected a section with a method"),
        ({"method": "crossentropy"}, "reference: .*crossentropy"),
        ({"method": "elr", "optim": {"epoch": 3}}, "reference: optim.epoch: .*epochs"),
        ({"method": "elr", "methods": 3}, "reference: methods: "),
    ],
)
def test_a_wrong_one_is_refused(section: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"file: {message}"):
        space_with(section)


def test_wandb_does_not_see_it() -> None:
    assert "reference" not in space_with({"method": "elr"}).to_wandb_sweep()


def test_it_is_a_trial_without_sampled_values() -> None:
    space = space_with({"method": "elr"})
    assert run_of(space, REFERENCE_CONFIG) is space.reference
    assert run_of(space, {"trial": 0, FEAR: 0.3}) == space.run_config({FEAR: 0.3})
    assert is_reference(REFERENCE_CONFIG)
    assert not is_reference({"trial": 0})
    assert trial_name(REFERENCE_CONFIG) == "reference"
    assert sampled(REFERENCE_CONFIG) == {}
