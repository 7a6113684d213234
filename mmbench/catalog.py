"""Knows where the definitions are: shipped ones, those of ``--include``, and bare paths.

No other module knows where ``tasks/`` and ``baselines/`` lie. In a checkout they are beside the
package; in a wheel, inside it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from mmbench import registry
from mmbench.errors import SpecError, UnknownNameError, UsageError
from mmbench.spec import (
    ComponentSpec,
    ModelSpec,
    TaskSpec,
    merge,
    override,
    parse_model,
    parse_task,
    read_toml,
)

_included: list[Path] = []
#: Name of a task -> the file that it was last read from, for errors.
_read: dict[str, Path] = {}


def include(path: Path) -> None:
    """Add a folder of the user's TOMLs, one TOML, or a Python file of components."""
    if path.suffix == ".py":
        registry.include(path)
    elif path.is_dir() or path.suffix == ".toml":
        if not path.exists():
            raise SpecError(f"--include {path}: there is no such file")
        if path not in _included:
            _included.append(path)
            _shelf.cache_clear()
    else:
        raise SpecError(f"--include {path}: expected a folder of TOMLs, a .toml or a .py file")


def included() -> list[Path]:
    """Return what `include` has added beside Python files, for worker processes."""
    return list(_included)


def task_names(shipped: bool = False) -> list[str]:
    """Return the names of all tasks, or of the shipped ones only, sorted."""
    return sorted(_shipped("tasks") if shipped else _shelf("tasks"))


def model_names(task: TaskSpec | None = None, shipped: bool = False) -> list[str]:
    """Return the names of all models, sorted; given a task, expanded for its modalities.

    Without a task, a model that stands for one per modality is shown as ``{modality}_only``.

    Args:
        task: For which.
        shipped: Leave out what the user has included.
    """
    found: list[str] = []
    for name, path in (_shipped("baselines") if shipped else _shelf("baselines")).items():
        pattern = _raw_model(path).get("expand")
        if pattern is None:
            found.append(name)
        elif task is None:
            found.append(str(pattern))
        else:
            found.extend(pattern.replace("{modality}", m) for m in task.modalities)
    return sorted(found)


def task(name: str) -> TaskSpec:
    """Return a task by name, or by the path of its TOML.

    Raises:
        UnknownNameError: No task has that name.
        SpecError: Its file is wrong.
    """
    path = _path(name, "task", "tasks")
    found = parse_task(_extend(read_toml(path), path, "tasks"), _where(path))
    if path.stem != found.name:
        raise SpecError(f"{_where(path)}: name = {found.name!r} differs from the file's name")
    _read[found.name] = path
    _borrowed.pop(found.name, None)
    lender = _lender(found)
    if lender is not None:
        _borrowed[found.name] = lender
        found = msgspec.structs.replace(found, levels={})
    return found


#: Task of one's own -> the shipped one whose levels its TOML holds, although its data are others.
_borrowed: dict[str, str] = {}


def borrowed(name: str) -> str | None:
    """Return the shipped task whose levels a copied TOML still held; they count for nothing."""
    return _borrowed.get(name)


def _lender(task: TaskSpec) -> str | None:
    """Return the shipped task that has the same levels, computed on other data."""
    if not task.levels or task_home(task.name) is None:
        return None
    for name in task_names(shipped=True):
        path = _folder("tasks") / f"{name}.toml"
        other = parse_task(_extend(read_toml(path), path, "tasks"), _where(path))
        if other.levels == task.levels:
            same = (other.dataset, other.splits.get("test")) == (
                task.dataset, task.splits.get("test"),
            )  # fmt: skip
            return None if same else name
    return None


def task_where(name: str) -> str:
    """Return what errors call the file of a task; of one that a record tells, a guess."""
    return _where(_read[name]) if name in _read else f"tasks/{name}.toml"


def task_home(name: str) -> Path | None:
    """Return the folder of a task's file, where that is the user's own; None for shipped ones."""
    path = _read.get(name)
    if path is None or path.resolve().parent == _folder("tasks").resolve():
        return None
    return path.resolve().parent


def task_path(name: str) -> Path:
    """Return the file of a task."""
    return _path(name, "task", "tasks")


def model(name: str, settings: Sequence[str] = (), task: TaskSpec | None = None) -> ModelSpec:
    """Return a model by name, or by the path of its TOML or of a fusion file.

    A fusion file (``./myfusion.py``) without a TOML beside it stands on the shared recipe.

    Args:
        name: A model's name (``hybrid``, ``image_only``) or a path.
        settings: ``key.path=value`` overrides.
        task: Return the model as it is on this task: with what its table ``on`` says of the kind
            of the main output or of the task by name, and without parts for other kinds.

    Raises:
        UnknownNameError: No model has that name.
        SpecError: Its file is wrong.
    """
    content, where = _model_content(name)
    if task is not None:
        content = _on(content, task, where)
    # Names first: another component has other parameters.
    for setting in sorted(
        settings, key=lambda s: not s.partition("=")[0].strip().endswith(".name")
    ):
        content = override(content, setting)
        if setting.partition("=")[0].strip() == "width":
            content["matched"] = False  # the user's own width wins
    if settings:
        where = f"{where} with --set"
    found = parse_model(content, where)
    return found if task is None else _with_encoders(found, task).of(task)


def _with_encoders(model: ModelSpec, task: TaskSpec) -> ModelSpec:
    """Name an encoder for each kind of the task's modalities for which the model names none.

    It is the one that says that it is taken for the kind, if there is one; so it stands in records
    like those that are named.
    """
    kinds = {modality.kind for modality in task.modalities.values()} - set(model.encoders)
    usual = {kind: name for kind in sorted(kinds) if (name := registry.usual_encoder(kind))}
    if not usual:
        return model
    more = {kind: ComponentSpec(name) for kind, name in usual.items()}
    return msgspec.structs.replace(model, encoders={**model.encoders, **more})


def _on(content: dict[str, Any], task: TaskSpec, where: str) -> dict[str, Any]:
    """Lay on a model what its table ``on`` says of the task's kind, then of the task itself."""
    table = content.get("on", {})
    if not isinstance(table, Mapping):
        raise SpecError(f"{where}: on: expected tables like [on.label], got {table!r}")
    for wanted in (task.outputs[task.main_output].kind, task.name):
        for key, over in table.items():
            if wanted not in key.split("+"):
                continue
            if not isinstance(over, Mapping):
                raise SpecError(f"{where}: on.{key}: expected a table, got {over!r}")
            content = merge(content, over)
    return content


def model_summaries(task: TaskSpec | None = None) -> list[dict[str, Any]]:
    """Return name, family, paper, outputs served and summary of all models; none is built.

    Args:
        task: Only those that serve its outputs and have its modalities.
    """
    rows = []
    wanted = set() if task is None else {output.kind for output in task.outputs.values()}
    for name, path in _shelf("baselines").items():
        content = _extend(_raw_model(path), path)
        heads, fusion = content.get("heads", {}), content.get("fusion", {}).get("name")
        served = [kind for kind in heads if not why_not(heads, fusion, kind, _alone(content))]
        heard = content.get("modalities") or ()
        known = () if task is None else (*task.modalities, "{modality}")
        if task is not None and not (wanted <= set(served) and set(heard) <= set(known)):
            continue
        pattern = content.get("expand")
        told = {"name": name if pattern is None else pattern, "summary": content.get("summary", "")}
        own = [told]
        if task is not None and pattern is not None:
            own = [_fill(told, modality) for modality in task.modalities]
        rows += [
            {
                "name": str(one["name"]),
                "kind": str(content.get("family", "")),
                "paper": str(content.get("paper", "")),
                "outputs": served,
                "summary": str(one["summary"]),
            }
            for one in own
        ]
    return sorted(rows, key=lambda row: str(row["name"]))


def _alone(content: Mapping[str, Any]) -> bool:
    """Whether a model is one for a single modality, or for none."""
    heard = content.get("modalities")
    return heard is not None and len(heard) < 2


def why_not(heads: Collection[str], fusion: str | None, kind: str, alone: bool = False) -> str:
    """Return why a model does not serve a kind of output; an empty string where it does.

    Here alone it is decided; nothing is imported for it but a fusion that is not built in.

    Args:
        heads: The kinds of output that the model has heads for.
        fusion: The name of its fusion.
        kind: The kind of output.
        alone: Whether it hears one modality at most, so that it merges nothing.
    """
    if kind not in heads:
        return (
            f"has no head for {kind!r}: its heads are for {', '.join(heads) or 'nothing'}: early, "
            f"concat and most others have one ('mmbench list models' says which)"
        )
    refused = registry.refused(fusion, alone) if fusion is not None else {}
    if kind in refused:
        return f"the fusion {fusion!r} does not serve outputs of kind {kind!r}: {refused[kind]}"
    return ""


def served() -> dict[str, dict[str, str]]:
    """Return which shipped model serves which kind of output: model -> kind -> why not, or nothing.

    The kinds are those that any of the models has a head for. One that stands for a model of each
    modality is called ``{modality}_only``.
    """
    contents = {
        str(raw.get("expand", name)): _extend(raw, path)
        for name, path in _shipped("baselines").items()
        for raw in [_raw_model(path)]
    }
    kinds = sorted({kind for content in contents.values() for kind in content["heads"]})
    return {
        name: {
            kind: why_not(content["heads"], content["fusion"]["name"], kind, _alone(content))
            for kind in kinds
        }
        for name, content in contents.items()
    }


def _model_content(name: str) -> tuple[dict[str, Any], str]:
    if name.endswith(".py"):
        path = Path(name)
        held = registry.include(path)
        beside = path.with_suffix(".toml")
        if not beside.exists():
            if ("fusion", path.stem) not in held:
                kinds = " and ".join(sorted({kind for kind, _ in held}))
                raise UsageError(
                    f"{path}: expected a fusion, and it holds {kinds} only: a file alone is a "
                    f"model by its fusion; for other parts put {beside.name} beside it, a model "
                    f"that names them"
                )
            raw = {
                "extends": "matched",
                "schema": 1,
                "name": path.stem,
                "summary": f"the fusion in {path.name}",
                "family": "own",
                "fusion": {"name": path.stem},
            }
            return _extend(raw, path), str(path)
        return _extend(_raw_model(beside), beside), _where(beside)
    shelf = _shelf("baselines")
    for path in shelf.values():
        raw = _raw_model(path)
        pattern = raw.pop("expand", None)
        if pattern is None:
            continue
        if name == pattern:
            raise UsageError(
                f"{name!r} stands for a model of each modality: name one, such as "
                f"{name.replace('{modality}', 'text')}; 'mmbench list models -t TASK' names all"
            )
        match = re.fullmatch(re.escape(str(pattern)).replace(r"\{modality\}", "(.+)"), name)
        if match and name not in shelf:
            return _extend(_fill(raw, match[1]), path), _where(path)
    path = _path(name, "model", "baselines")
    raw = _raw_model(path)
    if "expand" in raw:
        pattern = raw["expand"]
        raise SpecError(
            f"{_where(path)}: stands for one model per modality: name one, as {pattern}"
        )
    code = path.with_suffix(".py")
    if not name.isidentifier() and code.exists():
        registry.include(code)
    return _extend(raw, path), _where(path)


def _fill(node: Any, modality: str) -> Any:
    """Put a modality's name wherever ``{modality}`` stands."""
    if isinstance(node, str):
        return node.replace("{modality}", modality)
    if isinstance(node, Mapping):
        return {key: _fill(value, modality) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, modality) for value in node]
    return node


def _extend(raw: Mapping[str, Any], path: Path, shelf: str = "baselines") -> dict[str, Any]:
    """Lay a definition on the one that it extends; an underscore file is only that."""
    content = dict(raw)
    base = content.pop("extends", None)
    if base is None:
        return content
    for folder in (path.parent, _folder(shelf)):
        candidate = folder / f"_{base}.toml"
        if candidate.exists():
            return merge(_extend(read_toml(candidate), candidate, shelf), content)
    known = [p.stem[1:] for p in _folder(shelf).glob("_*.toml")]
    raise UnknownNameError(f"extends in {_where(path)}:", str(base), known)


def _raw_model(path: Path) -> dict[str, Any]:
    return dict(_cached_toml(path, path.stat().st_mtime_ns))


@cache
def _cached_toml(path: Path, changed: int) -> Mapping[str, Any]:
    del changed  # part of the key: an edited file is read again
    return read_toml(path)


def _path(name: str, kind: str, shelf: str) -> Path:
    if name.endswith(".toml"):
        path = Path(name)
        if not path.exists():
            raise SpecError(f"{name}: there is no such file")
        return path
    found = _shelf(shelf)
    if name not in found:
        known = task_names() if kind == "task" else model_names()
        hint = f"'mmbench list {kind}s' shows them; your own is named by its path, ./{name}.toml"
        standing = _models_on(name) if kind == "model" else []
        if standing:
            raise UsageError(
                f"unknown model {name!r}: it is the name of a fusion, on which "
                f"{' and '.join(standing[:3])} {'stands' if len(standing) == 1 else 'stand'}; "
                f"'mmbench list models' shows all"
            )
        raise UnknownNameError(kind, name, known, hint)
    return found[name]


def _models_on(fusion: str) -> list[str]:
    """Return the models that are a fusion on the shared recipe, most of which have its name."""
    return [
        name
        for name, path in _shelf("baselines").items()
        if (raw := _raw_model(path)).get("fusion", {}).get("name") == fusion
        and raw.get("extends") == "matched"
        and "expand" not in raw
    ]


def _shipped(shelf: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted(_folder(shelf).glob("[!_]*.toml"))}


@cache
def _shelf(shelf: str) -> dict[str, Path]:
    """Map names to files: the shipped ones, then those of the user's folders.

    An included TOML belongs on this shelf if it has the table that only its kind has.
    """
    found = _shipped(shelf)
    mark = "dataset" if shelf == "tasks" else "family"
    for place in _included:
        for path in sorted(place.glob("[!_]*.toml")) if place.is_dir() else [place]:
            if mark not in read_toml(path):
                continue
            if path.stem in found and found[path.stem] != path:
                raise SpecError(f"{path}: the name {path.stem!r} exists already: rename yours")
            found[path.stem] = path
    return found


@cache
def _folder(shelf: str) -> Path:
    package = Path(__file__).parent
    for folder in (package / "_catalog" / shelf, package.parent / shelf):
        if folder.is_dir():
            return folder
    raise SpecError(f"{package}: the folder {shelf!r} is missing: reinstall mmbench")


def _where(path: Path) -> str:
    """Name a file in an error: shipped ones shortly, the user's own by path."""
    try:
        inside = path.resolve().relative_to(_folder("tasks").parent.resolve())
        return str(inside)
    except ValueError:
        return str(path)
