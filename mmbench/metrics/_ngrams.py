"""N-grams counted with sorted integers: no loop over n-grams in Python.

Words are numbers, and an n-gram becomes the number of the pair (its first n - 1 words, its last
word). Counting then is sorting. It goes part by part, some thousand texts at a time, so that what
is sorted, compared and summed stays in the processor's cache and little memory is needed at once;
what is kept is three numbers for each n-gram of a text. All that BLEU, CIDEr and chrF need is a
sum or a maximum over runs of that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.metrics._captions import Captions, Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.numbering import Bools, Ints, Shorts
    from mmbench.types import Floats

    #: Non-negative numbers, in as few bytes as hold them.
    Small = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class NGrams:
    """The n-grams of one n: R rows (n-gram, text) with counts.

    Rows are ordered by item, then by n-gram, then by text: those of a part lie together, in it
    those of a group (an n-gram of an item), and the prediction, where it has the n-gram, is the
    first of its group.

    Attributes:
        gram: [R] the number of the n-gram, the same in all parts.
        caption: [R] the text, counted from the part's first.
        count: [R] how often it stands there.
        head: [R] whether a group begins.
        cuts: [parts + 1] where the rows of each part begin.
        documents: [n-grams] the number of items that have it in a reference.
    """

    gram: Shorts
    caption: Small
    count: Small
    head: Bools
    cuts: list[int]
    documents: Ints


@dataclass(frozen=True)
class Rows:
    """The rows of one part, and which of its references share n-grams with their prediction.

    Attributes:
        part: The part.
        captions: Its captions on their own.
        gram: [R] the number of the n-gram.
        caption: [R] the text, counted from the part's first.
        count: [R] how often it stands there.
        shared: [K] the rows of references whose item's prediction has the n-gram too.
        partner: [K] the row of the prediction with the same n-gram, for each.
        referenced: Of each n-gram that an item has in references, the first row that is of one.
    """

    part: Part
    captions: Captions
    gram: Shorts
    caption: Ints
    count: Small
    shared: Ints
    partner: Ints
    referenced: Ints

    def matched(self) -> Floats:
        """Return [items] how many n-grams of the prediction stand in a reference, clipped.

        Each counts at most as often as in the reference that has it most often.
        """
        if not len(self.shared):
            return np.zeros(len(self.captions.first))
        heads = np.flatnonzero(_changes(self.partner))
        most = np.maximum.reduceat(self.count[self.shared], heads)
        own = self.partner[heads]
        clipped = np.minimum(self.count[own], most).astype(np.float64)
        items = self.captions.item[self.caption[own]]
        return sums(clipped, items, len(self.captions.first))


def count(captions: Captions, orders: int) -> list[NGrams]:
    """Count the n-grams of all texts for n = 1 to `orders`."""
    lengths, numbers, following = captions.lengths, captions.tokens, captions.tokens
    found = [_collect(numbers, lengths, captions)]
    for _ in range(1, orders):
        # An n-gram is the (n - 1)-gram that begins with it and the token behind that.
        numbers, following = numbers[_but(lengths, last=True)], following[_but(lengths, last=False)]
        lengths = np.maximum(lengths - 1, 0)
        numbers = _number(numbers, following)
        found.append(_collect(numbers, lengths, captions))
    return found


def _but(lengths: Ints, last: bool) -> Bools:
    """Return what keeps all but the first or the last of each run of `lengths` entries."""
    kept = np.ones(int(lengths.sum()), dtype=np.bool_)
    ends = np.cumsum(lengths)
    kept[(ends - 1 if last else ends - lengths)[lengths > 0]] = False
    return kept


def _number(first: Shorts, second: Shorts) -> Shorts:
    """Return [n] numbers from 0 on, the same for the same pair."""
    key = first.astype(np.int64)
    key *= int(second.max(initial=0)) + 1
    key += second
    ordered, key = _sort(key, np.arange(len(key)), len(key))
    numbers = np.empty(len(key), dtype=np.int32)
    numbers[ordered] = np.cumsum(_changes(key), dtype=np.int32) - np.int32(1)
    return numbers


def _sort(key: Ints, places: Ints, size: int) -> tuple[Ints, Ints]:
    """Return `places` ordered by key, then by place, and the keys in that order.

    Key and place are packed into one integer where they fit: sorting integers is several times
    faster than finding the order that sorts them.
    """
    bits = max(size, 1).bit_length()
    if int(key.max(initial=0)).bit_length() + bits > 62:
        order = np.argsort(key, kind="stable")
        return places[order], key[order]
    packed = key << bits
    packed |= places
    packed.sort()
    ordered = packed & ((1 << bits) - 1)
    packed >>= bits
    return ordered, packed


def _changes(*columns: Ints) -> Bools:
    """Return [n] whether an entry differs from the one before it in any column; True at first."""
    changed = np.ones(len(columns[0]), dtype=np.bool_)
    changed[1:] = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def _collect(numbers: Shorts, lengths: Ints, captions: Captions) -> NGrams:
    """Collect the n-grams of all texts, `lengths` in each, into rows and groups."""
    ends = np.append(0, np.cumsum(lengths))
    highest = int(numbers.max(initial=0))
    # Filled from the front: what stays unused of a large array costs no memory. Small numbers in
    # small integers: at many items the time goes into touching memory.
    texts = max(part.texts.stop - part.texts.start for part in captions.parts)
    gram = np.empty(len(numbers), dtype=np.int32)
    caption, repeats = (
        np.empty(len(numbers), dtype=np.min_scalar_type(most))
        for most in (texts, int(captions.lengths.max()))
    )
    head = np.empty(len(numbers), dtype=np.bool_)
    referenced, cuts = [], [0]
    for part in captions.parts:
        own = numbers[ends[part.texts.start] : ends[part.texts.stop]]
        key, times, bits = _pack(own, lengths[part.texts], captions.item[part.texts], highest)
        here = slice(cuts[-1], cuts[-1] + len(key))
        repeats[here] = times
        caption[here] = key & ((1 << bits) - 1)
        key >>= bits
        gram[here] = key & ((1 << highest.bit_length()) - 1)
        head[here] = _changes(key)
        # References come behind the prediction: a group has one if its last row is one.
        last = here.start + np.append(np.flatnonzero(head[here])[1:], len(key))[: len(key)] - 1
        referenced.append(gram[last][~captions.predicted[part.texts][caption[last]]])
        cuts.append(here.stop)
    documents = np.bincount(np.concatenate(referenced), minlength=highest + 1)
    kept = slice(cuts[-1])
    return NGrams(gram[kept], caption[kept], repeats[kept], head[kept], cuts, documents)


def _pack(numbers: Shorts, lengths: Ints, item: Ints, highest: int) -> tuple[Ints, Shorts, int]:
    """Count the n-grams of a part: one integer for each (item, n-gram, text), in that order.

    Returns:
        key: [R] ascending: the item, the n-gram and in the last bits the text.
        repeats: [R] how often the text has the n-gram.
        bits: The number of the last bits.
    """
    bits = len(lengths).bit_length()
    above = ((item - item[0]) << highest.bit_length() << bits) | np.arange(len(lengths))
    key = np.repeat(above, lengths)
    key |= numbers.astype(np.int64) << bits
    key.sort()
    rows = np.flatnonzero(_changes(key))
    return key[rows], np.diff(rows, append=len(key)).astype(np.int32), bits


def by_part(ngrams: NGrams, captions: Captions) -> Iterator[Rows]:
    """Return the rows part by part."""
    for part, start, stop in zip(captions.parts, ngrams.cuts[:-1], ngrams.cuts[1:], strict=True):
        rows = slice(start, stop)
        own = captions.take(part)
        caption = ngrams.caption[rows].astype(np.int64)
        head = ngrams.head[rows]
        leader = np.flatnonzero(head)[np.cumsum(head) - 1]
        is_prediction = own.predicted[caption]
        shared = np.flatnonzero(is_prediction[leader] & ~is_prediction)
        behind = np.append(False, is_prediction[:-1])
        yield Rows(
            part=part,
            captions=own,
            gram=ngrams.gram[rows],
            caption=caption,
            count=ngrams.count[rows],
            shared=shared,
            partner=leader[shared],
            referenced=np.flatnonzero(~is_prediction & (head | behind)),
        )


def sums(values: Floats, groups: Ints | Shorts, size: int) -> Floats:
    """Return [size] the sum of `values` by group."""
    return np.asarray(np.bincount(groups, weights=values, minlength=size), dtype=np.float64)
