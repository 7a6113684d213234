"""Texts beside each other as one array of token numbers: what is counted and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np

from mmbench.numbering import number

if TYPE_CHECKING:
    from mmbench.numbering import Bools, Ints, Shorts
    from mmbench.text import Tokenizer

#: A part ends with the item that fills it up to so many tokens, or so many texts.
_PART_TOKENS, _PART_TEXTS = 1 << 16, 1 << 15


@dataclass(frozen=True)
class Part:
    """Consecutive items of some `Captions`, and their texts."""

    items: slice
    texts: slice


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

    tokens: Shorts
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
        texts = list(chain.from_iterable((said, *true) for said, true in pairs))
        words: dict[str, int] = {}
        numbers = (words.setdefault(word, len(words)) for word in chain.from_iterable(texts))
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        tokens = np.fromiter(numbers, np.int32, int(lengths.sum()))
        return cls.lay_out(tokens, lengths, [1 + len(others) for others in references])

    @classmethod
    def of_texts(
        cls,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        tokenizer: Tokenizer,
    ) -> Captions:
        """Take N predictions, and the references of each, apart and number the tokens."""
        pairs = zip(predictions, references, strict=True)
        texts = list(chain.from_iterable((said, *true) for said, true in pairs))
        return cls.lay_out(*number(texts, tokenizer), [1 + len(others) for others in references])

    @classmethod
    def lay_out(cls, tokens: Shorts, lengths: Ints, sizes: Sequence[int]) -> Captions:
        """Make captions of numbered tokens.

        Args:
            tokens: [T] of all texts.
            lengths: [C] tokens of each text.
            sizes: [N] texts of each item, the prediction included.
        """
        texts = np.asarray(sizes, dtype=np.int64)
        return cls(
            tokens=tokens,
            lengths=lengths,
            starts=np.cumsum(lengths) - lengths,
            item=np.repeat(np.arange(len(texts)), texts),
            first=np.cumsum(texts) - texts,
        )

    @cached_property
    def predicted(self) -> Bools:
        """[C] whether a text is a prediction."""
        flags = np.zeros(len(self.item), dtype=np.bool_)
        flags[self.first] = True
        return flags

    @cached_property
    def parts(self) -> list[Part]:
        """Consecutive items, as many at a time as are worth working on together."""
        ends = np.append(self.first[1:], len(self.item))
        tokens = np.append(0, np.cumsum(self.lengths))
        cuts = [0]
        while cuts[-1] < len(self.first):
            text = self.first[cuts[-1]]
            full = np.searchsorted(tokens[ends], tokens[text] + _PART_TOKENS)
            many = np.searchsorted(ends, text + _PART_TEXTS)
            cuts.append(int(min(full, many, len(ends) - 1)) + 1)
        texts = [int(self.first[item]) for item in cuts[:-1]] + [len(self.item)]
        pairs = zip(pairwise(cuts), pairwise(texts), strict=True)
        return [Part(slice(*items), slice(*of_items)) for items, of_items in pairs]

    def take(self, part: Part) -> Captions:
        """Return the captions of a part, on their own."""
        start = int(self.starts[part.texts.start])
        lengths, starts = self.lengths[part.texts], self.starts[part.texts] - start
        return Captions(
            tokens=self.tokens[start : start + int(lengths.sum())],
            lengths=lengths,
            starts=starts,
            item=self.item[part.texts] - part.items.start,
            first=self.first[part.items] - part.texts.start,
        )
