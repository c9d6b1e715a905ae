"""README's example of a new method runs, and keeps what it says."""

import re
import sys
from types import ModuleType

import pytest
import torch

from fer_ray.methods import METHODS
from tests.paths import ROOT
from tests.samples import faces, make_run, train

README = ROOT / "README.md"


def test_the_example_trains_by_the_labels_that_the_peer_would_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = README.read_text(encoding="utf-8").partition("### Add a method")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) < 50
    module = ModuleType("agreement")
    monkeypatch.setitem(sys.modules, "agreement", module)  # where dataclasses look names up
    exec(compile(code[1], "README.md", "exec"), module.__dict__)
    monkeypatch.setitem(METHODS, "agreement", module.Agreement)

    data = faces()
    state, rows = train(make_run("agreement", method__top=2), data)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert state.split is not None
    assert 0 < rows[-1]["split/labeled_fraction"] < 1
    assert torch.equal(state.split.label[0], torch.from_numpy(data.train.label))
    everything, _ = train(make_run("agreement", method__top=4), data)
    assert everything.split is not None
    assert bool(everything.split.is_labeled.all())
