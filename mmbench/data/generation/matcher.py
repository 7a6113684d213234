"""Reads the attributes off a picture: the likeliest of all pictures that can be, by least squares.

A picture is a ground that is a plane in each channel, and a shape in one colour on it. For each of
the 432 masks (shape, size, place) the best ground and colour are a linear regression; the mask
that leaves least is the answer, and its colour is that of the palette which is nearest. With
normal noise this is maximum likelihood (a generalised likelihood ratio test).
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mmbench.data.generation.render import BEGINS, IMAGE, PLACES, QUARTER
from mmbench.data.scenecap.render import CELL, PALETTE, masks
from mmbench.data.scenecap.world import SHAPES, SIZES, Ints
from mmbench.types import Array

#: A picture of which no mask explains so much of what the plane leaves shows nothing.
LEAST = 0.15
#: What is said of an attribute that no picture shows.
NONE = -1
_BLOCK = 250


@cache
def _templates() -> tuple[Ints, NDArray[np.float32]]:
    """Return what masks show (shape, size, place), [432, 3], and the masks [432, P] of 0..1."""
    shown, table = [], []
    for shape, size, place in product(range(len(SHAPES)), range(len(SIZES)), range(4)):
        for down, across in product(range(PLACES), repeat=2):
            canvas = np.zeros(IMAGE[1:], dtype=np.float32)
            y, x = (QUARTER * half + BEGINS for half in divmod(place, 2))
            mask = masks()[shape, size, 1, 1] / 64.0
            canvas[y + down : y + down + CELL, x + across : x + across + CELL] = mask
            shown.append((shape, size, place))
            table.append(canvas.ravel())
    return np.array(shown), np.array(table)


@cache
def _plane() -> NDArray[np.float32]:
    """Return an orthonormal basis of the grounds, [3, P]."""
    along, ones = np.linspace(-1.0, 1.0, IMAGE[1]), np.ones(IMAGE[1:])
    plane = np.stack([ones, ones * along[:, None], ones * along]).reshape(3, -1)
    plane /= np.sqrt((plane**2).sum(axis=1, keepdims=True))  # orthogonal already
    return np.asarray(plane, dtype=np.float32)


@cache
def _apart() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what of each mask is in no ground, [432, P] of length 1, and what length it had."""
    masks_, plane = _templates()[1], _plane()
    rest = masks_ - (masks_ @ plane.T) @ plane
    length = np.sqrt((rest**2).sum(axis=1))
    return rest / length[:, None], length


def read(images: Array) -> dict[str, Ints]:
    """Return the attributes of pictures [N, 3, 32, 32] uint8: name -> [N], -1 for nothing seen."""
    found = np.full((len(images), 4), NONE, dtype=np.int64)
    for start in range(0, len(images), _BLOCK):
        found[start : start + _BLOCK] = _block(np.asarray(images[start : start + _BLOCK]))
    return dict(zip(("shape", "size", "place", "colour"), found.T, strict=True))


def _block(images: Array) -> Ints:
    (shown, whole), plane, (apart, length) = _templates(), _plane(), _apart()
    x = images.reshape(len(images), IMAGE[0], -1).astype(np.float32)
    rest = x - (x @ plane.T) @ plane
    said = rest @ apart.T  # [n, 3 channels, 432]
    explained = (said**2).sum(axis=1)
    best = explained.argmax(axis=1)
    rows = np.arange(len(images))
    enough = explained[rows, best] > LEAST * np.maximum((rest**2).sum(axis=(1, 2)), 1.0)
    # How far the shape is from its ground, and the ground where it is: together its colour.
    contrast = said[rows, :, best] / length[best][:, None]
    mask = whole[best]
    ground = (x - contrast[:, :, None] * mask[:, None]) @ plane.T  # [n, 3 channels, 3]
    under = (ground * ((mask @ plane.T) / mask.sum(axis=1)[:, None])[:, None]).sum(axis=2)
    off = ((contrast + under)[:, None] - np.array(PALETTE, dtype=np.float32)) ** 2
    answer = np.concatenate([shown[best], off.sum(axis=2).argmin(axis=1)[:, None]], axis=1)
    return np.where(enough[:, None], answer, NONE)
