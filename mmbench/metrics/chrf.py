"""chrF and chrF++: n-grams of characters, for languages whose words come in many forms.

Popović, chrF: character n-gram F-score for automatic MT evaluation, WMT 2015; with word n-grams
(chrF++), WMT 2017. As sacrebleu has it, from 0 to 100: ``chrf`` is its chrF2, and
``chrf(word_order=2)`` its chrF2++.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics._captions import Captions
from mmbench.metrics._contract import metric, ratio
from mmbench.metrics._items.text import TextItems
from mmbench.metrics._ngrams import by_part, count, sums
from mmbench.text import Tokenizer

if TYPE_CHECKING:
    from mmbench.types import Floats

_CHARACTERS, _WORDS = 6, 2
_BETA = 2
#: Items are worked on in blocks: a text has some fifty characters, and each begins six n-grams.
_BLOCK = 1024
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def _refusal(items: TextItems, word_order: int = 0) -> str:
    if not 0 <= word_order <= _WORDS:
        return f"word_order: expected 0 (chrF), 1 or 2 (chrF++), got {word_order}"
    return ""


def _f_score(total: Floats) -> Floats:
    """Return the F-score of sums [..., 24], over those orders that both sides have n-grams of."""
    # One order after the other, as sacrebleu adds them: two references may tie but for rounding.
    precision, recall, orders = (np.zeros(total.shape[:-1]) for _ in range(3))
    for said, true, matched in np.moveaxis(
        total.reshape(*total.shape[:-1], -1, 3), (-2, -1), (0, 1)
    ):
        both = (said > 0) & (true > 0)
        precision += np.where(both, ratio(matched, said), 0.0)
        recall += np.where(both, ratio(matched, true), 0.0)
        orders += both
    precision, recall = ratio(precision, orders), ratio(recall, orders)
    return 100 * ratio((1 + _BETA**2) * precision * recall, _BETA**2 * precision + recall)


@metric(
    columns=tuple(
        f"{kind}_{n}_{part}"
        for kind, orders in (("characters", _CHARACTERS), ("words", _WORDS))
        for n in range(1, orders + 1)
        for part in ("said", "true", "matched")
    ),
    value=_f_score,
    bounds=(0.0, 100.0),
    settings="characters:6|beta:2|space:no|references:best",
    options={"word_order": 0, "lowercase": False},
    shown=("word_order", "lowercase"),
    check=_refusal,
)
def chrf(items: TextItems, word_order: int = 0, lowercase: bool = False) -> Floats:
    """chrF: F-score of character n-grams, with word n-grams too (chrF++) if `word_order` is 2.

    ``100 (1 + beta^2) P R / (beta^2 P + R)`` with beta = 2, P the mean over the orders of the
    share of the prediction's n-grams that the reference has too, R that of the reference's n-grams
    that the prediction has too; the counts are sums over the corpus. Orders are n = 1 to 6
    characters, white space left out, and n = 1 to `word_order` words, from which one punctuation
    mark is cut at the end, or else at the beginning. An order of which either side has no n-gram
    does not count. Of several references the one of the best F-score counts, of equals the first.

    Range 0 to 100, higher is better. An empty prediction scores 0.

    Args:
        items: Any texts.
        word_order: 0 to 2.
        lowercase: Whether upper and lower case are the same.

    Returns:
        [N, 24]: n-grams of the prediction, of the reference, and matched, for each order.

    Raises:
        UsageError: `word_order` is something else.
    """
    reason = _refusal(items, word_order)
    if reason:
        raise UsageError(f"chrF: {reason}")
    blocks = range(0, len(items), _BLOCK)
    return np.concatenate([_block(items, at, word_order, lowercase) for at in blocks])


def _block(items: TextItems, at: int, word_order: int, lowercase: bool) -> Floats:
    """Return the rows of one block of items."""
    predictions, references = (
        items.predictions[at : at + _BLOCK],
        items.references[at : at + _BLOCK],
    )
    if lowercase:
        predictions = [text.lower() for text in predictions]
        references = [tuple(text.lower() for text in texts) for texts in references]
    captions = _characters(predictions, references)
    compared = np.concatenate(
        [
            *_compared(captions, _CHARACTERS),
            *_compared(Captions.of_texts(predictions, references, _CUT), word_order),
            *[np.zeros((len(captions.item), 3))] * (_WORDS - word_order),
        ],
        axis=1,
    )
    score = _f_score(compared)
    score[captions.first] = -1.0  # the prediction beside itself
    best = np.maximum.reduceat(score, captions.first)
    reached = np.flatnonzero(score == best[captions.item])
    return compared[reached[np.searchsorted(reached, captions.first)]]


def _characters(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Captions:
    """Return the characters of all texts as their code points, white space left out."""
    pairs = zip(predictions, references, strict=True)
    texts = ["".join(text.split()) for text in chain.from_iterable((p, *r) for p, r in pairs)]
    points = "".join(texts).encode("utf-32-le", "surrogatepass")
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    tokens = np.frombuffer(points, dtype="<i4").astype(np.int32)
    return Captions.lay_out(tokens, lengths, [1 + len(texts) for texts in references])


def _compared(captions: Captions, orders: int) -> Iterator[Floats]:
    """Return for n = 1 to `orders` [C, 3]: n-grams of the prediction, of the text, and matched."""
    predicted = captions.lengths[captions.first][captions.item]
    for n, ngrams in enumerate(count(captions, orders) if orders else (), 1):
        matched = [
            sums(
                np.minimum(rows.count[rows.shared], rows.count[rows.partner]).astype(np.float64),
                rows.caption[rows.shared],
                len(rows.captions.lengths),
            )
            for rows in by_part(ngrams, captions)
        ]
        said, true = (np.maximum(lengths - n + 1, 0) for lengths in (predicted, captions.lengths))
        # Beside a text without any n-gram those of the prediction do not count.
        yield np.stack([np.where(true > 0, said, 0), true, np.concatenate(matched)], axis=1)


def _words(texts: Iterable[str]) -> list[list[str]]:
    return [[*chain.from_iterable(map(_cut, text.split()))] for text in texts]


def _cut(run: str) -> list[str]:
    """Cut one punctuation mark off a run, at its end or else at its beginning."""
    if len(run) > 1 and run[-1] in _PUNCTUATION:
        return [run[:-1], run[-1]]
    if len(run) > 1 and run[0] in _PUNCTUATION:
        return [run[0], run[1:]]
    return [run]


_CUT = Tokenizer(_words, _cut)
