"""The best answers: exact probabilities of the label, and from them the best decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.data.interactions.posterior import posterior
from mmbench.data.interactions.references import INTENSITIES
from mmbench.types import Predictions

if TYPE_CHECKING:
    from mmbench.data.interactions.structures import Floats
    from mmbench.types import Split

# Digits by which probabilities are compared: equal ones stay equal on every machine, and the first
# of equals is said.
_DIGITS = 9


def oracle(split: Split, heard: frozenset[str]) -> Predictions:
    """Answer with the exact posterior of each item.

    ``label`` is the likeliest class, which nobody beats in expected accuracy; its column
    ``label.scores`` has the probabilities, which nobody beats in expected log loss or Brier score.
    ``intensity``, of `sentiment`, is the posterior's median, which nobody beats in expected
    absolute error. It is not the best answer for correlation, or for F1: those levels are
    references.

    Args:
        split: Any split of this dataset, or a part of one.
        heard: The modalities to look at, any subset.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    chances = posterior(split, heard)
    decided = np.round(chances, _DIGITS)
    outputs: dict[str, list[str] | list[float]] = {}
    classes = split.references["label"].classes  # type: ignore[attr-defined]
    outputs["label"] = [classes[best] for best in decided.argmax(axis=1)]
    if "intensity" in split.references:
        outputs["intensity"] = median(decided).tolist()
    return Predictions(split.ids, outputs, {"label.scores": chances.tolist()})


def median(chances: Floats) -> Floats:
    """Return [N], the median of the intensity given its probabilities [N, C]: the lower one.

    Where just one half lies below, every number between two classes is a median; the lower end
    is one that can be right.
    """
    below = np.cumsum(chances, axis=1)
    return np.asarray(np.array(INTENSITIES)[(below < 0.5 - 1e-6).sum(axis=1)])
