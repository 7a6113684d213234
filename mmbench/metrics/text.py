"""Caption metrics: BLEU-1 to BLEU-4, CIDEr-D and ROUGE-L, as the COCO captioning server has them.

All read the tokens of the tokeniser ``ptb``. On equal tokens they equal pycocoevalcap 1.2, whose
constants and choices they keep, to rounding; the exceptions are documented where they are. An
empty prediction scores 0 in each of them, and counts as an item.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics._contract import family, metric, ratio
from mmbench.metrics._items.text import ORDERS, TextItems
from mmbench.metrics._lcs import lcs
from mmbench.metrics._ngrams import shared, sums

if TYPE_CHECKING:
    from mmbench.metrics._ngrams import Captions, Ints, NGrams
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
    captions = items.captions
    predicted = captions.lengths[captions.first]
    matched = np.stack([_matched(ngrams, captions) for ngrams in items.ngrams], axis=1)
    possible = np.maximum(predicted[:, None] - np.arange(ORDERS), 0)
    lengths = np.stack([predicted, _closest_length(captions)], axis=1)
    return np.concatenate([matched, possible, lengths], axis=1).astype(np.float64)


def _matched(ngrams: NGrams, captions: Captions) -> Floats:
    """Return [N] how many n-grams of the prediction stand in a reference, clipped."""
    rows, partner = shared(ngrams, captions)
    if not len(rows):
        return np.zeros(len(captions.first))
    heads = np.flatnonzero(np.diff(partner, prepend=-1))
    most = np.maximum.reduceat(ngrams.count[rows], heads)
    own = partner[heads]
    clipped = np.minimum(ngrams.count[own], most).astype(np.float64)
    return sums(clipped, captions.item[ngrams.caption[own]], len(captions.first))


def _closest_length(captions: Captions) -> Ints:
    """Return [N] the length of the reference closest to the prediction, the shorter of two."""
    predicted = captions.lengths[captions.first]
    distance = np.abs(captions.lengths - predicted[captions.item])
    distance[captions.first] = np.iinfo(np.int64).max  # the prediction itself is no reference
    order = np.lexsort((captions.lengths, distance, captions.item))
    return captions.lengths[order[captions.first]]


def _bleu(order: int, total: Floats) -> Floats:
    matched, possible = total[..., :order], total[..., ORDERS : ORDERS + order]
    predicted, reference = total[..., -2], total[..., -1]
    precision = np.prod((matched + _TINY) / (possible + _SMALL), axis=-1) ** (1 / order)
    brevity = (predicted + _TINY) / (reference + _SMALL)
    return np.asarray(precision * np.exp(np.minimum(0.0, 1 - 1 / brevity)))


bleu1, bleu2, bleu3, bleu4 = family(
    _bleu_rows,
    name="bleu",
    columns=(
        *(f"matched_{n}" for n in range(1, ORDERS + 1)),
        *(f"ngrams_{n}" for n in range(1, ORDERS + 1)),
        "tokens_predicted",
        "tokens_reference",
    ),
    values={f"bleu{n}": partial(_bleu, n) for n in range(1, ORDERS + 1)},
    bounds=(0.0, 1.0),
    settings="tokenizer:ptb|reference_length:closest|smoothing:none",
)

# --- CIDEr-D -------------------------------------------------------------------------------------

_SIGMA = 6.0
_SCALE = 10.0


def _lacks_documents(items: TextItems) -> str:
    if len(items) < 2:
        return (
            "one item is no corpus: an n-gram is weighted by the log of (items / items that have "
            "it), which is log 1 = 0, so everything would score 0; score at least two items"
        )
    return ""


@metric(
    bounds=(0.0, _SCALE),
    settings="tokenizer:ptb|n:4|sigma:6|idf:references of the scored items",
    check=_lacks_documents,
)
def cider_d(items: TextItems) -> Floats:
    """CIDEr-D: how much a prediction says of what people say about this item and no other.

    The mean over n = 1 to 4 and over the references of
    ``exp(-d^2 / (2 sigma^2)) min(g, h) . h / (|g| |h|)``, times 10, with g and h the TF-IDF
    weighted n-gram counts of prediction and reference, d the difference of their lengths in
    tokens, ``idf = log(items) - log(max(1, items with the n-gram in a reference))``, and
    sigma = 6. Vedantam et al., CVPR 2015 (arXiv 1411.5726).
    As pycocoevalcap's ``Cider`` has it, which is the variant D: clipped, with a penalty for
    length. (It counts bigrams instead of tokens for that, which differs only beside an empty
    caption, where there is nothing to penalise.)

    Range 0 to 10, higher is better. The document frequencies come from the references of the
    scored items and are fixed: an interval treats them as known. A caption of fewer than four
    words has no 4-gram, so even a perfect one scores at most 7.5. An empty prediction scores 0.

    Returns:
        [N] the score of each item.

    Raises:
        UsageError: There is only one item: every n-gram would weigh log 1 = 0.
    """
    reason = _lacks_documents(items)
    if reason:
        raise UsageError(f"CIDEr-D: {reason}")
    captions = items.captions
    similarity = sum(_similarity(ngrams, captions) for ngrams in items.ngrams)
    apart = captions.lengths - captions.lengths[captions.first][captions.item]
    penalised = similarity * np.exp(-(apart.astype(np.float64) ** 2) / (2 * _SIGMA**2))
    penalised[captions.first] = 0.0  # the prediction beside itself
    size = len(captions.first)
    references = np.bincount(captions.item, minlength=size) - 1
    return sums(penalised, captions.item, size) / ORDERS / references * _SCALE


def _similarity(ngrams: NGrams, captions: Captions) -> Floats:
    """Return [C] the clipped cosine of each reference with its prediction, for one n."""
    size = len(captions.lengths)
    idf = np.log(float(len(captions.first))) - np.log(np.maximum(1.0, ngrams.documents))
    weight = ngrams.count * idf[ngrams.gram]
    norm = np.sqrt(sums(weight**2, ngrams.caption, size))
    rows, partner = shared(ngrams, captions)
    products = np.minimum(weight[partner], weight[rows]) * weight[rows]
    together = sums(products, ngrams.caption[rows], size)
    return ratio(together, norm * norm[captions.first][captions.item])


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
    common = lcs(captions, items.ngrams[0]).astype(np.float64)
    common[captions.first] = 0.0  # the prediction beside itself
    lengths = np.maximum(captions.lengths, 1)
    precision = np.maximum.reduceat(common / lengths[captions.first][captions.item], captions.first)
    recall = np.maximum.reduceat(common / lengths, captions.first)
    return ratio((1 + _BETA**2) * precision * recall, recall + _BETA**2 * precision)
