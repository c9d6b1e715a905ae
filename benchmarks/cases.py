"""What `real_noise.py` compares."""

from collections.abc import Mapping
from typing import Any

from benchmarks.noise_runs import Case

BASELINE = "cross_entropy"
BASE = "cross_entropy x 2"
"""The case whose cost is the budget, and with which the others are compared."""
TOLD = f"{BASE}, verified"
"""With which cases are compared that know the verified labels too."""
OURS = "peer_posterior, verified"
"""With which its own variants are compared."""
PAIR = f"{OURS}, two networks"
"""The same with two networks, with which variants of two networks are compared."""


def noise_cases() -> list[Case]:
    """Make the cases of `real_noise.py`, in the order of the table."""
    ours = {"method.name": "peer_posterior"}
    pair = ours | {"method.num_networks": 2}
    divide = {"method.name": "co_divide"}
    base = {"method.name": BASELINE}
    cases = [
        Case(name=BASELINE, values=base),
        Case(name=f"{BASELINE}, verified", values=base, knows_verified=True),
        Case(name=BASE, values=base, num_members=2),
        Case(name=TOLD, values=base, num_members=2, knows_verified=True),
        Case(name="peer_posterior", values=ours, has_noise_model=True),
        Case(name="peer_posterior, two networks", values=pair, has_noise_model=True),
        *_with_variants(OURS, ours, ABLATION),
        *_with_variants(PAIR, pair, {"own posteriors": {"method.teacher": "own"}, **ABLATION}),
    ]
    posterior = divide | {"method.clean_prob": "posterior"}
    cases += [
        Case(name="co_divide", values=divide),
        Case(name="co_divide, posterior", values=posterior, has_noise_model=True),
        Case(
            name="co_divide, posterior, verified",
            values=posterior,
            has_noise_model=True,
            knows_verified=True,
        ),
    ]
    for name, method in OTHERS:
        values = {f"method.{key}": value for key, value in method.items()}
        cases.append(Case(name=name, values=values))
    return cases


def _with_variants(
    name: str, values: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]]
) -> list[Case]:
    """Return a case that knows the verified labels, and what it is without its ingredients."""
    return [
        Case(
            name=", ".join(filter(None, (name, variant))),
            values={**values, **changed},
            has_noise_model=changed.get("method.noise") != "none",
            knows_verified=True,
        )
        for variant, changed in {"": {}, **variants}.items()
    ]


def compared_with(case: Case) -> str:
    """Return the name of the case that shows what a case is worth."""
    for whole in (PAIR, OURS):
        if case.name.startswith(f"{whole}, "):
            return whole
    return TOLD if case.knows_verified and case.name != TOLD else BASE


ABLATION: Mapping[str, Mapping[str, Any]] = {
    "noise not used": {"method.noise": "none"},
    "noise estimated": {"method.noise": "estimated"},
    "noise not pooled": {"method.pool_noise": False},
    "temperature 0.6": {"method.temperature": 0.6},
    "temperature 0.8": {"method.temperature": 0.8},
    "predictions not sharpened": {"method.temperature": 1.0},
    "labels kept as given": {"data.use_verified": False},
    "no penalty": {"method.penalty_weight": 0.0},
    "thresholds 0.5": {"method.thresholds.default": 0.5},
    "targets that move faster": {"method.target_momentum": 0.8},
    "targets without memory": {"method.target_momentum": 0.0},
    "last prediction": {"method.prediction_momentum": 0.0},
    "longer mean of predictions": {"method.prediction_momentum": 0.8},
}
"""Ingredients of peer_posterior switched off or changed: values by dotted key."""
OTHERS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("dividemix", {"name": "dividemix"}),
    ("elr", {"name": "elr"}),
    ("elr+", {"name": "elr", "variant": "elr+"}),
    ("co_teaching", {"name": "co_teaching"}),
    ("robust_loss, GCE", {"name": "robust_loss"}),
    ("robust_loss, SCE", {"name": "robust_loss", "loss": "sce"}),
    ("eac", {"name": "eac"}),
    ("ada_cm", {"name": "ada_cm"}),
    ("crest", {"name": "crest"}),
)
