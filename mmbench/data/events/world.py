"""What happens in a clip: a ball bounces and moves, something sounds. Drawn, and tabulated.

A clip has 16 frames, four a second. In one stretch of time the ball bounces once, twice or three
times, four frames a bounce; in another of four frames it moves in one of six ways; else it rests.
Which comes first, and how long it rests before, between and after, is drawn: an *arrangement*.
Each bounce has its sound, one of four. What information lies where is planted:

* the motion is in the video alone, the sound in the audio alone (unique);
* the number of bounces is in both (redundant), and so is roughly when they are;
* arousal is seen, valence is heard, the emotion is both (unique to each: adding is enough);
* whether the sounds are *on* the bounces or off them (synchrony) takes both (synergy).

The last is exact. In its stretch the ball touches the floor in one of four phases, evenly drawn. In
a synchronous clip the sounds have that phase, in an asynchronous one another. So the phase of the
sounds is even too, whether synchronous or not, and neither stream tells anything about synchrony,
nor about whether an impact was heard, or what was heard was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmbench import rng

Ints = NDArray[np.int64]

FRAMES: Final = 16
#: Frames a second; time stamps are multiples of half a second.
RATE: Final = 4
#: Frames from one bounce to the next, and of a motion.
PERIOD: Final = 4
MOST: Final = 3
MOTIONS = ("left", "right", "circle", "grow", "shrink", "blink")
SOUNDS = ("knock", "bell", "clap", "chirp")
SYNCHRONY = ("async", "sync")
#: By valence, then arousal (Russell 1980, A circumplex model of affect, doi:10.1037/h0077714).
EMOTIONS = ("sad", "angry", "calm", "happy")
#: The columns at which a ball may begin.
PLACES: Final = 4
#: The classes of frames: the ball touches the floor in silence; a sound without that; both.
BACKGROUND, BOUNCE, HEARD, IMPACT, MOVING = 0, 1, 2, 3, 4
EVENTS = ("background", "bounce", "sound", "impact", *MOTIONS)
CLIPS = tuple(f"{m} {s} {y}" for m in MOTIONS for s in SOUNDS for y in SYNCHRONY)

#: What a frame shows; behind the motion all but the motion itself stands elsewhere, or is larger.
REST, TOP, FLOOR = 0, 1, 2
ROLES: Final = 2 * 3 + PERIOD


@dataclass(frozen=True)
class Arrangements:
    """The K ways in which a clip can be laid out.

    Attributes:
        number: [K] bounces, 1..3.
        bounces: [K] the frame at which the bouncing begins; even.
        moves: [K] the frame at which the motion begins; even.
        chance: [K] how often each is drawn.
    """

    number: Ints
    bounces: Ints
    moves: Ints
    chance: NDArray[np.float64]


@cache
def arrangements() -> Arrangements:
    """Return all arrangements; see `_DRAWN` for how one is drawn."""
    rows = []
    for number in range(1, MOST + 1):
        spare = (FRAMES - PERIOD * (number + 1)) // 2
        gaps = [(before, between) for before in range(spare + 1)
                for between in range(spare + 1 - before)]  # fmt: skip
        for bouncing_first in (True, False):
            for before, between in gaps:
                first = 2 * before
                second = first + 2 * between + PERIOD * (number if bouncing_first else 1)
                starts = (first, second) if bouncing_first else (second, first)
                rows.append((number, *starts, 1.0 / (MOST * 2 * len(gaps))))
    number_, bounces, moves, chance = zip(*rows, strict=True)
    return Arrangements(np.array(number_), np.array(bounces), np.array(moves), np.array(chance))


# A number of bounces, then evenly one of its arrangements; 60 is a multiple of how many each has.
_DRAWN = 60


@dataclass(frozen=True)
class Clips:
    """N clips.

    Attributes:
        arrangement: [N] index into `arrangements`.
        motion: [N] index into `MOTIONS`.
        sound: [N] index into `SOUNDS`.
        place: [N] where the ball begins, 0..3.
        seen: [N] phase of the bounces, 0..3: how many frames into its period the floor is touched.
        heard: [N] phase of the sounds.
        arousal: [N] 0 or 1: how bright the ball is.
        valence: [N] 0 or 1: how high the drone is.
    """

    arrangement: Ints
    motion: Ints
    sound: Ints
    place: Ints
    seen: Ints
    heard: Ints
    arousal: Ints
    valence: Ints

    def __len__(self) -> int:
        return len(self.motion)

    def take(self, rows: slice) -> Clips:
        """Return the clips `rows`."""
        return Clips(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    @property
    def synchronous(self) -> Ints:
        """[N] 1 where the sounds are on the bounces, else 0."""
        return np.asarray(self.seen == self.heard, dtype=np.int64)

    @property
    def clip(self) -> Ints:
        """[N] index into `CLIPS`."""
        return (self.motion * len(SOUNDS) + self.sound) * len(SYNCHRONY) + self.synchronous

    @property
    def emotion(self) -> Ints:
        """[N] index into `EMOTIONS`."""
        return 2 * self.valence + self.arousal


def shifts(asynchrony: int) -> tuple[int, ...]:
    """Return by how many frames the sounds of asynchronous clips may be late, all as likely.

    Args:
        asynchrony: At least so many frames from a sound to the nearest bounce of the period, 1..2.
    """
    return tuple(d for d in range(1, PERIOD) if min(d, PERIOD - d) >= asynchrony)


def draw(seed: int, split: str, items: int, asynchrony: int) -> Clips:
    """Draw the clips of a split; the first n of them are the same whatever `items` is."""

    def integers(field: str, below: int) -> Ints:
        return rng.integers(seed, "events", split, field, count=items, below=below)

    number, order = integers("number", MOST) + 1, integers("arrangement", _DRAWN)
    table = arrangements()
    first = np.searchsorted(table.number, number)
    count = np.searchsorted(table.number, number, side="right") - first
    late = np.array(shifts(asynchrony))
    seen = integers("phase", PERIOD)
    shift = late[integers("shift", 6) % len(late)]  # 6 is a multiple of 1, 2 and 3
    synchronous = integers("synchrony", 2) == 1
    return Clips(
        arrangement=first + order % count,
        motion=integers("motion", len(MOTIONS)),
        sound=integers("sound", len(SOUNDS)),
        place=integers("place", PLACES),
        seen=seen,
        heard=np.where(synchronous, seen, (seen + shift) % PERIOD),
        arousal=integers("arousal", 2),
        valence=integers("valence", 2),
    )


# --- what is when --------------------------------------------------------------------------------


@cache
def roles() -> Ints:
    """Return what each frame shows, [K, 4 phases, 16]: 3 x (behind the motion) + what, or 6 + step.

    What is `REST`, `TOP` or `FLOOR`; the ball is half way between top and floor where it rests, and
    on its way up and down. The steps of the motion are 6 to 9.
    """
    table = arrangements()
    frame = np.arange(FRAMES)
    found = np.zeros((len(table.number), PERIOD, FRAMES), dtype=np.int64)
    turn = np.array([FLOOR, REST, TOP, REST])
    for row, (number, bounces, moves) in enumerate(
        zip(table.number, table.bounces, table.moves, strict=True)
    ):
        behind = 3 * (frame >= moves + PERIOD)
        within = (frame >= bounces) & (frame < bounces + PERIOD * number)
        for phase in range(PERIOD):
            what = np.where(within, turn[(frame - bounces - phase) % PERIOD], REST)
            found[row, phase] = what + behind
        found[row, :, moves : moves + PERIOD] = 6 + np.arange(PERIOD)
    return found


@cache
def touches() -> NDArray[np.bool_]:
    """Return the frames at which the floor is touched, [K, 4 phases, 16]; sounds have them too."""
    what = roles()
    return np.asarray((what < 6) & (what % 3 == FLOOR))


def events(clips: Clips) -> Ints:
    """Return the class of every frame, [N, 16], indices into `EVENTS`."""
    seen = touches()[clips.arrangement, clips.seen]
    heard = touches()[clips.arrangement, clips.heard]
    moving = roles()[clips.arrangement, 0] >= 6
    happens = BOUNCE * seen + HEARD * heard  # IMPACT is their sum
    return np.where(moving, MOVING + clips.motion[:, None], happens).astype(np.int64)


def onsets(frames: Ints) -> list[Ints]:
    """Return the key frames of each clip: those of `events` [N, 16] at which an event begins."""
    before = np.concatenate([np.zeros_like(frames[:, :1]), frames[:, :-1]], axis=1)
    begins = (frames != BACKGROUND) & (frames != before)
    return [np.flatnonzero(row) for row in begins]
