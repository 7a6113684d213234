"""The longest common subsequence of many pairs at once, 64 words of a text in one integer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.metrics._captions import Captions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.numbering import Ints

    Bits = NDArray[np.uint64]

_WORD = 64


def lcs(captions: Captions) -> Ints:
    """Return [C] how long a subsequence each text shares with the prediction of its item.

    Bit-parallel (Hyyrö, Bit-parallel LCS-length computation revisited, 2004): bit i of a word
    stands for token i of the prediction; one addition a token of the reference. Predictions of
    more than 64 tokens, which no caption model makes, go through Python's unbounded integers.
    """
    shared = np.empty(len(captions.item), dtype=np.int64)
    for part in captions.parts:
        shared[part.texts] = _lcs(captions.take(part))
    return shared


def _lcs(captions: Captions) -> Ints:
    """Return what `lcs` does, for the captions of one part."""
    masks = _masks(captions)
    predicted = captions.lengths[captions.first][captions.item]
    longest_first = np.argsort(-captions.lengths, kind="stable")
    starts = captions.starts[longest_first]
    state = np.full(len(starts), ~np.uint64(0))
    for place, count in enumerate(_active(captions.lengths)):
        at = state[:count]
        matching = at & masks[starts[:count] + place]
        state[:count] = (at + matching) | (at - matching)
    shared = np.empty(len(starts), dtype=np.int64)
    shared[longest_first] = _zeros(state, predicted[longest_first])
    for text in np.flatnonzero(predicted > _WORD):
        shared[text] = _long(*_pair(captions, int(text)))
    return shared


def _masks(captions: Captions) -> Bits:
    """Return [T] for each token the places, as bits, where its item's prediction has it."""
    text = np.repeat(np.arange(len(captions.lengths)), captions.lengths)
    places = np.arange(len(text))
    word, bits = (int(column.max(initial=0)).bit_length() for column in (captions.tokens, places))
    key = ((captions.item << word)[text] | captions.tokens) << bits | places
    key.sort()
    places = key & ((1 << bits) - 1)
    pair = key >> bits
    heads = np.flatnonzero(np.diff(pair, prepend=-1))
    offset = places - captions.starts[text[places]]
    own = captions.predicted[text[places]] & (offset < _WORD)
    bit = np.where(own, np.uint64(1) << (offset % _WORD).astype(np.uint64), np.uint64(0))
    masks = np.empty(len(bit), dtype=np.uint64)
    if len(bit):
        sizes = np.diff(heads, append=len(bit))
        masks[places] = np.repeat(np.bitwise_or.reduceat(bit, heads), sizes)
    return masks


def _active(lengths: Ints) -> list[int]:
    """Return for each place the number of texts that are longer than it."""
    longer = np.bincount(lengths)[::-1].cumsum()[::-1]
    return [int(count) for count in longer[1:]]


def _zeros(state: Bits, length: Ints) -> Ints:
    """Return [C] the number of zeros among the lowest `length` (at most 64) bits of `state`."""
    some = (np.uint64(1) << (length % _WORD).astype(np.uint64)) - np.uint64(1)
    mask = np.where(length < _WORD, some, ~np.uint64(0))
    zeros = np.ascontiguousarray(~state & mask).view(np.uint8).reshape(-1, _WORD // 8)
    return np.asarray(np.unpackbits(zeros, axis=1).sum(axis=1), dtype=np.int64)


def _pair(captions: Captions, text: int) -> tuple[list[int], list[int]]:
    """Return the tokens of the prediction of a text's item, and those of the text."""

    def tokens(of: int) -> list[int]:
        start = int(captions.starts[of])
        return [int(token) for token in captions.tokens[start : start + captions.lengths[of]]]

    return tokens(int(captions.first[captions.item[text]])), tokens(text)


def _long(prediction: list[int], reference: list[int]) -> int:
    """Return the length of the longest common subsequence of two texts of any length."""
    masks: dict[int, int] = {}
    for place, token in enumerate(prediction):
        masks[token] = masks.get(token, 0) | 1 << place
    full = (1 << len(prediction)) - 1
    state = full
    for token in reference:
        matching = state & masks.get(token, 0)
        state = ((state + matching) | (state - matching)) & full
    return (~state & full).bit_count()
