"""Reads the slots out of a caption: the inverse of the grammar, and lenient beyond it.

Of several clauses of one kind the first counts, so that nothing is won by listing guesses. A
clause is found wherever it stands; articles, sizes, colours and some verbs may be missing, and
whatever belongs to no clause is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from mmbench.data.scenecap.grammar import (
    ADVERBS,
    ARTICLES,
    DOWN,
    NOUNS,
    NUMBERS,
    SHAPE_WORDS,
    SIZE_WORDS,
    SOUND_NOUNS,
    SOUND_VERBS,
    UP,
    VERBS,
    Facts,
)
from mmbench.data.scenecap.world import COLOURS, DISTANCES, SHAPES, SIZES, SOUNDS
from mmbench.references import Slots

#: The slots of a caption.
SLOTS = ("object", "attribute", "relation", "sound", "emitter", "count")

_TABLES = (SHAPE_WORDS, SIZE_WORDS, SOUND_VERBS, SOUND_NOUNS, ADVERBS)
_CANONICAL = {word: name for table in _TABLES for name, words in table.items() for word in words}


def _any(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(words)})"


def _all(table: Mapping[str, tuple[str, ...]]) -> str:
    return _any(word for words in table.values() for word in words)


_WORD = re.compile("[a-z]+")
_SHAPE, _COLOUR, _SIZE = _all(SHAPE_WORDS), _any(COLOURS), _all(SIZE_WORDS)
_VERB, _NOUN, _IS = _all(SOUND_VERBS), _all(SOUND_NOUNS), _any(VERBS)
_ARTICLE = f"(?:{_any(ARTICLES)} )?"
_PHRASE = f"{_ARTICLE}(?:({_SIZE}) )?(?:({_COLOUR}) )?({_SHAPE})"
_DISTANCE = f"({_all(ADVERBS)}) ({_any((*UP, *DOWN))})"

_SOUND = re.compile(rf"\b({_VERB}|{_NOUN})\b")
_COUNT = re.compile(rf"\b({_any(NUMBERS.values())}) {_any(NOUNS)}\b")
_EMITTERS = (
    # The sound noun behind an object belongs to it, unless it begins a clause of its own.
    re.compile(rf"\b({_COLOUR}) ({_SHAPE}) (?:{_VERB}|(?:{_IS} )?{_NOUN}(?! (?:comes|from)))\b"),
    re.compile(rf"\b{_NOUN} (?:(?:comes )?from )?{_ARTICLE}(?:{_SIZE} )?({_COLOUR}) ({_SHAPE})\b"),
)
_PLAIN = re.compile(rf"\b{_PHRASE} {_IS} {_DISTANCE} {_PHRASE}\b")
_INVERTED = re.compile(rf"\b{_DISTANCE} {_PHRASE} {_IS} {_PHRASE}\b")
_VERBLESS = re.compile(rf"\b{_PHRASE} {_DISTANCE} {_PHRASE}\b")

_EMPTY: frozenset[tuple[str, ...]] = frozenset()


def parse(text: str) -> Slots:
    """Return the slots of a caption, all of `SLOTS`; one that it does not fill is empty.

    Never raises, whatever the text. Object and attribute come from the relation clause alone.
    """
    text = " ".join(_WORD.findall(text.lower()))
    sound, count, emitter = _SOUND.search(text), _COUNT.search(text), _first(text, *_EMITTERS)
    return {
        **_relation(text),
        "sound": _EMPTY if sound is None else frozenset([(_CANONICAL[sound[1]],)]),
        "emitter": _EMPTY if emitter is None else frozenset([(emitter[1], _CANONICAL[emitter[2]])]),
        "count": _EMPTY if count is None else frozenset([(count[1],)]),
    }


@lru_cache(maxsize=4096)
def slots_of(facts: Facts) -> Slots:
    """Return the slots that every caption of `facts` has."""
    upper, lower = SHAPES[facts.upper_shape], SHAPES[facts.lower_shape]
    attributes = {
        (upper, COLOURS[facts.upper_colour]),
        (upper, SIZES[facts.upper_size]),
        (lower, COLOURS[facts.lower_colour]),
        (lower, SIZES[facts.lower_size]),
    }
    return {
        "object": frozenset([(upper,), (lower,)]),
        "attribute": frozenset(attributes),
        "relation": frozenset([(upper, DISTANCES[facts.distance], lower)]),
        "sound": frozenset([(SOUNDS[facts.sound],)]),
        "emitter": frozenset([(COLOURS[facts.emitter_colour], SHAPES[facts.emitter_shape])]),
        "count": frozenset([(NUMBERS[facts.number],)]),
    }


def facts_of_slots(slots: Slots) -> Facts:
    """Return the facts that slots came from: the inverse of `slots_of`."""
    ((upper, distance, lower),) = slots["relation"]
    ((colour, shape),) = slots["emitter"]
    ((sound,),), ((number,),) = slots["sound"], slots["count"]
    said = set(slots["attribute"])

    def of(name: str, values: tuple[str, ...]) -> int:
        return next(i for i, value in enumerate(values) if (name, value) in said)

    return Facts(
        sound=SOUNDS.index(sound),
        number=next(count for count, word in NUMBERS.items() if word == number),
        emitter_colour=COLOURS.index(colour),
        emitter_shape=SHAPES.index(shape),
        distance=DISTANCES.index(distance),
        upper_size=of(upper, SIZES),
        upper_colour=of(upper, COLOURS),
        upper_shape=SHAPES.index(upper),
        lower_size=of(lower, SIZES),
        lower_colour=of(lower, COLOURS),
        lower_shape=SHAPES.index(lower),
    )


def _first(text: str, *patterns: re.Pattern[str]) -> re.Match[str] | None:
    """Return the match that begins first; of two that begin together, the earlier pattern's."""
    found = [match for pattern in patterns if (match := pattern.search(text))]
    return min(found, key=lambda match: match.start(), default=None)


def _relation(text: str) -> Slots:
    """Return the slots of the first relation clause."""
    match = _first(text, _PLAIN, _INVERTED) or _VERBLESS.search(text)
    if match is None:
        return {"object": _EMPTY, "attribute": _EMPTY, "relation": _EMPTY}
    if match.re is _INVERTED:
        adverb, preposition = match.group(1, 2)
        upper, lower = match.group(6, 7, 8), match.group(3, 4, 5)
    else:
        adverb, preposition = match.group(4, 5)
        upper, lower = match.group(1, 2, 3), match.group(6, 7, 8)
    if preposition in DOWN:
        upper, lower = lower, upper
    first, second = _CANONICAL[upper[2]], _CANONICAL[lower[2]]
    attributes = {
        (_CANONICAL[phrase[2]], _CANONICAL.get(word, word))
        for phrase in (upper, lower)
        for word in phrase[:2]
        if word
    }
    return {
        "object": frozenset([(first,), (second,)]),
        "attribute": frozenset(attributes),
        "relation": frozenset([(first, _CANONICAL[adverb], second)]),
    }
