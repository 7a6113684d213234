"""The scenes of SceneCap: what is where, what sounds, and what is hidden.

A scene has 2 to 4 visible objects on a grid of 4 rows and 4 columns, each in a row and in a column
of its own. What information lies where is planted:

* attributes and rows are in the image alone, the sound in the audio alone;
* the *emitter*, the object that makes the sound, is one visible object, uniformly, and only the
  column that the sound comes from tells which: image and audio are needed together;
* the count is in the audio (one beep an object) and, but for an object that an occluder may hide,
  in the image too.

Columns are drawn independently of everything else that a caption speaks of. So the direction of
the sound, without the image, says nothing about any word of a caption: a captioner whose branches
see one modality each cannot learn the emitter from the words before it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mmbench import rng

#: Rows and columns of the grid.
GRID = 4
#: Most visible objects in a scene; slot `MOST` of the position arrays is the occluder's.
MOST = 4
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
SIZES = ("small", "big")
SOUNDS = ("chirp", "buzz", "chime", "click", "hum", "whistle", "growl", "hiss")
DISTANCES = ("near", "far")
#: The split whose scenes hold the shape-colour pairs (shape i, colour i) that no other split has.
HELD_OUT_SPLIT = "ood"

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# For each number of visible objects, equally likely rows (top first, then those left over). With
# two objects, the pair that is three rows apart stands there five times: then far and near are
# even for two and for three objects, and counting tells nothing about the distance.
_ROWS: dict[int, tuple[tuple[int, int, int, int], ...]] = {
    2: (
        (0, 1, 2, 3), (1, 2, 0, 3), (2, 3, 0, 1), (0, 2, 1, 3), (1, 3, 0, 2),
        (0, 3, 1, 2), (0, 3, 1, 2), (0, 3, 1, 2), (0, 3, 1, 2), (0, 3, 1, 2),
    ),
    3: ((0, 1, 2, 3), (1, 2, 3, 0), (0, 1, 3, 2), (0, 2, 3, 1)),
    4: ((0, 1, 2, 3),),
}  # fmt: skip


@dataclass(frozen=True)
class Scenes:
    """N scenes. Visible objects stand in the order of their rows, the topmost first.

    Attributes:
        visible: [N] number of visible objects, 2..4.
        shape: [N, 4] index into `SHAPES`, distinct within a scene; from `visible` on meaningless.
        colour: [N, 4] index into `COLOURS`.
        size: [N, 4] index into `SIZES`.
        row: [N, 5] grid row; slot 4 is the occluder's.
        column: [N, 5] grid column; slot 4 is the occluder's.
        occluded: [N] whether there is an occluder.
        hidden: [N] whether it hides a further object (which sounds, but is never seen or named).
        emitter: [N] index of the visible object that makes the sound.
        sound: [N] index into `SOUNDS`.
    """

    visible: Ints
    shape: Ints
    colour: Ints
    size: Ints
    row: Ints
    column: Ints
    occluded: Bools
    hidden: Bools
    emitter: Ints
    sound: Ints

    def __len__(self) -> int:
        return len(self.visible)

    def take(self, rows: slice) -> Scenes:
        """Return the scenes `rows`."""
        return Scenes(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    @property
    def count(self) -> Ints:
        """[N] objects in the scene, the hidden one included, 2..5: as many as there are beeps."""
        return self.visible + self.hidden

    @property
    def pan(self) -> Ints:
        """[N] the emitter's column, 0..3: where the sound comes from."""
        return np.take_along_axis(self.column, self.emitter[:, None], axis=1)[:, 0]

    @property
    def distance(self) -> Ints:
        """[N] index into `DISTANCES`: far if topmost and bottommost are three rows apart."""
        lowest = np.take_along_axis(self.row, self.visible[:, None] - 1, axis=1)[:, 0]
        return np.asarray(lowest - self.row[:, 0] == GRID - 1, dtype=np.int64)


def draw(seed: int, split: str, items: int, occlusion: float) -> Scenes:
    """Draw the scenes of a split; the first n of them are the same whatever `items` is.

    Args:
        seed: The data seed.
        split: The split's name; ``ood`` has held-out pairs, no other split has any.
        items: How many.
        occlusion: Probability of an occluder, in [0, 1].
    """

    def integers(field: str, below: int, each: int = 1) -> Ints:
        drawn = rng.integers(seed, "scenecap", split, field, count=items * each, below=below)
        return drawn if each == 1 else drawn.reshape(items, each)

    def order(field: str, length: int) -> Ints:
        keys = rng.words(seed, "scenecap", split, field, count=items * length)
        return np.argsort(keys.reshape(items, length), axis=1, kind="stable").astype(np.int64)

    visible = integers("visible", 3) + 2
    shape = order("shape", len(SHAPES))[:, :MOST]
    colour = (shape + 1 + integers("colour", len(COLOURS) - 1, MOST)) % len(COLOURS)
    if split == HELD_OUT_SPLIT:
        item = np.arange(items)
        chosen = np.where(integers("held out", 2) == 0, 0, visible - 1)
        colour[item, chosen] = shape[item, chosen]
    row = _rows(visible, integers("row", 20))
    column = order("column", GRID)
    row, column = _place_occluder(
        visible, row, column, integers("occluder row", GRID), integers("occluder column", GRID - 1)
    )
    occluded = rng.uniform(seed, "scenecap", split, "occluded", count=items) < occlusion
    return Scenes(
        visible=visible,
        shape=shape,
        colour=colour,
        size=integers("size", len(SIZES), MOST),
        row=row,
        column=column,
        occluded=occluded,
        hidden=occluded & (integers("hidden", 2) == 1),
        emitter=integers("emitter", 12) % visible,  # 12 is a multiple of 2, 3 and 4: no bias
        sound=integers("sound", len(SOUNDS)),
    )


def _rows(visible: Ints, drawn: Ints) -> Ints:
    """Pick each scene's rows [N, 4] by a number in 0..19, a multiple of every table's length."""
    rows = np.zeros((len(visible), GRID), dtype=np.int64)
    for number, table in _ROWS.items():
        here = visible == number
        rows[here] = np.array(table)[drawn[here] % len(table)]
    return rows


def _place_occluder(
    visible: Ints, row: Ints, column: Ints, line: Ints, shift: Ints
) -> tuple[Ints, Ints]:
    """Append the occluder's cell: a free row and column, or with four objects any empty cell."""
    item = np.arange(len(visible))
    full = visible == GRID
    spare = np.minimum(visible, GRID - 1)
    second = (visible == 2) & (line % 2 == 1)  # two rows are free: take either
    occluder_row = np.where(full, line, row[item, spare + second])
    occluder_column = np.where(full, column[item, (line + 1 + shift) % GRID], column[item, spare])
    return (
        np.concatenate([row, occluder_row[:, None]], axis=1),
        np.concatenate([column, occluder_column[:, None]], axis=1),
    )
