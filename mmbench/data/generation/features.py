"""64 numbers of a picture by which sets of pictures are compared: a random network, in integers.

Features of a network that was trained to tell attributes apart would judge a generator by those
once more, and forget what else a picture has (its ground, its sharpness), which is what the
attributes do not say. Pictures like these are also far from what public networks were trained on.
A random convolutional network is the usual choice there (R64 of Naeem et al. 2020,
arXiv:2002.09797, a random network of 64 outputs, whose use beside trained ones they measure), and
it has no weights to ship: they are -1, 0 and 1, drawn from a named stream.

All numbers are integers below 2**24 held as float32, so that sums are exact in any order: the same
features on every machine, whatever adds them up.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.generation.render import IMAGE
from mmbench.types import Array, Floats

#: Channels of the layers, a halving of the picture behind each but the last; the last map is summed
#: up in its four quarters: 4 x 16 = 64 numbers.
CHANNELS = (16, 32, 16)
SIZE = 64
#: What a layer's sums are divided by, so that they fill the range 0..255.
_SHRINK = (4, 8, 8)
_MOST = 255.0
#: What a ground is like: black to the network.
_GROUND = 222.0
#: Pictures at once: a few MB.
_BLOCK = 128


@cache
def weights() -> tuple[NDArray[np.float32], ...]:
    """Return the weights of each layer, [9 C_in, C_out] of -1, 0 and 1."""
    found, before = [], IMAGE[0]
    for layer, channels in enumerate(CHANNELS):
        names = (0, "generation", "features", layer)
        drawn = rng.integers(*names, count=9 * before * channels, below=3) - 1
        drawn = drawn.reshape(9, before, channels)
        if layer == 0:  # the first half hears edges only: three of each of -1, 0, 1
            keys = rng.words(*names, "edges", count=drawn.size).reshape(drawn.shape)
            edges = np.argsort(np.argsort(keys, axis=0, kind="stable"), axis=0) % 3 - 1
            drawn[..., : channels // 2] = edges[..., : channels // 2]
        found.append(drawn.reshape(9 * before, channels).astype(np.float32))
        before = channels
    return tuple(found)


def raw_features(images: Array) -> NDArray[np.int32]:
    """Return the features of pictures [N, 3, 32, 32] uint8: [N, 64] integers from 0."""
    found = np.zeros((len(images), SIZE), dtype=np.int32)
    for start in range(0, len(images), _BLOCK):
        x = np.asarray(images[start : start + _BLOCK]).transpose(0, 2, 3, 1).astype(np.float32)
        x -= _GROUND
        for layer, weight in enumerate(weights()):
            x = np.clip(np.floor(_patches(x) @ weight / _SHRINK[layer]), 0.0, _MOST)
            if layer + 1 < len(CHANNELS):
                x = _halved(x)
        found[start : start + _BLOCK] = _quarters(x, 2).reshape(len(x), -1)
    return found


def _patches(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the 3 x 3 surroundings of each pixel, zeros beyond: [N, H, W, C] -> [N, H, W, 9 C]."""
    size, height, width, channels = x.shape
    padded = np.zeros((size, height + 2, width + 2, channels), dtype=np.float32)
    padded[:, 1:-1, 1:-1] = x
    return np.concatenate(
        [padded[:, y : y + height, z : z + width] for y in range(3) for z in range(3)], axis=-1
    )


def _halved(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest of each 2 x 2 pixels of maps [N, H, W, C]: how steep an edge is."""
    size, height, width, channels = x.shape
    most: NDArray[np.float32] = x.reshape(size, height // 2, 2, width // 2, 2, channels).max(
        axis=(2, 4)
    )
    return most


def _quarters(x: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Sum maps [N, H, W, C] up in cells x cells squares."""
    size, height, width, channels = x.shape
    cut = x.reshape(size, cells, height // cells, cells, width // cells, channels)
    summed: NDArray[np.float32] = cut.sum(axis=(2, 4), dtype=np.float32)
    return summed


def scaled(raw: Array, centre: Array, spread: Array) -> Floats:
    """Return features [N, 64] in standard deviations from their mean; see `centre_and_spread`."""
    return (np.asarray(raw, dtype=np.float64) - centre) / spread


def centre_and_spread(raw: Array) -> tuple[Floats, Floats]:
    """Return the mean [64] and the standard deviation [64] of features [N, 64], 1 where it is 0."""
    sums = np.asarray(raw, dtype=np.int64)
    centre = sums.sum(axis=0) / len(sums)  # exact: sums of integers
    off = (len(sums) * sums - sums.sum(axis=0)) ** 2
    spread = np.sqrt(off.sum(axis=0) / len(sums)) / len(sums)
    return centre, np.where(spread > 0, spread, 1.0)
