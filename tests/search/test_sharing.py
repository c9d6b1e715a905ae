"""Whether the trials of a search share their warm-ups."""

import pytest

from fer_ray.search.reading import load_space
from fer_ray.search.sharing import shares_warmup
from tests.paths import SPACES


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("thresholds", True),
        ("penalty", True),
        ("dividemix", True),
        ("cross_entropy", False),
        ("elr", False),
        ("methods", False),
    ],
)
def test_a_search_shares_warmups_if_no_field_that_affects_them_is_searched(
    name: str, shares: bool
) -> None:
    assert shares_warmup(load_space(SPACES / f"{name}.yaml")) == shares
