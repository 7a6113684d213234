"""What is planted: how touch, form and odour of a thing come with its material and hardness.

There are four materials, two soft and two hard ones, of either *kind* (the first and second of each
pair). Given the material,

* the *hardness* (8 degrees) is low or high, with overlap;
* *form* (4) and *size* (3) are drawn evenly, and say nothing;
* the *odour* (4) has two bits. One says whether the material is hard, rightly with probability
  `TOLD`. The other says its kind, rightly with probability ``interaction``, but turned round for
  boxes and rods, which have ends or corners: without the form it says nothing.

Touch shows no hardness but a *force*, hardness plus twice the size, for a big thing yields less:
how hard it is takes touch and form. The kind is had only by joining odour and form, and late fusion
cannot have it.

Each modality shows its values plainly (tests read them off it), and all that it shows beside them
is noise: who sees it knows at most what the values tell, so bounds follow from sums over a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data._finite import best

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

CLASSES = ("wax", "rubber", "wood", "stone")
FORMS = ("ball", "ring", "box", "rod")
MODALITIES = ("touch", "form", "odour")
#: Columns of the states of an item, and how many values each has.
STATES = {"hardness": 8, "form": len(FORMS), "size": 3, "odour": 4}
#: How many forces there are.
FORCES = STATES["hardness"] + 2 * (STATES["size"] - 1)
#: How often the odour's first bit is right.
TOLD = 0.75
#: The number of each degree of hardness on Shore's scale D; the output ``hardness`` is that number
#: as it was read, with an even error of at most so much, which nobody can know.
DEGREES = 10 + 10 * np.arange(STATES["hardness"])
ERROR = 15
#: What can be read.
VALUES = np.arange(DEGREES[0] - ERROR, DEGREES[-1] + ERROR + 1)
#: p(hardness | soft); that of hard materials is the same the other way round.
_SOFT = np.array([0.24, 0.22, 0.18, 0.14, 0.10, 0.06, 0.04, 0.02])


@dataclass(frozen=True)
class Law:
    """The law of a split.

    Attributes:
        interaction: How often odour and form together tell the kind, .5 to 1.
    """

    interaction: float

    @property
    def table(self) -> Floats:
        """p(material, hardness, form, size, odour), [4, 8, 4, 3, 4]."""
        return _table(self)


@cache
def _table(law: Law) -> Floats:
    material = np.arange(len(CLASSES))
    hard, kind = material // 2, material % 2
    degree = np.stack([_SOFT, _SOFT[::-1]])[hard]  # [4, 8]
    right = {True: law.interaction, False: 1.0 - law.interaction}
    smell = np.zeros((len(CLASSES), len(FORMS), STATES["odour"]))
    for m, form, odour in np.ndindex(*smell.shape):
        first, second = divmod(odour, 2)
        told = TOLD if first == hard[m] else 1.0 - TOLD
        smell[m, form, odour] = told * right[bool(second == kind[m] ^ turned(form))]
    found = degree[:, :, None, None, None] * smell[:, None, :, None, :]
    found = np.broadcast_to(found, (len(CLASSES), *STATES.values()))
    return np.asarray(found / found.sum())


def turned(form: int) -> int:
    """Return 1 for forms with which the odour's second bit is turned round, else 0."""
    return int(form >= 2)


def force(hardness: Array, size: Array) -> Array:
    """Return the force that touch shows."""
    return np.asarray(hardness + 2 * size)


def seen(states: Array, heard: frozenset[str]) -> Array:
    """Return [N] a number for what is seen of the states [N, 4], in the order of `STATES`."""
    hardness, form, size, odour = states.T
    found = np.zeros(len(states), dtype=np.int64)
    if "touch" in heard:
        found = force(hardness, size)
    if "form" in heard:
        found = (found * len(FORMS) + form) * STATES["size"] + size
    if "odour" in heard:
        found = found * STATES["odour"] + odour
    return found


#: Numbers of `seen` at most.
_MOST = FORCES * len(FORMS) * STATES["size"] * STATES["odour"]


@cache
def joint(law: Law, heard: frozenset[str], output: str) -> Floats:
    """Return p(output, what is seen), [C, K]: of the materials, or of the `VALUES` of hardness."""
    cells = np.indices(law.table.shape).reshape(law.table.ndim, -1)
    value = cells[0] if output == "material" else cells[1]
    count = len(CLASSES) if output == "material" else STATES["hardness"]
    what = value * _MOST + seen(cells[1:].T, heard)
    sums = np.bincount(what, weights=law.table.ravel(), minlength=count * _MOST)
    table: Floats = sums.astype(np.float64).reshape(count, _MOST)
    if output == "material":
        return table
    return readings() @ table


@cache
def readings() -> Floats:
    """Return p(value that is read | degree), [101, 8]."""
    near = np.abs(VALUES[:, None] - DEGREES) <= ERROR
    return np.asarray(near / near.sum(axis=0))


def posterior(law: Law, states: Array, heard: frozenset[str], output: str) -> Floats:
    """Return p(output | what is seen), [N, C].

    Args:
        law: Where the items come from.
        states: [N, 4] in the order of `STATES`.
        heard: The modalities, any subset of `MODALITIES`.
        output: ``material`` or ``hardness``.
    """
    chances = joint(law, heard, output)[:, seen(states, heard)]
    return np.asarray((chances / chances.sum(axis=0)).T)


def median(chances: Floats) -> Floats:
    """Return [N], the median of the hardness given its probabilities [N, 101]; the lower of two."""
    below = np.cumsum(chances, axis=1)
    return np.asarray(VALUES[(below < 0.5 - 1e-6).sum(axis=1)])


@cache
def limits(law: Law, heard: frozenset[str]) -> dict[str, float]:
    """Return the best that can be expected of whoever sees `heard`: metric -> value.

    Those of `_finite.best` of the material, and ``hardness.mae``, which is least at the median.
    """
    table = joint(law, heard, "hardness")
    costs = np.abs(VALUES[:, None] - VALUES) @ table
    return best(joint(law, heard, "material")) | {"hardness.mae": float(costs.min(axis=0).sum())}


@cache
def late_limits(law: Law) -> dict[str, float]:
    """Return the best on the material of whoever sees all but form and the odour's second bit.

    No late fusion has a lower log loss. The law does not change where that bit is turned round and
    each form exchanged for one of the other pair. A late fusion adds functions of single modalities
    up, or mixes forecasts with fixed weights; both losses are convex in the functions, so the mean
    over both ways round loses no more, and it knows neither.
    """
    cells = np.indices(law.table.shape).reshape(law.table.ndim, -1)
    material, hardness, _, size, odour = cells
    what = (force(hardness, size) * STATES["size"] + size) * 2 + odour // 2
    count = FORCES * STATES["size"] * 2
    table = np.bincount(material * count + what, weights=law.table.ravel())
    return best(table.astype(np.float64).reshape(len(CLASSES), count))
