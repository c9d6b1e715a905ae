"""The state that a run starts with."""

from fer_ray.training.state import new_state
from tests.samples import CPU, faces, make_run


def test_biases_and_normalisation_are_not_decayed() -> None:
    state = new_state(make_run("cross_entropy", optim__weight_decay=0.01), faces(), CPU)
    matrices, vectors = state.optimizers[0].param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.01, 0.0)
    assert {value.ndim for value in vectors["params"]} == {1}
    assert min(value.ndim for value in matrices["params"]) > 1
    num = len(matrices["params"]) + len(vectors["params"])
    assert num == len(list(state.networks[0].parameters()))
