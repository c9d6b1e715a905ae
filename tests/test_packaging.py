"""What the package imports is declared, and what is declared is imported."""

import ast
import re
import sys
import tomllib

from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Distributions whose modules have other names.
MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
# Modules that come with a declared distribution: pydantic's core, jinja2's escaping.
INCLUDED = {"pydantic_core": "pydantic", "markupsafe": "jinja2"}
EXTRAS = PROJECT["optional-dependencies"].values()
DECLARED = [*PROJECT["dependencies"], *(text for extra in EXTRAS for text in extra)]
# torch.onnx imports it for us.
INDIRECT = {"onnxscript"}


def imported() -> set[str]:
    """Top-level names of the third-party modules that the package imports anywhere."""
    names: set[str] = set()
    for path in (ROOT / "fer_ray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"fer_ray"}


def test_dependencies_are_what_the_package_imports() -> None:
    declared = {re.split(r"[\[<>=]", text)[0] for text in DECLARED} - INDIRECT
    modules = {MODULES.get(name, name) for name in declared}
    assert {INCLUDED.get(name, name) for name in imported()} == modules


def test_every_dependency_has_a_lowest_version() -> None:
    assert [text for text in DECLARED if ">=" not in text] == []


def test_the_console_script_exists() -> None:
    module, _, function = PROJECT["scripts"]["fer-ray"].partition(":")
    __import__(module)
    assert callable(getattr(sys.modules[module], function))
