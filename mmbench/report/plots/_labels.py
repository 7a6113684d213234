"""Where labels go so that none lies on another. All in pixels, from the top left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle."""

    x: float
    y: float
    wide: float
    high: float

    def meets(self, other: Box) -> bool:
        """Whether the two have a pixel in common."""
        across = self.x < other.x + other.wide and other.x < self.x + self.wide
        return across and self.y < other.y + other.high and other.y < self.y + self.high

    def within(self, other: Box) -> bool:
        """Whether it lies in the other one."""
        across = other.x <= self.x and self.x + self.wide <= other.x + other.wide
        return across and other.y <= self.y and self.y + self.high <= other.y + other.high


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places apart, as little as it takes, and keep them between two ends.

    Where there is no room for all, they stand as close as they must, from end to end.

    >>> spread([10, 11, 50], 10, 0, 100)
    [5.5, 15.5, 50.0]

    Args:
        wanted: Where each should be.
        gap: From one to the next, at least.
        low: The first place allowed.
        high: The last one.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    # Blocks of neighbours that touch: (sum of where they would begin, how many, first).
    blocks: list[list[float]] = []
    for rank, k in enumerate(order):
        blocks.append([wanted[k] - rank * gap, 1.0])
        while len(blocks) > 1 and _start(blocks[-2]) > _start(blocks[-1]):
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    starts = [_start(block) for block in blocks for _ in range(int(block[1]))]
    last = high - (len(wanted) - 1) * gap
    placed = [0.0] * len(wanted)
    for rank, k in enumerate(order):
        placed[k] = float(min(max(starts[rank], low), last) + rank * gap)
    return placed


def _start(block: Sequence[float]) -> float:
    return block[0] / block[1]


def flags(poles: Sequence[float], widths: Sequence[float], gap: float) -> list[int]:
    """Give each flag, to the right of its pole, a row above those that it would cover.

    No two flags meet, and no pole, which stands from row 0 to its flag, runs through another flag.

    >>> flags([0, 5, 30], [10, 10, 10], 1)
    [1, 0, 0]
    """
    found = [0] * len(poles)
    for k in sorted(range(len(poles)), key=lambda k: -poles[k]):
        end = poles[k] + widths[k] + gap
        under = [found[j] for j in range(len(poles)) if poles[k] < poles[j] <= end]
        found[k] = 1 + max(under, default=-1)
    return found


def beside(
    point: tuple[float, float], size: tuple[float, float], taken: Sequence[Box], area: Box
) -> Box:
    """Return a place for a label near a point, free of what is taken.

    To the right of the point, else to its left, else as little above or below as it takes.

    Args:
        point: What it names.
        size: Width and height of the label.
        taken: Where it must not be.
        area: Where it must be; where that cannot be, it lies beside the point nevertheless.
    """
    (x, y), (wide, high) = point, size
    for step in range(60):
        for down in (0,) if step == 0 else (-step, step):
            for left in (x + 9, x - 9 - wide, x - wide / 2):
                if left == x - wide / 2 and abs(down) < 4:
                    continue  # on the point itself
                box = Box(left, y - high / 2 + down * high / 4, wide, high)
                if box.within(area) and not any(box.meets(other) for other in taken):
                    return box
    return Box(min(x + 9, area.x + area.wide - wide), y - high / 2, wide, high)
