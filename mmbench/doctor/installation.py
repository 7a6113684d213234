"""Looks at mmbench itself: Python, its definitions and their components, its packages."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import mmbench
from mmbench.doctor.check import Check, Found
from mmbench.errors import MmbenchError, UnknownNameError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from mmbench.spec import ModelSpec, TaskSpec

#: The oldest Python that mmbench runs on.
PYTHON = (3, 11)
#: Extra -> what does not work without it. Without the others nothing is amiss for a user.
EXTRAS = {
    "train": "training and predicting",
    "metrics": "",
    "hf": "",
    "tune": "",
    "media": "",
    "test": "",
}

_REINSTALL = "pip install --force-reinstall mmbench"


def python() -> Found:
    """Hold Python's version against what mmbench needs."""
    told = f"{platform.python_implementation()} {platform.python_version()}"
    wanted = ".".join(map(str, PYTHON))
    if tuple(sys.version_info) < PYTHON:
        yield Check("python", "fail", told, f"install Python {wanted} or newer")
    else:
        yield Check("python", "ok", told)


def mmbench_itself() -> Found:
    """Say which mmbench this is, and whether it is the one that is installed."""
    from mmbench.provenance import commit

    folder = Path(mmbench.__file__).parent
    at = commit()
    told = f"{mmbench.__version__} in {folder}" + (f", commit {at[:8]}" if at else "")
    if at.endswith("+changed"):
        told += " with changes that are not committed"
    installed = version("mmbench")
    fix = f"pip install -e {folder.parent}" if at else _REINSTALL
    if installed is None:
        yield Check("mmbench", "warn", f"{told}: is not installed, only found there", fix)
    elif installed != mmbench.__version__:
        yield Check("mmbench", "warn", f"{told}: is installed as {installed}", fix)
    else:
        yield Check("mmbench", "ok", told)


def tasks() -> Found:
    """Read every task and look for what it names."""
    from mmbench import catalog

    sound = []
    for name in catalog.task_names():
        try:
            _check_task(catalog.task(name))
            sound.append(name)
        except MmbenchError as error:
            yield Check(f"task {name}", "fail", str(error), "mend the file it names, or reinstall")
    if sound:
        yield Check("tasks", "ok", f"{len(sound)} load: {', '.join(sound)}")
    else:
        yield Check("tasks", "fail", "none can be loaded", _REINSTALL)


def models() -> Found:
    """Read every model, for the modalities of every task, and look for what it names."""
    from mmbench import catalog

    names = dict.fromkeys(name for task in readable_tasks() for name in catalog.model_names(task))
    sound = []
    for name in names:
        try:
            _check_model(catalog.model(name))
            sound.append(name)
        except MmbenchError as error:
            yield Check(f"model {name}", "fail", str(error), "mend the file it names, or reinstall")
    if sound:
        yield Check("models", "ok", f"{len(sound)} load: {', '.join(sound)}")
    else:
        yield Check("models", "fail", "none can be loaded", _REINSTALL)


def readable_tasks() -> list[TaskSpec]:
    """Return the tasks whose files are sound; `tasks` reports the others."""
    from mmbench import catalog

    found = []
    for name in catalog.task_names():
        try:
            found.append(catalog.task(name))
        except MmbenchError:
            continue
    return found


def _check_task(task: TaskSpec) -> None:
    _demand("dataset", task.dataset.name, task.name)
    for metric in task.metric_names:
        # Without the name of its output and its options; foreign ones belong to their libraries.
        plain = metric.rpartition(".")[2] if "(" not in metric else metric
        if ":" not in plain and "(" not in plain:
            _demand("metric", plain, task.name)


def _check_model(model: ModelSpec) -> None:
    _demand("fusion", model.fusion.name, model.name)
    _demand("combiner", model.combiner.name, model.name)
    for encoder in model.encoders.values():
        _demand("encoder", encoder.name, model.name)
    for head in model.heads.values():
        _demand("head", head.name, model.name)
    for stage in model.recipe.stages:
        for objective in stage.objectives:
            _demand("objective", objective.name, model.name)


def _demand(kind: str, name: str, whose: str) -> None:
    """Raise unless a component exists. It is not loaded: that may take torch."""
    from mmbench import registry

    known = registry.names(kind)
    if name not in known:
        raise UnknownNameError(f"{kind} of {whose!r}", name, known)


def packages() -> Found:
    """Look for the packages that mmbench always needs."""
    try:
        have, lack, wrong = _requirements("")
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", "warn", "unknown: mmbench is found, but not installed", _REINSTALL)
        return
    if lack or wrong:
        told = "; ".join([*(f"{name} is missing" for name in lack), *wrong])
        yield Check("packages", "fail", told, "pip install --upgrade mmbench")
    else:
        yield Check("packages", "ok", ", ".join(have))


def extra_packages(extra: str) -> Found:
    """Look for the packages of an extra."""
    try:
        have, lack, wrong = _requirements(extra)
    except importlib.metadata.PackageNotFoundError:
        return  # `packages` says so
    install = f"pip install --upgrade 'mmbench[{extra}]'"
    if wrong:
        yield Check(extra, "warn", "; ".join(wrong), install)
    elif lack and EXTRAS[extra]:
        yield Check(extra, "warn", f"{', '.join(lack)} missing: no {EXTRAS[extra]}", install)
    elif lack:
        yield Check(extra, "ok", f"not installed: {', '.join(lack)} ({install} if wanted)")
    else:
        yield Check(extra, "ok", ", ".join(have))


def _requirements(extra: str) -> tuple[list[str], list[str], list[str]]:
    """Hold what mmbench's own metadata ask for against what is installed.

    Args:
        extra: The extra whose packages are meant, without those that mmbench always needs; empty:
            just those.

    Returns:
        What is there (with versions), what is missing, and what is there in a wrong version.
    """
    from packaging.requirements import Requirement

    have, lack, wrong = [], [], []
    for asked in map(Requirement, importlib.metadata.requires("mmbench") or ()):
        if not _belongs(asked, extra):
            continue
        there = version(asked.name)
        if there is None:
            lack.append(asked.name)
        elif not asked.specifier.contains(there, prereleases=True):
            wrong.append(f"{asked.name} is {there}, expected {asked.specifier}")
        else:
            have.append(f"{asked.name} {there}")
    return have, lack, wrong


def _belongs(asked: Requirement, extra: str) -> bool:
    if asked.marker is None or asked.marker.evaluate({"extra": ""}):
        return not extra
    return bool(extra) and asked.marker.evaluate({"extra": extra}) and asked.name != "mmbench"


def version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
