"""Which features lie within the nearest-neighbour balls of others, and what changes without one.

The balls around N centres reach to their k-th nearest other centre; what lies in their union is
taken to be what the centres show (Kynkaanniemi et al., NeurIPS 2019). Item i is centre i and
point i, so that leaving it out takes away a ball, a point, and a neighbour of other balls, which
then reach to the next one.

Squared distances come from matrix products, whose last bits depend on the library and on the
sizes of blocks; those that are too close to a radius to call are computed again directly, so that
a copy of a centre is exactly where the centre is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Floats

    Ints = NDArray[np.int64]

_ROWS = 256
_NUMBERS = 1 << 20


@dataclass(frozen=True)
class Cover:
    """N balls and N points.

    Attributes:
        k: The neighbour that a ball reaches to.
        neighbours: [N, k] the centres that lie nearest to each centre.
        balls: [N] how many balls hold each point.
        points: [N] how many points each ball holds.
        own: [N] bool, whether ball i holds point i.
        ball: [N] a ball that holds point i, where there is any.
        point: [N] a point that ball i holds, where there is any.
        near: [P] points that lie outside a ball but not outside the next larger one, which reaches
            to the neighbour k + 1.
        grown: [P] those balls.
    """

    k: int
    neighbours: Ints
    balls: Ints
    points: Ints
    own: NDArray[np.bool_]
    ball: Ints
    point: Ints
    near: Ints
    grown: Ints


def cover(centres: Floats, points: Floats, k: int, closed: bool) -> Cover:
    """Find out which points lie in which balls.

    Args:
        centres: [N, D] features, N at least k + 2.
        points: [N, D].
        k: At least 1.
        closed: Whether a ball holds its surface.
    """
    neighbours, radii = _nearest(centres, k + 1)
    size = len(centres)
    balls, held, ball, point = np.zeros((4, size), dtype=np.int64)
    near, grown = [], []
    for rows, distance, slack in _distances(points, centres):
        for radius in radii.T[k - 1 : k + 1]:
            i, j = np.nonzero(np.abs(distance - radius) <= slack)
            distance[i, j] = _exact(points, centres, i + rows.start, j)
        within = [distance <= r if closed else distance < r for r in radii.T[k - 1 : k + 1]]
        balls[rows] = within[0].sum(axis=1)
        held += within[0].sum(axis=0)
        ball[rows] = within[0].argmax(axis=1)
        some = within[0].any(axis=0)
        point[some] = rows.start + within[0].argmax(axis=0)[some]
        i, j = np.nonzero(within[1] & ~within[0])
        near.append(i + rows.start)
        grown.append(j)
    gap = _exact(points, centres, np.arange(size), np.arange(size))
    own = gap <= radii[:, k - 1] if closed else gap < radii[:, k - 1]
    return Cover(
        k, neighbours[:, :k], balls, held, own, ball, point,
        np.concatenate(near), np.concatenate(grown),
    )  # fmt: skip


def nearest(points: Floats, centres: Floats, others: bool = False) -> Floats:
    """Return [N] the squared distance of each point to the nearest centre.

    Args:
        points: [N, D].
        centres: [M, D].
        others: Whether the centre of a point's own number is left out; M is N then.
    """
    found = np.full(len(points), np.inf)
    for rows, distance, slack in _distances(points, centres):
        if others:
            own = np.arange(rows.start, rows.stop)
            distance[own - rows.start, own] = np.inf
        limit = distance.min(axis=1, keepdims=True) + 2 * slack.max(axis=1, keepdims=True)
        i, j = np.nonzero(distance <= limit)
        np.minimum.at(found, i + rows.start, _exact(points, centres, i + rows.start, j))
    return found


def _nearest(x: Floats, k: int) -> tuple[Ints, Floats]:
    """Return, [N, k], the nearest other rows of each row, and their squared distances."""
    nearest, radii = np.empty((len(x), k), dtype=np.int64), np.empty((len(x), k))
    for rows, distance, slack in _distances(x, x):
        own = np.arange(rows.start, rows.stop)
        distance[own - rows.start, own] = np.inf
        limit = np.partition(distance, k - 1, axis=1)[:, k - 1 : k] + 2 * slack.max(
            axis=1, keepdims=True
        )
        i, j = np.nonzero(distance <= limit)
        exact = _exact(x, x, i + rows.start, j)
        order = np.lexsort((j, exact, i))
        first = np.searchsorted(i, np.arange(len(own)))  # i is sorted, and stays so
        take = order[first[:, None] + np.arange(k)]
        nearest[rows], radii[rows] = j[take], exact[take]
    return nearest, radii


def _distances(left: Floats, right: Floats) -> Iterator[tuple[slice, Floats, Floats]]:
    """Give (rows, squared distances [rows, N], how far those can be off [rows, N])."""
    size, middle = right.shape[1], right.mean(axis=0)  # near 0, products lose fewer digits
    left, right = left - middle, right - middle
    right_square = np.einsum("ij,ij->i", right, right)
    unit = 4 * (size + 8) * 2.0**-53
    for start in range(0, len(left), _ROWS):
        rows = slice(start, min(start + _ROWS, len(left)))
        part = left[rows]
        squares = np.einsum("ij,ij->i", part, part)[:, None] + right_square
        yield rows, squares - 2 * (part @ right.T), unit * squares


def _exact(left: Floats, right: Floats, i: Ints, j: Ints) -> Floats:
    """Return squared distances of pairs of rows, the same bits in either order."""
    out = np.empty(len(i))
    step = max(1, _NUMBERS // max(1, left.shape[1]))
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        apart = left[i[part]] - right[j[part]]
        apart *= apart
        np.add.reduce(apart, axis=1, out=out[part])
    return out


# --- values, and those without one item ----------------------------------------------------------


def covered_points(of: Cover) -> tuple[Floats, Floats]:
    """Return [N] whether each point is in a ball, and [N] the share of them without each item."""
    size, alone = len(of.balls), np.flatnonzero(of.balls == 1)
    hit = of.balls > 0
    lost = _count(of.ball[alone[of.ball[alone] != alone]], size)
    point, gone = _reached(of)
    kept = _count(gone[(of.balls[point] == 1) & (of.ball[point] == gone)], size)
    won = _count(gone[of.balls[point] == 0], size)
    return hit.astype(np.float64), (hit.sum() - hit - lost + kept + won) / (size - 1)


def mean_balls(of: Cover) -> tuple[Floats, Floats]:
    """Return [N] in how many balls each point is, and [N] their mean without each item; over k."""
    size = len(of.balls)
    more = of.neighbours[of.grown]
    won = _count(more[more != of.near[:, None]], size)
    rest = of.balls.sum() - of.balls - (of.points - of.own) + won
    return of.balls / of.k, rest / (size - 1) / of.k


def covered_balls(of: Cover) -> tuple[Floats, Floats]:
    """Return [N] whether each ball holds a point, and [N] the share of them without each item."""
    size, full = len(of.points), of.points > 0
    alone = np.flatnonzero(of.points == 1)
    lost = _count(of.point[alone[of.point[alone] != alone]], size)
    # Without its neighbour i, a ball grows; it holds another point than i's then if more points
    # are near than that one.
    ball = np.repeat(np.arange(size), of.k)
    gone = of.neighbours.reshape(-1)
    others = _count(of.grown, size)[ball] - np.isin(gone * size + ball, of.near * size + of.grown)
    grown = others > 0
    won = _count(gone[grown & (of.points[ball] == 0)], size)
    kept = _count(gone[grown & (of.points[ball] == 1) & (of.point[ball] == gone)], size)
    return full.astype(np.float64), (full.sum() - full - lost + kept + won) / (size - 1)


def _reached(of: Cover) -> tuple[Ints, Ints]:
    """Return (point, item) pairs: without the item, a ball grows around that other point."""
    size = len(of.balls)
    items = of.neighbours[of.grown]
    keys = np.unique(of.near[:, None] * size + items)
    point, gone = np.divmod(keys, size)
    return point[point != gone], gone[point != gone]


def _count(items: Ints, size: int) -> Ints:
    return np.bincount(items, minlength=size)
