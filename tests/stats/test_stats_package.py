from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from mmbench import stats

FOLDER = Path(stats.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
#: What the statistics may import of mmbench besides themselves.
GROUND = {"mmbench.errors", "mmbench.rng", "mmbench.types"}


def imports(tree: ast.AST) -> set[str]:
    """Return the names of modules that are imported anywhere in a file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "mmbench":
            found |= {f"mmbench.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


def test_every_module_is_exported_and_in_the_index() -> None:
    modules = {path.stem for path in FILES if not path.stem.startswith("_")}
    assert set(stats.__all__) == modules
    for name in modules:
        assert inspect.ismodule(getattr(stats, name))
        assert f"`{name}`" in str(stats.__doc__), f"{name} is missing from the index"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_the_ground_numpy_and_scipy_are_imported(path: Path) -> None:
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        root = name.partition(".")[0]
        if root == "mmbench":
            assert name in GROUND or name.startswith("mmbench.stats"), name
        else:
            assert root in {"numpy", "scipy"} | sys.stdlib_module_names, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_draws_from_a_global_state(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "np.random" not in text
    assert "import random" not in text


def test_scipy_is_imported_only_by_what_needs_it() -> None:
    code = "import sys; from mmbench.stats import *; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_modules_come_only_when_they_are_asked_for() -> None:
    code = "import sys, mmbench.stats as s; s.holm; sys.exit('mmbench.stats.ranks' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'bayes'"):
        _ = stats.bayes


def public() -> list[tuple[str, object]]:
    return [
        (f"{name}.{key}", value)
        for name in stats.__all__
        for key, value in vars(getattr(stats, name)).items()
        if not key.startswith("_")
        and getattr(value, "__module__", "") == f"mmbench.stats.{name}"
        and (inspect.isfunction(value) or inspect.isclass(value))
    ]


@pytest.mark.parametrize(("name", "value"), public(), ids=[name for name, _ in public()])
def test_public_names_say_what_they_take(name: str, value: object) -> None:
    text = inspect.getdoc(value) or ""
    assert text, name
    if inspect.isfunction(value):
        parameters = inspect.signature(value).parameters
        for parameter in parameters:
            assert len(parameters) == 1 or f"{parameter}:" in text, f"{name}: {parameter}"
    else:
        for attribute in inspect.get_annotations(value):  # type: ignore[arg-type]
            assert f"{attribute}:" in text, f"{name}: {attribute}"
