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


def noise_cases() -> list[Case]:
    """Make the cases of `real_noise.py`, in the order of the table."""
    ours = {"method.name": "peer_posterior"}
    divide = {"method.name": "co_divide"}
    cases = [
        Case(name=BASELINE, values={"method.name": BASELINE}),
        Case(name=BASE, values={"method.name": BASELINE}, num_members=2),
        Case(
            name=TOLD,
            values={"method.name": BASELINE},
            num_members=2,
            knows_verified=True,
        ),
        Case(name="peer_posterior", values=ours, has_noise_model=True),
        Case(name=OURS, values=ours, has_noise_model=True, knows_verified=True),
    ]
    for name, values in ABLATION.items():
        cases.append(
            Case(
                name=f"{OURS}, {name}",
                values=ours | dict(values),
                has_noise_model=values.get("method.noise") != "none",
                knows_verified=True,
            )
        )
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


def compared_with(case: Case) -> str:
    """Return the name of the case that shows what a case is worth."""
    if case.name.startswith(f"{OURS}, "):
        return OURS
    return TOLD if case.knows_verified and case.name != TOLD else BASE


ABLATION: Mapping[str, Mapping[str, Any]] = {
    "own posterior": {"method.teacher": "own"},
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
    "last prediction of the peer": {"method.prediction_momentum": 0.0},
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
