"""Loads a task's dataset and holds it against what the task's TOML promises."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from mmbench import catalog, registry, spec
from mmbench.data import _fetch
from mmbench.data._contract import Request
from mmbench.errors import DataError, MmbenchError, SpecError, UsageError
from mmbench.spec import TaskSpec
from mmbench.types import Dataset

_loaded: dict[tuple[str, Path | None, Path], Dataset] = {}


def cache_folder() -> Path:
    """Return the folder for prepared data: ``MMBENCH_CACHE``, or the user's cache folder."""
    named = os.environ.get("MMBENCH_CACHE")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("mmbench"))


def load(task: TaskSpec, root: Path | None = None) -> Dataset:
    """Load a task's dataset; the same one twice in a process is loaded once.

    What lies on the user's disk is the same as long as its `source_digest` is.

    Args:
        task: The task.
        root: Folder of the user's data; None for data that are generated.

    Raises:
        DataError: Data are missing, broken, or not those that the task names.
        SpecError: The TOML contradicts the data's own signature.
    """
    request = _request(task, root)
    where = request.home if request.root is None else request.root
    told = _beside(task, "source_digest", None)
    source = "" if told is None else str(told(request))
    key = (f"{task.name} {task.digest(task.default_budget)} {source}", where, request.cache)
    if key not in _loaded:
        dataset = registry.load("dataset", task.dataset.name)(request)
        _check(task, dataset)
        _loaded[key] = _with_clocks(task, dataset)
    return _loaded[key]


def check_params(task: TaskSpec) -> None:
    """Refuse parameters that the task's dataset does not have; nothing is loaded or made.

    Raises:
        SpecError: One is unknown or of another type.
    """
    kind = _beside(task, "Params", None)
    if kind is not None:
        where = f"{catalog.task_where(task.name)}: dataset.params"
        spec.check_params(task.dataset.params, kind, where)


def skipping(task: TaskSpec) -> TaskSpec:
    """Return the task with bad items left out: another task, as far as boards are concerned.

    Raises:
        UsageError: Its dataset reads nothing item by item that could be bad.
    """
    kind = _beside(task, "Params", None)
    if kind is None or "skip_bad" not in {item.name for item in msgspec.structs.fields(kind)}:
        raise UsageError(
            f"--skip-bad: the dataset {task.dataset.name!r} of the task {task.name!r} leaves no "
            f"item out: it is whole, or is refused"
        )
    dataset = msgspec.structs.replace(
        task.dataset, params={**task.dataset.params, "skip_bad": True}
    )
    return msgspec.structs.replace(task, dataset=dataset)


def whole_params(task: TaskSpec) -> dict[str, Any]:
    """Return the dataset's parameters, those that the task does not name with their defaults.

    Only those that it names where the dataset tells no defaults, or is not known here.
    """
    try:
        kind = _beside(task, "Params", None)
        if kind is not None:
            held = spec.check_params(task.dataset.params, kind, "dataset.params")
            return dict(msgspec.to_builtins(held))
    except MmbenchError:
        pass
    return dict(task.dataset.params)


def needs_data(task: TaskSpec, root: Path | None = None) -> bool:
    """Whether the dataset lies on the user's disk, and neither there nor where it is fetched to."""
    try:
        source_digest(task, root)
    except DataError:
        return True
    return False


def source_digest(task: TaskSpec, root: Path | None = None) -> str:
    """Return the digest of what lies on the user's disk; empty for generated data.

    It is part of a record's identity, so it has to be cheap: builders read no media for it.
    """
    digest = _beside(task, "source_digest", None)
    return str(digest(_request(task, root))) if digest is not None else ""


def bounds(task: TaskSpec, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Return the proven bounds on the test split: metric -> modalities joined by + -> value."""
    prove = _beside(task, "bounds", None)
    return dict(prove(dataset.splits["test"])) if prove is not None else {}


def late(task: TaskSpec, dataset: Dataset) -> tuple[dict[str, float], dict[str, float]]:
    """Return what the best late fusion has on the test split: proven bounds, and references."""
    found = [_beside(task, name, None) for name in ("late_bounds", "late_references")]
    told = [dict(of(dataset.splits["test"])) if of is not None else {} for of in found]
    return told[0], told[1]


def _request(task: TaskSpec, root: Path | None) -> Request:
    if root is None:
        root = _fetch.fetched(task)
    elif not root.expanduser().is_dir():
        raise DataError(f"{root}: --data (or MMBENCH_DATA) has to name a folder that is there")
    return Request(
        task=task.name,
        version=task.dataset.version,
        seed=task.dataset.seed,
        params=task.dataset.params,
        splits=task.splits,
        root=None if root is None else root.expanduser().resolve(),
        cache=cache_folder(),
        modalities=task.modalities,
        outputs={
            name: msgspec.structs.replace(output, main=name == task.main_output)
            for name, output in task.outputs.items()
        },
        home=catalog.task_home(task.name),
    )


def _beside(task: TaskSpec, name: str, default: Any) -> Any:
    """Return what else the builder's module offers."""
    build = registry.load("dataset", task.dataset.name)
    return getattr(sys.modules[build.__module__], name, default)


def _with_clocks(task: TaskSpec, dataset: Dataset) -> Dataset:
    """Put the time axes that the task names for its transcripts into the data's signature."""
    outputs = {
        name: replace(output, clock=task.outputs[name].clock or output.clock)
        if name in task.outputs
        else output
        for name, output in dataset.signature.outputs.items()
    }
    return replace(dataset, signature=replace(dataset.signature, outputs=outputs))


def _check(task: TaskSpec, dataset: Dataset) -> None:
    where = catalog.task_where(task.name)
    for name, modality in dataset.signature.modalities.items():
        told = task.modalities.get(name)
        if told is None:
            raise SpecError(f"{where}: modalities.{name} is missing: the data have it")
        if told.role != modality.role:
            raise SpecError(
                f"{where}: modalities.{name}.role = {told.role!r}, but the data have it as "
                f"{modality.role!r}"
            )
        if (told.kind, tuple(told.shape)) != (modality.kind, tuple(modality.shape)):
            raise SpecError(
                f"{where}: modalities.{name}: {told.kind} {list(told.shape)}, but one item of the "
                f"data is {modality.kind} {list(modality.shape)}"
            )
    for name in task.modalities:
        if name not in dataset.signature.modalities:
            known = ", ".join(dataset.signature.modalities)
            raise SpecError(f"{where}: modalities.{name}: the data have only {known}")
    for name, output in task.outputs.items():
        made = dataset.signature.outputs.get(name)
        if made is None or made.kind != output.kind:
            known = ", ".join(f"{n} ({o.kind})" for n, o in dataset.signature.outputs.items())
            raise SpecError(f"{where}: outputs.{name} ({output.kind}): the data have {known}")
        if tuple(output.shape) != tuple(made.shape):
            raise SpecError(
                f"{where}: outputs.{name}.shape = {list(output.shape)}, but one of the data's is "
                f"{list(made.shape)}"
            )
    for name, size in task.splits.items():
        if name not in dataset.splits:
            raise DataError(f"{where}: splits.{name}: the data have {', '.join(dataset.splits)}")
        found = len(dataset.splits[name]) + len(dataset.left_out.get(name, ()))
        if found != size:
            raise DataError(
                f"{where}: splits.{name} = {size}, but the data have {found}: if they are meant "
                f"to, write so there, and raise the task's version"
            )
