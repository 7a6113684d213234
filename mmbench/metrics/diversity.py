"""How varied predictions are: distinct n-grams, length, vocabulary. No reference is looked at.

They say what a score does not: a captioner that answers everything with the same safe sentence
has few words and few n-grams. Neither direction is better by itself; people's own texts are what
to compare with (`mmbench.metrics.perfect` scores them).

``distinct`` and ``vocabulary`` are no means of items, and **depend on how many items there are**:
every further item repeats more and adds less. Compare them on the same items only. Their intervals
are about the value that other items, as many as these, would give; no interval can be about "all
items", where ``distinct`` tends to 0. Their pseudo-values are the jackknife's: leaving out item i
takes away the n-grams that no other item has. The jackknife's variance is on average at least the
true one (Efron and Stein, Annals of Statistics 1981), because what two items share is lost with
neither of them alone: in simulation (tests/metrics) intervals of nominal 95 % cover 95-98 %. They
say too little at the edges: where hardly any n-gram is ever repeated (long n-grams, few items), or
hardly any word is said once, the interval shrinks towards the value itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench import text
from mmbench.errors import UsageError
from mmbench.metrics._captions import Captions
from mmbench.metrics._contract import metric, ratio
from mmbench.metrics._items.text import ORDERS, TextItems, no_worst_answer
from mmbench.metrics._ngrams import by_part, count, sums

if TYPE_CHECKING:
    from mmbench.types import Floats

_COLUMNS = ("shares", "alone", "ngrams")
_SETTINGS = "tokenizer:ptb"


def _refusal(items: TextItems, n: int = 1) -> str:
    if not 1 <= n <= ORDERS:
        return f"n: expected 1 to {ORDERS}, got {n}"
    return no_worst_answer(items)


def _rows(items: TextItems, n: int) -> Floats:
    """Return [N, 3] what an item adds to the different n-grams of all, alone has, and says.

    An n-gram that k predictions have adds 1 / k to each of them, so that the shares add up to the
    number of different n-grams.
    """
    tokenizer = text.TOKENIZERS[items.tokenizer]
    captions = Captions.of_texts(items.predictions, [()] * len(items), tokenizer)
    ngrams = count(captions, n)[-1]
    having = np.bincount(ngrams.gram)[ngrams.gram]
    item = np.concatenate(
        [rows.caption + rows.part.texts.start for rows in by_part(ngrams, captions)]
    )
    shares, alone = (
        sums(of_row, item, len(items)) for of_row in (1 / having, (having == 1).astype(np.float64))
    )
    said = np.maximum(captions.lengths - n + 1, 0).astype(np.float64)
    return np.stack([shares, alone, said], axis=1)


def _deleted(value: float, without: Floats) -> tuple[float, Floats]:
    """Return a value and its pseudo-values [N], of the same mean, from those without each item."""
    return value, value + (len(without) - 1) * (without.mean() - without)


def _distinct(rows: Floats) -> tuple[float, Floats]:
    different, said = np.rint(rows[:, 0].sum()), rows[:, 2].sum()
    without = ratio(different - rows[:, 1], said - rows[:, 2])
    return _deleted(float(ratio(different, said)), without)


def _vocabulary(rows: Floats) -> tuple[float, Floats]:
    different = float(np.rint(rows[:, 0].sum()))
    return _deleted(different, different - rows[:, 1])


@metric(
    columns=_COLUMNS,
    whole=_distinct,
    local=False,
    bounds=(0.0, 1.0),
    settings=_SETTINGS,
    options={"n": 1},
    shown=("n",),
    check=_refusal,
)
def distinct(items: TextItems, n: int = 1) -> Floats:
    """Distinct-n: different n-grams in all predictions, per n-gram said.

    Li et al., A Diversity-Promoting Objective Function for Neural Conversation Models, NAACL 2016
    (arXiv 1510.03055).

    Range 0 to 1, which people's texts do not reach; more is more varied. Falls with the number of
    items, whatever the model: compare it on the same items only. 0 where nobody says an n-gram.

    Args:
        items: Any texts.
        n: Words of an n-gram, 1 to 4.

    Returns:
        [N, 3]: an item's share in the different n-grams of all, those it alone has, and its
        n-grams.

    Raises:
        UsageError: `n` is something else, or a prediction is missing: saying less is no variety.
    """
    reason = _refusal(items, n)
    if reason:
        raise UsageError(f"distinct: {reason}")
    return _rows(items, n)


@metric(columns=_COLUMNS, whole=_vocabulary, local=False, bounds=(0.0, None), settings=_SETTINGS)
def vocabulary(items: TextItems) -> Floats:
    """Number of different words in all predictions.

    Range 0 upwards; more is more varied. Grows with the number of items, whatever the model:
    compare it on the same items only.

    Returns:
        [N, 3]: as in ``distinct``.
    """
    return _rows(items, 1)


@metric(bounds=(0.0, None), settings=_SETTINGS)
def length(items: TextItems) -> Floats:
    """Mean number of words of a prediction.

    Range 0 upwards; more is longer, which is neither better nor worse. An empty prediction has 0.

    Returns:
        [N] the words of each prediction.
    """
    return items.captions.lengths[items.captions.first].astype(np.float64)
