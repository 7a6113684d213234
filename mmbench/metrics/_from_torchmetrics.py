"""Metrics of torchmetrics, by the name of their class: ``torchmetrics:BinaryF1Score``.

``torchmetrics:MulticlassF1Score(num_classes=3, average=macro)`` is that class with these
arguments, which are Python literals (a bare word is a string). A class is found by its name among
those that torchmetrics exports; nothing else of it can be asked for, so that a definition that
names one runs no code but the library's own. Two more arguments are ours: ``key``, the name or
place of the number that is meant where a result holds several, and ``higher_is_better``, for the
few classes of which neither the library nor we say it.

Classes of ``torchmetrics.classification``, ``nominal`` and ``clustering`` (those that compare two
labellings) score outputs of the kind ``label``, Multilabel ones ``multilabel``; ``regression``
scores ``scalar``, ``text`` scores ``text``, ``retrieval`` scores ``match`` (queries look for
gallery entries). What compares anything else is refused, with the reason. Classes go in by
number, and the positive one of a binary metric is number 1. A class that takes either classes or
probabilities gets the classes, unless ``top_k`` or ``threshold`` ask for probabilities. Texts go in
as they are written, similarities as places. What counts as what is the library's affair: its
``MulticlassAccuracy``, say, is a macro-average. But what has no answer is refused, and so is an
empty text where the library would call it perfect.

Everything is computed in double precision, as far as the library's code lets it. The interval is

- where all states of the class are sums: that of every function of sums (`mmbench.metrics`);
- in retrieval, where the value is the mean over queries: that of a mean;
- else that of the jackknife (`mmbench.metrics._jackknife`).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.metrics._coded import Coded
from mmbench.metrics._contract import Metric, family, metric
from mmbench.metrics._jackknife import jackknife
from mmbench.metrics._torchmetrics import classes
from mmbench.metrics._torchmetrics.inputs import OF_KIND, Matches, Numbers, Texts
from mmbench.registry import parse_call

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.metrics._torchmetrics.runner import Runner
    from mmbench.types import Floats

#: More sums than this would cost more than they are worth: the jackknife needs only the items.
_MOST_SUMS = 512


def load(call: str) -> Metric:
    """Return the metric of a class of torchmetrics.

    Args:
        call: ``Name`` or ``Name(argument, name=argument)``.

    Raises:
        UnknownNameError: torchmetrics exports no such class, or the class has no such argument.
        IncompatibleError: The class compares what no output here has.
        UsageError: The class refuses its arguments, or nobody says what is better.
        MissingExtraError: torchmetrics is not installed.
    """
    call = call.strip()
    title, given, named = parse_call(call)
    asked = dict(named)
    key, higher = asked.pop("key", None), asked.pop("higher_is_better", None)
    found = classes.find(title)
    classes.check_arguments(found, asked)
    from mmbench.metrics._torchmetrics.runner import Runner

    def make() -> Any:
        return found.cls(*given, **asked, compute_with_cache=False, sync_on_compute=False)

    name = f"torchmetrics:{call}"
    runner = Runner(name, make, key)
    made = type(runner.blank).__name__
    classes.refuse(title, made)
    kind = classes.kind_of(found.domain, made)
    inputs = OF_KIND[kind](runner.blank, asked)
    shown = [f"key:{key}"] * (key is not None) + [repr(value) for value in given]
    shown += [f"{word}:{asked[word]!r}" for word in sorted(asked)]
    form = _form(runner, inputs)
    return replace(
        form,
        name=name,
        family=name,
        module=__name__,
        summary=(inspect.getdoc(found.cls) or "").partition("\n")[0],
        kind=kind,
        check=inputs.lacks,
        higher_is_better=classes.direction(name, runner.blank, higher),
        bounds=classes.bounds(made),
        settings="|".join([f"torchmetrics:{found.version}", *shown]),
    )


def _form(runner: Runner, inputs: Numbers | Texts | Matches) -> Metric:
    """Return the metric in the form that gives it the best interval."""
    if isinstance(inputs, Matches):
        return _of_queries(runner, inputs)
    if isinstance(inputs, Numbers):
        few = runner.adds_up and runner.width <= _MOST_SUMS
        return _of_sums(runner, inputs) if few else _of_items(runner, inputs)
    return _of_sums(runner, inputs) if runner.adds_up else _of_entries(runner, inputs)


def _of_sums(runner: Runner, inputs: Numbers | Texts) -> Metric:
    """Make the metric whose statistics are the states after each item alone."""

    def rows(items: Any) -> Floats | Coded:
        given = inputs.of(items)
        if not _few(given):
            return runner.states(given)
        alike, first = _alike(given)
        return Coded(runner.states([part[first] for part in given]), alike)

    return family(
        rows,
        name=runner.name,
        columns=runner.names(),
        values={runner.name: runner.of_sums},
        gradient=runner.gradient if runner.is_single() else None,
    )[0]


def _of_queries(runner: Runner, inputs: Matches) -> Metric:
    """Make the metric that is the mean of its values for each query."""

    @metric
    def rows(items: Any) -> list[float]:
        return [runner.of_items(query) for query in inputs.each(items)]

    return rows


def _of_items(runner: Runner, inputs: Numbers) -> Metric:
    """Make the metric of which nothing is known but its value on any items."""

    def rows(items: Any) -> Floats:
        return inputs.rows(inputs.of(items))

    def whole(rows: Floats, clusters: Sequence[Any] | None = None) -> tuple[float, Floats]:
        given = inputs.split(rows)
        alike = _alike(given)[0] if _few(given) else None

        def value(left: NDArray[np.int64]) -> float:
            return runner.of_items([part[left] for part in given])

        return jackknife(len(rows), value, alike, clusters)

    return metric(columns=inputs.columns, whole=whole)(rows)


def _of_entries(runner: Runner, inputs: Texts) -> Metric:
    """Make the metric of texts that keeps numbers of each item in lists."""

    def rows(items: Any) -> Floats:
        return runner.entries(inputs.of(items))

    def whole(rows: Floats, clusters: Sequence[Any] | None = None) -> tuple[float, Floats]:
        return jackknife(len(rows), lambda left: runner.of_entries(rows[left]), None, clusters)

    return metric(columns=tuple(runner.lists), whole=whole)(rows)


def _few(given: list[Any]) -> bool:
    """Whether items are two whole numbers each, of which many are equal."""
    return all(isinstance(part, np.ndarray) and part.ndim == 1 for part in given) and all(
        part.dtype == np.int64 for part in given
    )


def _alike(given: list[Any]) -> tuple[Any, Any]:
    """Return [N] numbers that equal items share, and the first item of each number."""
    said, truth = given
    codes = said * (int(truth.max()) + 1) + truth
    _, first, alike = np.unique(codes, return_index=True, return_inverse=True)
    return alike, first
