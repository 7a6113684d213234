"""Student's t distribution: tail and quantile, of single numbers.

``scipy.special`` has both, but importing it takes longer than scoring a thousand captions. These
agree with it (tests/stats/test_student.py) for any real number of degrees of freedom from 0.5 on.

The tail is ``P(T > t) = I_x(df / 2, 1 / 2) / 2`` at ``x = df / (df + t^2)``, with the regularised
incomplete beta function by its continued fraction (Numerical Recipes, section 6.4; Lentz's method).
The quantile is where the logarithm of the tail is that of ``1 - p``, by Newton's method between
bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

#: A step of Newton's that moves by this share or less leaves an error of its square.
_CLOSE = 1e-8
#: Degrees of freedom from which four terms of Cornish and Fisher's expansion are exact.
_MANY = 1e5


def tail(t: float, df: float) -> float:
    """Return P(T > t), exact to 12 digits for t up to 30, to 9 beyond.

    Args:
        t: Any number.
        df: Degrees of freedom, at least 0.5.

    >>> round(tail(2.228, 10), 5), tail(0.0, 3)
    (0.02501, 0.5)
    """
    if t < 0:
        return 1.0 - tail(-t, df)
    if df > _MANY and t < 30:
        return _normal_tail(_normal_of(t, df))
    a, ratio = df / 2, t * t / df
    x, rest = 1 / (1 + ratio), ratio / (1 + ratio)
    front = math.exp(-a * math.log1p(ratio)) * math.sqrt(rest) / _beta(a)
    if x < (a + 1) / (a + 2.5):
        return 0.5 * front * _fraction(a, 0.5, x) / a
    return 0.5 - front * _fraction(0.5, a, rest)


def quantile(p: float, df: float) -> float:
    """Return the t below which the share `p` of the distribution lies, exact to 12 digits.

    Args:
        p: Between 0 and 1, both excluded.
        df: Degrees of freedom, at least 0.5.

    >>> round(quantile(0.975, 10), 4), quantile(0.5, 7)
    (2.2281, 0.0)
    """
    if p < 0.5:
        return -_upper(p, df)
    return _upper(1.0 - p, df) if p > 0.5 else 0.0


def _upper(above: float, df: float) -> float:
    """Return the t > 0 above which the share `above` < 1/2 lies."""
    t = _of_normal(_solve(above, _normal_tail, _normal_density, 1.0), df)
    if df > _MANY:
        return t
    scale = math.sqrt(df) * _beta(df / 2)

    def density(t: float) -> float:
        return math.exp(-(df + 1) / 2 * math.log1p(t * t / df)) / scale

    return _solve(above, lambda t: tail(t, df), density, t)


def _of_normal(z: float, df: float) -> float:
    """Return the t whose tail is that of the normal distribution at z; Cornish and Fisher's."""
    square = z * z
    first = (square + 1) / 4
    second = ((5 * square + 16) * square + 3) / 96
    third = (((3 * square + 19) * square + 17) * square - 15) / 384
    fourth = ((((79 * square + 776) * square + 1482) * square - 1920) * square - 945) / 92160
    return z + z * (first + (second + (third + fourth / df) / df) / df) / df


def _normal_of(t: float, df: float) -> float:
    """Return the z whose t is this, for many degrees of freedom: then the two hardly differ."""
    z = t
    for _ in range(8):
        z += t - _of_normal(z, df)
    return z


def _normal_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def _normal_density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _solve(
    above: float,
    tail: Callable[[float], float],
    density: Callable[[float], float],
    start: float,
) -> float:
    """Return where a falling tail is `above`: Newton in its logarithm, else halving."""
    low, high, at = 0.0, math.inf, start
    for _ in range(200):
        here = tail(at)
        low, high = (at, high) if here > above else (low, at)
        slope = density(at)
        step = here / slope * math.log(here / above) if here > 0 and slope > 0 else math.inf
        next_, close = at + step, _CLOSE
        if not low < next_ < high:
            next_, close = (low + high) / 2 if math.isfinite(high) else 2 * at, 1e-15
        done = abs(next_ - at) <= close * at
        at = next_
        if done:
            break
    return at


def _beta(a: float) -> float:
    """Return the beta function of a and 1/2."""
    if a < 25:
        return math.exp(math.lgamma(a) - math.lgamma(a + 0.5)) * math.sqrt(math.pi)
    # The ratio of gamma functions by its asymptotic series: the logarithms of such numbers have
    # no digits left for their difference.
    x = 1 / (4 * a)
    series = 1 + x * (-1 / 2 + x * (1 / 8 + x * (5 / 16 + x * (-21 / 128 - x * 399 / 256))))
    series += x**6 * (869 / 1024 + x * 39325 / 2048)
    return math.sqrt(math.pi / a) / series


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d or tiny)
    found = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / ((1.0 + term * d) or tiny)
            c = (1.0 + term / c) or tiny
            found *= c * d
        if abs(c * d - 1.0) < 1e-16:
            break
    return found
