"""The language of the clips: subtitles with time stamps, in several wordings that can be undone.

A caption has two clauses, in the order in which things happen: how often the ball bounces and what
is heard then, and how it moves. Each says when it begins, in seconds, in steps of half a second,
where both always begin. A wording is a choice of one variant of each part; the likelier ones come
first, so that there is a most likely wording that can be learnt.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.events.world import (
    FRAMES,
    MOST,
    MOTIONS,
    RATE,
    SOUNDS,
    Clips,
    Ints,
    arrangements,
)
from mmbench.text import EOS, SPECIALS

#: Words of each number of bounces.
NUMBERS = {1: "once", 2: "twice", 3: "three times"}
MOTION_WORDS = {
    "left": ("moves left", "slides left"),
    "right": ("moves right", "slides right"),
    "circle": ("circles", "goes round"),
    "grow": ("grows", "swells"),
    "shrink": ("shrinks", "dwindles"),
    "blink": ("blinks", "flickers"),
}
SOUND_WORDS = {
    "knock": ("knock", "thud"),
    "bell": ("bell", "ding"),
    "clap": ("clap", "snap"),
    "chirp": ("chirp", "tweet"),
}
#: What the sounds are to the bounces: beside them, or on them.
SYNCHRONY_WORDS = (
    ("with a {sound} in between", "off the beat of a {sound}"),
    ("with a {sound} each time", "on the beat of a {sound}"),
)
#: When a clause begins.
WHEN = ("at {time} it {does}", "it {does} from {time} on")
JOIN = ("{first} then {second}", "{first} and later {second}")
#: What is chosen for a caption, and the weight of each alternative.
CHOICES: dict[str, tuple[int, ...]] = {
    "join": (6, 1),
    "bounce_when": (6, 1),
    "motion_when": (6, 1),
    "motion": (6, 1),
    "sound": (6, 1),
    "synchrony": (6, 1),
}


class Facts(NamedTuple):
    """What a caption says: indices into the world's tables, and when, in frames."""

    motion: int
    sound: int
    synchronous: int
    number: int
    bounces: int
    moves: int


class Wording(NamedTuple):
    """How a caption says it: an index into each of `CHOICES`."""

    join: int = 0
    bounce_when: int = 0
    motion_when: int = 0
    motion: int = 0
    sound: int = 0
    synchrony: int = 0


def facts_of(clips: Clips) -> Ints:
    """Return what the captions of N clips say, [N, 6], in the order of `Facts`."""
    table = arrangements()
    layout = [x[clips.arrangement] for x in (table.number, table.bounces, table.moves)]
    return np.stack([clips.motion, clips.sound, clips.synchronous, *layout], axis=1)


def draw_wordings(seed: int, split: str, items: int, references: int) -> Ints:
    """Draw the wordings of N clips, [N, R, 6], in the order of `Wording`."""
    drawn = []
    for name, weights in CHOICES.items():
        ends = np.array(list(accumulate(weights)))
        names = ("events", split, "wording", name)
        number = rng.integers(seed, *names, count=items * references, below=int(ends[-1]))
        drawn.append(np.searchsorted(ends, number, side="right"))
    return np.stack(drawn, axis=1).reshape(items, references, len(CHOICES))


def wordings() -> list[Wording]:
    """Return all wordings there are."""
    return [Wording(*way) for way in product(*(range(len(w)) for w in CHOICES.values()))]


def stamp(frame: int) -> str:
    """Return when a frame is, as captions write it: in seconds, rounded down to halves.

    >>> stamp(0), stamp(6)
    ('0.0', '1.5')
    """
    return f"{frame * 2 // RATE / 2:.1f}"


@cache
def caption(facts: Facts, wording: Wording) -> str:
    """Return the caption that says `facts` in the words of `wording`."""
    sound = SOUND_WORDS[SOUNDS[facts.sound]][wording.sound]
    heard = SYNCHRONY_WORDS[facts.synchronous][wording.synchrony].format(sound=sound)
    bounces = WHEN[wording.bounce_when].format(
        time=stamp(facts.bounces), does=f"bounces {NUMBERS[facts.number]} {heard}"
    )
    moves = WHEN[wording.motion_when].format(
        time=stamp(facts.moves), does=MOTION_WORDS[MOTIONS[facts.motion]][wording.motion]
    )
    first, second = (bounces, moves) if facts.bounces < facts.moves else (moves, bounces)
    return JOIN[wording.join].format(first=first, second=second)


@cache
def vocabulary() -> tuple[str, ...]:
    """Return the special tokens, then every word of the language, sorted."""
    tables = (*MOTION_WORDS.values(), *SOUND_WORDS.values(), *SYNCHRONY_WORDS, WHEN, JOIN)
    texts = [text for table in tables for text in table] + [*NUMBERS.values(), "bounces"]
    words = {word for text in texts for word in text.split() if "{" not in word}
    words.update(stamp(frame) for frame in range(0, FRAMES, 2))
    return (*SPECIALS, *sorted(words))


@cache
def longest() -> int:
    """Return the tokens of the longest caption, the end mark included."""
    facts = Facts(0, 0, 0, MOST, 0, 12)
    return 1 + max(len(caption(facts, way).split()) for way in wordings())


def encode(texts: list[str]) -> NDArray[np.int16]:
    """Return the token ids [len(texts), longest] of captions: words, the end mark, then 0."""
    ids = {word: i for i, word in enumerate(vocabulary())}
    rows: dict[str, list[int]] = {}
    table = np.zeros((len(texts), longest()), dtype=np.int16)
    for row, text in zip(table, texts, strict=True):
        if text not in rows:
            rows[text] = [*(ids[word] for word in text.split()), EOS]
        row[: len(rows[text])] = rows[text]
    return table
