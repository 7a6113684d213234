"""Permutation tests: what would the difference be if the names of the models were exchanged?

Under the hypothesis that two systems answer each item alike, either of an item's two answers could
have come from either system. The p-value is the share of such exchanges whose difference is at
least as large as the one seen. Nothing is assumed about distributions; what is tested is that the
two are exchangeable, which is more than equal means.

Where all arrangements can be counted, all are, and the p-value is exact: ``k / M``, the data as
they are among the M. Else B are drawn at random and ``p = (1 + k) / (1 + B)``, which is never 0
and never too small (Phipson & Smyth, Permutation p-values should never be zero, 2010,
doi:10.2202/1544-6115.1585).

Exchanging items speaks about these weights; `seeds` speaks about seeds, on these items. Neither
speaks about both: for that see `mmbench.stats.crossed`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import rng
from mmbench.errors import UsageError
from mmbench.stats import _draws
from mmbench.stats._checks import at_least, numbers
from mmbench.stats.clusters import cluster_sums
from mmbench.stats.crossed import THESE_WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mmbench.stats.bootstrap import Value
    from mmbench.types import Floats

#: Arrangements that are drawn where they are too many to count, and counted at most.
COUNT = 10_000
#: Ways of dealing seeds to two groups that are counted at most: 10 and 10 seeds give 184,756.
SPLITS = 200_000
#: The scope of a test that exchanges seeds.
THESE_ITEMS = "these items"
#: Differences that agree to this share of their size are the same: sums are rounded.
_SAME = 1e-10


@dataclass(frozen=True)
class Permuted:
    """The outcome of a permutation test.

    Attributes:
        value: The difference seen, first minus second.
        p_value: Two-sided, above 0.
        least: The smallest p-value that these data could have given, whatever the arrangement: a
            level below it can never be reached. For 3 seeds against 3 it is .1.
        exact: Whether all arrangements were counted.
        arrangements: How many were: M, or B where they were drawn.
        scope: `THESE_WEIGHTS` where items were exchanged, `THESE_ITEMS` where seeds were.
    """

    value: float
    p_value: float
    least: float
    exact: bool
    arrangements: int
    scope: str


def paired(
    value: Value,
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[Any] | None = None,
    *,
    seed: int,
    count: int = COUNT,
) -> Permuted:
    """Test a difference of two systems on the same items by approximate randomisation.

    Each item's rows are exchanged between the systems, or not, by a fair coin; with ``m`` the
    coins, the sums become ``sum a + m (b - a)`` and ``sum b - m (b - a)``: one matrix product for
    all of them (Noreen, Computer-Intensive Methods, 1989; Riezler & Maxwell, ACL workshop 2005,
    W05-0908). All 2^N ways are counted where they are at most `count`.

    Args:
        value: From sums [..., S] to values [...].
        first: [N, S] statistics of the first system's items, or [seeds, N, S], as many seeds for
            both: all rows of an item are exchanged together.
        second: Those of the second, the same items in the same order.
        clusters: [N] the unit that each item belongs to: units are exchanged.
        seed: Of the random streams.
        count: How many exchanges to draw.

    Raises:
        UsageError: Shapes that do not fit, or fewer than two units.
    """
    a, b = _rows("first", first), _rows("second", second)
    if a.shape != b.shape:
        raise UsageError(
            f"exchanging needs the same items, seeds and statistics: the first system has "
            f"{a.shape}, the second {b.shape}"
        )
    a, b = cluster_sums(a, clusters), cluster_sums(b, clusters)
    seeds, items, width = a.shape
    moved = np.moveaxis(b - a, 0, 1).reshape(items, -1)
    ours, theirs = a.sum(axis=1), b.sum(axis=1)

    def gaps(coins: Floats) -> Floats:
        change = (coins @ moved).reshape(len(coins), seeds, width)
        gap: Floats = np.asarray(value(ours + change)) - np.asarray(value(theirs - change))
        return np.asarray(gap.mean(axis=1), dtype=np.float64)

    return _by_coins(gaps, items, seed, count, THESE_WEIGHTS)


def sign_flip(
    differences: ArrayLike,
    clusters: Sequence[Any] | None = None,
    *,
    seed: int,
    null: float = 0.0,
    count: int = COUNT,
) -> Permuted:
    """Test a mean of differences: each keeps or turns its sign, by a fair coin.

    Fisher's test (The Design of Experiments, 1935); for a metric that is a mean of items it is
    `paired`. The hypothesis is that the differences are symmetric around `null`.

    Args:
        differences: [N] first minus second, one an item.
        clusters: [N] the unit that each item belongs to: the sum of a unit's items turns its sign.
        seed: Of the random streams.
        null: What to test for; the result's `value` is the mean itself.
        count: How many ways to draw; all 2^N are counted where they are at most that.

    Raises:
        UsageError: Shapes that do not fit, or fewer than two units.
    """
    x = numbers("differences", differences, "[items]", 1)
    units = cluster_sums((x - null)[:, None], clusters)[:, 0]

    def gaps(coins: Floats) -> Floats:
        return ((1 - 2 * coins) @ units) / len(x)

    found = _by_coins(gaps, len(units), seed, count, THESE_WEIGHTS)
    return replace(found, value=float(x.mean()))


def seeds(
    first: ArrayLike, second: ArrayLike, *, seed: int = 0, most: int = SPLITS, count: int = COUNT
) -> Permuted:
    """Test whether two groups of seeds score alike: deal all seeds to two groups anew.

    Exact: every way of dealing is counted. With S seeds against S the smallest p-value is
    ``2 / C(2 S, S)``: .1 for 3, .029 for 4, .0079 for 5, so fewer than four never reach 5 %.

    Args:
        first: [S_1] scores of the first model's seeds.
        second: [S_2] scores of the second's.
        seed: Of the random streams, where ways are drawn.
        most: Ways that are counted at most; of more, `count` are drawn.
        count: How many ways to draw where they are too many.

    Raises:
        UsageError: Not two lists of finite numbers.
    """
    a, b = numbers("first", first, "[seeds]", 1), numbers("second", second, "[seeds]", 1)
    pooled = np.concatenate([a, b])
    ways = math.comb(len(pooled), len(a))
    exact = ways <= at_least("most", most, 1)
    deals = _all_deals(len(pooled), len(a)) if exact else _some_deals(pooled, len(a), seed, count)
    sums = np.concatenate([pooled[deal].sum(axis=1) for deal in deals])
    gaps = sums / len(a) - (pooled.sum() - sums) / len(b)
    observed = float(a.mean() - b.mean())
    return _result(observed, gaps, exact, THESE_ITEMS)


def _rows(name: str, rows: ArrayLike) -> Floats:
    x = numbers(name, rows, "[items, statistics] or [seeds, items, statistics]", 2, 3)
    return x if x.ndim == 3 else x[None]


def _by_coins(
    gaps: Callable[[Floats], Floats], items: int, seed: int, count: int, scope: str
) -> Permuted:
    """Test by exchanging `items` units; `gaps` turns coins [M, N] into differences [M]."""
    at_least("count", count, 1)
    observed = float(gaps(np.zeros((1, items)))[0])
    exact = items < 63 and 2**items <= count
    coins = _all_coins(items) if exact else _some_coins(items, seed, count)
    return _result(observed, np.concatenate([gaps(some) for some in coins]), exact, scope)


def _all_coins(items: int) -> Iterator[Floats]:
    places = np.arange(items)
    for block in _draws.blocks(2**items, items):
        ways = np.arange(block.rows.start, block.rows.stop)
        yield ((ways[:, None] >> places) & 1).astype(np.float64)


def _some_coins(items: int, seed: int, count: int) -> Iterator[Floats]:
    for block in _draws.blocks(count, items):
        yield _draws.bits(seed, "permutation", "items", block=block, items=items)


def _all_deals(pooled: int, size: int) -> Iterator[NDArray[np.int64]]:
    ways = itertools.combinations(range(pooled), size)
    while some := list(itertools.islice(ways, 2**14)):
        yield np.array(some)


def _some_deals(pooled: Floats, size: int, seed: int, count: int) -> Iterator[NDArray[np.int64]]:
    for way in range(count):
        yield rng.permutation(seed, "permutation", "seeds", way, count=len(pooled))[None, :size]


def _result(observed: float, gaps: Floats, exact: bool, scope: str) -> Permuted:
    if not (math.isfinite(observed) and np.isfinite(gaps).all()):
        raise UsageError("value must be finite whichever items are exchanged")
    sizes = np.abs(gaps)
    largest = max(float(sizes.max()), abs(observed))
    reached = int((sizes >= abs(observed) - _SAME * largest).sum())
    if exact:
        extreme = int((sizes >= largest * (1 - _SAME)).sum())
        p_value, least = reached / len(gaps), extreme / len(gaps)
    else:
        p_value, least = (1 + reached) / (1 + len(gaps)), 1 / (1 + len(gaps))
    return Permuted(observed, p_value, least, exact, len(gaps), scope)
