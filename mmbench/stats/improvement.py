"""How often is a run of one method better than a run of the other? And is that an improvement?

The probability of improvement of X over Y, with n_x and n_y seeds on each task::

    P(X > Y) = mean over tasks of U / (n_x n_y),    U = sum_ij 1[x_i > y_j] + 1/2 [x_i = y_j]

(Agarwal et al., NeurIPS 2021, arXiv:2108.13264; U is Mann and Whitney's). It says how often, not
by how much. An improvement is claimed only if it is both there, the lower bound above .5, and
worth having, the estimate at least .75 (Bouthillier et al., Accounting for Variance in Machine
Learning Benchmarks, MLSys 2021, arXiv:2103.03098). They ask for 29 runs (`runs_needed`); with few
seeds the bootstrap is too sure. In simulation (tests/stats) it claims an improvement between equal
methods in about 12 % of comparisons of 3 seeds on one task, 4 % of 5 or 10 seeds on one task, and
1 % or less on five tasks; the nominal rate is 2.5 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import UsageError
from mmbench.stats import _draws
from mmbench.stats._checks import at_least, fraction, numbers, one_of
from mmbench.stats.aggregates import COUNT, SEEDS, TASKS, drawn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mmbench.types import Floats

#: The estimate that an improvement needs.
WORTH = 0.75
#: Pairs of models that are judged at once.
_PAIRS = 2000
#: What the lower bound of an improvement must pass.
EVEN = 0.5


@dataclass(frozen=True)
class Improvement:
    """The verdict.

    Attributes:
        probability: P(X > Y), in [0, 1].
        low: Lower end of its percentile interval.
        high: Upper end.
        claimed: Whether this is an improvement: `low` above .5 and `probability` at least .75.
        reason: Why, or why not.
        over: What was drawn anew, seeds or tasks.
        seeds: n_x and n_y.
        tasks: T.
        level: Nominal coverage.
    """

    probability: float
    low: float
    high: float
    claimed: bool
    reason: str
    over: str
    seeds: tuple[int, int]
    tasks: int
    level: float


def probability(first: Floats, second: Floats) -> Floats:
    """Return P(X > Y) with ties counted by half.

    Args:
        first: [..., n_x, T] scores of X, higher is better.
        second: [..., n_y, T] scores of Y on the same tasks.

    Returns:
        [...], in [0, 1].
    """
    x, y = first[..., :, None, :], second[..., None, :, :]
    wins = (x > y).mean(axis=(-3, -2, -1)) + 0.5 * (x == y).mean(axis=(-3, -2, -1))
    return np.asarray(wins)


def judge(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    over: str = SEEDS,
    count: int = COUNT,
    level: float = 0.95,
) -> Improvement:
    """Say whether the first method improves on the second.

    Args:
        first: [n_x, T] scores of X, higher is better; they need not be normalised, as only their
            order within a task counts.
        second: [n_y, T] scores of Y on the same tasks.
        seed: Of the random streams.
        over: ``"seeds"``: draw seeds anew within each task, for each method on its own;
            ``"tasks"``: draw tasks anew, the same for both.
        count: Resamples.
        level: Nominal coverage.

    Raises:
        UsageError: Shapes that do not fit, or one seed (one task) to draw from.
    """
    x = numbers("first", first, "[seeds, tasks]", 2)
    y = numbers("second", second, "[seeds, tasks]", 2)
    if x.shape[1] != y.shape[1]:
        raise UsageError(f"the first method has {x.shape[1]} tasks, the second {y.shape[1]}")
    at_least("count", count, 2)
    one_of("over", over, (SEEDS, TASKS))
    # Tasks are drawn from one stream for both methods, seeds from one for each.
    names = ("X", "Y") if over == SEEDS else ("both", "both")
    found = []
    for block in _draws.blocks(count, x.size * len(y)):
        ours, theirs = (
            drawn(scores, over, seed, "improvement", name, block=block)
            for scores, name in zip((x, y), names, strict=True)
        )
        found.append(probability(ours, theirs))
    tail = (1 - fraction("level", level)) / 2
    low, high = (float(q) for q in np.quantile(np.concatenate(found), [tail, 1 - tail]))
    seen = float(probability(x, y))
    claimed, reason = verdict(seen, low)
    sizes = (len(x), len(y))
    return Improvement(seen, low, high, claimed, reason, over, sizes, x.shape[1], level)


def judge_all(
    models: Sequence[ArrayLike], *, seed: int, count: int = COUNT, level: float = 0.95
) -> dict[tuple[int, int], Improvement]:
    """Return what `judge` does over seeds, for all pairs of models (the first, a later one).

    How often each seed is drawn depends on no score. So P(X > Y) of a resample is a weighted sum
    of the comparisons of X's runs with Y's, the weights are the same for all pairs of as many
    seeds, and all resamples of all pairs are one product of matrices.

    Args:
        models: K arrays [n_k, T] of scores on the same tasks, higher is better.
        seed: As in `judge`.
        count: As in `judge`.
        level: As in `judge`.

    Raises:
        UsageError: As in `judge`.
    """
    scores = [numbers("scores", model, "[seeds, tasks]", 2) for model in models]
    for other in scores[1:]:
        if other.shape[1] != scores[0].shape[1]:
            raise UsageError(f"one method has {scores[0].shape[1]} tasks, one {other.shape[1]}")
    if any(len(one) < 2 for one in scores):
        raise UsageError("an interval over seeds needs at least two seeds, got one")
    at_least("count", count, 2)
    fraction("level", level)
    alike: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for a, b in combinations(range(len(scores)), 2):
        alike.setdefault((len(scores[a]), len(scores[b])), []).append((a, b))
    found: dict[tuple[int, int], Improvement] = {}
    for pairs in alike.values():
        for start in range(0, len(pairs), _PAIRS):
            some = pairs[start : start + _PAIRS]
            found.update(zip(some, _judge_alike(scores, some, seed, count, level), strict=True))
    return dict(sorted(found.items()))


def _judge_alike(
    scores: Sequence[Floats], pairs: Sequence[tuple[int, int]], seed: int, count: int, level: float
) -> list[Improvement]:
    """Judge pairs of which all have as many seeds."""
    x, y = (scores[model] for model in pairs[0])
    sizes, tasks = (len(x), len(y)), x.shape[1]
    whole = x.size * len(y)
    # Halves of whole numbers: exact in single precision, which is twice as fast, up to 2^23.
    kind: Any = np.float32 if whole < 2**22 else np.float64
    wins = np.stack([_wins(scores[a], scores[b]) for a, b in pairs], axis=1).astype(kind)
    sums = [times.astype(kind) @ wins for times in _times(sizes, tasks, seed, count)]
    tail = (1 - level) / 2
    ends = np.quantile(np.concatenate(sums).astype(np.float64) / whole, [tail, 1 - tail], axis=0)
    seen = wins.sum(axis=0, dtype=np.float64) / whole
    made = []
    for probability, low, high in zip(seen.tolist(), *ends.tolist(), strict=True):
        claimed, reason = verdict(probability, low)
        told = (probability, low, high, claimed, reason)
        made.append(Improvement(*told, SEEDS, sizes, tasks, level))
    return made


def _wins(x: Floats, y: Floats) -> Floats:
    """Return [n_x n_y T] comparisons of runs: 1 where the first is better, 1/2 where alike."""
    first, second = x[:, None, :], y[None, :, :]
    found: Floats = (first > second) + 0.5 * (first == second)
    return found.ravel()


def _times(
    sizes: tuple[int, int], tasks: int, seed: int, count: int
) -> Iterator[NDArray[np.int64]]:
    """Return [kept, n_x n_y T] how often each comparison counts in the resamples of `judge`."""
    for block in _draws.blocks(count, sizes[0] * sizes[1] * tasks):
        drawn_of = []
        for name, size in zip(("X", "Y"), sizes, strict=True):
            rows = _draws.indices(
                seed, "improvement", name, SEEDS, block=block, shape=(size, tasks), below=size
            )
            drawn_of.append((rows[:, :, None, :] == np.arange(size)[:, None]).sum(axis=1))
        both = drawn_of[0][:, :, None, :] * drawn_of[1][:, None, :, :]
        yield both.reshape(len(both), -1)


def verdict(probability: float, low: float) -> tuple[bool, str]:
    """Return whether an improvement is claimed, and why.

    >>> verdict(0.8, 0.55)
    (True, 'better in 80 % of pairs of runs, at least 55 %')
    >>> verdict(0.7, 0.6)
    (False, 'better in 70 % of pairs of runs: an improvement needs 75 %')

    Args:
        probability: P(X > Y).
        low: Its lower bound.
    """
    share = f"better in {_percent(probability)} of pairs of runs"
    if probability < WORTH:
        return False, f"{share}: an improvement needs {_percent(WORTH)}"
    if low <= EVEN:
        return (
            False,
            f"{share}, but perhaps in {_percent(low)} only: not shown to be more than half",
        )
    return True, f"{share}, at least {_percent(low)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def runs_needed(worth: float = WORTH, alpha: float = 0.05, power: float = 0.95) -> int:
    """Return how many runs of each method a test of P(X > Y) needs.

    ``N = ((z_{1 - alpha} + z_power) / (sqrt(6) (1/2 - worth)))^2`` (Noether, Sample size
    determination for some common nonparametric tests, JASA 1987).

    >>> runs_needed()
    29

    Args:
        worth: The probability to be told from one half; anything else between 0 and 1.
        alpha: One-sided level.
        power: Probability of telling it.

    Raises:
        UsageError: Something is not between 0 and 1, or `worth` is one half.
    """
    from scipy.special import ndtri

    if fraction("worth", worth) == EVEN:
        raise UsageError("worth must differ from 0.5: no number of runs tells it from itself")
    z = float(ndtri(1 - fraction("alpha", alpha)) + ndtri(fraction("power", power)))
    return math.ceil((z / (math.sqrt(6) * (EVEN - worth))) ** 2)
