"""Looking more than once: boundaries that keep the error at its level over all looks.

Adding seeds until a verdict falls is optional stopping: at nominal 5 %, looking after each of 5 to
20 seeds passes about 16 % of candidates that ought to fail (tests/stats). A group-sequential test
fixes in advance when it may look, and asks more at each look.

At look k the test has the information ``I_k = 1 / Var(estimate)``; with ``t_k = I_k / I_K`` the
statistics Z_k are jointly normal with correlations ``sqrt(t_k / t_l)``, so that ``Z_k sqrt(t_k)``
has independent increments. This holds for seeds that are added on the same items too, but there
the fractions are those of information, not of seeds (`information`): items are counted once.

The probability of stopping at each look comes from the recursion of Armitage, McPherson & Rowe
(JRSS A 1969) by Gauss-Legendre quadrature. Boundaries come in two kinds: *spent* (Lan & DeMets,
Biometrika 1983), for any fractions, spend the error as a function of t::

    obrien_fleming   2 - 2 Phi(z_{1 - a / 2} / sqrt(t))    almost all at the end
    pocock           a ln(1 + (e - 1) t)                   early too

where a is the level of one side; and *shaped* (Wang & Tsiatis, Biometrics 1987),
``z_k = C t_k^(D - 1/2)``, the originals: D = 1/2 of Pocock (Biometrika 1977) and D = 0 of O'Brien &
Fleming (Biometrics 1979).

Estimates with few degrees of freedom are held against the nominal level of a look, by their
p-value (Jennison & Turnbull, Group Sequential Methods, 2000, section 3.8): ``interval.p_value() <
nominal[k]``, or ``alpha=nominal[k]`` for `mmbench.stats.noninferiority.judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.stats._checks import fraction, one_of, one_or_two_sides
from mmbench.stats.components import Components, design

if TYPE_CHECKING:
    from mmbench.types import Floats

OBRIEN_FLEMING, POCOCK = "obrien_fleming", "pocock"
#: The power D of each shape.
_SHAPES = {OBRIEN_FLEMING: 0.0, POCOCK: 0.5}

#: No boundary is higher: beyond lies less than 1e-15.
_FAR = 8.0
#: Nodes of a panel, and its width in standard deviations of the step between two looks.
_NODES, _PANEL = 24, 4.0
#: The smallest step of information: the number of nodes grows with its inverse root.
_STEP = 1e-3
_ROOT = (2 * np.pi) ** 0.5


@dataclass(frozen=True)
class Boundaries:
    """When to stop.

    Attributes:
        fractions: [K] share of the information at each look, ending at 1.
        z: [K] stop where Z (or -Z too, for two sides) is at least this. At most 8.
        nominal: [K] the same as a p-value, of `sides` sides: stop where p is at most this.
        spent: [K] probability of having stopped by then, if the hypothesis holds.
        sides: 1 or 2.
        alpha: The level over all looks.
    """

    fractions: tuple[float, ...]
    z: tuple[float, ...]
    nominal: tuple[float, ...]
    spent: tuple[float, ...]
    sides: int
    alpha: float


def information(
    components: Components, seeds: Sequence[int | tuple[int, ...]], items: int
) -> tuple[float, ...]:
    """Return the information at each look relative to the last, where seeds are added.

    >>> parts = Components(seed=(1.0,), item=0.0, rest=(0.0,))
    >>> [round(share, 3) for share in information(parts, [5, 10, 20], 100)]
    [0.25, 0.5, 1.0]

    Args:
        components: Where the variance sits. Items that stay the same add nothing at later looks.
        seeds: The number of seeds of each model at each look, growing.
        items: Items or clusters.

    Raises:
        UsageError: As `mmbench.stats.components.design`, or there is no variance at all.
    """
    variances = [design(components, number, items).se ** 2 for number in seeds]
    if not variances or min(variances) == 0:
        raise UsageError("information needs at least one look and a variance above 0")
    return tuple(variances[-1] / variance for variance in variances)


def spent_boundaries(
    fractions: Sequence[float],
    *,
    spending: str = OBRIEN_FLEMING,
    alpha: float = 0.05,
    sides: int = 2,
) -> Boundaries:
    """Return boundaries by alpha spending, for looks at any fractions.

    >>> [round(z, 2) for z in spent_boundaries([0.2, 0.4, 0.6, 0.8, 1.0]).z]
    [4.88, 3.36, 2.68, 2.29, 2.03]

    Args:
        fractions: [K] share of the information at each look, growing by 0.001 at least, the last
            1. How many there will be need not be known in advance, only what is spent by when.
        spending: `OBRIEN_FLEMING` or `POCOCK`.
        alpha: The level over all looks, of both sides together where there are two.
        sides: 1 (stop for large Z) or 2.

    Raises:
        UsageError: Fractions that do not grow to 1, or another argument out of its range.
    """
    times = _times(fractions)
    spend = _spending(one_of("spending", spending, (OBRIEN_FLEMING, POCOCK)))
    side = fraction("alpha", alpha) / one_or_two_sides(sides)
    steps = sides * np.diff(spend(np.array(times), side), prepend=0.0)
    walk, z = _Walk(sides), []
    for time, step in zip(times, steps, strict=True):
        z.append(walk.solve(time, float(step)))
        walk.stop(time, z[-1])
    return _boundaries(times, z, sides, alpha)


def shaped_boundaries(
    fractions: Sequence[float],
    *,
    shape: str | float = OBRIEN_FLEMING,
    alpha: float = 0.05,
    sides: int = 2,
) -> Boundaries:
    """Return boundaries of a fixed shape: ``z_k = C t_k^(D - 1/2)``.

    >>> [round(z, 3) for z in shaped_boundaries([0.2, 0.4, 0.6, 0.8, 1.0], shape="pocock").z]
    [2.413, 2.413, 2.413, 2.413, 2.413]

    Args:
        fractions: As in `spent_boundaries`.
        shape: `POCOCK` (D = 1/2), `OBRIEN_FLEMING` (D = 0), or another D from 0 to 1/2.
        alpha: As in `spent_boundaries`.
        sides: As in `spent_boundaries`.

    Raises:
        UsageError: As in `spent_boundaries`.
    """
    from scipy.optimize import brentq

    times = _times(fractions)
    power = _SHAPES.get(shape, -1.0) if isinstance(shape, str) else shape
    if not 0 <= power <= 0.5:
        raise UsageError(f"shape must be {OBRIEN_FLEMING!r}, {POCOCK!r} or 0 to 0.5: {shape!r}")
    curve = np.array(times) ** (power - 0.5)

    def excess(constant: float) -> float:
        return sum(stopping(times, constant * curve, sides=sides)) - fraction("alpha", alpha)

    constant = brentq(excess, 1e-6, _FAR, xtol=1e-10)
    return _boundaries(times, [float(z) for z in constant * curve], sides, alpha)


def stopping(
    fractions: Sequence[float],
    z: Sequence[float] | Floats,
    *,
    sides: int = 2,
    drift: float = 0.0,
) -> tuple[float, ...]:
    """Return the probability of stopping at each look, none earlier.

    Their sum is the level where `drift` is 0, else the power.

    Args:
        fractions: As in `spent_boundaries`.
        z: [K] boundaries.
        sides: 1 or 2.
        drift: The expected Z at the last look: true effect over standard error there.

    Raises:
        UsageError: Fractions that do not grow to 1, or another number of boundaries.
    """
    times = _times(fractions)
    if len(z) != len(times):
        raise UsageError(f"expected {len(times)} boundaries, one a look, got {len(z)}")
    walk = _Walk(one_or_two_sides(sides), drift)
    return tuple(walk.stop(time, float(limit)) for time, limit in zip(times, z, strict=True))


class _Walk:
    """The distribution of ``S = Z sqrt(t)`` among those who have not stopped, at nodes."""

    def __init__(self, sides: int, drift: float = 0.0) -> None:
        self.sides, self.drift = sides, drift
        self.time = 0.0
        self.nodes: Floats = np.zeros(1)
        self.mass: Floats = np.ones(1)

    def exit(self, time: float, limit: float) -> float:
        """Return the probability of passing `limit` (in Z) at `time`."""
        from scipy.special import ndtr

        step = (time - self.time) ** 0.5
        ahead = self.nodes + self.drift * (time - self.time)
        beyond = ndtr((ahead - limit * time**0.5) / step)
        if self.sides == 2:
            beyond = beyond + ndtr((-ahead - limit * time**0.5) / step)
        return float(self.mass @ beyond)

    def solve(self, time: float, wanted: float) -> float:
        """Return the limit that is passed with the probability `wanted`."""
        from scipy.optimize import brentq

        if self.exit(time, _FAR) >= wanted:
            return _FAR
        return float(brentq(lambda z: self.exit(time, z) - wanted, -_FAR, _FAR, xtol=1e-12))

    def stop(self, time: float, limit: float) -> float:
        """Look at `time`: return who stops, and go on with those who do not."""
        stopped = self.exit(time, limit)
        step = (time - self.time) ** 0.5
        middle = self.drift * time
        high = min(limit * time**0.5, middle + _FAR * time**0.5)
        low = middle - _FAR * time**0.5
        if self.sides == 2:
            low = max(low, -limit * time**0.5)
        places, weights = _quadrature(low, high, step)
        ahead = self.nodes + self.drift * (time - self.time)
        density = np.exp(-(((places[:, None] - ahead) / step) ** 2) / 2) / (step * _ROOT)
        self.mass = density @ self.mass * weights
        self.nodes, self.time = places, time
        return stopped


def _quadrature(low: float, high: float, step: float) -> tuple[Floats, Floats]:
    """Return nodes and weights: panels of Gauss-Legendre nodes, a few steps wide each."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    panels = max(1, int(np.ceil((high - low) / (_PANEL * step))))
    half = (high - low) / panels / 2
    middles = low + half * (2 * np.arange(panels) + 1)
    return (middles[:, None] + half * nodes).ravel(), np.tile(half * weights, panels)


def _spending(name: str) -> Callable[[Floats, float], Floats]:
    from scipy.special import ndtr, ndtri

    def obrien_fleming(time: Floats, side: float) -> Floats:
        return np.asarray(2 * ndtr(ndtri(side / 2) / np.sqrt(time)))

    def pocock(time: Floats, side: float) -> Floats:
        return np.asarray(side * np.log1p(np.expm1(1.0) * time))

    return obrien_fleming if name == OBRIEN_FLEMING else pocock


def _boundaries(times: Sequence[float], z: Sequence[float], sides: int, alpha: float) -> Boundaries:
    from scipy.special import ndtr

    spent = np.cumsum(stopping(times, z, sides=sides))
    nominal = sides * ndtr(-np.array(z))
    return Boundaries(
        fractions=tuple(times),
        z=tuple(z),
        nominal=tuple(float(p) for p in nominal),
        spent=tuple(float(p) for p in spent),
        sides=sides,
        alpha=alpha,
    )


def _times(fractions: Sequence[float]) -> tuple[float, ...]:
    times = tuple(float(time) for time in fractions)
    apart = all(later - earlier >= _STEP * (1 - 1e-9) for earlier, later in pairwise((0.0, *times)))
    if not times or not apart or times[-1] != 1:
        raise UsageError(
            f"fractions of information must grow from above 0 to 1, by {_STEP} at least: {times}"
        )
    return times
