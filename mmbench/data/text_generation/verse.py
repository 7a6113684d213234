"""The grammar of couplets: a first line that is given, and the second that is to be written.

    at noon an old king walks along the wall as before
    and he sees two red kites by the shore

The second line continues the first one and says what the picture shows:

* who it is about, he or she, is told by the first line alone;
* so is the *rhyme*: the second line ends in one of the four words that rhyme with the first's end;
* *count*, *colour* and *thing* are told by the picture alone;
* which of the four words it is takes both. Each rhyme has a word for each of four places. By day
  (at dawn, at noon) the verse ends in the place that the picture shows; by night (at dusk, at
  midnight) it dreams of the opposite one.

Wording varies: conjunction, adverb, verb, preposition, each drawn by weights of its own, so that
every second line has a probability, that of its choices, and can be read back (`parse`).

In reading, ``sound`` is the rhyme, ``relation`` the last word (which stands in a relation to both
the first line and the picture), ``attribute`` the thing with its colour.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from mmbench.text import SPECIALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmbench.references import Slots

# --- what is said --------------------------------------------------------------------------------

COUNTS = ("one", "two", "three")
COLOURS = ("red", "green", "blue", "yellow", "white")
THINGS = ("kite", "bell", "boat", "star")
PLACES = ("hill", "sea", "sky", "town")
#: The place opposite of each.
OPPOSITE = (1, 0, 3, 2)
#: Rhyme -> the word that ends the second line, for each place.
ENDS = {
    "ane": ("lane", "main", "plane", "train"),
    "ore": ("moor", "shore", "soar", "store"),
    "ight": ("height", "bight", "flight", "site"),
    "eam": ("stream", "bream", "beam", "team"),
}
RHYMES = tuple(ENDS)
#: Rhyme -> how the first line ends.
TAILS = {
    "ane": ("once again", "in vain", "with a cane"),
    "ore": ("as before", "a little more", "past the door"),
    "ight": ("to the right", "for a bite", "all in white"),
    "eam": ("in a dream", "with some cream", "as things seem"),
}
#: The first two hours are by day.
HOURS = ("at dawn", "at noon", "at dusk", "at midnight")
NATURES = ("old", "young", "tall", "small", "merry", "weary", "proud", "humble")
#: Nouns of those who are he, and of those who are she.
PEOPLE = (("king", "monk", "boy", "miller"), ("queen", "nun", "girl", "widow"))
PRONOUNS = ("he", "she")
DEEDS = (
    "walks", "strolls", "runs", "dances", "wanders", "hurries", "limps", "steps", "marches", "goes",
)  # fmt: skip
WAYS = (
    "along the wall", "through the gate", "down the stairs", "across the yard", "over the bridge",
    "around the well", "past the barn", "behind the church",
)  # fmt: skip


class Opening(NamedTuple):
    """A first line, as indices."""

    hour: int
    nature: int
    pronoun: int
    person: int
    deed: int
    way: int
    rhyme: int
    tail: int


#: How many of each there are: first lines are numbered by these digits.
DIGITS = Opening(
    len(HOURS), len(NATURES), len(PRONOUNS), len(PEOPLE[0]), len(DEEDS), len(WAYS), len(RHYMES), 3
)
OPENINGS = prod(DIGITS)


class Facts(NamedTuple):
    """What a second line says, as indices."""

    pronoun: int
    number: int
    colour: int
    thing: int
    rhyme: int
    ending: int


class Wording(NamedTuple):
    """How a second line says it: an index into each of `CHOICES`."""

    conjunction: int = 0
    adverb: int = 0
    verb: int = 0
    preposition: int = 0


#: What is chosen, and the weights of the alternatives.
CHOICES: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "conjunction": (("and", "then", "while"), (6, 3, 1)),
    "adverb": (("", "soon", "there"), (6, 2, 1)),
    "verb": (("sees", "finds", "meets", "draws"), (8, 4, 2, 1)),
    "preposition": (("by", "near", "beyond"), (6, 3, 1)),
}
#: The slots of a second line.
SLOTS = ("object", "attribute", "count", "sound", "relation", "who")


def ending(place: int, hour: int) -> int:
    """Return the place whose word ends the verse."""
    return place if hour < 2 else OPPOSITE[place]


def opening(line: Opening) -> str:
    """Return a first line."""
    nature = NATURES[line.nature]
    article = "an" if nature[0] in "aeiou" else "a"
    return " ".join(
        (
            HOURS[line.hour],
            article,
            nature,
            PEOPLE[line.pronoun][line.person],
            DEEDS[line.deed],
            WAYS[line.way],
            TAILS[RHYMES[line.rhyme]][line.tail],
        )
    )


def closing(facts: Facts, wording: Wording) -> str:
    """Return the second line that says `facts` in the words of `wording`."""
    conjunction, adverb, verb, preposition = (
        words[chosen] for (words, _), chosen in zip(CHOICES.values(), wording, strict=True)
    )
    thing = THINGS[facts.thing] + ("s" if facts.number else "")
    words = (
        conjunction,
        PRONOUNS[facts.pronoun],
        adverb,
        verb,
        COUNTS[facts.number],
        COLOURS[facts.colour],
        thing,
        preposition,
        "the",
        ENDS[RHYMES[facts.rhyme]][facts.ending],
    )
    return " ".join(word for word in words if word)


# --- how likely it is ----------------------------------------------------------------------------


def chance(wording: Wording) -> float:
    """Return the probability of a wording."""
    weights = [weights for _, weights in CHOICES.values()]
    return prod(w[i] / sum(w) for w, i in zip(weights, wording, strict=True))


def wordings() -> Iterator[Wording]:
    """Return all wordings."""
    return (
        Wording(*chosen)
        for chosen in product(*(range(len(words)) for words, _ in CHOICES.values()))
    )


def likeliest() -> Wording:
    """Return the wording with the highest probability."""
    return max(wordings(), key=chance)


# --- words ---------------------------------------------------------------------------------------


@cache
def opening_words() -> tuple[str, ...]:
    """Return the special words, then all words of first lines, sorted."""
    groups = (HOURS, NATURES, *PEOPLE, DEEDS, WAYS, *TAILS.values(), ("a", "an"))
    words = {word for group in groups for text in group for word in text.split()}
    return (*SPECIALS, *sorted(words))


@cache
def closing_words() -> tuple[str, ...]:
    """Return the special words, then all words of second lines, sorted."""
    groups = (*(words for words, _ in CHOICES.values()), PRONOUNS, COUNTS, COLOURS, *ENDS.values())
    words = {word for group in groups for word in group if word} | {"the"}
    words |= {thing + mark for thing in THINGS for mark in ("", "s")}
    return (*SPECIALS, *sorted(words))


@cache
def opening_length() -> int:
    """Return the words of the longest first line."""
    rhymes = range(len(RHYMES))
    lines = (Opening(0, 0, 0, 0, 0, way, rhyme, tail)
             for way in range(len(WAYS)) for rhyme in rhymes for tail in range(3))  # fmt: skip
    return max(len(opening(line).split()) for line in lines)


@cache
def closing_length() -> int:
    """Return the tokens of the longest second line, the end mark included."""
    return 1 + max(len(closing(Facts(0, 0, 0, 0, 0, 0), way).split()) for way in wordings())


# --- back to facts -------------------------------------------------------------------------------

_WORD = re.compile("[a-z]+")
_THING = re.compile(rf"\b({'|'.join(COUNTS)}) ({'|'.join(COLOURS)}) ({'|'.join(THINGS)})s?\b")
_WHO = re.compile(rf"\b({'|'.join(PRONOUNS)})\b")
_RHYME_OF = {word: rhyme for rhyme, words in ENDS.items() for word in words}
_EMPTY: frozenset[tuple[str, ...]] = frozenset()


def parse(text: str) -> Slots:
    """Return the slots of a second line, all of `SLOTS`; one that it does not fill is empty.

    Of several things the first counts; a rhyme is where it has to be, at the end. Never raises.
    """
    text = " ".join(_WORD.findall(text.lower()))
    seen, who = _THING.search(text), _WHO.search(text)
    last = text.rpartition(" ")[2]
    rhymes = last in _RHYME_OF
    return {
        "object": frozenset([(seen[3],)]) if seen else _EMPTY,
        "attribute": frozenset([(seen[3], seen[2])]) if seen else _EMPTY,
        "count": frozenset([(seen[1],)]) if seen else _EMPTY,
        "sound": frozenset([(_RHYME_OF[last],)]) if rhymes else _EMPTY,
        "relation": frozenset([(last,)]) if rhymes else _EMPTY,
        "who": frozenset([(who[1],)]) if who else _EMPTY,
    }


def slots_of(facts: Facts) -> Slots:
    """Return the slots that every second line of `facts` has."""
    thing, rhyme = THINGS[facts.thing], RHYMES[facts.rhyme]
    return {
        "object": frozenset([(thing,)]),
        "attribute": frozenset([(thing, COLOURS[facts.colour])]),
        "count": frozenset([(COUNTS[facts.number],)]),
        "sound": frozenset([(rhyme,)]),
        "relation": frozenset([(ENDS[rhyme][facts.ending],)]),
        "who": frozenset([(PRONOUNS[facts.pronoun],)]),
    }
