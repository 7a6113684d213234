"""What a picture shows and what is told of it: one object, a caption and a tone.

An item is seven facts. The caption tells shape, size and place, and *two* colours; the tone, low or
high, says which of them the object has: the first or the second. So the colour is known from both
together, from the caption to one of two, and from the tone not at all.

Items of every split but ``train`` come in pairs: the second differs from the first in one fact,
which is one word of its caption. Where that is the colour that the tone does not choose, the
picture has to stay as it is. Each item of a pair is drawn as evenly as one by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.scenecap.grammar import SHAPE_WORDS, SIZE_WORDS
from mmbench.data.scenecap.world import COLOURS, SHAPES, SIZES, Ints
from mmbench.text import SPECIALS

#: The split whose items are no pairs.
UNPAIRED = "train"
TONES = ("low", "high")
ROW_WORDS = {"top": ("top", "upper"), "bottom": ("bottom", "lower")}
COLUMN_WORDS = {"left": ("left",), "right": ("right",)}
#: What can be seen: attribute -> its values.
ATTRIBUTES = {
    "shape": SHAPES,
    "colour": COLOURS,
    "size": SIZES,
    "place": tuple(f"{row} {column}" for row in ROW_WORDS for column in COLUMN_WORDS),
}

#: Ways to word a caption; "," and ":" are words of their own.
TEMPLATES = (
    "a {size} {shape} at the {row} {column} , {first} or {second}",
    "at the {row} {column} a {size} {shape} in {first} or {second}",
    "{first} or {second} : a {size} {shape} , {row} {column}",
    "{row} {column} , {size} and {first} or {second} , a {shape}",
)
#: What is chosen for a caption, and the weight of each alternative, the likelier one first.
CHOICES = {"template": (8, 3, 2, 1), "shape": (4, 1), "size": (4, 1), "row": (4, 1)}


class Facts(NamedTuple):
    """What an item says, as indices: ``first`` and ``second`` are the colours that are told."""

    shape: int
    size: int
    row: int
    column: int
    first: int
    second: int
    tone: int


#: How many values each fact has, in the order of `Facts`.
_VALUES = (len(SHAPES), len(SIZES), 2, 2, len(COLOURS), len(COLOURS), len(TONES))
_FIRST, _SECOND, _TONE = (Facts._fields.index(name) for name in ("first", "second", "tone"))


def draw(seed: int, split: str, items: int) -> Ints:
    """Draw the facts of a split, [N, 7] in the order of `Facts`.

    The first n of them are the same whatever `items` is.

    Args:
        seed: The data seed.
        split: The split's name; but for ``train``, items 2k and 2k + 1 are a pair.
        items: N.
    """
    paired = split != UNPAIRED
    count = -(-items // 2) if paired else items

    def integers(field: str, below: int) -> Ints:
        return rng.integers(seed, "generation", split, field, count=count, below=below)

    names = [name for name in Facts._fields if name != "second"]
    drawn = {name: integers(name, _VALUES[Facts._fields.index(name)]) for name in names}
    drawn["second"] = (drawn["first"] + 1 + integers("second", len(COLOURS) - 1)) % len(COLOURS)
    facts = np.stack([drawn[name] for name in Facts._fields], axis=1)
    if not paired:
        return facts
    other = edited(facts, integers("edit", _TONE), integers("value", 60))
    return np.stack([facts, other], axis=1).reshape(2 * count, -1)[:items]


def edited(facts: Ints, which: Ints, value: Ints) -> Ints:
    """Return facts [N, 7] of which one has another value.

    Args:
        facts: [N, 7].
        which: [N] the fact that changes, 0..5: any but the tone.
        value: [N] 0..59, which of its other values it gets: a multiple of all their numbers.
    """
    changed, row = facts.copy(), np.arange(len(facts))
    values = np.array(_VALUES)[which]
    now = facts[row, which]
    told = (which == _FIRST) | (which == _SECOND)
    partner = np.where(which == _FIRST, facts[:, _SECOND], facts[:, _FIRST])
    # Counted without the value that it has and, of colours, without the one beside it.
    new = value % np.where(told, values - 2, values - 1)
    low, high = np.minimum(now, partner), np.maximum(now, partner)
    of_two = new + (new >= low)
    of_two += of_two >= high
    changed[row, which] = np.where(told, of_two, new + (new >= now))
    return changed


def attributes_of(facts: Ints) -> dict[str, Ints]:
    """Return what is seen of items: attribute -> [N]."""
    shape, size, row, column, first, second, tone = facts.T
    return {
        "shape": shape,
        "colour": np.where(tone == 0, first, second),
        "size": size,
        "place": 2 * row + column,
    }


def captions(seed: int, split: str, facts: Ints) -> list[str]:
    """Word the captions of N items; those of a pair are worded alike."""
    ways = []
    for name, weights in CHOICES.items():
        ends = np.array(list(accumulate(weights)))
        stream = ("generation", split, "wording", name)
        number = rng.integers(seed, *stream, count=len(facts), below=int(ends[-1]))
        ways.append(np.searchsorted(ends, number, side="right"))
    wordings = np.stack(ways, axis=1)
    if split != UNPAIRED:
        wordings[1::2] = wordings[: len(facts) // 2 * 2 : 2]
    return [
        caption(Facts(*fact), *way)
        for fact, way in zip(facts.tolist(), wordings.tolist(), strict=True)
    ]


def caption(facts: Facts, template: int = 0, shape: int = 0, size: int = 0, row: int = 0) -> str:
    """Say facts in the words of a template; the others choose between synonyms.

    >>> caption(Facts(5, 1, 0, 0, 0, 2, 1))
    'a big ring at the top left , red or blue'
    """

    def of(table: Mapping[str, tuple[str, ...]], value: int, synonym: int) -> str:
        words = list(table.values())[value]
        return words[min(synonym, len(words) - 1)]

    return TEMPLATES[template].format(
        shape=of(SHAPE_WORDS, facts.shape, shape),
        size=of(SIZE_WORDS, facts.size, size),
        row=of(ROW_WORDS, facts.row, row),
        column=of(COLUMN_WORDS, facts.column, 0),
        first=COLOURS[facts.first],
        second=COLOURS[facts.second],
    )


@cache
def vocabulary() -> tuple[str, ...]:
    """Return the special tokens, then every word of the language, sorted."""
    words = {word for text in TEMPLATES for word in text.split() if "{" not in word}
    for table in (SHAPE_WORDS, SIZE_WORDS, ROW_WORDS, COLUMN_WORDS):
        words.update(word for group in table.values() for word in group)
    return (*SPECIALS, *sorted(words | set(COLOURS)))


@cache
def longest() -> int:
    """Return the words of the longest caption."""
    return max(len(caption(Facts(0, 0, 0, 0, 0, 1, 0), way).split()) for way in range(4))


def encode(texts: list[str]) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return the token ids [N, L] of captions, 0 behind their end, and their lengths [N]."""
    ids = {word: place for place, word in enumerate(vocabulary())}
    table = np.zeros((len(texts), longest()), dtype=np.int16)
    lengths = np.zeros(len(texts), dtype=np.int64)
    for place, text in enumerate(texts):
        words = text.split()
        table[place, : len(words)] = [ids[word] for word in words]
        lengths[place] = len(words)
    return table, lengths
