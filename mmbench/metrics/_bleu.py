"""The statistics of BLEU, which every variant of it is a function of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmbench.metrics._ngrams import by_part

if TYPE_CHECKING:
    from mmbench.metrics._captions import Captions
    from mmbench.metrics._ngrams import NGrams
    from mmbench.numbering import Ints
    from mmbench.types import Floats

#: BLEU looks at n-grams of one to so many words.
ORDERS = 4
#: What each column of the rows holds.
COLUMNS = (
    *(f"matched_{n}" for n in range(1, ORDERS + 1)),
    *(f"ngrams_{n}" for n in range(1, ORDERS + 1)),
    "tokens_predicted",
    "tokens_reference",
)


def bleu_rows(captions: Captions, ngrams: Sequence[NGrams]) -> Floats:
    """Return [N, 10] the statistics of N items, in the order of `COLUMNS`.

    An n-gram of the prediction is matched at most as often as in the reference that has it most
    often. The length of the reference is that of the one closest to the prediction, of two the
    shorter one.

    Args:
        captions: The N items.
        ngrams: Their n-grams for n = 1 to 4.
    """
    predicted = captions.lengths[captions.first]
    matched = np.stack([_matched(captions, of_order) for of_order in ngrams], axis=1)
    possible = np.maximum(predicted[:, None] - np.arange(ORDERS), 0)
    lengths = np.stack([predicted, _closest_length(captions)], axis=1)
    return np.concatenate([matched, possible, lengths], axis=1).astype(np.float64)


def _matched(captions: Captions, ngrams: NGrams) -> Floats:
    """Return [N] how many n-grams of the prediction stand in a reference, clipped."""
    return np.concatenate([rows.matched() for rows in by_part(ngrams, captions)])


def _closest_length(captions: Captions) -> Ints:
    """Return [N] the length of the reference closest to the prediction, the shorter of two."""
    apart = np.abs(captions.lengths - captions.lengths[captions.first][captions.item])
    # One number to be least: first the distance, then the length. A prediction is no reference.
    key = apart * (int(captions.lengths.max(initial=0)) + 1) + captions.lengths
    key[captions.first] = np.iinfo(np.int64).max
    closest = np.minimum.reduceat(key, captions.first)
    return closest % (int(captions.lengths.max(initial=0)) + 1)
