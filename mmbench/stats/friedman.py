"""Friedman's test: do methods differ, judged by their ranks on many tasks?

On each of N tasks the k methods get ranks, 1 for the best, the mean rank where they tie. With R_j
the mean rank of method j::

    chi2 = 12 N / (k (k + 1)) (sum_j R_j^2 - k (k + 1)^2 / 4) / (1 - ties)
    ties = sum over groups of t tied scores of (t^3 - t) / (N k (k^2 - 1))
    F    = (N - 1) chi2 / (N (k - 1) - chi2)

F is compared with the F distribution of k - 1 and (k - 1)(N - 1) degrees of freedom (Iman &
Davenport, Communications in Statistics 1980), as chi2 itself rejects much too rarely (Demsar,
Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006). Which pairs differ is
then asked pair by pair, Holm-corrected, not by Nemenyi's critical difference: that would let the
verdict on two methods depend on which others take part (Benavoli, Corani & Mangili, JMLR 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmbench.errors import UsageError
from mmbench.stats._checks import numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from mmbench.types import Floats

#: With fewer tasks the test speaks about these tasks, whatever it says.
SAMPLE_OF_TASKS = 10


@dataclass(frozen=True)
class Friedman:
    """The outcome of the test.

    Attributes:
        mean_ranks: [k] from 1 (always the best) to k.
        chi2: Friedman's statistic, corrected for ties.
        f: Iman and Davenport's; infinite where all tasks agree on the order.
        df: Degrees of freedom of F.
        p_value: Of "all methods are alike", from F.
        scope: ``"tasks"``, or ``"these tasks"`` for fewer than ten.
    """

    mean_ranks: Floats
    chi2: float
    f: float
    df: tuple[int, int]
    p_value: float
    scope: str


def compare(scores: ArrayLike, *, higher_is_better: bool = True) -> Friedman:
    """Test whether k methods are alike over N tasks.

    Args:
        scores: [N, k], the score of each method on each task (over seeds, its mean).
        higher_is_better: Direction of the scores.

    Raises:
        UsageError: Fewer than two tasks or methods, or scores that are not finite.
    """
    from scipy.special import fdtrc

    x = numbers("scores", scores, "[tasks, methods]", 2)
    tasks, methods = x.shape
    if tasks < 2 or methods < 2:
        raise UsageError(f"expected at least two tasks and two methods, got {tasks} and {methods}")
    ranks, tied = _ranks(-x if higher_is_better else x)
    mean_ranks = ranks.mean(axis=0)
    df = (methods - 1, (methods - 1) * (tasks - 1))
    spread = 12 * tasks / (methods * (methods + 1)) * ((mean_ranks - (methods + 1) / 2) ** 2).sum()
    free = 1 - tied / (tasks * methods * (methods**2 - 1))
    # Where all tie everywhere, nothing speaks against their being alike.
    chi2 = float(spread / free) if free > 0 else 0.0
    most = tasks * (methods - 1)
    f = (tasks - 1) * chi2 / (most - chi2) if chi2 < most * (1 - 1e-12) else float("inf")
    scope = "tasks" if tasks >= SAMPLE_OF_TASKS else "these tasks"
    return Friedman(mean_ranks, chi2, f, df, float(fdtrc(*df, f)), scope)


def _ranks(x: Floats) -> tuple[Floats, int]:
    """Return ranks [N, k] within rows, ties sharing the mean, and the sum of t^3 - t over ties."""
    below = (x[:, :, None] > x[:, None, :]).sum(axis=2)
    alike = (x[:, :, None] == x[:, None, :]).sum(axis=2)
    # Each of the t members of a tie contributes t^2 - 1.
    return below + (alike + 1) / 2, int((alike**2 - 1).sum())
