"""Metrics of any number of classes an item: F1 in its four averages, exact sets, rankings.

They equal scikit-learn's with ``zero_division=0``: a class that neither occurs nor is said has an
F1 of 0, and so has an item that has no class and gets none. An item without any answer says no
class; its set is wrong, and so is each of its classes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.metrics import _ranking
from mmbench.metrics._contract import metric, ratio
from mmbench.metrics._ranking import macro
from mmbench.metrics._settled import COLUMNS, settle, settled

if TYPE_CHECKING:
    from mmbench.metrics._items.multilabel import MultilabelItems
    from mmbench.metrics._ranking import Ranked
    from mmbench.types import Floats

_UNIT: dict[str, Any] = {"kind": "multilabel", "bounds": (0.0, 1.0)}
_SETTLED: dict[str, Any] = {**_UNIT, "columns": COLUMNS, "whole": settled, "local": False}


def _f1(sums: Floats) -> Floats:
    return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def _f1_gradient(sums: Floats) -> Floats:
    hits, both = float(sums[0]), float(sums[1] + sums[2])
    return np.array([2 / both, -2 * hits / both**2, -2 * hits / both**2]) if both else 0 * sums


# --- F1 ------------------------------------------------------------------------------------------


@metric(
    columns=("hits", "said", "true"),
    value=_f1,
    gradient=_f1_gradient,
    settings="average:micro|zero_division:0",
    **_UNIT,
)
def multilabel_micro_f1(items: MultilabelItems) -> Floats:
    """Micro F1: ``2 hits / (said + true)`` over all items and classes together.

    Range 0 to 1, higher is better. Frequent classes decide it.

    Returns:
        [N, 3]: classes said rightly, classes said, classes that are right.
    """
    hits = items.said & items.truth
    return _stack(hits, items.said, items.truth)


@metric(settings="average:samples|zero_division:0", **_UNIT)
def multilabel_samples_f1(items: MultilabelItems) -> Floats:
    """Samples F1: the mean over items of ``2 hits / (said + true)``.

    Range 0 to 1, higher is better. An item that has no class and gets none scores 0, as in
    scikit-learn: on a task with such items nobody reaches 1.

    Returns:
        [N] the F1 of each item.
    """
    return _f1(_stack(items.said & items.truth, items.said, items.truth))


def _stack(*parts: Any) -> Floats:
    return np.stack([part.sum(axis=1) for part in parts], axis=1).astype(np.float64)


def _of_classes(items: MultilabelItems, weighted: bool) -> Floats:
    """Return the rows of a mean of the F1 of all classes, or one weighted by how often they occur.

    The pseudo-values are the exact derivative by item weights. Class c moves by
    ``(2 [hit] - F1_c ([said] + [true])) / (said_c + true_c)`` with an item, and its weight by
    ``[true] / true``.
    """
    hits, said, true = (
        part.astype(np.float64) for part in (items.said & items.truth, items.said, items.truth)
    )
    both, size = said.sum(axis=0) + true.sum(axis=0), len(items)
    f1 = ratio(2 * hits.sum(axis=0), both)
    share = true.sum(axis=0) / max(true.sum(), 1.0) if weighted else np.full_like(f1, 1 / len(f1))
    value = float(share @ f1)
    moved = 2 * hits - f1 * (said + true)
    psi = moved @ ratio(share, both)
    if weighted:
        psi += true @ (f1 - value) / max(true.sum(), 1.0)
    return settle(value, value + size * psi)


@metric(settings="average:macro|classes:all|zero_division:0", **_SETTLED)
def multilabel_macro_f1(items: MultilabelItems) -> Floats:
    """Macro F1: the mean over all classes of ``2 hits / (said + true)``.

    Range 0 to 1, higher is better. Every class counts the same, however rare; one that neither
    occurs nor is said counts as 0.

    Returns:
        [N, 2]: value and pseudo-values.
    """
    return _of_classes(items, weighted=False)


@metric(settings="average:weighted|zero_division:0", **_SETTLED)
def multilabel_weighted_f1(items: MultilabelItems) -> Floats:
    """Weighted F1: the mean over classes of their F1, weighted by how often they occur.

    Range 0 to 1, higher is better. 0 where no class occurs.

    Returns:
        [N, 2]: value and pseudo-values.
    """
    return _of_classes(items, weighted=True)


# --- sets ----------------------------------------------------------------------------------------


@metric(settings="missing:wrong", **_UNIT)
def multilabel_subset_accuracy(items: MultilabelItems) -> Floats:
    """Subset accuracy: share of items of which exactly the right classes were said.

    Range 0 to 1, higher is better.

    Returns:
        [N] 1 or 0.
    """
    exact = (items.said == items.truth).all(axis=1)
    return np.where(items.missing, 0.0, exact.astype(np.float64))


@metric(higher_is_better=False, settings="missing:wrong", **_UNIT)
def multilabel_hamming_loss(items: MultilabelItems) -> Floats:
    """Hamming loss: share of classes, of all items, about which the answer is wrong.

    Range 0 to 1, lower is better. Where classes are rare, saying none of them scores well.

    Returns:
        [N] the share of each item.
    """
    wrong = (items.said != items.truth).mean(axis=1)
    return np.where(items.missing, 1.0, wrong)


# --- rankings ------------------------------------------------------------------------------------


def _countable(items: MultilabelItems, wrong_too: bool) -> list[int]:
    """Return the classes that occur (and, `wrong_too`, not everywhere)."""
    true = items.truth.sum(axis=0)
    counts = (true > 0) & (true < len(items)) if wrong_too else true > 0
    return np.flatnonzero(counts).tolist()


def _lacks(items: MultilabelItems, wrong_too: bool) -> str:
    if items.scores is None:
        return (
            "the predictions bring no probabilities: give one number for each class, in a column "
            "scores or in columns p:CLASS; multilabel_macro_f1 needs none"
        )
    without = int(np.isnan(items.scores[:, 0]).sum())
    if without:
        return f"{without} of {len(items)} items have no probabilities: give them for all items"
    if not _countable(items, wrong_too):
        return "no class is right for some items" + (" and wrong for others" if wrong_too else "")
    return ""


def _ranked(of: Ranked, items: MultilabelItems, wrong_too: bool) -> Floats:
    classes = _countable(items, wrong_too)
    scores = items.scores
    assert scores is not None
    return settle(*macro(of, (items.truth[:, c] for c in classes), (scores[:, c] for c in classes)))


@metric(
    check=partial(_lacks, wrong_too=False),
    settings="average:macro|classes:that occur|interpolation:none",
    **_SETTLED,
)
def multilabel_map(items: MultilabelItems) -> Floats:
    """Mean average precision: the mean over classes of their average precision.

    As `average_precision`: ties together, nothing interpolated. Range 0 to 1, higher is better.
    A class that does not occur is left out (0 in scikit-learn).

    Returns:
        [N, 2]: value and pseudo-values.
    """
    return _ranked(_ranking.average_precision, items, wrong_too=False)


@metric(
    check=partial(_lacks, wrong_too=True),
    settings="average:macro|classes:that occur and lack",
    **_SETTLED,
)
def multilabel_macro_auroc(items: MultilabelItems) -> Floats:
    """Macro AUROC: the mean over classes of the area under their ROC curve.

    Range 0 to 1, .5 for random order, higher is better. The interval is DeLong's, for the mean
    over classes. A class that is right for all items or for none is left out (scikit-learn gives
    no number then).

    Returns:
        [N, 2]: value and pseudo-values.
    """
    return _ranked(_ranking.auroc, items, wrong_too=True)
