"""Random bytes of the pixels and spectrograms, drawn in blocks of bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmbench import rng

#: Items that are rendered at once. Each block has a stream of its own, so it is part of the data.
BLOCK = 500


def random_bytes(seed: int, *names: object, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return random bytes of a shape: those of the stream's words, the lowest byte first.

    Args:
        seed: The data seed.
        names: The stream.
        shape: Its number of elements has to be a multiple of 8.
    """
    count = int(np.prod(shape))
    drawn = rng.words(seed, *names, count=count // 8)
    return drawn.astype("<u8", copy=False).view(np.uint8).reshape(shape)


def byte_noise(noise: NDArray[np.uint8], amplitude: int) -> NDArray[np.int16]:
    """Turn random bytes into even noise of -amplitude..amplitude (at most 127)."""
    scaled = noise.astype(np.uint16) * np.uint16(2 * amplitude + 1) >> np.uint16(8)
    return scaled.astype(np.int16) - np.int16(amplitude)


def small_integers(seed: int, *names: object, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return integers below 2**16 of a shape."""
    return rng.integers(seed, *names, count=shape[0] * shape[1], below=2**16).reshape(shape)


def blocks(items: int) -> list[slice]:
    """Return the blocks of `BLOCK` items that a split is rendered in."""
    return [slice(at, min(at + BLOCK, items)) for at in range(0, items, BLOCK)]
