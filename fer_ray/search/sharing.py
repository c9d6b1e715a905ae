"""Decides whether the trials of a search share their warm-ups."""

from fer_ray.search.conditions import METHOD_KEY
from fer_ray.search.space import SearchSpace


def shares_warmup(space: SearchSpace) -> bool:
    """Return whether all trials of a method have the same warm-up, except for its length.

    Only then are warm-ups saved: otherwise every epoch of every trial would need a checkpoint.
    """
    for method in space.methods:
        fields_before = space.run_config(space.default_params(method)).method.warmup_fields
        for key in space.active(method).keys() - {METHOD_KEY}:
            section, _, rest = key.partition(".")
            affects_it = section != "method" or rest.partition(".")[0] in (fields_before or ())
            if fields_before is None or affects_it:
                return False
    return True
