"""The example of a new method in the documentation runs, and keeps what it says."""

import re
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from fer_ray.methods import METHODS
from tests.methods.batches import scores
from tests.paths import ROOT
from tests.samples import faces, make_run, train

PAGE = ROOT / "docs" / "add_a_method.md"


@pytest.fixture
def agreement(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of the example, registered as its page says."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) < 50
    module = ModuleType("agreement")
    monkeypatch.setitem(sys.modules, "agreement", module)  # where dataclasses look names up
    exec(compile(code[1], PAGE.name, "exec"), module.__dict__)
    monkeypatch.setitem(METHODS, "agreement", module.Agreement)
    return module.Agreement


@pytest.mark.usefixtures("agreement")
def test_the_example_trains_by_the_labels_that_the_peer_would_give() -> None:
    data = faces()
    state, rows = train(make_run("agreement", method__top=2), data)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert state.split is not None
    assert 0 < rows[-1]["split/labeled_fraction"] < 1
    assert torch.equal(state.split.label[0], torch.from_numpy(data.train.label))
    everything, _ = train(make_run("agreement", method__top=4), data)
    assert everything.split is not None
    assert bool(everything.split.is_labeled.all())


def test_a_network_keeps_what_is_among_its_peers_answers(agreement: Any) -> None:
    given = scores(0)
    split = agreement(top=1).split(given, None, 4)
    answer = given.prob.argmax(dim=2)
    assert not torch.equal(answer[0], answer[1])
    for network, peer in ((0, 1), (1, 0)):
        kept = (answer[peer] == given.label) & given.is_labeled
        assert torch.equal(split.is_labeled[network], kept)
