"""Tiny runs that were trained and tested, and searches made of their files."""

from pathlib import Path

import pytest

from tests.results.report.search_files import BROKEN, EMPTY, leave_run, leave_search, leave_trial
from tests.samples import faces, make_run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a run that divides, of one with other settings, and of cross-entropy."""
    root, data = tmp_path_factory.mktemp("trained"), faces()
    runs = {
        "good": make_run(data__spec="synthetic:train=1800,test=700,size=32,verified=100"),
        "plain": make_run(optim__learning_rate=0.002),
        "reference": make_run("cross_entropy"),
    }
    for name, run in runs.items():
        leave_run(run, data, root / name, root / "checkpoints" / name)
    return {name: root / name for name in runs}


@pytest.fixture(scope="session")
def search(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ended search with a trial of every kind; not to be written to."""
    folder = tmp_path_factory.mktemp("searches") / "search"
    copies = {
        "trial_001": trained["plain"],
        "trial_002": trained["good"],
        "reference": trained["reference"],
    }
    leave_search(folder, copies)
    leave_trial(folder, 3, 0.2, epochs=2)
    leave_trial(folder, 4, 0.1, epochs=1, failure=EMPTY)
    leave_trial(folder, 5, None, epochs=1, failure=BROKEN)
    leave_trial(folder, 6, 0.3, epochs=4)
    return folder
