from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from mmbench.errors import UsageError
from mmbench.stats.friedman import compare

SCORES = arrays(
    np.float64,
    st.tuples(st.integers(2, 8), st.integers(3, 5)),
    elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
)


def anova_of_ranks(scores: np.ndarray) -> float:
    """Return F of a two-way analysis of variance of the ranks: what Iman and Davenport's is."""
    ranks = stats.rankdata(-scores, axis=1)
    tasks, methods = ranks.shape
    between = tasks * ((ranks.mean(axis=0) - ranks.mean()) ** 2).sum() / (methods - 1)
    residual = ranks - ranks.mean(axis=0) - ranks.mean(axis=1, keepdims=True) + ranks.mean()
    return float(between / ((residual**2).sum() / (methods - 1) / (tasks - 1)))


@given(SCORES)
def test_it_is_scipy_s_test_and_the_analysis_of_variance_of_ranks(scores: np.ndarray) -> None:
    ranks = stats.rankdata(-scores, axis=1)
    found = compare(scores)
    assert found.mean_ranks == pytest.approx(ranks.mean(axis=0))
    if (ranks == ranks[:, :1]).all():
        assert (found.chi2, found.p_value) == (0.0, 1.0)
        return
    assert found.chi2 == pytest.approx(stats.friedmanchisquare(*scores.T).statistic, abs=1e-9)
    if np.isfinite(found.f):
        assert found.f == pytest.approx(anova_of_ranks(scores), abs=1e-9)
        assert found.p_value == pytest.approx(stats.f.sf(found.f, *found.df))


def test_tasks_that_all_agree_leave_no_doubt() -> None:
    found = compare(np.tile([0.1, 0.2, 0.3], (4, 1)))
    assert (found.f, found.p_value) == (float("inf"), 0.0)
    assert found.mean_ranks.tolist() == [3.0, 2.0, 1.0]
    errors = compare(np.tile([0.1, 0.2, 0.3], (4, 1)), higher_is_better=False)
    assert errors.mean_ranks.tolist() == [1.0, 2.0, 3.0]


def test_the_f_statistic_keeps_the_level_where_chi2_is_too_careful() -> None:
    rng = np.random.default_rng(0)
    found = [compare(rng.normal(size=(8, 4))) for _ in range(3000)]
    by_f = np.mean([result.p_value < 0.05 for result in found])
    by_chi2 = np.mean([stats.chi2.sf(result.chi2, 3) < 0.05 for result in found])
    assert 0.04 <= by_f <= 0.065
    assert by_chi2 < by_f


def test_few_tasks_are_these_tasks() -> None:
    rng = np.random.default_rng(1)
    assert compare(rng.normal(size=(9, 3))).scope == "these tasks"
    assert compare(rng.normal(size=(10, 3))).scope == "tasks"


@pytest.mark.parametrize("shape", [(1, 3), (3, 1)])
def test_one_task_or_method_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="at least two tasks and two methods"):
        compare(np.ones(shape))
