"""What is planted: the joint law p(y, z) of label and latents, one table for each structure.

Each modality m has a latent z_m that its sequence shows at some hidden time (see `sequences`).
What y has to do with the latents decides which fusion can work:

* ``redundant``: z_m = y for every m. Each modality tells all, and errs on its own.
* ``imbalanced``: the same; the text is loud, the others are not (see `amplitudes`).
* ``unique``: z_text = y; the others are independent of everything.
* ``synergy``: y = z_text + z_vision mod 4. No single modality knows anything of y.
* ``synergy3``: y = z_text + z_vision + z_audio mod 4. No two know anything.
* ``sentiment``: sarcasm. The sign of y is that of the text (z_text >= 2), turned round where
  z_vision = 3; whether y is strong is told by the audio (z_audio >= 2).
* ``grounding``: the text names an object c; the vision shows the values of four objects, each
  once, in any order; y = value of c.
* ``shortcut``: the same with values drawn one by one. The commonest value is a guess that needs
  no text: right with probability 17/32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Name: TypeAlias = Literal[
    "redundant",
    "imbalanced",
    "unique",
    "synergy",
    "synergy3",
    "sentiment",
    "grounding",
    "shortcut",
]

#: The modalities, in the order of all tables.
MODALITIES = ("text", "vision", "audio")
#: Classes of the label, values of a latent, objects, and values of an object.
SIZE = 4


@dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes:
        table: [C, K_text, K_vision, K_audio] float64, p(y, z); it sums to 1.
        amplitudes: For each modality, how loud its latent is; the noise has deviation 1.
        values: Where the vision shows objects, [K_vision, 4] int, the value of each object in each
            state; None where it shows one state.
        classes: The C names.
    """

    table: Floats
    amplitudes: tuple[float, float, float]
    values: Ints | None = None
    classes: tuple[str, ...] = ("0", "1", "2", "3")

    @property
    def speaking(self) -> tuple[int, ...]:
        """The modalities whose latent is not independent of the label and the other latents."""
        found = []
        for axis in range(1, self.table.ndim):
            alone = _marginal(self.table, axis)
            rest = self.table.sum(axis=axis, keepdims=True)
            if not np.allclose(self.table, rest * alone, rtol=0, atol=1e-12):
                found.append(axis - 1)
        return tuple(found)


#: How loud each modality is: found by root finding on `information.lattice`, so that the bits
#: and accuracies of the whole suite lie where families of fusion part.
_AMPLITUDES: dict[str, tuple[float, float, float]] = {
    "redundant": (2.29, 2.21, 2.11),
    "imbalanced": (3.39, 2.21, 2.11),
    "unique": (3.2, 3.2, 3.2),
    "synergy": (4.6, 4.6, 4.6),
    "synergy3": (4.8, 4.8, 4.8),
    "sentiment": (4.4, 4.4, 4.4),
    "grounding": (4.5, 4.5, 4.5),
    "shortcut": (4.5, 4.5, 4.5),
}


@cache
def structure(name: Name) -> Structure:
    """Return a structure by name."""
    table = np.zeros((SIZE, SIZE, SIZE, SIZE))
    if name in ("grounding", "shortcut"):
        return _objects(name)
    for z in product(range(SIZE), repeat=3):
        for y in range(SIZE):
            table[(y, *z)] = _weight(name, y, *z)
    classes = ("--", "-", "+", "++") if name == "sentiment" else ("0", "1", "2", "3")
    return Structure(table / table.sum(), _AMPLITUDES[name], classes=classes)


def _weight(name: Name, y: int, text: int, vision: int, audio: int) -> bool:
    """Say whether this combination occurs; those that do are equally likely."""
    if name in ("redundant", "imbalanced"):
        return text == vision == audio == y
    if name == "unique":
        return text == y
    if name == "synergy":
        return (text + vision) % SIZE == y
    if name == "synergy3":
        return (text + vision + audio) % SIZE == y
    positive, strong = (text >= 2) != (vision == 3), audio >= 2
    return y == (2 + strong if positive else 1 - strong)


def _objects(name: Name) -> Structure:
    once = name == "grounding"
    rows = permutations(range(SIZE)) if once else product(range(SIZE), repeat=SIZE)
    values = np.array(list(rows), dtype=np.int64)
    table = np.zeros((SIZE, SIZE, len(values), SIZE))
    for named in range(SIZE):
        table[values[:, named], named, np.arange(len(values)), :] = 1.0
    return Structure(table / table.sum(), _AMPLITUDES[name], values)


def _marginal(table: Floats, axis: int) -> Floats:
    """Return the law of one axis, shaped so that it multiplies a table."""
    others = tuple(other for other in range(table.ndim) if other != axis)
    return np.asarray(table.sum(axis=others, keepdims=True))
