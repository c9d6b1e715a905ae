"""Runs what the documentation shows as a session in Python."""

import doctest
import re
from pathlib import Path

from tests.paths import ROOT

_BLOCK = re.compile(r"^```python\n(>>> .*?)^```", re.MULTILINE | re.DOTALL)


def run_session(page: str, word: str) -> None:
    """Run the one block of a page that contains a word, in the current folder.

    Raises:
        AssertionError: If it prints something else than the page says.
    """
    path = ROOT / "docs" / page
    (block,) = (x for x in _BLOCK.findall(path.read_text(encoding="utf-8")) if word in x)
    test = doctest.DocTestParser().get_doctest(block, {}, word, str(path), 0)
    said: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert results.attempted >= 5
    assert not results.failed, "".join(said)


def leave_run(run: Path, folder: Path) -> None:
    """Put a run where the pages have theirs."""
    (folder / "runs").mkdir()
    (folder / "runs" / "thresholds-001").symlink_to(run)
