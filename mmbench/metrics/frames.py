"""Metrics of labelled time steps: frames one by one, the events they form, and key frames.

All are pooled over recordings, so that a recording of many frames, or of many events, counts more.
A recording without a prediction has said nothing: all its frames are wrong, its events missed.
Where nothing is said and nothing is there, F1 is 0, not 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics._contract import metric, ratio
from mmbench.metrics._settled import COLUMNS, settle, settled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.metrics._items.frames import FrameItems
    from mmbench.types import Floats

    Ints = NDArray[np.int64]

_COUNTS = ("tp", "said", "true")


def _f1(sums: Floats) -> Floats:
    return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def _f1_gradient(sums: Floats) -> Floats:
    both = float(sums[1] + sums[2])
    if both == 0.0:
        return np.zeros(3)
    f1 = 2 * float(sums[0]) / both
    return np.array([2.0, -f1, -f1]) / both


@metric(
    kind="frames",
    columns=("right", "frames"),
    value=lambda sums: ratio(sums[..., 0], sums[..., 1]),
    bounds=(0.0, 1.0),
    oracle="bound",
    settings="missing:wrong",
)
def frame_accuracy(items: FrameItems) -> Floats:
    """Frame accuracy: share of frames whose class was said, background among them.

    Range 0 to 1, proven; higher is better. Where most frames are background it is high for whoever
    says nothing else; `frame_f1` is not.

    Returns:
        [N, 2]: right frames, frames.
    """
    right = items.per_recording(items.said == items.true)
    frames = np.bincount(items.recording, minlength=len(items))
    return np.stack([right, frames], axis=1).astype(np.float64)


@metric(
    kind="frames",
    columns=_COUNTS,
    value=_f1,
    gradient=_f1_gradient,
    bounds=(0.0, 1.0),
    settings="average:micro|classes:not background|missing:nothing said",
)
def frame_f1(items: FrameItems) -> Floats:
    """Frame F1 over all classes but the background: ``2 tp / (said + true)`` of frames.

    Micro-averaged, as scikit-learn has it with ``labels`` set to those classes. Range 0 to 1,
    proven; higher is better. Without a background class it is `frame_accuracy`.

    Returns:
        [N, 3]: frames that are rightly said to be of a class, said to be of one, and truly of one.
    """
    said, true = items.is_event(items.said), items.is_event(items.true)
    marks = [said & (items.said == items.true), said, true]
    return np.stack([items.per_recording(mark) for mark in marks], axis=1).astype(np.float64)


@metric(
    kind="frames",
    columns=COLUMNS,
    whole=settled,
    bounds=(0.0, 1.0),
    local=False,
    settings="average:macro|classes:all but background|zero_division:0|missing:nothing said",
)
def frame_f1_macro(items: FrameItems) -> Floats:
    """Frame F1 of each class but the background, averaged over classes.

    As scikit-learn has it with ``labels`` set to all those classes: one that neither occurs nor is
    said counts as 0. Range 0 to 1, proven; higher is better. The pseudo-values are the exact first
    derivative by the recordings.

    Returns:
        [N, 2]: the value, and by how much each recording's pseudo-value differs.
    """
    kept = items.foreground
    counts = np.stack([_by_class(items, mark)[:, kept] for mark in _marks(items)])  # (3, N, C)
    tp, said, true = counts.sum(axis=1)
    f1 = ratio(2 * tp, said + true)
    moves = 2 * counts[0] - f1 * (counts[1] + counts[2])
    influence = ratio(moves, np.broadcast_to(said + true, moves.shape)).mean(axis=1)
    value = float(f1.mean())
    return settle(value, value + len(items) * influence)


def _marks(items: FrameItems) -> list[Ints]:
    """Return [F] the class of each frame that counts as tp, as said and as true; -1: none."""
    return [np.where(items.said == items.true, items.said, -1), items.said, items.true]


def _by_class(items: FrameItems, classes: Ints) -> Floats:
    """Return [N, C] how many frames of each recording have each class."""
    there, width = classes >= 0, len(items.classes)
    codes = items.recording[there] * width + classes[there]
    found = np.bincount(codes, minlength=len(items) * width)
    return found.reshape(len(items), width).astype(np.float64)


# --- events --------------------------------------------------------------------------------------


@metric(
    kind="frames",
    columns=_COUNTS,
    value=_f1,
    gradient=_f1_gradient,
    bounds=(0.0, 1.0),
    settings="matching:one to one|missing:nothing said",
    options={"iou": 0.5},
    shown=("iou",),
)
def event_f1(items: FrameItems, iou: float) -> Floats:
    """Event F1: ``2 tp / (said + true)`` of events, right where they overlap enough.

    An event is a run of frames of one class that is not the background. A predicted event is right
    if it is matched with a true one of its class and recording whose intersection with it is at
    least `iou` of their union. One event matches at most one, and as many are matched as can be;
    from 0.5 on no event ever has a choice. Range 0 to 1, proven; higher is better.

    Returns:
        [N, 3]: matched events, predicted events, true events.
    """
    if not 0.0 < iou <= 1.0:
        raise UsageError(f"iou = {iou:g}: expected a share of the union, above 0 and up to 1")
    said, true = items.said_events, items.true_events
    first, second = _overlapping(items, iou)
    matched = said.recording[first[_matching(first, second)]]
    found = [
        np.bincount(x, minlength=len(items)) for x in (matched, said.recording, true.recording)
    ]
    return np.stack(found, axis=1).astype(np.float64)


def _overlapping(items: FrameItems, iou: float) -> tuple[Ints, Ints]:
    """Return all pairs of a predicted and a true event that overlap enough, in order."""
    said, true = items.said_events, items.true_events
    both = (items.said == items.true) & (said.of_frame >= 0)
    key = said.of_frame[both] * max(len(true.length), 1) + true.of_frame[both]
    pairs, shared = np.unique(key, return_counts=True)
    first, second = np.divmod(pairs, max(len(true.length), 1))
    union = said.length[first] + true.length[second] - shared
    enough = shared / np.maximum(union, 1) >= iou
    return first[enough], second[enough]


def _matching(first: Ints, second: Ints) -> NDArray[np.bool_]:
    """Return which pairs to take, so that nobody is taken twice and no more can be.

    The events of either side follow one another in time, so pairs never cross: of the first pair
    left, one side has no other partner, and taking that pair costs nothing.
    """
    taken = np.ones(len(first), dtype=bool)
    if len(np.unique(first)) == len(first) and len(np.unique(second)) == len(second):
        return taken
    last, gone = -1, set()
    for at, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        taken[at] = one != last and other not in gone
        if taken[at]:
            last = one
            gone.add(other)
    return taken


# --- key frames ----------------------------------------------------------------------------------


def _lacks_keys(items: FrameItems) -> str:
    if items.keys is None:
        return "the references have no key frames: it needs a dataset that marks them"
    if items.said_keys is None:
        return (
            "the predictions have no column 'keys': give the numbers of the key frames of each "
            "recording, an empty list where there are none"
        )
    return ""


@metric(
    kind="frames",
    columns=_COUNTS,
    value=_f1,
    gradient=_f1_gradient,
    bounds=(0.0, 1.0),
    settings="matching:one to one|missing:none",
    options={"tolerance": 1},
    shown=("tolerance",),
    check=_lacks_keys,
)
def key_frame_f1(items: FrameItems, tolerance: int) -> Floats:
    """Key-frame F1: ``2 tp / (said + true)`` of key frames, right within `tolerance` frames.

    A predicted key frame is right if it is matched with a true one at most `tolerance` frames
    away. One matches at most one, and as many are matched as can be. Range 0 to 1, proven; higher
    is better.

    Returns:
        [N, 3]: matched key frames, predicted ones, true ones.
    """
    if tolerance < 0:
        raise UsageError(f"tolerance = {tolerance}: expected a number of frames, 0 or more")
    pairs = list(zip(items.said_keys or [], items.keys or [], strict=True))
    rows = [(_matched(said, true, tolerance), len(said), len(true)) for said, true in pairs]
    return np.array(rows, dtype=np.float64)


def _matched(said: Ints, true: Ints, tolerance: int) -> int:
    """Return how many of two sorted lists can be matched: the earliest pair first is optimal."""
    ours, theirs = said.tolist(), true.tolist()
    at = other = count = 0
    while at < len(ours) and other < len(theirs):
        if abs(ours[at] - theirs[other]) <= tolerance:
            at, other, count = at + 1, other + 1, count + 1
        elif ours[at] < theirs[other]:
            at += 1
        else:
            other += 1
    return count
