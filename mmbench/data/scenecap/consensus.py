"""Which wording agrees best with the references: CIDEr-D of one caption an item.

This is Vedantam et al. (2015, arXiv 1411.5726) with the clipping and the length penalty of the
published code, written again here because data and metrics do not import one another. It decides
between wordings; it is not the metric that the leaderboard shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, product

from mmbench.data.scenecap.grammar import CHOICES, TEMPLATE_CHOICES, Wording

_ORDERS = 4
_SIGMA = 6.0
# The search: items that every template is tried on, templates that are tried on all items.
_FEW, _BETTER = 30, 24
# One vector an n-gram order, its norm beside it.
_Vectors = list[tuple[dict[tuple[str, ...], float], float]]


class Consensus:
    """Agreement with the references of N items, whose document frequencies it uses.

    Args:
        references: For each item, its captions.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        seen = Counter(
            chain.from_iterable(set(chain(*map(_all_ngrams, texts))) for texts in references)
        )
        self._idf = {ngram: math.log(len(references) / items) for ngram, items in seen.items()}
        self._unseen = math.log(len(references))
        self._references = [
            [(len(text.split()), self._vectors(text)) for text in texts] for texts in references
        ]

    def score(self, captions: Sequence[str]) -> float:
        """Return the mean CIDEr-D of N captions, one an item, 0..10."""
        pairs = zip(captions, self._references, strict=True)
        return sum(self._item(caption, references) for caption, references in pairs) / len(captions)

    def _item(self, caption: str, references: list[tuple[int, _Vectors]]) -> float:
        length, vectors = len(caption.split()), self._vectors(caption)
        total = 0.0
        for other_length, others in references:
            penalty = math.exp(-((length - other_length) ** 2) / (2 * _SIGMA**2))
            for (own, norm), (other, other_norm) in zip(vectors, others, strict=True):
                if norm and other_norm:
                    shared = sum(
                        min(value, other[ngram]) * other[ngram]
                        for ngram, value in own.items()
                        if ngram in other
                    )
                    total += penalty * shared / (norm * other_norm)
        return 10.0 * total / (_ORDERS * len(references))

    def _vectors(self, text: str) -> _Vectors:
        found: _Vectors = []
        for n in range(1, _ORDERS + 1):
            counts = Counter(_ngrams(text.split(), n))
            vector = {
                ngram: count * self._idf.get(ngram, self._unseen) for ngram, count in counts.items()
            }
            found.append((vector, math.sqrt(sum(value * value for value in vector.values()))))
        return found


def best_wording(
    say: Callable[[int, Wording], Sequence[str]], references: Sequence[Sequence[str]]
) -> Wording:
    """Return the wording with the best agreement that a search in two steps finds.

    All templates, otherwise in the likeliest words, are tried on a few items and the better ones
    on all; from the best on, single choices are changed as long as that improves the agreement.

    Args:
        say: Words the captions of the first so many items.
        references: For each of the N items, its captions.
    """
    few = Consensus(references[:_FEW])
    every = Consensus(references)
    likeliest = Wording(*(weights.index(max(weights)) for weights in CHOICES.values()))
    templates = product(*(range(len(CHOICES[name])) for name in TEMPLATE_CHOICES))
    ways = [
        likeliest._replace(**dict(zip(TEMPLATE_CHOICES, indices, strict=True)))
        for indices in templates
    ]
    ways.sort(key=lambda way: few.score(say(_FEW, way)), reverse=True)
    total = len(references)
    scores = [every.score(say(total, way)) for way in ways[:_BETTER]]
    wording, best = ways[scores.index(max(scores))], max(scores)
    changed = True
    while changed:
        changed = False
        for name, weights in CHOICES.items():
            for index in range(len(weights)):
                other = wording._replace(**{name: index})
                if other != wording and (score := every.score(say(total, other))) > best + 1e-9:
                    wording, best, changed = other, score, True
    return wording


def _ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _all_ngrams(text: str) -> list[tuple[str, ...]]:
    words = text.split()
    return [ngram for n in range(1, _ORDERS + 1) for ngram in _ngrams(words, n)]
