"""Who may import whom: a module imports its own layer or a lower one, and few import much."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fer_ray"

# A name covers its submodules. `fer_ray` itself (the version) may be imported by all.
LAYERS: tuple[tuple[str, ...], ...] = (
    # 0: pure tensors and numbers
    (
        "environment",
        "types",
        "losses",
        "mixture",
        "thresholds",
        "metrics",
        "noise",
        "augment",
        "shapes",
        "stopwatch",
        "methods",
    ),
    # 1: parts
    ("data", "models", "distributed", "config", "tracking", "storage", "plots", "console"),
    # 2: one run, one search space; no Ray
    (
        "checkpoint",
        "speedups",
        "learner",
        "evaluation",
        "state",
        "phase",
        "loop",
        "runtime",
        "warmup",
        "results",
        "space",
        "sweep",
        "domains",
        "distributions",
        "conditions",
        "commands",
        "audit",
        "report",
        "data.__main__",
    ),
    # 3: Ray Train
    ("cluster", "trainer", "train"),
    # 4: Ray Tune
    ("tune", "scale", "trials", "search", "searcher", "scheduler", "trainable", "callbacks"),
)

# Third-party package -> where it may be imported, as layers or modules.
ONLY_IN: dict[str, tuple[int | str, ...]] = {
    "ray": (3, 4),
    "wandb": ("tracking",),
    "pydantic": ("config", "space"),
    "sklearn": (),
}


def layer_of(module: str) -> int | None:
    """Layer of a dotted module name below `fer_ray`."""
    of_name = {name: number for number, names in enumerate(LAYERS) for name in names}
    return of_name.get(module, of_name.get(module.split(".")[0]))


def imported(source: str, module: str, modules: set[str]) -> Iterator[str]:
    """Absolute dotted names a module imports anywhere in it, also within functions."""
    is_package = f"{module}.__init__" in modules
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = ["fer_ray", *module.split(".")] + ([""] if is_package else [])
                base = ".".join([*own[: -node.level], base]).strip(".")
            # `from fer_ray import loop` imports a module, `from fer_ray.loop import fit` a name.
            for alias in node.names:
                full = f"{base}.{alias.name}"
                below = full.removeprefix("fer_ray.")
                is_module = full.startswith("fer_ray.") and (
                    below in modules or f"{below}.__init__" in modules or base == "fer_ray"
                )
                yield full if is_module else base
        elif isinstance(node, ast.Call) and _imports_by_name(node.func):
            yield from (
                part.value
                for part in node.args[:1]
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )


def _imports_by_name(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def complaints(sources: dict[str, str]) -> list[str]:
    """What is wrong with modules, given by dotted name below `fer_ray` (`data.__init__`)."""
    found = []
    for file, source in sorted(sources.items()):
        module = file.removesuffix(".__init__")
        if module == "__init__":
            continue
        layer = layer_of(module)
        if layer is None:
            found.append(f"fer_ray.{module}: in no layer; give it one in {Path(__file__).name}")
            continue
        for name in sorted(set(imported(source, module, set(sources)))):
            found += _complaints_of(module, layer, name)
    return found


def _complaints_of(module: str, layer: int, name: str) -> list[str]:
    top, _, rest = name.partition(".")
    if top == "fer_ray" and rest:
        other = layer_of(rest)
        if other is None and rest != "__version__":
            return [f"fer_ray.{module} imports {name}, which is in no layer"]
        if other is not None and other > layer:
            return [f"fer_ray.{module} (layer {layer}) imports {name} (layer {other})"]
    allowed = ONLY_IN.get(top)
    if allowed is not None and layer not in allowed and module.split(".")[0] not in allowed:
        places = ", ".join(str(place) for place in allowed) or "tests"
        return [f"fer_ray.{module} (layer {layer}) imports {name}; {top} only in {places}"]
    return []


def sources_of_package() -> dict[str, str]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
    }


def test_every_module_imports_its_own_layer_or_a_lower_one() -> None:
    sources = sources_of_package()
    assert {"loop", "types", "methods.dividemix", "data.faces"} <= set(sources)
    assert complaints(sources) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        (
            "losses",
            "from fer_ray.loop import fit",
            r"losses (layer 0) imports fer_ray.loop (layer 2)",
        ),
        ("losses", "from fer_ray import loop", "losses (layer 0) imports fer_ray.loop (layer 2)"),
        ("losses", "import fer_ray.loop as x", "losses (layer 0) imports fer_ray.loop (layer 2)"),
        ("losses", "from . import loop", "losses (layer 0) imports fer_ray.loop (layer 2)"),
        (
            "methods.new",
            "from ..loop import fit",
            "methods.new (layer 0) imports fer_ray.loop (lay",
        ),
        ("data.faces", "from fer_ray.train import main", "data.faces (layer 1) imports fer_ray.tr"),
        ("train", "from fer_ray import tune", "train (layer 3) imports fer_ray.tune (layer 4)"),
        ("loop", "def f():\n    import ray.train", "loop (layer 2) imports ray.train; ray only in"),
        ("space", "from ray import tune", "space (layer 2) imports ray; ray only in 3, 4"),
        ("loop", "import importlib\nimportlib.import_module('ray')", "loop (layer 2) imports ray;"),
        ("trainer", "import wandb", "trainer (layer 3) imports wandb; wandb only in tracking"),
        ("types", "import pydantic", "types (layer 0) imports pydantic; pydantic only in config"),
        (
            "loop",
            "from sklearn.metrics import auc",
            "loop (layer 2) imports sklearn.metrics; sklearn only in tests",
        ),
        ("helpers", "", "fer_ray.helpers: in no layer; give it one in test_layers.py"),
        (
            "loop",
            "from fer_ray import helpers",
            "loop imports fer_ray.helpers, which is in no laye",
        ),
    ],
)
def test_a_violation_is_seen(module: str, source: str, complaint: str) -> None:
    sources = sources_of_package() | {module: source}
    found = complaints(sources)
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("loop", "from fer_ray.losses import sharpen\nfrom fer_ray.checkpoint import Best"),
        ("tracking", "import wandb"),
        ("train", "import ray\nfrom fer_ray import __version__, loop"),
        ("methods.co_divide", "from fer_ray.methods import base\nfrom .base import Method"),
    ],
)
def test_what_is_allowed_is_not_complained_about(module: str, source: str) -> None:
    assert complaints(sources_of_package() | {module: source}) == []


def test_a_command_starts_without_what_few_of_its_runs_need() -> None:
    """Each of these takes seconds to import; `--help` and an error should not wait for them."""
    late = ("torchvision", "sklearn", "matplotlib", "wandb", "torch._dynamo")
    code = f"import sys, fer_ray.tune; print([x for x in {late} if x in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_training_does_without_what_only_compiling_and_tests_need() -> None:
    """The same for every process that trains, a trial of a search above all."""
    late = ("sklearn", "torch._dynamo")
    code = (
        "import sys\n"
        "from tests.samples import faces, make_run, train\n"
        "for method in ('co_divide', 'dividemix'):\n"
        "    train(make_run(method), faces())\n"
        f"print([x for x in {late} if x in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
