"""CIDEr and CIDEr-D: how much a prediction says of what people say about this item and no other.

Both compare n-grams weighted by ``idf = log(items) - log(max(1, items that have it in a
reference))``, so what everybody says everywhere counts nothing. Vedantam et al., CVPR 2015 (arXiv
1411.5726). ``cider_d`` is what the captioning world reports, mostly under the name of the other:
clipped, with a penalty for length, because repeating rare words games the original.

The document frequencies come from the references of the scored items. By default they are fixed:
an interval answers how the score would vary with other items but the same weights. With
``cider_d(idf=recomputed)`` the value is the same and the interval counts in that other items
would have given other weights. To first order, with V the value, c_i the items' scores, and w_g
and df_g the weight and the document frequency of n-gram g, item i moves the value by::

    psi_i = (c_i - V) / N - sum_g dV/dw_g (1[i has g] - df_g / N) / df_g

In simulation (tests/metrics) both cover 94-96 %; the fixed one is a little the wider.

A caption of fewer than four words has no 4-gram, so even a perfect one scores at most 7.5. An
empty prediction scores 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics._contract import Metric, metric, ratio
from mmbench.metrics._items.text import ORDERS, TextItems
from mmbench.metrics._ngrams import by_part, sums

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mmbench.metrics._ngrams import NGrams, Rows
    from mmbench.types import Floats

_SIGMA = 6.0
_SCALE = 10.0
_FREQUENCIES = "idf:references of the scored items"


def _refusal(items: TextItems, idf: str = "fixed") -> str:
    if idf not in ("fixed", "recomputed"):
        return f"idf: expected fixed or recomputed, got {idf!r}"
    if len(items) < 2:
        return (
            "one item is no corpus: an n-gram is weighted by the log of (items / items that have "
            "it), which is log 1 = 0, so everything would score 0; score at least two items"
        )
    return ""


class _Cider(Metric):
    """A metric whose rows depend on the other items if the frequencies are recomputed."""

    def configure(self, given: Mapping[str, Any]) -> Metric:
        """Return the metric with other options."""
        found = super().configure(given)
        return replace(found, local=found.options["idf"] == "fixed")


def _metric(settings: str) -> Callable[[Callable[..., Floats]], Metric]:
    made = metric(
        bounds=(0.0, _SCALE),
        settings=f"{settings}|{_FREQUENCIES}",
        check=_refusal,
        options={"idf": "fixed"},
    )
    return lambda function: _Cider(**vars(made(function)))


@_metric("tokenizer:ptb|n:4|sigma:6")
def cider_d(items: TextItems, idf: str = "fixed") -> Floats:
    """CIDEr-D: how much a prediction says of what people say about this item and no other.

    The mean over n = 1 to 4 and over the references of
    ``exp(-d^2 / (2 sigma^2)) min(g, h) . h / (|g| |h|)``, times 10, with g and h the weighted
    n-gram counts of prediction and reference, d the difference of their lengths in tokens, and
    sigma = 6. As pycocoevalcap's ``Cider`` has it. (It counts bigrams instead of tokens for d,
    which differs only beside an empty caption, where there is nothing to penalise.)

    Range 0 to 10, higher is better.

    Args:
        items: At least two.
        idf: ``fixed``: the interval takes the document frequencies as known; ``recomputed``: it
            counts their uncertainty in.

    Returns:
        [N] the score of each item; with ``idf=recomputed`` its pseudo-value, of the same mean.

    Raises:
        UsageError: There is only one item: every n-gram would weigh log 1 = 0. Or `idf` is unknown.
    """
    return _scores(items, idf, defended=True)


@_metric("tokenizer:ptb|n:4|variant:original")
def cider(items: TextItems, idf: str = "fixed") -> Floats:
    """CIDEr: the original, neither clipped nor with a penalty for length; see ``cider_d``.

    The mean over n = 1 to 4 and over the references of the cosine ``g . h / (|g| |h|)``, times
    10, with g and h the weighted n-gram counts of prediction and reference. As the authors'
    program has it, which does not stem the words.

    Range 0 to 10, higher is better. Saying a rare word again and again pays.

    Args:
        items: At least two.
        idf: As in ``cider_d``.

    Returns:
        As in ``cider_d``.

    Raises:
        UsageError: As in ``cider_d``.
    """
    return _scores(items, idf, defended=False)


def _scores(items: TextItems, idf: str, defended: bool) -> Floats:
    reason = _refusal(items, idf)
    if reason:
        raise UsageError(f"CIDEr: {reason}")
    share = _shares(items, defended)
    orders = [_Order(ngrams, items, defended) for ngrams in items.ngrams]
    similarity = sum(order.similarity() for order in orders)
    scores = sums(share * similarity, items.captions.item, len(items))
    if idf == "fixed":
        return scores
    moved = sum(order.moved(share) for order in orders)
    return np.asarray(scores + moved)


def _shares(items: TextItems, defended: bool) -> Floats:
    """Return [C] what one n's similarity of a reference counts in its item's score."""
    captions = items.captions
    references = np.bincount(captions.item, minlength=len(items)) - 1
    share = _SCALE / ORDERS / references[captions.item]
    if defended:
        apart = captions.lengths - captions.lengths[captions.first][captions.item]
        share = share * np.exp(-(apart.astype(np.float64) ** 2) / (2 * _SIGMA**2))
    share[captions.first] = 0.0  # the prediction beside itself
    return share


@dataclass(frozen=True)
class _Order:
    """The n-grams of one n with their weights."""

    ngrams: NGrams
    items: TextItems
    defended: bool

    @property
    def idf(self) -> Floats:
        """[n-grams] the weight of each."""
        documents = np.maximum(1.0, self.ngrams.documents)
        return np.asarray(np.log(float(len(self.items))) - np.log(documents), dtype=np.float64)

    def similarity(self) -> Floats:
        """Return [C] the similarity of each reference and its prediction."""
        idf = self.idf
        parts = by_part(self.ngrams, self.items.captions)
        return np.concatenate([_Similarity.of(rows, idf, self.defended).value for rows in parts])

    def moved(self, share: Floats) -> Floats:
        """Return [N] how far an item's part in the frequencies moves the pseudo-value."""
        idf, captions = self.idf, self.items.captions
        slopes = np.concatenate(
            [
                _Similarity.of(rows, idf, self.defended).slopes(rows, share[rows.part.texts])
                for rows in by_part(self.ngrams, captions)
            ]
        )
        # The derivative by each weight, and from there by the document frequency.
        slope = sums(slopes, self.ngrams.gram, len(idf))
        by_document = ratio(slope, self.ngrams.documents.astype(np.float64))
        moved = [
            sums(
                by_document[rows.gram[rows.referenced]],
                rows.captions.item[rows.caption[rows.referenced]],
                len(rows.captions.first),
            )
            for rows in by_part(self.ngrams, captions)
        ]
        known = slope[self.ngrams.documents > 0].sum() / len(self.items)
        return np.asarray(known - np.concatenate(moved))


@dataclass(frozen=True)
class _Similarity:
    """The cosine of each text of a part with its item's prediction, for one n."""

    weight: Floats  # [R] of each row's n-gram
    norm: Floats  # [C]
    norms: Floats  # [C] the norm times that of the prediction
    product: Floats  # [K] of the counts of each shared row
    value: Floats  # [C]

    @classmethod
    def of(cls, rows: Rows, idf: Floats, defended: bool) -> _Similarity:
        own, weight = rows.captions, idf[rows.gram]
        size = len(own.lengths)
        norm = np.sqrt(sums((rows.count * weight) ** 2, rows.caption, size))
        theirs, ours = (rows.count[at].astype(np.float64) for at in (rows.shared, rows.partner))
        product = (np.minimum(ours, theirs) if defended else ours) * theirs
        together = sums(product * weight[rows.shared] ** 2, rows.caption[rows.shared], size)
        norms = norm * norm[own.first][own.item]
        return cls(weight, norm, norms, product, ratio(together, norms))

    def slopes(self, rows: Rows, share: Floats) -> Floats:
        """Return [R] the part of each row in the derivative of the sum of all scores by its idf.

        Args:
            rows: Of the part.
            share: [C] what the similarity of each reference counts.
        """
        own = rows.captions
        pull = share * self.value
        pull[own.first] = sums(pull, own.item, len(own.first))
        shrinks = ratio(pull, self.norm**2)[rows.caption]
        slopes = -shrinks * rows.count.astype(np.float64) ** 2 * self.weight
        grows = ratio(share, self.norms)[rows.caption[rows.shared]]
        slopes[rows.shared] += 2 * self.product * self.weight[rows.shared] * grows
        return slopes
