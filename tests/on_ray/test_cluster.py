"""How many runs fit on a cluster. The tests of the commands start a real one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_ray.config import WorkerConfig
from fer_ray.core.errors import ConfigError, StartError
from fer_ray.on_ray.cluster import Resources, connect, max_concurrent

GPUS = st.sampled_from([0.0, 0.25, 1.0, 2.0])


@given(st.integers(1, 9), st.sampled_from([0.5, 1.0, 3.0]), GPUS, st.integers(0, 64), GPUS)
def test_as_many_runs_are_concurrent_as_fit(
    num_workers: int, cpus: float, gpus: float, have_cpus: int, have_gpus: float
) -> None:
    gpus = gpus if num_workers == 1 else float(int(gpus))
    workers = WorkerConfig(num_workers=num_workers, cpus_per_worker=cpus, gpus_per_worker=gpus)

    def fits(number: int) -> bool:
        needed = number * num_workers
        return needed * cpus <= have_cpus and needed * gpus <= have_gpus

    have = Resources(cpus=float(have_cpus), gpus=have_gpus, drivers=1000.0)
    if fits(1):
        number = max_concurrent(workers, have)
        assert fits(number)
        assert not fits(number + 1)
    else:
        with pytest.raises(ConfigError):
            max_concurrent(workers, have)


def test_too_many_workers_are_refused_with_both_numbers() -> None:
    workers = WorkerConfig(num_workers=8, gpus_per_worker=0.0)
    message = r"8 workers .* need 8 CPUs and 0 GPUs; the cluster has 2 and 0\. Lower .*--address"
    with pytest.raises(ConfigError, match=message):
        max_concurrent(workers, Resources(cpus=2.0, gpus=0.0, drivers=1000.0))


def test_a_cluster_that_grows_may_begin_without_room_for_a_run() -> None:
    workers = WorkerConfig(num_workers=1, gpus_per_worker=1.0)
    head = Resources(cpus=4.0, gpus=0.0, drivers=16.0)
    with pytest.raises(ConfigError, match="--concurrent"):
        max_concurrent(workers, head)
    assert max_concurrent(workers, head, asked=3) == 3


def test_a_start_of_ray_is_waited_for_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray asks for its node, and gives up if it does not know it after 30 s."""
    from ray._private import services

    answers = iter([RuntimeError("unknown"), RuntimeError("unknown"), {"node": 1}])

    def get_node(name: str) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def init(**options: object) -> None:
        assert services.get_node("node") == {"node": 1}
        raise Exception("The current node timed out during startup")

    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(StartError, match=r"does not start .* timed out"), connect():
        pass
    assert services.get_node is get_node


def test_this_machine_alone_does_not_grow() -> None:
    here = Resources(cpus=2.0, gpus=0.0, drivers=1000.0, is_embedded=True)
    small, large = (
        WorkerConfig(gpus_per_worker=0.0),
        WorkerConfig(num_workers=3, gpus_per_worker=0.0),
    )
    assert [max_concurrent(small, here, asked) for asked in (None, 1, 5)] == [2, 1, 2]
    with pytest.raises(ConfigError, match=r"3 workers .* need 3 CPUs"):
        max_concurrent(large, here, asked=2)
