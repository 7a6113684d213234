"""Metrics of one class an item: accuracy, F1, and agreement beyond chance.

They equal scikit-learn's with ``labels`` set to all classes of the task: a class that neither
occurs nor is said counts in a macro average, as 0. (scikit-learn by itself averages over the
classes that it happens to see, so that two models on one test set are averaged over different
classes.) Zero denominators give 0. An item without an answer is wrong: no class was said of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.metrics import _confusion
from mmbench.metrics._confusion import Margins, Slopes
from mmbench.metrics._contract import metric, ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.metrics._coded import Coded
    from mmbench.metrics._items.label import LabelItems
    from mmbench.types import Floats

    Bools = NDArray[np.bool_]


@metric(kind="label", bounds=(0.0, 1.0), oracle="bound", settings="missing:wrong")
def accuracy(items: LabelItems) -> Coded:
    """Accuracy: share of items whose class was said.

    Range 0 to 1, higher is better. Nobody beats the likeliest class in expectation.

    Returns:
        [N] 1 or 0.
    """
    return items.right


_UNIT: dict[str, Any] = {"bounds": (0.0, 1.0)}
_SETTINGS = "classes:all|zero_division:0|missing"
_ALL: dict[str, Any] = {**_UNIT, "settings": f"{_SETTINGS}:wrong"}


@_confusion.metric(**_UNIT, settings="classes:that occur|missing:wrong")
def balanced_accuracy(of: Margins) -> Slopes:
    """Balanced accuracy: the mean over classes of the share of their items that were recognised.

    Over the classes that occur, as scikit-learn has it. Range 0 to 1, higher is better; 1 over
    the number of classes for whoever always says the same (Brodersen et al., ICPR 2010).
    """
    return _mean_recall(of, over=of.true > 0)


@_confusion.metric(**_ALL)
def macro_recall(of: Margins) -> Slopes:
    """Macro recall: the mean over all classes of the share of their items that were recognised.

    Range 0 to 1, higher is better. A class that does not occur counts as 0; `balanced_accuracy`
    leaves it out.
    """
    return _mean_recall(of, over=of.true >= 0)


def _silent(items: LabelItems) -> str:
    without = int((items.said < 0).sum())
    if without:
        return (
            f"{without} of {len(items)} items have no answer, and precision only asks about those "
            f"that have one: score macro_f1, where they count"
        )
    return ""


@_confusion.metric(**_UNIT, settings=f"{_SETTINGS}:refused", check=_silent)
def macro_precision(of: Margins) -> Slopes:
    """Macro precision: the mean over all classes of the share of answers "this class" that hold.

    Range 0 to 1, higher is better. A class that is never said counts as 0. Items without an
    answer are refused: leaving hard ones out would raise it.
    """
    precision, by_hits, fall = _shares(of.hits, of.said[:-1])
    size = len(precision)
    said = np.append(fall, 0.0) / size
    return Slopes(float(precision.mean()), by_hits / size, said, np.zeros(size))


@_confusion.metric(**_ALL)
def micro_f1(of: Margins) -> Slopes:
    """Micro F1: ``2 hits / (answers + items)`` over all classes together.

    Range 0 to 1, higher is better. Where every item has an answer it equals `accuracy`.
    """
    both = float(of.said[:-1].sum()) + of.items
    value = 2 * float(of.hits.sum()) / both
    fall = np.full(len(of.true), -value / both)
    return Slopes(value, np.full(len(of.true), 2 / both), np.append(fall, 0.0), fall)


@_confusion.metric(**_ALL)
def macro_f1(of: Margins) -> Slopes:
    """Macro F1: the mean over all classes of ``2 hits / (said + true)``.

    Range 0 to 1, higher is better. Not the harmonic mean of macro precision and recall, which
    goes by the same name (Opitz & Burst, 1911.03347). A class of the task that does not occur
    counts as 0 even for perfect answers.
    """
    f1, by_hits, fall = _f1(of)
    size = len(f1)
    return Slopes(float(f1.mean()), by_hits / size, np.append(fall, 0.0) / size, fall / size)


@_confusion.metric(**_ALL)
def weighted_f1(of: Margins) -> Slopes:
    """Weighted F1: the mean over items of the F1 of their class.

    ``sum_c true_c F1_c / N``. Range 0 to 1, higher is better. A class does not suffer from being
    rare, nor does its failure show.
    """
    f1, by_hits, fall = _f1(of)
    share = of.true / of.items
    value = float(share @ f1)
    true = share * fall + (f1 - value) / of.items
    return Slopes(value, share * by_hits, np.append(share * fall, 0.0), true)


@_confusion.metric(bounds=(-1.0, 1.0), fewest=2, settings="missing:a class of its own")
def mcc(of: Margins) -> Slopes:
    """Matthews correlation: that of right and said classes (R_K of several classes).

    ``(N hits - said . true) / sqrt((N^2 - said . said)(N^2 - true . true))`` (Gorodkin,
    Computational Biology and Chemistry 2004). Range -1 to 1, 0 at chance; 0 too where only one
    class occurs, or only one is said.
    """
    top, said, true = _covariance(of)
    n = of.items
    spread_said = float(n**2 - of.said @ of.said)
    spread_true = float(n**2 - of.true @ of.true)
    root = (spread_said * spread_true) ** 0.5
    if root == 0:
        return _zero(of)
    value = top / root
    said = said / root + value * of.said / spread_said
    true = true / root - value * (n / spread_said + (n - of.true) / spread_true)
    return Slopes(value, np.full(len(of.true), n / root), said, true)


@_confusion.metric(bounds=(-1.0, 1.0), fewest=2, settings="weights:none|missing:a class of its own")
def cohen_kappa(of: Margins) -> Slopes:
    """Cohen's kappa: agreement beyond that of answers given at random with the same frequencies.

    ``(p_o - p_e) / (1 - p_e)``, p_o the accuracy and ``p_e = said . true / N^2`` (Cohen 1960).
    Range -1 to 1, 0 at chance; 0 too where one class is all that occurs and is said (0 / 0,
    which is not a number in scikit-learn).
    """
    top, said, true = _covariance(of)
    n, none = of.items, np.append(of.true, 0.0)
    rest = float(n**2 - of.said[:-1] @ of.true)
    if rest == 0:
        return _zero(of)
    value = top / rest
    said = (said + value * none) / rest
    true = (true - value * (2 * n - of.said[:-1])) / rest
    return Slopes(value, np.full(len(of.true), n / rest), said, true)


def _covariance(of: Margins) -> tuple[float, Floats, Floats]:
    """Return ``N hits - said . true`` and its slopes by `said` and `true`."""
    hits, said = of.hits.sum(), of.said[:-1]
    return float(of.items * hits - said @ of.true), -np.append(of.true, 0.0), hits - said


def _f1(of: Margins) -> tuple[Floats, Floats, Floats]:
    """Return the F1 [C] of each class, its slope by hits, and that by either of the others."""
    both = of.said[:-1] + of.true
    f1 = ratio(2 * of.hits, both)
    return f1, ratio(np.full_like(both, 2.0), both), -ratio(f1, both)


def _shares(hits: Floats, of: Floats) -> tuple[Floats, Floats, Floats]:
    """Return ``hits / of`` [C] and its slopes by both."""
    share = ratio(hits, of)
    return share, ratio(np.ones_like(of), of), -ratio(share, of)


def _mean_recall(of: Margins, over: Bools) -> Slopes:
    """Return the mean over some classes of the share of their items that were recognised."""
    size = over.sum()
    recall, hits, fall = (np.where(over, part, 0.0) / size for part in _shares(of.hits, of.true))
    return Slopes(float(recall.sum()), hits, np.zeros_like(of.said), fall)


def _zero(of: Margins) -> Slopes:
    return Slopes(0.0, np.zeros_like(of.hits), np.zeros_like(of.said), np.zeros_like(of.true))
