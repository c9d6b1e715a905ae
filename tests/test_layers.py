"""Folders are layers: a module imports its own folder and those below it, nothing above."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.paths import ROOT

# From the bottom to the top. A file at the top of the package, and a folder's `__main__`, is a
# command, but for `config`.
ORDER = (
    "core",
    "record",
    "methods",
    "data",
    "config",
    "training",
    "search",
    "on_ray",
    "results",
    "commands",
    "command",
)

# Third-party package -> layers that may import it.
ONLY_IN = {"ray": ("on_ray",), "wandb": ("record",), "pydantic": ("config", "search")}
# Seconds to import, for a few of a command's runs: inside functions only.
LATE = ("sklearn", "matplotlib", "torchvision", "jinja2", "plotly", "optuna")


def layer_of(module: str) -> str:
    """Layer of a dotted module name below `fer_ray`, such as `data.readers.folder`."""
    first, _, rest = module.partition(".")
    is_command = rest == "__main__" or (not rest and first not in ORDER)
    return "command" if is_command else first


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Dotted names that a module imports, and whether as it is imported itself."""
    tree = ast.parse(source)
    bodies = [node for node in ast.walk(tree) if _runs_later(node)]
    late = {id(node) for body in bodies for node in ast.walk(body)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = f"{'.' * node.level}{node.module or ''}"
            yield from ((f"{base}.{alias.name}", id(node) not in late) for alias in node.names)


def _runs_later(node: ast.AST) -> bool:
    """Whether what is inside is not run when the module is imported."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef)


def complaints(sources: dict[str, str]) -> list[str]:
    """What is wrong with modules, given by dotted name below `fer_ray`."""
    found = []
    for module, source in sorted(sources.items()):
        own = layer_of(module)
        if own not in ORDER:
            found.append(f"{module}: its folder is in no layer")
            continue
        for name, at_once in imports(source):
            top, *rest = name.split(".")
            if not top:
                found.append(f"{module}: a relative import; write fer_ray.{module}")
            elif top == "fer_ray" and rest[0] != "__version__":
                other = layer_of(".".join(rest[:2])) if rest[0] in ORDER else "command"
                if ORDER.index(other) > ORDER.index(own):
                    found.append(f"{module} imports {name}, of a layer above its own")
            elif own not in ONLY_IN.get(top, ORDER):
                found.append(f"{module} imports {name}; only {', '.join(ONLY_IN[top])} may")
            elif top in LATE and at_once:
                found.append(f"{module} imports {name} outside of a function")
    return found


def sources_of_package() -> dict[str, str]:
    package = ROOT / "fer_ray"
    return {
        ".".join(path.relative_to(package).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in package.rglob("*.py")
        if path != package / "__init__.py"
    }


def test_no_module_imports_a_layer_above_its_own() -> None:
    sources = sources_of_package()
    assert {"tune", "config", "training.loop", "data.readers.folder"} <= set(sources)
    assert complaints(sources) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("core.losses", "from fer_ray.training.loop import fit", "of a layer above its own"),
        ("core.losses", "import fer_ray.training.loop as x", "of a layer above its own"),
        ("methods.new", "from fer_ray.config import RunConfig", "of a layer above its own"),
        ("data.faces", "from fer_ray.train import main", "of a layer above its own"),
        ("on_ray.trainer", "from fer_ray.tune import main", "of a layer above its own"),
        ("commands.folders", "from fer_ray import tune", "of a layer above its own"),
        ("methods.new", "from ..training.loop import fit", "a relative import"),
        ("training.loop", "def f():\n    import ray.train", "only on_ray may"),
        ("search.space", "from ray import tune", "only on_ray may"),
        ("tune", "from ray import tune", "only on_ray may"),
        ("on_ray.trainer", "import wandb", "only record may"),
        ("core.types", "import pydantic", "only config, search may"),
        ("data.faces", "from sklearn.model_selection import KFold", "outside of a function"),
        ("helpers.misc", "", "its folder is in no layer"),
    ],
)
def test_a_violation_is_seen(module: str, source: str, complaint: str) -> None:
    found = complaints({module: source})
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("training.loop", "from fer_ray.core.losses import sharpen"),
        ("training.loop", "from fer_ray.training.checkpoint import Best"),
        ("record.wandb_run", "import wandb"),
        ("data.faces", "def f():\n    import sklearn.model_selection"),
        ("data.__main__", "from fer_ray.commands.process import command"),
        ("train", "from fer_ray import __version__\nfrom fer_ray.on_ray import trainer"),
    ],
)
def test_what_is_allowed_is_not_complained_about(module: str, source: str) -> None:
    assert complaints({module: source}) == []


def _printed(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout


def test_a_command_starts_without_what_few_of_its_runs_need() -> None:
    """Each of these takes seconds to import; `--help` and an error should not wait for them."""
    late = ("torchvision", "sklearn", "matplotlib", "plotly", "wandb", "torch._dynamo")
    code = f"import sys, fer_ray.tune; print([x for x in {late} if x in sys.modules])"
    assert _printed(code) == "[]\n"


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
    assert _printed(code) == "[]\n"
