"""The twelve words, how they sound and look, what they mean, and what they are called elsewhere.

A word is an onset and a rime. Its onset is one of four groups by manner (voiced and voiceless
stops, nasals, fricatives) at one of three places (lips, tongue, throat). Manner is heard well and
not seen; place is seen well and drowned by noise first (Miller and Nicely 1955,
doi:10.1121/1.1907526): the lips tell apart what sounds alike.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

#: Word w has the onset of group ``w // PLACES`` at place ``w % PLACES``.
WORDS = ("ba", "da", "ga", "pa", "ta", "ka", "ma", "na", "nga", "fa", "sa", "ha")
GROUPS, PLACES = 4, 3
#: Words of a sentence, at least and at most; each number of words is as likely.
FEWEST, MOST = 3, 6
#: Stands where there is no word.
NONE = -1

# --- a text before: what is spoken of ------------------------------------------------------------

TOPICS = (
    ("bread", "oven", "salt", "soup"),
    ("boat", "wave", "sail", "shore"),
    ("field", "plough", "seed", "barn"),
    ("track", "engine", "station", "signal"),
)
COMMON = ("about", "again", "day", "new", "old", "people", "some", "talk")
#: Tokens of the text; each is one of its topic with this chance, else a common one.
CONTEXT, TOPICAL = 6, 0.5
#: Share of the three words that a topic likes behind a word.
LIKED = 0.7


@cache
def bigrams(topic: int) -> NDArray[np.float64]:
    """Return how likely each word follows each, [12, 12]; rows sum to 1.

    Each topic likes three words behind a word, of three groups and three places; no two topics
    share one, so that over all topics every word is as likely behind every other.
    """
    count = len(WORDS)
    table = np.full((count, count), (1.0 - LIKED) / count)
    for word in range(count):
        for turn in range(3):
            table[word, (5 * word + 3 * topic + 4 * turn) % count] += LIKED / 3
    return table


# --- a language to translate into ----------------------------------------------------------------

#: What a word is, by its group.
ADJECTIVE, NOUN, VERB, ADVERB = range(4)
#: Word order of a sentence; those marked False may be left out, each half of the time.
SLOTS = (
    (ADJECTIVE, False), (NOUN, True), (VERB, True),
    (ADJECTIVE, False), (NOUN, True), (ADVERB, False),
)  # fmt: skip
#: Share of the words that the typed source does not show.
GAP = 0.3
GAP_TOKEN = "..."

_STEMS = ("alt", "piccol", "ross")
_NOUNS = ("gatto", "luna", "sasso")
_ENDINGS = ("o", "a", "o")  # of adjectives, by the noun's gender
_ARTICLES = ("il", "la", "il")
_VERBS = ("vede", "segue", "trova")
_ADVERBS = ("oggi", "poi", "mai")
#: Words of a translation at most.
TRANSLATED = 8


def translate(words: tuple[int, ...]) -> str:
    """Translate a sentence of the clause grammar; other sequences have no translation.

    Nouns take an article, adjectives stand behind their noun and agree with it, the verb goes to
    the end and the adverb before it.

    >>> translate((0, 4, 6, 3, 11))
    'la luna alta il gatto mai vede'
    """
    phrases: list[str] = []
    verb, adverb, stem = "", "", ""
    for word in words:
        kind, member = divmod(word, PLACES)
        if kind == ADJECTIVE:
            stem = _STEMS[member]
        elif kind == NOUN:
            phrases += [_ARTICLES[member], _NOUNS[member]]
            if stem:
                phrases.append(stem + _ENDINGS[member])
            stem = ""
        elif kind == VERB:
            verb = _VERBS[member]
        else:
            adverb = _ADVERBS[member]
    return " ".join(part for part in (*phrases, adverb, verb) if part)


def target_words() -> tuple[str, ...]:
    """Return all words of translations, sorted."""
    adjectives = {stem + ending for stem in _STEMS for ending in _ENDINGS}
    return tuple(sorted({*adjectives, *_NOUNS, *_ARTICLES, *_VERBS, *_ADVERBS}))


# --- requests ------------------------------------------------------------------------------------

#: What can be asked for: spoken as the words 0..5, typed by name.
THINGS = ("lamp", "door", "radio", "oven", "fan", "blind")
#: The spoken words for "the first" and "the second": alike to the ear, not to the eye.
ORDINALS = (6, 7)
FILLERS = (8, 9, 10, 11)
#: What may be the telling word of a spoken request, or none.
KEYWORDS = (*range(len(THINGS)), *ORDINALS, NONE)
CHATTER = ("hello", "now", "please", "thanks", "well", "would")
#: Typed tokens, at least and at most.
TYPED = (3, 5)
#: Who names the thing: speech, the typed line, both; or the line names two and speech says which.
KINDS = ("spoken", "typed", "both", "referring")
