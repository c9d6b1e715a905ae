"""Domains: values in range, monotone quantiles, nearest allowed values, and W&B's inference."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fer_ray.core.errors import ConfigError
from fer_ray.search.continuous import Quantized, Real
from fer_ray.search.distributions import DISTRIBUTIONS, parse_domain
from fer_ray.search.domains import Choice, Constant, Domain, Integers

pytestmark = pytest.mark.lowest

EXAMPLES: dict[str, dict[str, Any]] = {
    "constant": {"value": [1, 2]},
    "categorical": {"values": ["a", 2, None, 0.5]},
    "categorical_w_probabilities": {"values": ["a", "b", "c"], "probabilities": [0.2, 0.0, 0.8]},
    "int_uniform": {"min": -2, "max": 4},
    "uniform": {"min": 0.2, "max": 0.9},
    "q_uniform": {"min": 0.2, "max": 0.9, "q": 0.1},
    "log_uniform": {"min": -7, "max": 1},
    "log_uniform_values": {"min": 1e-5, "max": 1e-2},
    "q_log_uniform": {"min": 1, "max": 6.5, "q": 32},
    "q_log_uniform_values": {"min": 16, "max": 512, "q": 16},
    "normal": {"mu": 3, "sigma": 0.1},
    "q_normal": {"mu": 0, "sigma": 10, "q": 5},
    "log_normal": {},
    "q_log_normal": {"mu": 2, "q": 0.25},
}
UNIT = st.floats(0, 1)
NAMES = st.sampled_from(DISTRIBUTIONS)
ORDERED = [name for name in DISTRIBUTIONS if name[0] != "c"]


def domain_of(name: str, **changes: Any) -> Domain:
    return parse_domain({"distribution": name} | EXAMPLES[name] | changes, "here")


def test_every_distribution_has_an_example() -> None:
    assert set(EXAMPLES) == set(DISTRIBUTIONS)


@given(NAMES, UNIT)
def test_quantiles_are_allowed_values_and_position_inverts_them(name: str, u: float) -> None:
    domain = domain_of(name)
    value = domain.quantile(u)
    assert domain.nearest(value) == value
    again = domain.quantile(domain.position(value))
    assert again == (pytest.approx(value) if isinstance(domain, Real) else value)


@given(st.sampled_from(ORDERED), UNIT, UNIT)
def test_quantiles_never_decrease(name: str, u: float, v: float) -> None:
    domain = domain_of(name)
    low, high = domain.corners()
    assert low <= domain.quantile(min(u, v)) <= domain.quantile(max(u, v)) <= high


@given(NAMES, st.one_of(st.none(), st.text(), st.booleans(), st.integers(), st.floats()))
def test_the_nearest_value_is_allowed(name: str, value: Any) -> None:
    domain = domain_of(name)
    nearest = domain.nearest(value)
    assert domain.nearest(nearest) == nearest
    again = domain.quantile(domain.position(nearest))
    assert again == (pytest.approx(nearest) if isinstance(domain, Real) else nearest)


@given(
    st.sampled_from(["uniform", "log_uniform_values"]),
    st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)).filter(lambda pair: pair[0] < pair[1]),
    UNIT,
)
def test_values_stay_inside_the_bounds(name: str, bounds: tuple[float, float], u: float) -> None:
    low, high = bounds
    domain = domain_of(name, min=low, max=high)
    assert low <= domain.quantile(u) <= high
    assert domain.corners() == pytest.approx([low, high])


@given(
    st.floats(0.01, 2) | st.integers(1, 5),
    st.floats(0, 5),
    st.floats(6, 50),
    UNIT,
)
def test_multiples_of_q_stay_inside_the_bounds(q: float, low: float, high: float, u: float) -> None:
    domain = domain_of("q_uniform", min=low, max=high, q=q)
    value = domain.quantile(u)
    assert math.isclose(value / q, round(value / q), abs_tol=1e-6)
    assert low - 1e-6 <= value <= high + 1e-6
    assert isinstance(value, int) == isinstance(q, int)


def test_multiples_have_no_rounding_errors() -> None:
    assert domain_of("q_uniform").grid_values() == [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert domain_of("q_log_uniform_values", max=64).grid_values() == [16, 32, 48, 64]
    assert domain_of("q_uniform", min=1, max=12, q=5).grid_values() == [5, 10]


def test_all_integers_are_equally_likely() -> None:
    domain, rng = domain_of("int_uniform"), np.random.default_rng(0)
    drawn, count = np.unique([domain.sample(rng) for _ in range(7000)], return_counts=True)
    assert drawn.tolist() == [-2, -1, 0, 1, 2, 3, 4]
    assert count.min() > 900


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uniform", stats.uniform(0.2, 0.7)),
        ("log_uniform", stats.loguniform(math.exp(-7), math.exp(1))),
        ("log_uniform_values", stats.loguniform(1e-5, 1e-2)),
        ("normal", stats.norm(3, 0.1)),
        ("log_normal", stats.lognorm(1)),
    ],
)
def test_distributions_match_scipy(name: str, expected: Any) -> None:
    share = np.linspace(0.01, 0.99, 25)
    domain = domain_of(name)
    assert [domain.quantile(u) for u in share] == pytest.approx(expected.ppf(share))


def test_values_have_their_probabilities() -> None:
    domain, rng = domain_of("categorical_w_probabilities"), np.random.default_rng(0)
    drawn = [domain.sample(rng) for _ in range(2000)]
    assert set(drawn) == {"a", "c"}
    assert drawn.count("a") == pytest.approx(400, abs=60)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"value": 3}, Constant),
        ({"values": [3]}, Choice),
        ({"values": [3, 4], "probabilities": [0.5, 0.5]}, Choice),
        ({"min": 1, "max": 3}, Integers),
        ({"min": 1, "max": 3.5}, Real),
        ({"min": 0.0, "max": 1.0}, Real),
        ({"distribution": "q_normal"}, Quantized),
    ],
)
def test_the_distribution_is_inferred_as_wandb_does(raw: Mapping[str, Any], kind: type) -> None:
    assert type(parse_domain(raw, "here")) is kind


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_optuna_can_reach_every_allowed_value(name: str) -> None:
    domain = domain_of(name)
    for u in (0.0, 0.31, 0.77, 1.0):
        value, study = domain.quantile(u), optuna.create_study()
        study.enqueue_trial(domain.point("key", value))
        suggested = domain.suggest(study.ask(), "key")
        assert suggested == (pytest.approx(value) if isinstance(domain, Real) else value)


def test_the_nearest_number_of_a_choice() -> None:
    domain = parse_domain({"values": [64, 128, 256]}, "here")
    assert domain.nearest(100) == 128
    assert domain.nearest("many") == 64


def test_only_finite_domains_have_grid_values() -> None:
    finite = ("constant", "categorical", "categorical_w_probabilities", "int_uniform")
    for name in DISTRIBUTIONS:
        if name in finite or name.startswith("q_"):
            values = domain_of(name).grid_values()
            assert all(domain_of(name).nearest(value) == value for value in values)
            if name in ORDERED:
                assert all(low < high for low, high in itertools.pairwise(values))
        else:
            with pytest.raises(ValueError, match="a grid needs values, int_uniform or q_uniform"):
                domain_of(name).grid_values()
    with pytest.raises(ValueError, match="at most 10000 points, got 100001"):
        domain_of("int_uniform", min=0, max=100_000).grid_values()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (3, "expected value, values, or min and max, got 3"),
        ({}, "expected value, values, min and max, or a distribution; got nothing"),
        ({"min": 3}, "or a distribution; got min"),
        ({"distribution": "cauchy"}, "expected one of the distributions constant, .*; got 'ca"),
        ({"distribution": ["uniform"]}, "expected one of the distributions"),
        ({"min": 3, "max": 3}, "int_uniform needs min < max, got min=3 max=3"),
        ({"min": 0.9, "max": 0.2}, "uniform needs min < max"),
        ({"min": "1e-4", "max": 1}, "got min='1e-4'; YAML reads 1e-4 as text, write 1.0e-4"),
        ({"min": True, "max": 3.0}, "uniform needs a number, got min=True"),
        ({"min": float("nan"), "max": 3.0}, "needs a number, got min=nan"),
        ({"min": 1, "max": 3, "q": 1}, "takes the keys min, max, got min, max, q"),
        ({"distribution": "uniform", "min": 0}, "takes the keys min, max, got min"),
        (
            {"distribution": "int_uniform", "min": 0.5, "max": 2},
            "needs whole numbers, got min=0.5 max=2; uniform takes other numbers",
        ),
        (
            {"distribution": "log_uniform_values", "min": 0, "max": 1},
            "log_uniform_values needs 0 < min < max, got min=0 max=1",
        ),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "needs q > 0, got q=0"),
        ({"distribution": "q_uniform", "min": 1, "max": 4, "q": 5}, r"a multiple of q in \[1, 4\]"),
        (
            {"distribution": "log_uniform", "min": 10, "max": 1000},
            r"takes natural logarithms in \[-300, 300\], got min=10 max=1000",
        ),
        ({"distribution": "normal", "sigma": 0}, "normal needs sigma > 0"),
        (
            {"distribution": "log_normal", "sigma": 1000},
            "log_normal takes natural logarithms .* got mu=0.0 sigma=1000",
        ),
        ({"distribution": "beta", "a": 1}, "expected one of the distributions .*; got 'beta'"),
        ({"values": []}, "categorical needs a list with at least one value"),
        ({"values": "abc"}, "categorical needs a list"),
        ({"values": [1, [2]]}, r"needs numbers, text, true, false or null as values, got \[2\]"),
        ({"values": [1, 2, 1]}, "needs different values, got 1 twice"),
        ({"values": [1, 2], "probabilities": [0.5, 0.4]}, "sum to 1, got 0.9"),
        (
            {"values": [1, 2], "probabilities": [1]},
            r"a probability for each of 2 values, got \[1\]",
        ),
        ({"values": [1, 2], "probabilities": [1.5, -0.5]}, "probabilities of at least 0"),
    ],
)
def test_invalid_parameters_are_refused(raw: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^file: parameters.key: .*{message}") as caught:
        parse_domain(raw, "file: parameters.key")
    assert "\n" not in str(caught.value)
