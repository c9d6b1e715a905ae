"""Ranks in teams: each team trains one network, all at the same time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from fer_ray.training.checkpoint import TrainState, load_checkpoint, save_checkpoint
from fer_ray.training.distributed import (
    Teams,
    mean_over_ranks,
    min_over_ranks,
    rank,
    sum_over_ranks,
    world_size,
)
from fer_ray.training.handover import from_rank
from fer_ray.training.loop import fit
from fer_ray.training.state import new_state
from tests.gloo import GlooRanks
from tests.samples import CPU, build_perceptron, built_by, faces, make_run, timeless, train


@pytest.fixture(scope="module")
def four_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GlooRanks]:
    """Enough for two teams of two."""
    ranks = GlooRanks(tmp_path_factory.mktemp("four"), num_ranks=4)
    yield ranks
    ranks.stop()


# --- teams ----------------------------------------------------------------------------------------


def reduce_apart() -> dict[str, Any]:
    teams, own = Teams(2), torch.tensor([float(rank())], requires_grad=True)
    with teams.apart():
        within = (rank(), world_size())
        mean = mean_over_ranks(own)
        (mean * (1.0 + dist.get_rank())).sum().backward()
        sums = [float(f(own.detach())) for f in (sum_over_ranks, min_over_ranks)]
    return {
        "team": teams.own,
        "heads": teams.heads,
        "within": within,
        "without": (rank(), world_size()),
        "reduced": [*sums, float(mean.detach())],
        "gradient": own.grad.tolist() if own.grad is not None else None,
        "all": float(sum_over_ranks(own.detach())),
    }


def test_inside_a_team_only_its_ranks_count(four_ranks: GlooRanks) -> None:
    found = four_ranks.run(reduce_apart)
    assert [x["team"] for x in found] == [0, 0, 1, 1]
    assert [x["within"] for x in found] == [(0, 2), (1, 2), (0, 2), (1, 2)]
    assert [x["without"] for x in found] == [(number, 4) for number in range(4)]
    assert [x["reduced"] for x in found] == [[1, 0, 0.5]] * 2 + [[5, 2, 2.5]] * 2
    assert [x["gradient"] for x in found] == [[1.5]] * 2 + [[3.5]] * 2  # the team's mean of 1..4
    assert all(x["all"] == 6 and x["heads"] == [0, 2] for x in found)


def leave_by_error() -> tuple[int, int]:
    with pytest.raises(KeyError), Teams(2).apart():
        raise KeyError
    return rank(), world_size()


def test_an_error_leaves_the_team(four_ranks: GlooRanks) -> None:
    assert four_ranks.run(leave_by_error) == [(number, 4) for number in range(4)]


# --- two ranks, one network each ------------------------------------------------------------------

APART = {
    "co_divide": {},
    "dividemix": {"method__guesses": "scored", "method__unlabeled_weight": 1.0},
}


def train_apart(method: str, overrides: dict[str, Any], folder: str) -> str:
    """Train and return all rows; rank zero also writes a checkpoint."""
    run = make_run(method, **overrides)
    state, rows = train(run, faces(num_train=91))
    if rank() == 0:
        save_checkpoint(state, run, Path(folder))
    return timeless(rows)


def contents(folder: Path) -> dict[str, Any]:
    """Load a checkpoint without the learning rates, which every step sets again."""
    saved: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
    for optimizer in saved["optimizers"]:
        for group in optimizer["param_groups"]:
            del group["lr"]
    others = [path for path in (folder / "best.pt", folder / "split.pt") if path.exists()]
    return saved | {path.stem: torch.load(path, weights_only=True) for path in others}


def assert_same(first: Any, second: Any) -> None:
    """Assert that two nested values are equal bit for bit."""
    if isinstance(first, Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        assert_same(list(first.values()), list(second.values()))
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


@pytest.mark.parametrize("method", sorted(APART))
def test_two_teams_of_one_equal_one_process_bit_for_bit(
    method: str, gloo_pair: GlooRanks, tmp_path: Path
) -> None:
    """Evaluation takes one image per batch, because batches depend on the number of ranks."""
    overrides = {**APART[method], "compute__eval_batch_size": 1}
    (tmp_path / "alone").mkdir()
    (tmp_path / "apart").mkdir()
    alone = train_apart(method, overrides, str(tmp_path / "alone"))
    assert gloo_pair.run(train_apart, method, overrides, str(tmp_path / "apart")) == [alone] * 2
    assert_same(contents(tmp_path / "alone"), contents(tmp_path / "apart"))


def resume_apart(folder: str) -> tuple[str, str]:
    run, data = make_run("co_divide", optim__epochs=5), faces()
    whole, _ = train(run, data)
    half, _ = train(run, data, num_epochs=3)
    from_rank(0, lambda: save_checkpoint(half, run, Path(folder)) if rank() == 0 else None)
    fresh: TrainState = new_state(run, data, CPU)
    load_checkpoint(fresh, Path(folder))
    list(fit(run, data, CPU, fresh))
    return timeless(whole.history), timeless(fresh.history)


def test_a_resumed_run_in_teams_equals_an_uninterrupted_one(
    gloo_pair: GlooRanks, tmp_path: Path
) -> None:
    for whole, resumed in gloo_pair.run(resume_apart, str(tmp_path)):
        assert whole == resumed


def steps_by_network(method: str, overrides: dict[str, Any]) -> list[int]:
    """Return how many steps this rank makes with each network."""
    run, data = make_run(method, **overrides), faces()
    state = new_state(run, data, CPU)
    counts = [0, 0]
    for number, optimizer in enumerate(state.optimizers):

        def count(*_: Any, number: int = number) -> None:
            counts[number] += 1

        optimizer.register_step_post_hook(count)
    train(run, data, state, num_epochs=3)
    return counts


@pytest.mark.parametrize(
    ("method", "overrides", "is_apart"),
    [
        ("co_divide", {}, True),
        ("co_divide", {"workers__parallel": "networks"}, True),
        ("co_divide", {"workers__parallel": "images"}, False),
        ("dividemix", {}, False),
        ("dividemix", {"method__guesses": "scored"}, True),
        ("co_teaching", {}, False),
    ],
)
def test_a_rank_trains_one_network_if_networks_do_not_need_each_other(
    method: str, overrides: dict[str, Any], is_apart: bool, gloo_pair: GlooRanks
) -> None:
    alone = steps_by_network(method, overrides)
    first, second = gloo_pair.run(steps_by_network, method, overrides)
    if is_apart:
        assert (first, second) == ([alone[0], 0], [0, alone[1]])
    else:
        assert first == second
        assert min(first) > 0


# --- four ranks, two per network ------------------------------------------------------------------


def fit_perceptron() -> tuple[list[dict[str, Tensor]], str]:
    run = make_run("co_divide", method__penalty_weight=5.0, optim__epochs=4)
    with built_by(build_perceptron):
        state, rows = train(run, faces())
    return [dict(network.state_dict()) for network in state.networks], timeless(rows)


def test_two_teams_of_two_train_like_one_process(four_ranks: GlooRanks) -> None:
    alone, _ = fit_perceptron()
    found = four_ranks.run(fit_perceptron)
    assert len({rows for _, rows in found}) == 1
    for weights, _ in found:
        for network, expected in zip(weights, alone, strict=True):
            for key, value in network.items():
                torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-5)
        assert_same(weights, found[0][0])
