"""Finds components by name, without importing anything before it is needed.

A component's name is its file's name: ``mmbench/models/fusion/hybrid.py`` is the fusion
``hybrid``. A file whose name begins with an underscore is no component. Three places are searched:
the package, files named on the command line (`include`), and installed entry points in the group
``mmbench.<kind>``. No name can be claimed twice.

What a file must hold: a dataset, the function ``build``; a metric file, functions under
``@metric``; every other kind, exactly one public class of its contract.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mmbench.errors import MissingExtraError, UnknownNameError, UsageError

if TYPE_CHECKING:
    import ast

#: Kind of component -> the package whose files are its built-in components.
KINDS = {
    "dataset": "mmbench.data",
    "encoder": "mmbench.models.encoders",
    "fusion": "mmbench.models.fusion",
    "combiner": "mmbench.models.combiners",
    "head": "mmbench.models.heads",
    "objective": "mmbench.models.objectives",
    "metric": "mmbench.metrics",
}

_included: dict[tuple[str, str], tuple[Any, str]] = {}
_included_files: dict[Path, list[tuple[str, str]]] = {}
_permitted: set[str] = set()


def names(kind: str) -> list[str]:
    """Return the names of all components of a kind, sorted. Only metrics are imported for it."""
    found = set(_builtin(kind))
    found.update(name for (of, name) in _included if of == kind)
    found.update(_entry_points(kind))
    return sorted(found)


def load(kind: str, name: str) -> Any:
    """Return the component `name` of `kind`: a class, a ``build`` function or a metric.

    A metric may be asked for with options, ``wer(normalizer=english)``, and one of another
    library by its prefix, ``torchmetrics:MatthewsCorrCoef(task=multiclass, num_classes=3)``.
    One of an output that is not the task's main one has its name in front, ``intensity.mae``.

    Raises:
        UnknownNameError: No component has that name.
        UsageError: Two places claim the name, or its file does not hold what it should.
    """
    if kind == "metric":
        output, dot, rest = name.partition(".")
        if dot and output.isidentifier():
            return load(kind, rest).of_output(output)
        library, colon, call = name.partition(":")
        if colon and library.isidentifier() and "(" not in library:
            return _foreign(library, call)
        if "(" in name:
            plain, _, options = parse_call(name)
            return _load(kind, plain).configure(options)
    return _load(kind, name)


def parse_call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Split ``name(1, key=value)`` into name, arguments and keyword arguments; nothing is run.

    Values are Python literals; a bare word is a string.

    Raises:
        UsageError: It is not of that form.
    """
    import ast

    def literal(node: ast.expr) -> Any:
        return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)

    try:
        call = ast.parse(text, mode="eval").body
        if isinstance(call, ast.Name):
            return call.id, [], {}
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError
        named = {str(word.arg): literal(word.value) for word in call.keywords if word.arg}
        if len(named) < len(call.keywords):
            raise ValueError
        return call.func.id, [literal(value) for value in call.args], named
    except (SyntaxError, ValueError):
        raise UsageError(
            f"metric {text!r}: expected a name, or a name with options like wer(normalizer=english)"
        ) from None


@cache
def _foreign(library: str, call: str) -> Any:
    """Return a metric of another library: ``mmbench/metrics/_from_<library>.py`` makes it."""
    here = Path(__file__).parent / "metrics"
    known = sorted(path.stem.removeprefix("_from_") for path in here.glob("_from_*.py"))
    if library not in known:
        raise UnknownNameError("metric library", library, known)
    return importlib.import_module(f"mmbench.metrics._from_{library}").load(call)


def _load(kind: str, name: str) -> Any:
    places = [
        place
        for place, known in (
            ("mmbench itself", name in _builtin(kind)),
            ("a file named on the command line", (kind, name) in _included),
            ("an installed package's entry point", name in _entry_points(kind)),
        )
        if known
    ]
    if not places:
        hint = f"'mmbench list {kind}s' shows them; --include ./{name}.py brings a file of yours"
        raise UnknownNameError(kind, name, names(kind), hint)
    if len(places) > 1:
        raise UsageError(
            f"{kind} {name!r} is claimed by {' and by '.join(places)}: rename the one that is yours"
        )
    if (kind, name) in _included:
        return _included[kind, name][0]
    if name in _builtin(kind):
        return _builtin(kind)[name] if kind == "metric" else _load_builtin(kind, name)
    return _load_entry_point(kind, name)


def include(path: Path) -> list[tuple[str, str]]:
    """Import a file of the user's and register its components; return their (kind, name)s.

    Naming the same file twice is allowed and does nothing. This is the only way by which a path
    becomes code: nothing in a TOML or a record can call it.
    """
    path = path.resolve()
    if path in _included_files:
        return _included_files[path]
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    module = _import_file(path)
    found = list(_components(module, path.stem).items())
    if not found:
        raise UsageError(
            f"{path}: holds no component: expected one class derived from mmbench.models.Fusion "
            f"(or Encoder, Head, ...), a function 'build' (dataset) or functions under @metric; "
            f"'mmbench new fusion NAME' writes a file that works"
        )
    for (kind, name), component in found:
        if (kind, name) in _included or name in names(kind):
            raise UsageError(f"{path}: the {kind} {name!r} exists already: rename yours")
        _included[kind, name] = (component, digest)
    _included_files[path] = [key for key, _ in found]
    return _included_files[path]


@contextmanager
def lent(kind: str, name: str, component: Any) -> Iterator[None]:
    """Register a component of the caller's own for a while, under a name that nothing has yet."""
    if name in names(kind):
        raise UsageError(f"the {kind} {name!r} exists already: rename yours")
    _included[kind, name] = (component, "")
    try:
        yield
    finally:
        del _included[kind, name]


def permit(*names: str) -> None:
    """Allow metrics of another library that are code of the user's: ``evaluate:./mine.py``.

    Called for names on the command line and in calls from Python; nothing in a TOML or a record
    can call it.
    """
    for name in names:
        library, _, call = name.partition(":")
        _permitted.add(f"{library}:{call.strip()}")


def is_permitted(name: str) -> bool:
    """Whether `permit` was called for a name."""
    return name in _permitted


def permitted() -> set[str]:
    """Return the names that `permit` was called for, for worker processes."""
    return set(_permitted)


def included_files() -> list[Path]:
    """Return the files that were included, so that a worker process can include them too."""
    return list(_included_files)


def included_file(kind: str, name: str) -> Path | None:
    """Return the included file that a component is from; None if it is from no such file."""
    for path, held in _included_files.items():
        if (kind, name) in held:
            return path
    return None


def digest(kind: str, name: str) -> str:
    """Return what pins down a component that is not mmbench's own; empty for those that are.

    A file: its SHA-256. An entry point: its distribution and version.
    """
    if (kind, name) in _included:
        return _included[kind, name][1]
    point = _entry_points(kind).get(name)
    return f"{point.dist.name}=={point.dist.version}" if point is not None else ""


def _components(module: ModuleType, stem: str) -> dict[tuple[str, str], Any]:
    """Find the components that a module defines (not those that it imports)."""
    found: dict[tuple[str, str], Any] = {}
    for attribute, value in vars(module).items():
        kind = getattr(value, "component", None)
        if not isinstance(kind, str) or attribute.startswith("_"):
            continue
        owner = value.module if kind == "metric" else value.__module__
        if owner != module.__name__:
            continue
        name = value.name if kind == "metric" else stem
        if (kind, name) in found and found[kind, name] is not value:
            raise UsageError(
                f"{module.__file__}: two classes are a {kind} ({found[kind, name].__name__}, "
                f"{value.__name__}): a component is one class in one file"
            )
        found[kind, name] = value
    build = getattr(module, "build", None)
    if callable(build) and getattr(build, "__module__", None) == module.__name__:
        found["dataset", stem] = build
    return found


@cache
def _builtin(kind: str) -> dict[str, Any]:
    """Map each built-in name to its module's name (metrics: to the metric itself)."""
    package = KINDS[kind]
    root = Path(__file__).parent.joinpath(*package.split(".")[1:])
    modules = sorted(
        path.stem
        for path in root.iterdir()
        if not path.name.startswith(("_", "."))
        and (path.suffix == ".py" or (path / "__init__.py").is_file())
    )
    if kind != "metric":
        return {name: f"{package}.{name}" for name in modules}
    found: dict[str, Any] = {}
    for name in modules:
        module = importlib.import_module(f"{package}.{name}")
        for (_, metric), value in _components(module, name).items():
            if metric in found:
                raise UsageError(f"{module.__file__}: the metric {metric!r} exists already")
            found[metric] = value
    return found


@cache
def _load_builtin(kind: str, name: str) -> Any:
    try:
        module = importlib.import_module(_builtin(kind)[name])
    except ModuleNotFoundError as error:
        if error.name and not error.name.startswith("mmbench"):
            what = f"{error.name}, which the {kind} {name!r} needs,"
            raise MissingExtraError(what, "train") from None
        raise
    found = _components(module, name)
    if (kind, name) not in found:
        raise UsageError(f"{module.__file__}: holds no {kind}")
    return found[kind, name]


@cache
def _entry_points(kind: str) -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=f"mmbench.{kind}")}


def _load_entry_point(kind: str, name: str) -> Any:
    point = _entry_points(kind)[name]
    try:
        return point.load()
    except Exception as error:  # somebody else's code: whatever it raises is theirs to explain
        raise UsageError(
            f"{kind} {name!r} of {point.dist.name} {point.dist.version} cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error


def _import_file(path: Path) -> ModuleType:
    name = f"mmbench_included_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: expected a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code: whatever it raises is one line
        del sys.modules[name]
        line = getattr(error, "lineno", None) or _line_in(error, path)
        raise UsageError(f"{path}:{line}: {type(error).__name__}: {error}") from error
    return module


def culprit(error: BaseException) -> str:
    """Return ``file:line`` of the included file that an error passed through; empty if none."""
    for path in _included_files:
        line = _line_in(error, path)
        if line:
            return f"{path}:{line}"
    return ""


def _line_in(error: BaseException, path: Path) -> int:
    """Return the last line of `path` that the error passed through."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def summary(kind: str, name: str) -> str:
    """Return the first line of a component's documentation, without importing built-in ones."""
    import ast

    if kind == "metric":
        return str(load(kind, name).summary)
    if name not in _builtin(kind):
        return (load(kind, name).__doc__ or "").strip().partition("\n")[0]
    text = ast.get_docstring(ast.parse(source(kind, name).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def refused(name: str, alone: bool = False) -> dict[str, str]:
    """Return the kinds of output that a fusion refuses, and why, importing no built-in one.

    Args:
        name: The fusion.
        alone: Whether it has one modality, so that it merges nothing.
    """
    import ast

    tables = ("refuses",) if alone else ("refuses", "refuses_merging")
    if name not in _builtin("fusion"):
        fusion = load("fusion", name)
        return {kind: why for table in tables for kind, why in getattr(fusion, table, {}).items()}
    values = [value for table in tables if (value := _told_of("fusion", name, table)) is not None]
    return {str(kind): str(why) for v in values for kind, why in ast.literal_eval(v).items()}


def usual_encoder(kind: str) -> str:
    """Return the encoder that says that it is taken for a kind of modality; empty if none does.

    Built-in ones are not imported for it; those of the user's and of installed packages are.

    Raises:
        UsageError: Two say so.
    """
    found = [name for name in names("encoder") if kind in _usual_for(name)]
    if len(found) > 1:
        raise UsageError(
            f"the encoders {' and '.join(found)} both say that they are taken for modalities of "
            f"the kind {kind!r}: leave it out of usual_for in the one that is yours"
        )
    return found[0] if found else ""


def _usual_for(name: str) -> Sequence[str]:
    import ast

    if name not in _builtin("encoder"):
        told: Sequence[str] = getattr(load("encoder", name), "usual_for", ())
        return told
    value = _told_of("encoder", name, "usual_for")
    return () if value is None else tuple(ast.literal_eval(value))


def _told_of(kind: str, name: str, attribute: str) -> ast.expr | None:
    """Return what a built-in component's class says that an attribute is, unread."""
    return _attributes(kind, name).get(attribute)


@cache
def _attributes(kind: str, name: str) -> dict[str, ast.expr]:
    """Return what is assigned to names in the file of a built-in component, the first of each."""
    import ast

    found: dict[str, ast.expr] = {}
    for node in ast.walk(ast.parse(source(kind, name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and node.value is not None:
                    found.setdefault(target.id, node.value)
    return found


def source(kind: str, name: str) -> Path:
    """Return the file of a built-in component."""
    module = _builtin(kind)[name] if kind != "metric" else str(load(kind, name).module)
    path = Path(__file__).parent.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
