"""N-grams counted with sorted integers: no loop over n-grams in Python.

Words become numbers, an n-gram becomes the number of the pair (its first n - 1 words, its last
word), and one sort for each n puts equal n-grams beside each other, those of one item together
and in it the prediction before the references. Everything that BLEU, CIDEr and ROUGE-L need is
then a sum or a maximum over runs of that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Floats

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Captions:
    """C texts of N items, each item's prediction first and its references behind it; T tokens.

    Attributes:
        tokens: [T] the number of each token, the texts one behind the other.
        lengths: [C] tokens of each text.
        starts: [C] place of each text's first token.
        item: [C] the item of each text.
        first: [N] the text that is the item's prediction.
    """

    tokens: Ints
    lengths: Ints
    starts: Ints
    item: Ints
    first: Ints

    @classmethod
    def of(
        cls, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
    ) -> Captions:
        """Number the tokens of N predictions and of the references of each."""
        pairs = zip(predictions, references, strict=True)
        texts = list(chain.from_iterable((prediction, *others) for prediction, others in pairs))
        words = list(chain.from_iterable(texts))
        numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
        tokens = np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        sizes = np.fromiter((1 + len(others) for others in references), np.int64, len(references))
        return cls(
            tokens=tokens,
            lengths=lengths,
            starts=np.cumsum(lengths) - lengths,
            item=np.repeat(np.arange(len(sizes)), sizes),
            first=np.cumsum(sizes) - sizes,
        )

    @property
    def predicted(self) -> Bools:
        """[C] whether a text is a prediction."""
        flags = np.zeros(len(self.item), dtype=np.bool_)
        flags[self.first] = True
        return flags


@dataclass(frozen=True)
class NGrams:
    """The n-grams of one n: R rows (n-gram, text) with counts, in G groups (n-gram, item).

    Rows are ordered by n-gram, then by text, so that the rows of a group lie together and a
    prediction, where it has the n-gram, is the first row of its group.

    Attributes:
        gram: [R] the number of the n-gram.
        caption: [R] the text.
        count: [R] how often it stands there.
        group: [R] the group.
        heads: [G] the first row of each group.
        documents: [n-grams] the number of items that have it in a reference.
        places: [P] where the n-grams begin, in the order of the rows.
        row: [P] the row of each place.
    """

    gram: Ints
    caption: Ints
    count: Ints
    group: Ints
    heads: Ints
    documents: Ints
    places: Ints
    row: Ints


def count(captions: Captions, orders: int) -> list[NGrams]:
    """Count the n-grams of all texts for n = 1 to `orders`."""
    tokens = captions.tokens
    caption = np.repeat(np.arange(len(captions.lengths)), captions.lengths)
    ends = (captions.starts + captions.lengths)[caption]
    words = int(tokens.max(initial=0)) + 1
    places = np.arange(len(tokens))
    key = tokens
    found = []
    for order in range(1, orders + 1):
        # Here `key` holds, for each of `places`, a number that only equal n-grams share.
        ordered, sorted_key = _sort(key, places, len(tokens))
        gram = np.cumsum(_changes(sorted_key)) - 1
        found.append(_group(gram, ordered, caption, captions))
        numbers = np.empty(len(tokens), dtype=np.int64)
        numbers[ordered] = gram
        places = places[places + order < ends[places]]
        key = numbers[places] * words + tokens[places + order]
    return found


def _sort(key: Ints, places: Ints, size: int) -> tuple[Ints, Ints]:
    """Return `places` ordered by key, then by place, and the keys in that order.

    Key and place are packed into one integer where they fit: sorting integers is several times
    faster than finding the order that sorts them.
    """
    bits = max(size, 1).bit_length()
    if int(key.max(initial=0)).bit_length() + bits > 62:
        order = np.argsort(key, kind="stable")
        return places[order], key[order]
    packed = np.sort((key << bits) | places)
    return packed & ((1 << bits) - 1), packed >> bits


def _changes(*columns: Ints) -> Bools:
    """Return [n] whether an entry differs from the one before it in any column; True at first."""
    changed = np.ones(len(columns[0]), dtype=np.bool_)
    changed[1:] = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _group(gram: Ints, places: Ints, caption: Ints, captions: Captions) -> NGrams:
    """Collect places, ordered by n-gram and place, into rows and groups."""
    text = caption[places]
    new = _changes(gram, text)
    rows = np.flatnonzero(new)
    counts = np.diff(rows, append=len(places))
    gram, text = gram[rows], text[rows]
    item = captions.item[text]
    head = _changes(gram, item)
    heads = np.flatnonzero(head)
    # References come behind the prediction: a group has one if its last row is one.
    last = np.append(heads[1:], len(rows))[: len(heads)] - 1
    referenced = ~captions.predicted[text[last]]
    return NGrams(
        gram=gram,
        caption=text,
        count=counts,
        group=np.cumsum(head) - 1,
        heads=heads,
        documents=np.bincount(gram[heads], weights=referenced).astype(np.int64),
        places=places,
        row=np.cumsum(new) - 1,
    )


def shared(ngrams: NGrams, captions: Captions) -> tuple[Ints, Ints]:
    """Return the reference rows whose item's prediction has the n-gram too, and its row for each.

    Returns:
        rows: [K] rows of references.
        partner: [K] the row of the prediction of the same item with the same n-gram.
    """
    head = ngrams.heads[ngrams.group]
    is_prediction = captions.predicted[ngrams.caption]
    rows = np.flatnonzero(is_prediction[head] & ~is_prediction)
    return rows, head[rows]


def sums(values: Floats, groups: Ints, size: int) -> Floats:
    """Return [size] the sum of `values` by group."""
    return np.asarray(np.bincount(groups, weights=values, minlength=size), dtype=np.float64)
