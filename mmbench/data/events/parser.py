"""Reads the slots out of a caption: the inverse of the grammar, and lenient beyond it.

Of several clauses of one kind the first counts, so that nothing is won by listing guesses. A time
stamp belongs to the clause that it stands in: behind "at" it opens one, behind "from" it ends one.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mmbench.data.events.grammar import (
    MOTION_WORDS,
    NUMBERS,
    SOUND_WORDS,
    Facts,
    stamp,
)
from mmbench.data.events.world import FRAMES, MOTIONS, SOUNDS
from mmbench.references import Slots

#: The slots of a caption. ``relation`` is that of the sounds to the bounces, on or off them;
#: ``time`` has two fillers, when the bouncing and when the motion begins.
SLOTS = ("motion", "count", "sound", "relation", "time")

_CANONICAL = {w: name for t in (MOTION_WORDS, SOUND_WORDS) for name, ws in t.items() for w in ws}
_NUMBER = {word: number for number, word in NUMBERS.items()}
_MOTION = "|".join(w for words in MOTION_WORDS.values() for w in words)
_SOUND = "|".join(w for words in SOUND_WORDS.values() for w in words)
_STAMP = r"(\d+\.\d)"
_WORD = re.compile(r"[a-z]+|\d+\.\d")
_HEARD = re.compile(
    rf"\b(?:with a ({_SOUND}) (in between|each time)|(off|on) the beat of a ({_SOUND}))\b"
)
_COUNT = re.compile(rf"\bbounces ({'|'.join(NUMBERS.values())})\b")
_MOVES = re.compile(rf"\b({_MOTION})\b")
_PART = r"(?:(?! at | it | then\b| and\b).)*?"
_TIMES = {
    "bounces": (
        re.compile(rf"\bat {_STAMP} it bounces\b"),
        re.compile(rf"\bit bounces\b{_PART} from {_STAMP} on\b"),
    ),
    "moves": (
        re.compile(rf"\bat {_STAMP} it (?:{_MOTION})\b"),
        re.compile(rf"\bit (?:{_MOTION}) from {_STAMP} on\b"),
    ),
}
_EMPTY: frozenset[tuple[str, ...]] = frozenset()
#: Which of the synchrony phrases' words say that the sounds are on the bounces.
_ON = ("each time", "on")
RELATIONS = (("sound", "off", "bounce"), ("sound", "on", "bounce"))


def parse(text: str) -> Slots:
    """Return the slots of a caption, all of `SLOTS`; one that it does not fill is empty.

    Never raises, whatever the text.
    """
    text = " ".join(_WORD.findall(text.lower()))
    motion, count, heard = _MOVES.search(text), _COUNT.search(text), _HEARD.search(text)
    times = {(event, when) for event in _TIMES if (when := _when(text, event))}
    return {
        "motion": _EMPTY if motion is None else frozenset([(_CANONICAL[motion[1]],)]),
        "count": _EMPTY if count is None else frozenset([(str(_NUMBER[count[1]]),)]),
        "sound": _EMPTY if heard is None else frozenset([(_CANONICAL[heard[1] or heard[4]],)]),
        "relation": _EMPTY
        if heard is None
        else frozenset([RELATIONS[(heard[2] or heard[3]) in _ON]]),
        "time": frozenset(times),
    }


def _when(text: str, event: str) -> str:
    """Return the time stamp of an event's first clause; empty where there is none."""
    found = [match for pattern in _TIMES[event] if (match := pattern.search(text))]
    return min(found, key=lambda match: match.start())[1] if found else ""


@lru_cache(maxsize=4096)
def slots_of(facts: Facts) -> Slots:
    """Return the slots that every caption of `facts` has."""
    return {
        "motion": frozenset([(MOTIONS[facts.motion],)]),
        "count": frozenset([(str(facts.number),)]),
        "sound": frozenset([(SOUNDS[facts.sound],)]),
        "relation": frozenset([RELATIONS[facts.synchronous]]),
        "time": frozenset([("bounces", stamp(facts.bounces)), ("moves", stamp(facts.moves))]),
    }


def facts_of_slots(slots: Slots) -> Facts:
    """Return the facts that slots came from: the inverse of `slots_of`."""
    frames = {stamp(frame): frame for frame in range(0, FRAMES, 2)}
    when = {event: frames[time] for event, time in slots["time"]}
    ((motion,),), ((sound,),), ((number,),) = slots["motion"], slots["sound"], slots["count"]
    (relation,) = slots["relation"]
    return Facts(
        motion=MOTIONS.index(motion),
        sound=SOUNDS.index(sound),
        synchronous=RELATIONS.index(relation),
        number=int(number),
        bounces=when["bounces"],
        moves=when["moves"],
    )
