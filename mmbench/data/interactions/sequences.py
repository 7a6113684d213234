"""How latents become sequences: ``x[t] = a P[z] 1[t = hidden time] + noise``.

The three modalities run at unequal rates, unaligned. A modality shows its latent z at one time
drawn evenly, along the z-th of four orthonormal directions; the vision of `grounding` and
`shortcut` shows each of four objects at a time of its own, along the sum of two directions, one
for the object and one for its value. A group attribute, where there is one, stands at all times
along a direction that nothing else uses: plus or minus its amplitude.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from mmbench import rng
from mmbench.data.interactions.noise import normals
from mmbench.data.interactions.structures import MODALITIES, SIZE, Floats, Ints

#: Steps of time, and numbers a step, of text, vision and audio.
LENGTHS = (8, 10, 12)
WIDTHS = (16, 12, 8)
SHAPES = dict(zip(MODALITIES, zip(LENGTHS, WIDTHS, strict=True), strict=True))


@cache
def directions(width: int) -> Floats:
    """Return `width` orthonormal columns, [width, width]: a Hadamard matrix, scaled.

    Sylvester's doubling for 8 and 16, Paley's construction for 12 (Journal of Mathematics and
    Physics 1933). All entries are plus or minus one number, so that no channel stands out, and
    no linear algebra is needed to make it.
    """
    signs = _paley(11) if width == 12 else np.ones((1, 1))
    while len(signs) < width:
        signs = np.block([[signs, signs], [signs, -signs]])
    return np.asarray(signs / np.sqrt(width))


def _paley(prime: int) -> Floats:
    squares = {i * i % prime for i in range(1, prime)}
    character = [0, *(1 if i in squares else -1 for i in range(1, prime))]
    signs = np.ones((prime + 1, prime + 1))
    for row in range(prime):
        for column in range(prime):
            signs[row + 1, column + 1] = character[(column - row) % prime] if row != column else -1
    return signs


def state_directions(modality: int, objects: bool) -> Floats:
    """Return the directions [d, 4] of a latent's values, or [d, 8] of objects and their values."""
    count = 2 * SIZE if objects else SIZE
    return directions(WIDTHS[modality])[:, 1 : 1 + count]


def group_direction(modality: int) -> Floats:
    """Return the direction [d] of the group attribute."""
    return directions(WIDTHS[modality])[:, -1]


def signal(seed: int, *names: object, modality: int, states: Ints, values: Ints | None) -> Floats:
    """Return what a modality shows at amplitude 1, without noise, [N, T, d].

    Args:
        seed: The data seed.
        names: The stream of the hidden times.
        modality: Its number.
        states: [N] the latent.
        values: [K, 4] the values of the objects in each state; None where one state is shown.
    """
    length = LENGTHS[modality]
    basis = state_directions(modality, values is not None)
    order = rng.words(seed, *names, count=len(states) * length).reshape(-1, length)
    times = np.argsort(order, axis=1, kind="stable")
    shown = np.zeros((len(states), length, basis.shape[0]))
    rows = np.arange(len(states))
    if values is None:
        shown[rows, times[:, 0]] = basis[:, states].T
        return shown
    for thing in range(SIZE):
        vector = basis[:, thing] + basis[:, SIZE + values[states, thing]].T
        shown[rows, times[:, thing]] = vector
    return shown


def static(seed: int, *names: object, modality: int, items: int) -> Floats:
    """Return standard normal noise, [N, T, d]."""
    return normals(seed, *names, shape=(items, LENGTHS[modality], WIDTHS[modality]))
