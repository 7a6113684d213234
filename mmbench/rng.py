"""Named random streams. Nothing in mmbench touches a global seed.

A stream is a seed and a path of names: ``words(0, "batches", "epoch 3", count=10)``. Two streams
with different names are independent; adding one never shifts another. Only the raw 64-bit words
of the bit generator are used, because numpy promises those, and nothing higher, to stay the same
from version to version (NEP 19).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

#: Seeds from here on are those of tuning: no reported run may have them.
TUNING = 1_000_000


def stream_seed(seed: int, *names: object) -> int:
    """Return the 128-bit seed of the stream `names` of `seed`."""
    text = "\x1f".join([str(int(seed)), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def torch_seed(seed: int, *names: object) -> int:
    """Return a 63-bit seed for a torch generator on the stream `names` of `seed`."""
    return stream_seed(seed, *names) & (2**63 - 1)


def words(seed: int, *names: object, count: int) -> NDArray[np.uint64]:
    """Return `count` raw 64-bit words of a stream: the same on every platform, for ever."""
    raw = np.random.PCG64(stream_seed(seed, *names)).random_raw(count)
    return np.asarray(raw, dtype=np.uint64)


def uniform(seed: int, *names: object, count: int) -> NDArray[np.float64]:
    """Return `count` float64 in [0, 1): the upper 53 bits of each word."""
    return (words(seed, *names, count=count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(seed: int, *names: object, count: int, below: int) -> NDArray[np.int64]:
    """Return `count` integers in [0, `below`), by multiplication of the upper 32 bits.

    The bias is at most ``below / 2**32``; `below` has to be at most 2**31.
    """
    if not 0 < below <= 2**31:
        raise ValueError(f"below must lie in 1..2**31, got {below}")
    upper = words(seed, *names, count=count) >> np.uint64(32)
    return ((upper * np.uint64(below)) >> np.uint64(32)).astype(np.int64)


def permutation(seed: int, *names: object, count: int) -> NDArray[np.int64]:
    """Return a random order of ``range(count)``: the stable argsort of one word per item."""
    return np.argsort(words(seed, *names, count=count), kind="stable").astype(np.int64)


def normal(seed: int, *names: object, count: int) -> NDArray[np.float64]:
    """Return `count` standard normal float64, by Box and Muller's transform of the raw words.

    The last digits of logarithm and cosine are the platform's.
    """
    pairs = -(-count // 2)
    drawn = uniform(seed, *names, count=2 * pairs)
    radius = np.sqrt(-2.0 * np.log1p(-drawn[:pairs]))
    angle = 2.0 * np.pi * drawn[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
