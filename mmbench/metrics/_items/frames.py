"""What metrics of labelled time steps read: frames, the events they form, and key frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import ItemError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.references import FrameReferences, Said

    Ints = NDArray[np.int64]

#: The class of a frame about which nothing is said.
NONE = -1


@dataclass(frozen=True)
class Events:
    """E runs of equal classes, none of them background, in order.

    Attributes:
        recording: [E] the recording of each.
        length: [E] its frames.
        of_frame: [F] the event of each frame, -1 where there is none.
    """

    recording: Ints
    length: Ints
    of_frame: Ints


@dataclass(frozen=True)
class FrameItems:
    """N recordings: predicted classes beside the right ones, F frames in all.

    Attributes:
        recording: [F] the recording of each frame, 0 to N - 1, in order.
        said: [F] the predicted class; -1 where the recording has no prediction.
        true: [F] the right class.
        size: N.
        classes: The C names.
        background: The number of the class that is no event; None: every class is one.
        keys: For each recording the numbers of its key frames, sorted; None where there are none.
        said_keys: For each recording those that were predicted; None where none were asked for.
    """

    recording: Ints
    said: Ints
    true: Ints
    size: int
    classes: tuple[str, ...]
    background: int | None
    keys: Sequence[Ints] | None = None
    said_keys: Sequence[Ints] | None = None

    def __len__(self) -> int:
        return self.size

    @property
    def foreground(self) -> list[int]:
        """The numbers of the classes that are events."""
        return [number for number in range(len(self.classes)) if number != self.background]

    def per_recording(self, frames: NDArray[np.bool_]) -> Ints:
        """Return [N] how many frames of each recording are marked."""
        return np.bincount(self.recording[frames], minlength=self.size)

    def is_event(self, classes: Ints) -> NDArray[np.bool_]:
        """Return whether classes are neither background nor unsaid."""
        said: NDArray[np.bool_] = classes != NONE
        return said if self.background is None else said & (classes != self.background)

    @cached_property
    def said_events(self) -> Events:
        """The events that were predicted."""
        return self._events(self.said)

    @cached_property
    def true_events(self) -> Events:
        """The events that are there."""
        return self._events(self.true)

    def _events(self, classes: Ints) -> Events:
        opens = np.ones(len(classes), dtype=bool)
        opens[1:] = (classes[1:] != classes[:-1]) | (self.recording[1:] != self.recording[:-1])
        heads = np.flatnonzero(opens)
        kept = self.is_event(classes[heads])
        number = np.where(kept, np.cumsum(kept) - 1, -1)
        return Events(
            recording=self.recording[heads][kept],
            length=np.diff(heads, append=len(classes))[kept],
            of_frame=number[np.cumsum(opens) - 1] if len(classes) else classes,
        )


def prepare(said: Said, references: FrameReferences) -> FrameItems:
    """Put predicted classes of frames beside the right ones.

    Args:
        said: For each recording, one class for each of its frames: numbers, or names. A missing
            one (None) says nothing about any frame and finds no key frame. The column ``keys``, if
            there is one: for each recording, the numbers of its key frames, from 0.
        references: Of the same N recordings.

    Raises:
        ItemError: A prediction is not of the recording's length, or holds no classes; a key
            frame lies outside the recording; the references are wrong.
    """
    true = [
        _frames(frames, len(frames), name, references.classes, "the right classes")
        for name, frames in zip(said.ids, references.frames, strict=True)
    ]
    lengths = np.array([len(frames) for frames in true], dtype=np.int64)
    pairs = zip(said.ids, said.values, lengths.tolist(), strict=True)
    told = [
        np.full(length, NONE)
        if value is None
        else _frames(value, length, name, references.classes, "the prediction")
        for name, value, length in pairs
    ]
    nothing = np.zeros(0, dtype=np.int64)
    keys, said_keys = references.keys, said.columns.get("keys")
    return FrameItems(
        recording=np.repeat(np.arange(len(true)), lengths),
        said=np.concatenate([nothing, *told]),
        true=np.concatenate([nothing, *true]),
        size=len(true),
        classes=references.classes,
        background=references.background,
        keys=None if keys is None else _keys(keys, lengths, said.ids, "right key frames"),
        said_keys=None
        if said_keys is None
        else _keys(said_keys, lengths, said.ids, "predicted key frames"),
    )


def _frames(value: Any, length: int, name: str, classes: tuple[str, ...], what: str) -> Ints:
    """Return the classes of one recording's frames as numbers."""
    frames = np.asarray(value)
    if frames.shape != (length,):
        raise ItemError(
            f"{what} of {name!r} has the shape {frames.shape}: expected one class for each of its "
            f"{length} frames",
            name,
            right=_is_right(what),
        )
    if frames.dtype.kind in "US":
        frames = _numbers(frames, name, classes)
    if length and frames.dtype.kind not in "iu":
        raise ItemError(
            f"{what} of {name!r} holds {frames.dtype}: expected numbers of classes, or their names",
            name,
            right=_is_right(what),
        )
    if length and not 0 <= frames.min() <= frames.max() < len(classes):
        wrong = frames.min() if frames.min() < 0 else frames.max()
        raise ItemError(
            f"{what} of {name!r} holds the class {wrong}: expected 0 to {len(classes) - 1}",
            name,
            right=_is_right(what),
        )
    return frames.astype(np.int64)


def _is_right(what: str) -> bool:
    return what.removeprefix("the ").startswith("right")


def _numbers(names: Any, recording: str, classes: tuple[str, ...]) -> Ints:
    place = {name: number for number, name in enumerate(classes)}
    for unknown in [name for name in names.tolist() if name not in place][:1]:
        near = nearest(str(unknown), classes)
        raise ItemError(
            f"the prediction of {recording!r} holds the class {unknown!r}: "
            f"{f'did you mean {near!r}? ' if near else ''}known: {', '.join(classes)}",
            recording,
        )
    return np.array([place[name] for name in names.tolist()], dtype=np.int64)


def _keys(column: Sequence[Any], lengths: Ints, ids: Sequence[str], what: str) -> list[Ints]:
    """Return the key frames of each recording, sorted; none where there is no prediction."""
    found = []
    for name, value, length in zip(ids, column, lengths.tolist(), strict=True):
        keys = np.asarray([] if value is None else value)
        if keys.ndim != 1 or (len(keys) and keys.dtype.kind not in "iu"):
            raise ItemError(
                f"the {what} of {name!r} are no list of frame numbers", name, right=_is_right(what)
            )
        if len(keys) and not 0 <= keys.min() <= keys.max() < length:
            raise ItemError(
                f"the {what} of {name!r} lie outside its frames, which are 0 to {length - 1}",
                name,
                right=_is_right(what),
            )
        found.append(np.sort(keys.astype(np.int64)))
    return found


def perfect(references: FrameReferences) -> tuple[list[Any], dict[str, Sequence[Any]]]:
    """Return the right classes, and the right key frames where there are any."""
    columns: dict[str, Sequence[Any]] = {}
    if references.keys is not None:
        columns["keys"] = list(references.keys)
    return list(references.frames), columns
