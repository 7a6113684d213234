"""Whether a model says the same whatever it is asked.

A model that has learnt nothing can still look well: where two thirds of the items are of one
class, always saying that class is right for two thirds of them. Papers print such rows as
baselines; `collapse` names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmbench.references import (
    LabelReferences,
    MultilabelReferences,
    References,
    ScalarReferences,
    TextReferences,
)

#: Kind of output -> the metrics in which one answer for all items scores no better than none.
EXPOSED = {
    "label": "balanced_accuracy, macro_f1, mcc and cohen_kappa show it, accuracy does not",
    "multilabel": "multilabel_macro_f1 and multilabel_macro_auroc show it",
    "scalar": "pearson, ccc and spearman show it, mae does not",
    "text": "cider_d and distinct show it",
}


def collapse(values: Any, columns: Mapping[str, Any], references: References) -> str:
    """Say that all answers are the same one; return an empty text where they are not.

    Args:
        values: [N] what was predicted, a list or an array; None where nothing was.
        columns: Further columns; of ``scores`` [N, C] the likeliest class is the answer where
            there is no other.
        references: What is right for the same items.

    Returns:
        One sentence. Fewer than two answers are never called a collapse, nor are answers to items
        that are all alike.
    """
    right = _right(references)
    if right is None or len(right) < 2 or _all_alike(right):
        return ""
    kind, classes = references.kind, getattr(references, "classes", ())
    answers = values if hasattr(values, "dtype") else [v for v in values if v is not None]
    if not len(answers) and kind == "label" and columns.get("scores") is not None:
        rows = [row for row in columns["scores"] if row is not None]
        answers = np.asarray(rows, dtype=np.float64).argmax(axis=1) if rows else []
    if len(answers) < 2 or not _all_alike(answers):
        return ""
    return f"all {len(answers):,} predictions are {_named(answers[0], classes)}: {EXPOSED[kind]}"


def _right(references: References) -> Any:
    """Return [N] what is right, None for a kind whose answers are not compared with one another."""
    if isinstance(references, TextReferences):
        return references.texts
    if isinstance(references, LabelReferences | MultilabelReferences):
        return references.labels
    return references.values if isinstance(references, ScalarReferences) else None


def _all_alike(answers: Any) -> bool:
    """Whether all answers equal the first; stops at the first that does not."""
    if hasattr(answers, "dtype") and answers.dtype != object:
        return bool((answers == answers[0]).all())
    first = _plain(answers[0])
    return all(_plain(answer) == first for answer in answers)


def _plain(answer: Any) -> Any:
    return answer.tolist() if hasattr(answer, "tolist") else answer


def _named(answer: Any, classes: Sequence[str]) -> str:
    """Return an answer as people call it, cut to 60 characters."""
    plain = _plain(answer)
    if isinstance(plain, int) and not isinstance(plain, bool) and 0 <= plain < len(classes):
        plain = classes[plain]
    text = repr(plain)
    return text if len(text) <= 60 else f"{text[:57]}..."
