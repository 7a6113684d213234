"""The longest common subsequence of many pairs at once, 64 words of a text in one integer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.metrics._ngrams import Captions, NGrams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.metrics._ngrams import Ints

    Bits = NDArray[np.uint64]

_WORD = 64


def lcs(captions: Captions, unigrams: NGrams) -> Ints:
    """Return [C] how long a subsequence each text shares with the prediction of its item.

    Bit-parallel (Hyyrö, Bit-parallel LCS-length computation revisited, 2004): bit i of a word
    stands for token i of the prediction; one addition a token of the reference. Predictions of
    more than 64 tokens, which no caption model makes, go through Python's unbounded integers.
    """
    masks = _masks(captions, unigrams)
    predicted = captions.lengths[captions.first][captions.item]
    longest_first = np.argsort(-captions.lengths, kind="stable")
    starts = captions.starts[longest_first]
    active = _active(captions.lengths)
    state = np.full(len(starts), ~np.uint64(0))
    for place, count in enumerate(active):
        at = state[:count]
        matching = at & masks[starts[:count] + place]
        state[:count] = (at + matching) | (at - matching)
    shared = np.empty(len(starts), dtype=np.int64)
    shared[longest_first] = _zeros(state, predicted[longest_first])
    for text in np.flatnonzero(predicted > _WORD):
        shared[text] = _long(*_pair(captions, int(text)))
    return shared


def _masks(captions: Captions, unigrams: NGrams) -> Bits:
    """Return [T] for each token the places, as bits, where its item's prediction has it."""
    text = unigrams.caption[unigrams.row]
    offset = unigrams.places - captions.starts[text]
    own = captions.predicted[text] & (offset < _WORD)
    bits = np.where(own, np.uint64(1) << (offset % _WORD).astype(np.uint64), np.uint64(0))
    masks = np.empty(len(bits), dtype=np.uint64)
    if len(bits):
        group = unigrams.group[unigrams.row]
        heads = np.flatnonzero(np.diff(group, prepend=-1))
        masks[unigrams.places] = np.bitwise_or.reduceat(bits, heads)[group]
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
