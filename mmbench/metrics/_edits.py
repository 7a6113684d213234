"""Edits that turn a reference into a prediction: counted in words, and in characters.

Words become characters of a made-up alphabet, so that one comparison of two strings, in rapidfuzz,
aligns two sentences. How many edits it takes is unique, how they divide into substitutions,
deletions and insertions is not: ``b c`` becomes ``a b`` by two substitutions, or by an insertion
and a deletion around a hit. Where it matters we take rapidfuzz's own alignment, which is jiwer's;
mostly it does not, as the lengths and the number of edits leave one way only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]
    #: One character, or number, for each word.
    Words: TypeAlias = str | list[int]

#: Texts are worked off in chunks of about so many characters: few enough for the cache, and for an
#: alphabet.
_CHUNK = 1 << 19
#: Unicode has so many characters; the surrogates are none.
_ALPHABET = 0x110000 - 0x800
_SURROGATES, _SURROGATES_END = 0xD800, 0xE000

#: White space as `str.split` has it, in UTF-8: that of ASCII, and what lies beyond.
_TO_BLANKS = bytes.maketrans(b"\t\n\v\f\r\x1c\x1d\x1e\x1f", b" " * 9)
_WIDE = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
_WIDE_BLANKS = [chr(blank).encode() for blank in _WIDE]


def word_edits(said: Sequence[str], true: Sequence[str], counts: Ints) -> Ints:
    """Count the edits in words between each prediction and its closest reference.

    Words are what stands between white space. The closest reference is the one with the fewest
    edits, of equals the longest, of those the first.

    Args:
        said: N predicted texts.
        true: Their reference texts, those of the first item first.
        counts: [N] how many references each item has, at least one.

    Returns:
        [N, 4]: substitutions, deletions, insertions, hits.
    """
    lasts = np.cumsum(counts)
    lengths = _lengths(said) + np.add.reduceat(_lengths(true), lasts - counts)
    rows = [
        _edits_of_chunk(said[a:b], true[lasts[a] - counts[a] : lasts[b - 1]], counts[a:b])
        for a, b in _chunks(lengths)
    ]
    return np.concatenate(rows)


def character_edits(said: Sequence[str], true: Sequence[str], counts: Ints) -> Ints:
    """Count the edits in characters between each prediction and its closest reference.

    Characters are Unicode's code points, blanks included. Everything else as in `word_edits`.

    Returns:
        [N, 2]: edits, characters of the reference.
    """
    distance, length = _distances(said, true, counts), _lengths(true)
    best = _closest(distance, length, counts)
    return np.stack([distance[best], length[best]], axis=1)


def character_edit_kinds(said: Sequence[str], true: Sequence[str], counts: Ints) -> Ints:
    """Count the edits in characters as `word_edits` does in words.

    Returns:
        [N, 4]: substitutions, deletions, insertions, hits.
    """
    return _edit_kinds(said, true, _lengths(said), _lengths(true), counts)


def _edits_of_chunk(said: Sequence[str], true: Sequence[str], counts: Ints) -> Ints:
    words, lengths = _as_characters([*said, *true])
    of_said = len(said)
    return _edit_kinds(
        words[:of_said], words[of_said:], lengths[:of_said], lengths[of_said:], counts
    )


def _edit_kinds(
    ours: Sequence[Words], theirs: Sequence[Words], our_lengths: Ints, length: Ints, counts: Ints
) -> Ints:
    """Return [N, 4] how the fewest edits divide, of texts of which each character counts."""
    distance = _distances(ours, theirs, counts)
    best = _closest(distance, length, counts)
    distance, length = distance[best], length[best]
    surplus = our_lengths - length
    # insertions - deletions = surplus, and substitutions >= 0 take the rest of the distance. So
    # the shorter of the two has none where the distance is |surplus| or one more.
    deletions = np.maximum(-surplus, 0)
    unsure = np.flatnonzero(distance > np.abs(surplus) + 1)
    deletions[unsure] = _deletions(
        [theirs[place] for place in best[unsure].tolist()], [ours[i] for i in unsure.tolist()]
    )
    insertions = deletions + surplus
    substitutions = distance - deletions - insertions
    hits = length - deletions - substitutions
    return np.stack([substitutions, deletions, insertions, hits], axis=1)


def _deletions(true: Sequence[Words], said: Sequence[Words]) -> list[int]:
    """Return how many words rapidfuzz's alignment of each pair leaves out."""
    from rapidfuzz.distance import Levenshtein

    return [
        [edit for edit, _, _ in Levenshtein.editops(a, b).as_list()].count("delete")
        for a, b in zip(true, said, strict=True)
    ]


def _distances(said: Sequence[Any], true: Sequence[Any], counts: Ints) -> Ints:
    """Return, for each reference, how many edits away its prediction is."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    if len(said) != len(true):
        said = [said[item] for item in np.repeat(np.arange(len(said)), counts).tolist()]
    return np.asarray(cpdist(true, said, scorer=Levenshtein.distance, dtype=np.int64))


def _closest(distance: Ints, length: Ints, counts: Ints) -> Ints:
    """Return [N] the place of each item's closest reference."""
    item = np.repeat(np.arange(len(counts)), counts)
    if len(item) == len(counts):
        return item
    order = np.lexsort((-length, distance, item))
    return np.asarray(order[np.cumsum(counts) - counts])


def _as_characters(texts: Sequence[str]) -> tuple[list[Words], Ints]:
    """Return each text with one character for each word, equal ones for equal words; and lengths.

    Where there are more different words than characters, a text becomes a list of numbers.
    """
    import pyarrow as pa

    # Lone surrogates are text to Python and none to UTF-8.
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    joined = b" ".join([*encoded, b""]).translate(_TO_BLANKS)
    if not joined.isascii():
        for blank in _WIDE_BLANKS:
            joined = joined.replace(blank, b" " * len(blank))
    # A word is encoded with the blank behind it; a blank alone is none.
    ends = np.flatnonzero(np.frombuffer(joined, dtype=np.uint8) == ord(" "))
    starts = np.concatenate([[0], ends + 1])
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(joined)]
    words = pa.Array.from_buffers(pa.large_binary(), len(ends), buffers).dictionary_encode()
    there = np.diff(starts) > 1
    numbers = words.indices.to_numpy()[there].astype(np.uint32)
    text_ends = np.cumsum(_lengths(encoded) + 1)
    stops = np.cumsum(there)[np.searchsorted(ends, text_ends) - 1]
    whole = _string(numbers) if len(words.dictionary) <= _ALPHABET else numbers.tolist()
    apart: list[Words] = [whole[a:b] for a, b in pairwise([0, *stops.tolist()])]
    return apart, np.diff(stops, prepend=0)


def _string(numbers: NDArray[np.uint32]) -> str:
    """Return a string with one character for each number below `_ALPHABET`."""
    numbers[numbers >= _SURROGATES] += _SURROGATES_END - _SURROGATES
    return numbers.astype("<u4").tobytes().decode("utf-32-le")


def _lengths(texts: Sequence[str | bytes]) -> Ints:
    return np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))


def _chunks(lengths: Ints) -> Iterator[tuple[int, int]]:
    """Divide items into runs (first, behind the last) of about `_CHUNK` characters."""
    chunk = np.cumsum(lengths) // _CHUNK
    borders = np.flatnonzero(np.diff(chunk)) + 1
    return pairwise([0, *borders.tolist(), len(lengths)])
