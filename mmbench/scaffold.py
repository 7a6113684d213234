"""Writes the first files of a task, a fusion or a metric of one's own; they work as written.

The texts are in ``mmbench/templates``; here they are named, checked and put in place.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import keyword
import os
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template

import msgspec

from mmbench import catalog, registry, rng
from mmbench.errors import StoreError, UsageError
from mmbench.strict import Name

#: Kind -> (name of the file, its template), the file that a command names first.
FILES = {
    "task": (("{name}.toml", "task.toml.txt"),),
    "fusion": (
        ("{name}.py", "fusion.py.txt"),
        ("{name}.toml", "fusion.toml.txt"),
        ("test_{name}.py", "fusion_test.py.txt"),
    ),
    "metric": (("{name}.py", "metric.py.txt"), ("test_{name}.py", "metric_test.py.txt")),
}

#: Kind -> what tries the files out.
COMMANDS = {
    "task": "mmbench run -t {file} -m late,hybrid --budget smoke",
    "fusion": "mmbench run -t captioning -m {file} --budget smoke",
    "metric": "mmbench run -t captioning -m constant --metric {file} --budget smoke",
}

#: Longer names would break the lines of the templates.
LONGEST = 28

#: Words of the command line, and files to which pytest gives a meaning.
_RESERVED = frozenset({"all", "unimodal", "conftest"})


@dataclass(frozen=True)
class Written:
    """What `write` did.

    Attributes:
        files: The files, the one to name on the command line first.
        command: What tries them out.
    """

    files: tuple[Path, ...]
    command: str


def write(kind: str, name: str, folder: Path = Path(), force: bool = False) -> Written:
    """Write the files of a new component or task.

    Args:
        kind: ``task``, ``fusion`` or ``metric``.
        name: Its name, and that of its files.
        folder: Where they go; made if missing.
        force: Overwrite files that are there.

    Raises:
        UsageError: The name cannot be used, or a file is there.
        StoreError: A file cannot be written.
    """
    files = {folder / file.format(name=name): template for file, template in FILES[kind]}
    _check_name(kind, name, folder)
    there = [path for path in files if os.path.lexists(path)]
    if there and not force:
        raise UsageError(f"{there[0]}: is there already: take another name, or --force overwrites")
    texts = {path: _render(template, name) for path, template in files.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(folder, error) from None
    for path, text in texts.items():
        _put(path, text, force)
    file = shlex.quote(_as_argument(next(iter(files))))
    return Written(tuple(files), COMMANDS[kind].format(file=file))


def is_manifest(name: str) -> bool:
    """Whether what is to be a task's name is the path of a file, or folder, that lists items."""
    path = Path(name)
    if path.is_dir():
        told = ("dataset_info.json", "dataset_dict.json", "state.json")
        return os.sep in name or any((path / file).is_file() for file in told)
    return path.is_file() or bool(path.suffix)


def put(name: str, text: str, folder: Path, force: bool = False) -> Written:
    """Write the TOML of a task that was drafted from a manifest.

    Raises:
        UsageError: A file is there.
        StoreError: It cannot be written.
    """
    path = folder / f"{name}.toml"
    if os.path.lexists(path) and not force:
        raise UsageError(
            f"{path}: is there already: --dir takes another folder, --force overwrites"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(folder, error) from None
    _put(path, text, force)
    file = shlex.quote(_as_argument(path))
    return Written((path,), f"mmbench data check {file}")


def _put(path: Path, text: str, force: bool) -> None:
    try:
        # Mode x: a file that has appeared since it was looked for is not overwritten either.
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise _refused(path, error) from None


def _refused(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: cannot be written: {error.strerror or error}; --dir names another folder"
    )


def _render(template: str, name: str) -> str:
    text = (Path(__file__).parent / "templates" / template).read_text(encoding="utf-8")
    # Two tasks with two names see two different sets of data, each for ever the same.
    seed = rng.stream_seed(0, "new task", name) % 100_000
    return Template(text).substitute(name=name, Name=_class_name(name), seed=seed)


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _as_argument(path: Path) -> str:
    """Spell a path so that the command line takes it for one."""
    return str(path) if path.parent != Path() else f"./{path}"


# --- names ---------------------------------------------------------------------------------------


def _check_name(kind: str, name: str, folder: Path) -> None:
    reason = _fault(kind, name, folder)
    if reason:
        offer = _offer(kind, name, folder)
        raise UsageError(f"{name!r} {reason}" + (f": try {offer!r}" if offer else ""))


def _fault(kind: str, name: str, folder: Path) -> str:
    """Say what is wrong with a name; nothing if it can be used."""
    if not _well_formed(name):
        return "is no name: expected small letters, digits and underscores, no underscore first"
    if len(name) > LONGEST:
        return f"is too long: {len(name)} letters, expected at most {LONGEST}"
    if name in _RESERVED:
        return "has a meaning of its own here"
    if name in _taken(kind, folder):
        return f"is the name of a {kind} already"
    if kind == "task":
        return ""
    if not name.isidentifier() or keyword.iskeyword(name):
        return f"is no name for a {kind}: it has to be one in Python too"
    if _hides_module(name, folder):
        return f"would hide the module of that name from whatever imports it beside {name}.py"
    word = _class_name(name) if kind == "fusion" else name
    if word in _words(FILES[kind][0][1]):
        return f"would give {word!r} a second meaning in its file"
    return ""


def _well_formed(name: str) -> bool:
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError:
        return False
    return name == name.strip()  # the pattern lets a newline at the end pass


def _offer(kind: str, name: str, folder: Path) -> str | None:
    """Return a name that is near and can be used."""
    stem = Path(name).stem if name.endswith((".py", ".toml", ".txt")) else name
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).lower()
    plain = re.sub(r"[^a-z0-9]+", "_", snake).strip("_")[: LONGEST - 3].strip("_") or kind
    nearby = [plain, f"my_{plain}", *(f"{plain}_{number}" for number in range(2, 100))]
    return next((offer for offer in nearby if not _fault(kind, offer, folder)), None)


def _taken(kind: str, folder: Path) -> set[str]:
    """Return the names that something of the kind has, but for what lies in the folder itself.

    What lies there is a matter of files: it is never overwritten, unless that is asked for.
    """
    if kind == "task":
        found = set(catalog.task_names())
    elif kind == "metric":
        metrics = [registry.load("metric", name) for name in registry.names("metric")]
        # A family's name too: statistics are stored under it.
        found = {name for metric in metrics for name in (metric.name, metric.family)}
    else:
        tasks = map(catalog.task, catalog.task_names())
        models = [name for task in tasks for name in catalog.model_names(task)]
        found = {*registry.names("fusion"), *catalog.model_names(), *models}
    return found - set(_own(folder))


def _own(folder: Path) -> Iterable[str]:
    """Yield the names of included files (``--include``) that lie in the folder."""
    for place in (*catalog.included(), *registry.included_files()):
        paths = place.glob("*.toml") if place.is_dir() else [place]
        yield from (path.stem for path in paths if path.resolve().parent == folder.resolve())


def _hides_module(name: str, folder: Path) -> bool:
    """Whether a module of that name can be imported from elsewhere than the user's own folders."""
    if name in sys.stdlib_module_names:
        return True
    try:
        found = importlib.util.find_spec(name)
    except ValueError:  # something is in sys.modules that says nothing of where it comes from
        return True
    if found is None:
        return False
    home = {folder.resolve(), Path.cwd()}
    return found.origin is None or Path(found.origin).resolve().parent not in home


def _words(template: str) -> set[str]:
    """Return the words that have a meaning in a template: what it imports, calls and binds."""
    words = set(dir(builtins))
    for node in ast.walk(ast.parse(_render(template, "placeholder"))):
        if isinstance(node, ast.Name):
            words.add(node.id)
        elif isinstance(node, ast.arg):
            words.add(node.arg)
        elif isinstance(node, ast.alias):
            words.add((node.asname or node.name).partition(".")[0])
    return words - {"placeholder", "Placeholder"}
