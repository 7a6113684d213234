"""The best answers: the likeliest one, and the exact probabilities of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.data.reasoning.posterior import posterior
from mmbench.types import Predictions

if TYPE_CHECKING:
    from mmbench.types import Split

# Digits by which probabilities are compared: equal ones stay equal on every machine, and the first
# of equals is said.
_DIGITS = 9


def oracle(split: Split, heard: frozenset[str]) -> Predictions:
    """Answer with the likeliest answer, which nobody beats in expected accuracy.

    The column ``answer.scores`` has the probabilities, which nobody beats in expected log loss or
    Brier score. Macro F1 takes another rule; its levels are references.

    Args:
        split: Any split of this dataset, or a part of one.
        heard: The modalities to look at, any subset.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    chances = posterior(split, heard)
    classes = split.references["answer"].classes  # type: ignore[attr-defined]
    said = [classes[best] for best in np.round(chances, _DIGITS).argmax(axis=1)]
    return Predictions(split.ids, {"answer": said}, {"answer.scores": chances.tolist()})
