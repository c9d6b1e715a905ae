"""A search space as W&B reads it: for the page of a search, and for W&B's own agents."""

from collections.abc import Mapping
from typing import Any

from fer_ray.record.wandb_library import PROJECT
from fer_ray.search.distributions import distribution_of
from fer_ray.search.space import SearchSpace

PROGRAM = "fer_ray.train"
_NO_AGENT = (
    "Ray Tune chooses these trials. Do not start `wandb agent` on this sweep: it would add runs "
    "with values of its own."
)


def search_sweep(space: SearchSpace, name: str) -> dict[str, Any]:
    """Return the sweep that a search shows itself as: what is searched, and for which metric.

    Args:
        space: What is searched.
        name: Name on W&B's page, if the file of the space has none.
    """
    sweep = space.to_wandb_sweep()
    own = str(sweep.get("description", "")).strip()
    return {
        "name": str(sweep.get("name") or name),
        "description": f"{own}\n\n{_NO_AGENT}".strip(),
        "method": space.search,
        "metric": _metric(space),
        "parameters": nested_parameters(sweep["parameters"], space.place),
    }


def agent_sweep(space: SearchSpace, file: str) -> dict[str, Any]:
    """Return what `wandb sweep` takes, with a command that W&B's agents can run.

    Args:
        space: What is searched.
        file: The file of the space, as the agents find it; its section `run` holds what is fixed.
    """
    sweep = space.to_wandb_sweep()
    command = ["${env}", "python", "-m", PROGRAM, "--config", file, "${args_no_hyphens}"]
    return {
        "program": PROGRAM,
        "command": command,
        "name": space.name,
        "project": PROJECT,
        **sweep,
        "metric": _metric(space),
        "parameters": nested_parameters(sweep["parameters"], space.place),
    }


def nested_parameters(flat: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return parameters in W&B's nested form, which mirrors the configuration of a run.

    Every distribution is named: W&B refuses bounds of which one is whole and one is not.

    >>> nested_parameters({"optim.epochs": {"min": 1, "max": 2.5}}, "file")["optim"]["parameters"]
    {'epochs': {'min': 1, 'max': 2.5, 'distribution': 'uniform'}}
    """
    nested: dict[str, Any] = {}
    for key, raw in flat.items():
        *sections, last = key.split(".")
        node = nested
        for section in sections:
            node = node.setdefault(section, {"parameters": {}})["parameters"]
        named = {"distribution": distribution_of(raw, f"{place}: parameters.{key}")}
        node[last] = {**raw, **named}
    return nested


def _metric(space: SearchSpace) -> dict[str, Any]:
    goal = "maximize" if space.mode == "max" else "minimize"
    target = {} if space.target is None else {"target": space.target}
    return {"name": space.metric, "goal": goal, **target}
