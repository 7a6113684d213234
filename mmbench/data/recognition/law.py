"""What is planted: how signs in a picture and fields of a record come with the label.

A lesion is benign (0) or malignant (1). Given that,

* the picture's *border* (4 degrees of raggedness) and *size* (4) speak for themselves, and so do
  the record's *age* (20 to 89) and two *markers* (0 to 23): each is drawn for itself;
* the body *site* (4) is drawn evenly, and alone says nothing;
* the picture's *texture*, plain or netlike, says the truth with probability ``interaction``, but
  netlike means malignant on face and trunk, and benign on arm and sole. Without the site it says
  nothing, so that this part of the evidence is had only by whoever joins picture and record.

Each field of the record is missing with probability ``missing``, whatever stands in it. A report
tells decades and bands (low, normal, raised, high) in place of numbers.

The picture shows its three signs plainly (tests read them off the pixels), so everything in it that
has to do with the label is in them, and what pixels add is noise: who sees a picture knows at most
what its signs tell. All bounds here follow from sums over signs and fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data._finite import best, independent

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

#: The classes, and the sites of the body.
CLASSES = ("benign", "malignant")
SITES = ("face", "trunk", "arm", "sole")
#: Columns of the states of an item. Texture is 0 or 1, a missing field is `MISSING`.
SIGNS = ("border", "size", "texture")
FIELDS = ("age", "s100", "ldh", "site")
STATES = (*SIGNS, *FIELDS)
MISSING = -1
#: The least age, how many ages there are, and how many values a marker has.
YOUNGEST, AGES, LEVELS = 20, 70, 24
#: In a report: years of a decade, and the least values of the bands of a marker.
DECADE, BANDS = 10, (0, 7, 10, 14)

#: p(degree | class) of what the picture shows plainly.
_BORDER = np.array([[0.38, 0.30, 0.20, 0.12], [0.12, 0.20, 0.30, 0.38]])
_SIZE = np.array([[0.32, 0.28, 0.22, 0.18], [0.18, 0.22, 0.28, 0.32]])
#: Field -> its means in both classes, and its deviation, before it is made whole.
_NUMBERS = {"age": ((49.0, 58.0), 14.0), "s100": ((9.0, 12.0), 4.5), "ldh": ((9.5, 12.0), 4.5)}


@dataclass(frozen=True)
class Law:
    """The law of a split.

    Attributes:
        prevalence: p(malignant).
        interaction: How often texture and site together tell the truth, .5 to 1.
        missing: How often a field is missing.
        report: Whether the record is a report, which tells bands.
    """

    prevalence: float
    interaction: float
    missing: float
    report: bool

    @property
    def prior(self) -> Floats:
        """p(y), [2]."""
        return np.array([1.0 - self.prevalence, self.prevalence])

    def parts(self, heard: frozenset[str]) -> dict[str, Floats]:
        """Return p(value | y) of what is seen, independent given y: name -> [2, K].

        Texture and site stand together, as ``meaning``: what they say, benign or malignant, or 2
        where the site is missing. No more of them depends on y, and alone neither does.

        Args:
            heard: ``image``, ``record``, both or none.
        """
        found: dict[str, Floats] = {}
        if "image" in heard:
            found |= {"border": _BORDER, "size": _SIZE}
        if "record" in heard:
            found |= {name: self.field(name) for name in _NUMBERS}
        if {"image", "record"} <= heard:
            found["meaning"] = self.meaning()
        return found

    def field(self, name: str) -> Floats:
        """Return p(value | y) of a number of the record, [2, K + 1]; the last value is missing."""
        values = numbers(name)
        if self.report:
            band = banded(name, np.arange(values.shape[1]))
            values = np.stack([np.bincount(band, weights=row) for row in values])
        return np.hstack([(1.0 - self.missing) * values, np.full((2, 1), self.missing)])

    def meaning(self) -> Floats:
        """Return p(what texture and site say | y), [2, 3]."""
        true, told = self.interaction, 1.0 - self.missing
        said = np.array([[true, 1.0 - true], [1.0 - true, true]])
        return np.hstack([told * said, np.full((2, 1), self.missing)])


def meant(texture: Array, site: Array) -> Array:
    """Return [N] the class that a texture on a site speaks for; of a missing site, 2."""
    return np.where(site == MISSING, 2, texture ^ (site >= len(SITES) // 2))


@cache
def numbers(name: str) -> Floats:
    """Return p(value | y) of a number where it is not missing, [2, K]: a normal curve, cut off."""
    means, deviation = _NUMBERS[name]
    values = np.arange(AGES) + YOUNGEST if name == "age" else np.arange(LEVELS)
    curve = np.exp(-((values - np.array(means)[:, None]) ** 2) / (2 * deviation**2))
    return np.asarray(curve / curve.sum(axis=1, keepdims=True))


def signs() -> tuple[Floats, Floats]:
    """Return p(border | y) and p(size | y), [2, 4] each."""
    return _BORDER, _SIZE


def banded(name: str, values: Array) -> Array:
    """Return the bands of values of a number (ages less the least one), 0 upwards."""
    if name == "age":
        return np.asarray(values // DECADE)
    return np.searchsorted(BANDS, values, side="right") - 1


def posterior(law: Law, states: Array, heard: frozenset[str]) -> Floats:
    """Return p(y | what is seen), [N, 2].

    Args:
        law: Where the items come from.
        states: [N, 7] in the order of `STATES`; ages less the least one.
        heard: ``image``, ``record``, both or none.
    """
    log = np.tile(np.log(law.prior), (len(states), 1))
    for name, table in law.parts(heard).items():
        log += np.log(np.maximum(table, 1e-300)).T[_value(law, states, name)]
    chances = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def _value(law: Law, states: Array, name: str) -> Array:
    """Return [N] the value of a part, as `Law.parts` counts it."""
    column = {state: states[:, place] for place, state in enumerate(STATES)}
    if name == "meaning":
        return meant(column["texture"], column["site"])
    values = column[name]
    if name in _NUMBERS:
        last = law.field(name).shape[1] - 1
        told = banded(name, values) if law.report else values
        return np.where(values == MISSING, last, told)
    return values


@cache
def limits(law: Law, heard: frozenset[str]) -> dict[str, float]:
    """Return the best that can be expected of whoever sees `heard`; see `_finite.best`."""
    return best(law.prior[:, None] * independent(*law.parts(heard).values()))


@cache
def late_limits(law: Law) -> dict[str, float]:
    """Return the best that can be expected of whoever sees all but what texture and site say.

    No late fusion has a lower log loss. The law does not change where texture is turned round and
    each site is exchanged for one of the other kind. A late fusion adds functions of picture and
    record up, or mixes two forecasts with fixed weights; both losses are convex in the two
    functions, so the mean over both ways round loses no more, and it knows neither texture nor
    site. (That pixels are seen and not signs is no help: the mean over what pixels add to their
    signs loses no more either.)
    """
    parts = law.parts(frozenset({"image", "record"}))
    del parts["meaning"]
    return best(law.prior[:, None] * independent(*parts.values()))
