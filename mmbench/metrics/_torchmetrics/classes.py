"""The classes of torchmetrics: which there are, what they score, and which way is better."""

from __future__ import annotations

import importlib
import inspect
import warnings
from typing import Any, NamedTuple

from mmbench.errors import IncompatibleError, MissingExtraError, UnknownNameError, UsageError
from mmbench.metrics._torchmetrics.known import (
    BOUNDS,
    DIRECTIONS,
    ELSEWHERE,
    KINDS,
    LACKING,
    RUNNING,
)


class Class(NamedTuple):
    """A class of torchmetrics that can be scored with.

    Attributes:
        title: Its name.
        domain: The part of the library that exports it.
        cls: The class.
        version: The library's version.
    """

    title: str
    domain: str
    cls: Any
    version: str


def find(title: str) -> Class:
    """Return the class that torchmetrics exports under a name.

    Raises:
        UnknownNameError: There is none.
        IncompatibleError: It needs what no output here has.
        MissingExtraError: torchmetrics is not installed.
    """
    refuse(title, title)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the imports of others
            version = str(importlib.import_module("torchmetrics").__version__)
            known = {domain: _exported(domain) for domain in (*KINDS, *ELSEWHERE)}
    except ModuleNotFoundError as error:
        what = f"{error.name}, which the metric 'torchmetrics:{title}' needs,"
        raise MissingExtraError(what, "metrics") from None
    for domain, classes in known.items():
        if title in classes:
            if domain in ELSEWHERE:
                _incompatible(title, ELSEWHERE[domain])
            return Class(title, domain, classes[title], version)
    names = {name for domain in KINDS for name in known[domain]} - set(LACKING)
    raise UnknownNameError("class of torchmetrics", title, names)


def refuse(title: str, made: str) -> None:
    """Raise IncompatibleError where a class needs what no output here has.

    Args:
        title: The name that was asked for.
        made: The name of the class that it came to: ``Accuracy(task=binary)`` makes another.
    """
    if made in LACKING:
        _incompatible(title, LACKING[made])


def _incompatible(title: str, need: str) -> None:
    raise IncompatibleError(
        f"metric 'torchmetrics:{title}': needs {need}, and there is no output that has that"
    )


def _exported(domain: str) -> dict[str, Any]:
    """Return the metrics that a part of torchmetrics exports, by name."""
    module = importlib.import_module(f"torchmetrics.{domain}")
    base = importlib.import_module("torchmetrics").Metric
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    found = {name: getattr(module, name) for name in names}
    return {
        name: cls
        for name, cls in found.items()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base
    }


def check_arguments(found: Class, named: dict[str, Any]) -> None:
    """Refuse keyword arguments that a class does not have.

    Raises:
        UnknownNameError: With the near name.
    """
    parameters = inspect.signature(found.cls).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {one.name for one in parameters if one.kind in plain} - RUNNING
    for name in named:
        if name not in known:
            ours = {"key", "higher_is_better"}
            raise UnknownNameError(f"argument of torchmetrics:{found.title}", name, known | ours)


def kind_of(domain: str, made: str) -> str:
    """Return the kind of output that a class scores."""
    return "multilabel" if made.startswith("Multilabel") else KINDS[domain]


def plain(made: str) -> str:
    """Return the name of a class without its task."""
    for task in ("Binary", "Multiclass", "Multilabel"):
        made = made.removeprefix(task)
    return made


def direction(name: str, metric: Any, asked: bool | None) -> bool:
    """Return whether higher is better.

    Args:
        name: The metric's name, for the message.
        metric: A metric of the library.
        asked: What the user says of it.

    Raises:
        UsageError: Neither the class nor the user says, or they contradict each other.
    """
    said: bool | None = DIRECTIONS.get(plain(type(metric).__name__), metric.higher_is_better)
    if asked is not None and not isinstance(asked, bool):
        raise UsageError(
            f"metric {name!r}: higher_is_better: expected True or False, got {asked!r}"
        )
    if said is None and asked is None:
        raise UsageError(
            f"metric {name!r}: torchmetrics does not say which values are better: add "
            f"higher_is_better=True or higher_is_better=False"
        )
    if said is not None and asked is not None and said is not asked:
        raise UsageError(f"metric {name!r}: higher_is_better: it is {said}")
    return bool(asked if said is None else said)


def bounds(made: str) -> tuple[float | None, float | None]:
    """Return the proven bounds of a class, None where it has none."""
    return BOUNDS.get(plain(made), (None, None))
