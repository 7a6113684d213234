"""Random draws in blocks, from named streams: memory stays bounded and nothing depends on it.

A block has its own stream and is always drawn in full. So the first hundred of a thousand draws
are the draws of a hundred, on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmbench import rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Floats

#: Numbers of one block: 8 MiB of float64.
_BLOCK = 2**20
#: Draws of one block at most.
_DRAWS = 256


class Block(NamedTuple):
    """Some of the draws.

    Attributes:
        number: Names the stream.
        size: How many draws the block has in full.
        rows: Which of all draws they are; the last block may have fewer than `size`.
    """

    number: int
    size: int
    rows: slice

    @property
    def kept(self) -> int:
        """How many of its draws count."""
        return int(self.rows.stop - self.rows.start)


def blocks(count: int, width: int) -> Iterator[Block]:
    """Cut `count` draws of `width` numbers each into blocks."""
    size = max(1, min(_DRAWS, _BLOCK // width))
    for number, start in enumerate(range(0, count, size)):
        yield Block(number, size, slice(start, min(count, start + size)))


def indices(
    seed: int, *names: object, block: Block, shape: tuple[int, ...], below: int
) -> NDArray[np.int64]:
    """Return [kept, *shape] integers in [0, `below`): draws with replacement."""
    count = block.size * int(np.prod(shape))
    drawn = rng.integers(seed, *names, block.number, count=count, below=below)
    return drawn.reshape(block.size, *shape)[: block.kept]


def counts(seed: int, *names: object, block: Block, items: int) -> Floats:
    """Return [kept, N] how often each item was drawn in N draws with replacement (multinomial)."""
    drawn = indices(seed, *names, block=block, shape=(items,), below=items)
    flat = drawn + items * np.arange(len(drawn))[:, None]
    found = np.bincount(flat.ravel(), minlength=flat.size)
    return found.reshape(flat.shape).astype(np.float64)


def bits(seed: int, *names: object, block: Block, items: int) -> Floats:
    """Return [kept, N] fair coins, 0.0 or 1.0."""
    words = -(-items // 64)
    raw = rng.words(seed, *names, block.number, count=block.size * words)
    octets = raw.astype("<u8").view(np.uint8).reshape(block.size, words * 8)
    return np.unpackbits(octets[: block.kept], axis=1)[:, :items].astype(np.float64)


def normals(seed: int, *names: object, block: Block, width: int) -> Floats:
    """Return [kept, width] standard normal numbers, by inversion."""
    from scipy.special import ndtri

    drawn = rng.uniform(seed, *names, block.number, count=block.size * width)
    # Half a step up: a uniform number may be 0, whose quantile is none.
    found: Floats = ndtri(drawn + 2.0**-54).reshape(block.size, width)[: block.kept]
    return found
