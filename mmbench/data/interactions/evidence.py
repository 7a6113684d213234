"""What a sequence says of its modality's state: exact log-likelihoods.

With noise of deviation s, amplitude a and a hidden time drawn evenly from T,

    log p(x | z) = const + log mean_t exp(a <x_t, P_z> / s^2 - a^2 / 2 s^2).

Where the vision shows four objects at four different times, the mean is over all ways to place
them; a recursion over time with a state for each object (not yet shown, or shown with value v)
does it for all 4^4 lists of values at once. Only projections onto the few directions that are
used matter, so `project` comes first and everything else reads those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmbench.data.interactions.law import Law
from mmbench.data.interactions.sequences import LENGTHS, group_direction, state_directions
from mmbench.data.interactions.structures import SIZE, Floats, Ints

# Items whose placements are counted at once: 625 states each.
_BLOCK = 200


@dataclass(frozen=True)
class Projected:
    """One modality of N items, seen along the directions that are used.

    Attributes:
        states: [N, T, 4], or [N, T, 8] where objects are shown.
        group: [N] the sum over time along the group's direction; None where it is not used.
    """

    states: Floats
    group: Floats | None


def project(x: Floats, law: Law, modality: int) -> Projected:
    """Project sequences [N, T, d] of one modality."""
    basis = state_directions(modality, _shows_objects(law, modality))
    group = None
    if modality == law.group:
        group = x.sum(axis=1, dtype=np.float64) @ group_direction(modality)
    return Projected(np.asarray(x, dtype=np.float64) @ basis, group)


def log_likelihood(seen: Projected, law: Law, modality: int) -> Floats:
    """Return [N, S], log p(x | state) but for a constant of the item."""
    amplitude, deviation = law.amplitudes[modality], law.deviations[modality]
    if _shows_objects(law, modality):
        found = _of_objects(seen.states, amplitude, deviation, _values(law))
    else:
        found = _of_one(seen.states, amplitude, deviation)
    if seen.group is None:
        return found
    # Sum over T of +-b + noise: log ratio of both signs is 2 b sum / s^2, half to each.
    half = law.group_amplitude * seen.group / deviation**2
    return (found[:, :, None] + np.stack([-half, half], axis=1)[:, None]).reshape(len(found), -1)


def _shows_objects(law: Law, modality: int) -> bool:
    return modality == 1 and law.structure.values is not None


def _values(law: Law) -> Ints:
    values = law.structure.values
    assert values is not None
    return values


def _of_one(x: Floats, amplitude: float, deviation: float) -> Floats:
    terms = (amplitude * x - amplitude**2 / 2) / deviation**2  # [N, T, 4]
    top = terms.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(terms - top).mean(axis=1)))


def _of_objects(x: Floats, amplitude: float, deviation: float, values: Ints) -> Floats:
    things, shown = x[..., :SIZE], x[..., SIZE:]
    terms = things[..., :, None] + shown[..., None, :]  # [N, T, object, value]
    terms = (amplitude * terms - amplitude**2) / deviation**2
    top = terms.max(axis=(1, 3), keepdims=True)
    chances = np.exp(terms - top)
    places = np.concatenate(
        [_placed(chances[start : start + _BLOCK], values) for start in range(0, len(x), _BLOCK)]
    )
    ways = float(np.prod(LENGTHS[1] - np.arange(SIZE)))
    tiny = np.finfo(np.float64).tiny
    return np.asarray(np.log(np.maximum(places, tiny) / ways) + top.sum(axis=(1, 2, 3))[:, None])


def _placed(chances: Floats, values: Ints) -> Floats:
    """Return [N, K]: the sum over all ways to place the objects of the product of their chances.

    `sums` has an axis for each object: 0 is "not yet shown", 1 + v is "shown with value v".
    """
    items = len(chances)
    sums = np.zeros((SIZE + 1,) * SIZE + (items,))
    sums[0, 0, 0, 0] = 1.0
    for now in np.moveaxis(chances, (1, 0), (0, 3)):  # [object, value, N]
        before = sums.copy()
        for thing in range(SIZE):
            later = np.moveaxis(sums, thing, 0)[1:]  # a view: [value, ..., N]
            still = np.moveaxis(before, thing, 0)[0]
            later += now[thing].reshape(SIZE, 1, 1, 1, items) * still
    return np.asarray(sums[tuple(1 + values.T)].T)
