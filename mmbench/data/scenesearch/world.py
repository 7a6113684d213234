"""Scenes: what is seen, what is heard, and what a text tells of both.

Every attribute is drawn evenly and on its own. The image shows a shape in a colour on a ground; the
audio has an animal in an air, which is what is heard all the time. Ground and air are those of one
time of day, or, in the structure ``xor``, of two that have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.scenesearch.params import Params

Ints: TypeAlias = NDArray[np.int64]

#: The values of each attribute, by name; a task may use the first so many.
VALUES: Mapping[str, tuple[str, ...]] = {
    "shape": (
        "disc", "square", "triangle", "diamond", "cross", "ring",
        "frame", "bar", "pillar", "arrow", "crescent", "stairs",
    ),
    "colour": (
        "red", "yellow", "blue", "white", "green", "pink",
        "orange", "black", "cyan", "purple", "brown", "lime",
    ),
    "sound": (
        "robin", "crow", "owl", "frog", "dog", "cat",
        "cow", "horse", "sheep", "goose", "wolf", "bee",
    ),
    "time": ("day", "night", "dusk", "storm"),
    "ground": ("day", "night", "dusk", "storm"),
    "air": ("day", "night", "dusk", "storm"),
    "heading": ("north", "east", "south", "west"),
}  # fmt: skip
#: What each modality of a query shows.
SHOWN = {
    "image": ("shape", "colour", "time", "ground"),
    "audio": ("sound", "time", "air"),
}
#: What a text tells.
TOLD = {
    "independent": ("shape", "colour", "sound", "time"),
    "xor": ("shape", "colour", "sound", "heading"),
}


@dataclass(frozen=True)
class Scenes:
    """N scenes: [N] int of each attribute, an index into its `VALUES`.

    The heading is the exclusive or of ground and air; where these are one, it is 0 and not told.
    """

    shape: Ints
    colour: Ints
    sound: Ints
    ground: Ints
    air: Ints

    @property
    def heading(self) -> Ints:
        """[N] the exclusive or of ground and air."""
        return self.ground ^ self.air

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, rows: slice) -> Scenes:
        """Return some of them."""
        return Scenes(**{name: values[rows] for name, values in vars(self).items()})


def draw(seed: int, split: str, items: int, params: Params) -> Scenes:
    """Draw N scenes of a split; the first n are the same whatever N is."""
    counts = {"shape": params.shapes, "colour": params.colours, "sound": params.sounds}
    counts |= dict.fromkeys(("ground", "air"), params.times)
    drawn = {
        name: rng.integers(seed, "scenesearch", split, name, count=items, below=below)
        for name, below in counts.items()
    }
    if params.structure == "independent":
        drawn["air"] = drawn["ground"]
    return Scenes(**drawn)
