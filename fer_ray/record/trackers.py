"""What takes the rows of a run: the protocol, a tracker that keeps nothing, several as one.

A row is one flat dict per epoch.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Tracker(Protocol):
    """Takes a row per epoch, and the end of the run."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Take the row of one epoch; a resumed run may send an epoch again."""
        ...

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        """Close the tracker; no row follows.

        Args:
            failed: Whether the run ended with an error.
            summary: Final figures, of any nesting.
            pictures: PNG images by name.
        """
        ...


class NullTracker:
    """Keeps nothing."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Ignore the row."""

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        """Do nothing."""

    def artifact(self, kind: str, files: Mapping[str, bytes]) -> None:
        """Ignore the files."""


class FanOut:
    """Several trackers as one; each gets every row, in order, and all are finished."""

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self.trackers = tuple(trackers)

    def log(self, row: Mapping[str, Any]) -> None:
        """Pass the row to each tracker."""
        for tracker in self.trackers:
            tracker.log(row)

    def finish(
        self,
        *,
        failed: bool = False,
        summary: Mapping[str, Any] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        """Finish each tracker, even if one before it raises."""
        with ExitStack() as stack:
            for tracker in reversed(self.trackers):
                stack.callback(tracker.finish, failed=failed, summary=summary, pictures=pictures)
