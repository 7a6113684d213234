"""The language of SceneCap: facts to captions, with many wordings, each of which can be undone.

A caption has three clauses: who makes which sound (emitter), how many objects there are (count),
and how far the topmost visible object is above the bottommost one (relation). A *template* is a
choice of one variant of each clause and of their order: 4 x 3 x 4 x 6 = 288 distinct skeletons.
Within a template, articles and synonyms vary. Variants and synonyms have Zipf-like weights, so
that there is a most likely wording that can be learnt.

No word is about the horizontal, and nothing in the emitter clause is about a position.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.scenecap.world import COLOURS, DISTANCES, SHAPES, SIZES, SOUNDS, Ints, Scenes
from mmbench.text import EOS, SPECIALS

#: Words of each number of objects.
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
#: Synonyms of everything, the likelier one first.
SHAPE_WORDS = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "diamond": ("diamond",),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
}
SIZE_WORDS = {"small": ("small", "little"), "big": ("big", "large")}
SOUND_VERBS = {
    "chirp": ("chirps", "tweets"),
    "buzz": ("buzzes", "drones"),
    "chime": ("chimes", "dings"),
    "click": ("clicks", "ticks"),
    "hum": ("hums", "purrs"),
    "whistle": ("whistles", "toots"),
    "growl": ("growls", "rumbles"),
    "hiss": ("hisses", "fizzes"),
}
SOUND_NOUNS = {
    "chirp": ("chirping", "tweeting"),
    "buzz": ("buzzing", "droning"),
    "chime": ("chiming", "dinging"),
    "click": ("clicking", "ticking"),
    "hum": ("humming", "purring"),
    "whistle": ("whistling", "tooting"),
    "growl": ("growling", "rumbling"),
    "hiss": ("hissing", "fizzing"),
}
NOUNS = ("shapes", "objects")
ARTICLES = ("the", "a")
VERBS = ("is", "sits")
#: Adverbs of distance, then the prepositions up and down: "just above", "far below".
ADVERBS = {"near": ("just", "slightly"), "far": ("far", "well")}
UP, DOWN = ("above", "over"), ("below", "under")

#: Variants of each clause. The emitter's object has no size, those of the relation have one.
EMITTER_CLAUSES = (
    "{article} {object} {sounds}",
    "{article} {object} is {sounding}",
    "a {sounding} {object}",
    "{sounding} comes from {article} {object}",
)
COUNT_CLAUSES = ("among {number} {noun}", "there are {number} {noun}", "{number} {noun} in all")
RELATION_CLAUSES = (
    "{upper} {verb} {adverb} {up} {lower}",
    "{lower} {verb} {adverb} {down} {upper}",
    "{adverb} {up} {lower} {verb} {upper}",
    "{adverb} {down} {upper} {verb} {lower}",
)
ORDERS = (
    "{count} {emitter} and {relation}",
    "{count} {relation} and {emitter}",
    "{relation} and {emitter} {count}",
    "{emitter} and {relation} {count}",
    "{relation} {count} and {emitter}",
    "{emitter} {count} and {relation}",
)

#: What is chosen for a caption, and the weight of each alternative. An index beyond a word's own
#: synonyms means its last one.
CHOICES: dict[str, tuple[int, ...]] = {
    "order": (40, 4, 3, 2, 1, 1),
    "emitter_clause": (16, 3, 2, 1),
    "count_clause": (12, 2, 1),
    "relation_clause": (16, 3, 2, 1),
    "emitter_article": (8, 1),
    "upper_article": (1, 8),
    "lower_article": (1, 8),
    "emitter_shape": (8, 1),
    "upper_shape": (8, 1),
    "lower_shape": (8, 1),
    "upper_size": (8, 1),
    "lower_size": (8, 1),
    "sound": (8, 1),
    "adverb": (8, 1),
    "preposition": (8, 1),
    "verb": (8, 1),
    "noun": (8, 1),
}
#: The choices that make the template.
TEMPLATE_CHOICES = ("order", "emitter_clause", "count_clause", "relation_clause")


class Facts(NamedTuple):
    """What a caption says, as indices into the world's tables (`number` is the count itself)."""

    sound: int
    number: int
    emitter_colour: int
    emitter_shape: int
    distance: int
    upper_size: int
    upper_colour: int
    upper_shape: int
    lower_size: int
    lower_colour: int
    lower_shape: int


class Wording(NamedTuple):
    """How a caption says it: an index into each of `CHOICES`."""

    order: int = 0
    emitter_clause: int = 0
    count_clause: int = 0
    relation_clause: int = 0
    emitter_article: int = 0
    upper_article: int = 0
    lower_article: int = 0
    emitter_shape: int = 0
    upper_shape: int = 0
    lower_shape: int = 0
    upper_size: int = 0
    lower_size: int = 0
    sound: int = 0
    adverb: int = 0
    preposition: int = 0
    verb: int = 0
    noun: int = 0


def facts_of(scenes: Scenes) -> Ints:
    """Return what the captions of N scenes say, [N, 11], in the order of `Facts`."""
    item, last = np.arange(len(scenes)), scenes.visible - 1
    upper = [table[:, 0] for table in (scenes.size, scenes.colour, scenes.shape)]
    lower = [table[item, last] for table in (scenes.size, scenes.colour, scenes.shape)]
    emitter = [table[item, scenes.emitter] for table in (scenes.colour, scenes.shape)]
    columns = [scenes.sound, scenes.count, *emitter, scenes.distance, *upper, *lower]
    return np.stack(columns, axis=1).astype(np.int64)


def draw_wordings(seed: int, split: str, items: int, references: int) -> Ints:
    """Draw the wordings of N scenes, [N, R, 17], in the order of `Wording`."""
    drawn = []
    for name, weights in CHOICES.items():
        ends = np.array(list(accumulate(weights)))
        names = ("scenecap", split, "wording", name)
        number = rng.integers(seed, *names, count=items * references, below=int(ends[-1]))
        drawn.append(np.searchsorted(ends, number, side="right"))
    return np.stack(drawn, axis=1).reshape(items, references, len(CHOICES))


def caption(facts: Facts, wording: Wording) -> str:
    """Return the caption that says `facts` in the words of `wording`."""
    return ORDERS[wording.order].format(
        emitter=_emitter_clause(
            facts.sound,
            facts.emitter_colour,
            facts.emitter_shape,
            wording.emitter_clause,
            wording.emitter_article,
            wording.emitter_shape,
            wording.sound,
        ),
        count=COUNT_CLAUSES[wording.count_clause].format(
            number=NUMBERS[facts.number], noun=NOUNS[wording.noun]
        ),
        relation=_relation_clause(facts, wording),
    )


def _relation_clause(facts: Facts, wording: Wording) -> str:
    return RELATION_CLAUSES[wording.relation_clause].format(
        upper=_noun_phrase(
            wording.upper_article,
            (facts.upper_size, wording.upper_size),
            facts.upper_colour,
            (facts.upper_shape, wording.upper_shape),
        ),
        lower=_noun_phrase(
            wording.lower_article,
            (facts.lower_size, wording.lower_size),
            facts.lower_colour,
            (facts.lower_shape, wording.lower_shape),
        ),
        verb=VERBS[wording.verb],
        adverb=ADVERBS[DISTANCES[facts.distance]][wording.adverb],
        up=UP[wording.preposition],
        down=DOWN[wording.preposition],
    )


@cache
def _emitter_clause(
    sound: int, colour: int, shape: int, clause: int, article: int, shape_word: int, sound_word: int
) -> str:
    return EMITTER_CLAUSES[clause].format(
        article=ARTICLES[article],
        object=f"{COLOURS[colour]} {_synonym(SHAPE_WORDS[SHAPES[shape]], shape_word)}",
        sounds=_synonym(SOUND_VERBS[SOUNDS[sound]], sound_word),
        sounding=_synonym(SOUND_NOUNS[SOUNDS[sound]], sound_word),
    )


@cache
def _noun_phrase(article: int, size: tuple[int, int], colour: int, shape: tuple[int, int]) -> str:
    sized = _synonym(SIZE_WORDS[SIZES[size[0]]], size[1])
    named = _synonym(SHAPE_WORDS[SHAPES[shape[0]]], shape[1])
    return f"{ARTICLES[article]} {sized} {COLOURS[colour]} {named}"


def _synonym(words: tuple[str, ...], index: int) -> str:
    return words[min(index, len(words) - 1)]


@cache
def vocabulary() -> tuple[str, ...]:
    """Return the special tokens, then every word of the language, sorted."""
    clauses = (*EMITTER_CLAUSES, *COUNT_CLAUSES, *RELATION_CLAUSES, *ORDERS)
    words = {word for clause in clauses for word in clause.split() if "{" not in word}
    tables = (SHAPE_WORDS, SIZE_WORDS, SOUND_VERBS, SOUND_NOUNS, ADVERBS)
    words.update(word for table in tables for group in table.values() for word in group)
    words.update(COLOURS, NUMBERS.values(), NOUNS, ARTICLES, VERBS, UP, DOWN)
    return (*SPECIALS, *sorted(words))


@cache
def longest() -> int:
    """Return the tokens of the longest caption, the end mark included."""
    facts = Facts(0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 2)
    templates = product(*(range(len(CHOICES[name])) for name in TEMPLATE_CHOICES))
    return 1 + max(len(caption(facts, Wording(*t)).split()) for t in templates)


def encode(texts: list[str], width: int) -> NDArray[np.int16]:
    """Return the token ids [len(texts), width] of captions: words, then the end mark, then 0."""
    ids = {word: i for i, word in enumerate(vocabulary())}
    table = np.zeros((len(texts), width), dtype=np.int16)
    for row, text in zip(table, texts, strict=True):
        tokens = [ids[word] for word in text.split()]
        row[: len(tokens) + 1] = [*tokens, EOS]
    return table
