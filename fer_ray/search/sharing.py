"""Decides whether the trials of a search can share their warm-up."""

from fer_ray.search.conditions import METHOD_KEY
from fer_ray.search.space import SearchSpace


def shares_warmup(space: SearchSpace) -> bool:
    """Whether all trials of a method have the same warm-up, except for its length.

    Only then is it worth keeping; otherwise there would be a checkpoint per epoch and trial.
    """
    for method in space.methods:
        fields_before = space.run_config(space.default_params(method)).method.warmup_fields
        for key in space.active(method).keys() - {METHOD_KEY}:
            section, _, rest = key.partition(".")
            has_say = section != "method" or rest.partition(".")[0] in (fields_before or ())
            if fields_before is None or has_say:
                return False
    return True
