"""Texts as arrays of numbers, one for each different word: no list of words for any text.

Many texts are cut at their blanks at once. What lies between two blanks, a run, nearly always has
the same tokens wherever it stands, so each different run is taken apart once, and a text is then
numbers looked up and put behind each other. Texts in which that is not so go their own way.

Arrow cuts many texts, and finds the different runs, several times as fast as Python does; for few
texts its import would take longer than it saves.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, count, islice
from typing import TYPE_CHECKING

import numpy as np

from mmbench.text import MANY

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from mmbench.text import Tokenizer

    Ints = NDArray[np.int64]
    #: Numbers of which there are as many as words in the corpus; half the memory.
    Shorts = NDArray[np.int32]
    Bools = NDArray[np.bool_]

#: Blanks of `str.split` that are none of Arrow's; a text that has one goes its own way.
_RARE_BLANKS = "\x1c-\x1f"
#: Texts are cut together in blocks of so many: enough to forget the overhead of a block.
_BLOCK = 4096
#: Stands between texts as a run of its own: a noncharacter, which texts have no business to hold.
_MARK = "\ufdd0"


def number(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[Shorts, Ints]:
    """Return the tokens of all texts, one behind the other, as numbers, and the texts' lengths.

    Args:
        texts: C texts.
        tokenizer: How they are taken apart.

    Returns:
        tokens: [T] the same number for the same token; below the number of different tokens.
        lengths: [C] tokens of each text.
    """
    runs = _Runs(tokenizer)
    if len(texts) >= MANY:
        cut = _cut(texts, runs)
        if cut is not None:
            return cut
    blocks = [_block(texts[at : at + _BLOCK], runs) for at in range(0, len(texts), _BLOCK)]
    if not blocks:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    tokens, lengths = zip(*blocks, strict=True)
    return np.concatenate(tokens), np.concatenate(lengths)


def listed(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[str]]:
    """Return the tokens of many texts as lists."""
    runs = _Runs(tokenizer)
    cut = _cut(texts, runs)
    if cut is None:
        return tokenizer.texts(texts)
    tokens, lengths = cut
    words = np.array([*runs.words], dtype=object)[tokens].tolist() if len(tokens) else []
    ends = np.cumsum(lengths).tolist()
    return [words[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class _Runs(dict[str, int]):
    """Run -> its number; what tokens a run has stands in arrays.

    Run 0 is the mark, without a token. A run that its neighbours change has the number -1.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__({_MARK: 0})
        self.tokenizer = tokenizer
        self.words: dict[str, int] = {}
        self.starts, self.counts, self.tokens = array("q", [0]), array("q", [0]), array("i")

    def __missing__(self, run: str) -> int:
        tokens = self.tokenizer.run(run)
        self[run] = found = -1 if tokens is None else len(self.starts)
        if tokens is not None:
            self.starts.append(len(self.tokens))
            self.counts.append(len(tokens))
            self.tokens.extend(self.numbers(tokens))
        return found

    def of(self, different: Sequence[str]) -> list[int]:
        """Return the number of each of many runs, all different and not seen before."""
        first, number, run_of = len(self.starts), self.words.setdefault, self.tokenizer.run
        found = [run_of(run) if run else () for run in different]
        clear = [tokens for tokens in found if tokens is not None]
        starts = accumulate(map(len, clear), initial=len(self.tokens))
        self.starts.extend(islice(starts, len(clear)))
        self.counts.extend(map(len, clear))
        words = self.words
        self.tokens.extend([number(t, len(words)) for tokens in clear for t in tokens])
        places = count(first)
        return [-1 if tokens is None else next(places) for tokens in found]

    def numbers(self, tokens: Sequence[str]) -> list[int]:
        """Return the number of each token; one that is new gets the next."""
        return [self.words.setdefault(token, len(self.words)) for token in tokens]


def _block(texts: Sequence[str], runs: _Runs) -> tuple[Shorts, Ints]:
    """Return the tokens of some texts, and their lengths."""
    joined = f" {_MARK} ".join(texts)
    alone = np.zeros(len(texts), dtype=np.bool_)
    if joined.count(_MARK) >= len(texts):
        alone = np.array([_MARK in text for text in texts])
        kept = ("" if apart else text for text, apart in zip(texts, alone, strict=True))
        joined = f" {_MARK} ".join(kept)
    pieces = joined.split()
    found = np.fromiter(map(runs.__getitem__, pieces), np.int64, len(pieces))
    unclear = found < 0
    if unclear.any():
        alone[np.cumsum(found == 0)[unclear]] = True
    if alone.any():
        found[alone[np.cumsum(found == 0)] & (found > 0)] = -1
        found = found[found >= 0]
    tokens, lengths = _expand(found, runs)
    return _insert(tokens, lengths, alone, texts, runs) if alone.any() else (tokens, lengths)


def _cut(texts: Sequence[str], runs: _Runs) -> tuple[Shorts, Ints] | None:
    """Do as `_block` does, by Arrow; None where a text is none that it can hold."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        column = pa.array(texts, pa.large_string())
    except (pa.ArrowException, UnicodeEncodeError):  # half a surrogate pair
        return None
    odd = pc.invert(pc.string_is_ascii(column))
    if _has_rare_blank(column):
        odd = pc.or_(odd, pc.match_substring_regex(column, f"[{_RARE_BLANKS}]"))
    lists = pc.ascii_split_whitespace(pc.if_else(odd, "", column))
    encoded = pc.dictionary_encode(lists.flatten())
    alone = odd.to_numpy(zero_copy_only=False)
    pieces = pc.list_value_length(lists).to_numpy()
    # Between two blanks at a text's ends there is nothing, which has no token either.
    known = runs.of(encoded.dictionary.to_pylist())
    found = np.array(known, np.int32)[encoded.indices.to_numpy()]
    ends = np.append(0, np.cumsum(pieces))
    unclear = np.flatnonzero(found < 0)
    if len(unclear):
        alone = alone.copy()
        apart = np.unique(np.searchsorted(ends, unclear, side="right") - 1)
        alone[apart] = True
        for start, end in zip(ends[apart].tolist(), ends[apart + 1].tolist(), strict=True):
            found[start:end] = 0
    counts = np.array(runs.counts, np.int32)[found]
    before = np.append(0, np.cumsum(counts, dtype=np.int64))
    lengths = np.diff(before[ends])
    tokens = _behind(found, counts, runs)
    return _insert(tokens, lengths, alone, texts, runs) if alone.any() else (tokens, lengths)


def _has_rare_blank(column: pa.LargeStringArray) -> bool:
    low, high = ord(_RARE_BLANKS[0]), ord(_RARE_BLANKS[-1])
    held = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    return bool((held - np.uint8(low) <= high - low).any())


def _behind(found: Ints, counts: Ints, runs: _Runs) -> Shorts:
    """Return the tokens of runs behind each other; `counts`: how many each has."""
    starts, tokens = np.array(runs.starts, np.int64), np.array(runs.tokens, np.int32)
    # A run's first token, or -1; a run has nearly always one, and the others are put in behind it.
    first = np.append(tokens, np.int32(-1))[starts]
    first[np.array(runs.counts) == 0] = -1
    behind = first[found]
    several = np.flatnonzero(counts > 1)
    if len(several):
        more = counts[several].astype(np.int64) - 1
        places = np.repeat(starts[found[several]] + 1 - np.cumsum(more) + more, more)
        places += np.arange(len(places))
        behind = np.insert(behind, np.repeat(several + 1, more), tokens[places])
    return behind[behind >= 0]


def _expand(found: Ints, runs: _Runs) -> tuple[Shorts, Ints]:
    """Return the tokens of runs behind each other, and how many stand before each mark."""
    counts = np.array(runs.counts, np.int64)[found]
    ends = np.cumsum(counts)
    marks = np.append(ends[found == 0], ends[-1] if len(ends) else 0)
    return _behind(found, counts, runs), np.diff(marks, prepend=0)


def _insert(
    tokens: Shorts, lengths: Ints, alone: Bools, texts: Sequence[str], runs: _Runs
) -> tuple[Shorts, Ints]:
    """Put the tokens of the texts `alone`, of length 0 so far, between those of the others."""
    odd = [texts[at] for at in np.flatnonzero(alone).tolist()]
    apart = [runs.numbers(tokens) for tokens in runs.tokenizer.texts(odd)]
    lengths[alone] = [len(numbers) for numbers in apart]
    here = np.repeat(alone, lengths)
    merged = np.empty(len(here), dtype=np.int32)
    merged[~here] = tokens
    merged[here] = [number for numbers in apart for number in numbers]
    return merged, lengths
