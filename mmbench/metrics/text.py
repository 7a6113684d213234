"""BLEU-1 to BLEU-4 and ROUGE-L, as the COCO captioning server has them.

All read the tokens of the tokeniser ``ptb``. On equal tokens they equal pycocoevalcap 1.2, whose
constants and choices they keep, to rounding; the exceptions are documented where they are. An
empty prediction scores 0 in each of them, and counts as an item.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmbench.metrics._bleu import COLUMNS, ORDERS, bleu_rows
from mmbench.metrics._contract import family, metric, ratio
from mmbench.metrics._items.text import TextItems
from mmbench.metrics._lcs import lcs

if TYPE_CHECKING:
    from mmbench.types import Floats

# --- BLEU ----------------------------------------------------------------------------------------

#: pycocoevalcap's guards against division by zero; part of its values.
_SMALL, _TINY = 1e-9, 1e-15


def _bleu_rows(items: TextItems) -> Floats:
    """BLEU-1 to BLEU-4: n-gram precision of the corpus, with a penalty for brevity.

    ``BLEU-n = min(1, exp(1 - r / c)) (p_1 ... p_n)^(1/n)``, p_k the share of the k-grams of the
    predictions that stand in a reference of their item (counted at most as often as in the one
    that has it most often), c the tokens of the predictions, r those of the references closest in
    length (the shorter one of two). Papineni et al., ACL 2002.

    Range 0 to 1, higher is better. The corpus value is no mean over items. A corpus whose
    predictions are all shorter than n tokens has no n-gram at all and a value near 0. An empty
    prediction has no n-gram but lengthens r.

    Returns:
        [N, 10]: matched n-grams, n-grams (n = 1 to 4), tokens predicted, tokens of the reference.
    """
    return bleu_rows(items.captions, items.ngrams)


def _bleu(order: int, total: Floats) -> Floats:
    matched, possible = total[..., :order], total[..., ORDERS : ORDERS + order]
    predicted, reference = total[..., -2], total[..., -1]
    precision = np.prod((matched + _TINY) / (possible + _SMALL), axis=-1) ** (1 / order)
    brevity = (predicted + _TINY) / (reference + _SMALL)
    return np.asarray(precision * np.exp(np.minimum(0.0, 1 - 1 / brevity)))


bleu1, bleu2, bleu3, bleu4 = family(
    _bleu_rows,
    name="bleu",
    columns=COLUMNS,
    values={f"bleu{n}": partial(_bleu, n) for n in range(1, ORDERS + 1)},
    bounds=(0.0, 1.0),
    settings="tokenizer:ptb|reference_length:closest|smoothing:none",
)

# --- ROUGE-L -------------------------------------------------------------------------------------

_BETA = 1.2


@metric(bounds=(0.0, 1.0), settings="tokenizer:ptb|beta:1.2|references:best")
def rouge_l(items: TextItems) -> Floats:
    """ROUGE-L: the longest common subsequence as an F-measure that favours recall.

    ``(1 + beta^2) P R / (R + beta^2 P)`` with beta = 1.2, P the best share of the prediction and
    R the best share of a reference that a common subsequence covers, each over all references.
    Lin, ACL workshop 2004.

    Range 0 to 1, higher is better. An empty prediction scores 0. (pycocoevalcap splits it into one
    empty word, which equals that of an empty reference and then scores 1; not so here.)

    Returns:
        [N] the score of each item.
    """
    captions = items.captions
    common = lcs(captions).astype(np.float64)
    common[captions.first] = 0.0  # the prediction beside itself
    lengths = np.maximum(captions.lengths, 1)
    precision = np.maximum.reduceat(common / lengths[captions.first][captions.item], captions.first)
    recall = np.maximum.reduceat(common / lengths, captions.first)
    return ratio((1 + _BETA**2) * precision * recall, recall + _BETA**2 * precision)
