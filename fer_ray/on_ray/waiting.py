"""Says why no trial runs, where Tune would wait in silence for a cluster that never grows."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_FIRST_S, _AGAIN_S = 10.0, 60.0
_SHOWN = {"CPU": "CPUs", "GPU": "GPUs"}


class Waiting:
    """Watches the trials of a search: how long none of them runs although one could."""

    def __init__(
        self,
        resources: Callable[[], Mapping[str, float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to watch.

        Args:
            resources: Gives the total resources of the cluster, as `ray.cluster_resources`.
            clock: Gives seconds.
        """
        self._resources, self._clock = resources, clock
        self._since: float | None = None
        self._said: float | None = None

    def note(self, trials: Iterable[Any]) -> str | None:
        """Return what there is to say, after ten seconds without a trial and then every minute.

        Args:
            trials: Tune's trials.
        """
        trials, now = list(trials), self._clock()
        waiting = [trial for trial in trials if trial.status == "PENDING"]
        if not waiting or any(trial.status == "RUNNING" for trial in trials):
            self._since = self._said = None
            return None
        if self._since is None:
            self._since = now
        is_due = (
            now - self._since >= _FIRST_S if self._said is None else now - self._said > _AGAIN_S
        )
        if not is_due:
            return None
        need, have = waiting[0].placement_group_factory.required_resources, self._resources()
        if all(have.get(key, 0.0) >= amount for key, amount in need.items()):
            return None  # it starts, or others use the cluster
        self._said = now
        return (
            f"note: no trial has run for {now - self._since:.0f} s: a trial needs {_words(need)}, "
            f"the cluster has {_words({key: have.get(key, 0.0) for key in need})}. It starts when "
            "the cluster has grown. If it does not grow, press Ctrl-C and lower "
            "workers.cpus_per_worker or workers.gpus_per_worker"
        )


def _words(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {_SHOWN.get(key, key)}" for key, amount in resources.items())
