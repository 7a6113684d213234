from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mmbench.errors import UsageError
from mmbench.stats import mcnemar


def test_it_is_the_binomial_test_for_all_small_counts() -> None:
    for b in range(15):
        for c in range(15):
            expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
            assert mcnemar.p_value(b, c) == pytest.approx(expected)


def test_mid_p_counts_the_outcome_by_half() -> None:
    for b in range(12):
        for c in range(12):
            if b + c:
                pmf = stats.binom.pmf(np.arange(b + c + 1), b + c, 0.5)
                distance = np.abs(np.arange(b + c + 1) - (b + c) / 2)
                here = abs(b - (b + c) / 2)
                expected = pmf[distance > here].sum() + pmf[distance == here].sum() / 2
                assert mcnemar.p_value(b, c, mid_p=True) == pytest.approx(expected)


def test_the_published_example_of_mid_p() -> None:
    # Fagerland, Lydersen & Laake 2013, airway hyper-responsiveness: 1 and 7 discordant pairs.
    assert round(mcnemar.p_value(1, 7), 3) == 0.070
    assert round(mcnemar.p_value(1, 7, mid_p=True), 3) == 0.039


def sizes(mid_p: bool, items: int) -> list[float]:
    """Return the probability of rejecting at 5 %, for several shares of discordant items."""
    rejects = np.zeros(items + 1)
    for n in range(items + 1):
        pmf = stats.binom.pmf(np.arange(n + 1), n, 0.5)
        rejects[n] = sum(
            pmf[b] for b in range(n + 1) if mcnemar.p_value(b, n - b, mid_p=mid_p) <= 0.05
        )
    return [
        float(stats.binom.pmf(np.arange(items + 1), items, share) @ rejects)
        for share in (0.1, 0.2, 0.3, 0.5, 0.8)
    ]


def test_exact_never_rejects_too_often_and_mid_p_comes_nearer() -> None:
    exact, mid = sizes(False, 50), sizes(True, 50)
    assert max(exact) <= 0.05
    assert max(mid) <= 0.055
    assert all(a < b for a, b in zip(exact, mid, strict=True))


def test_only_items_that_one_gets_right_count() -> None:
    first = [True, True, True, False, False, True]
    found = mcnemar.compare(first, [1, 0, 0, 0, 1, 0])
    assert (found.first_only, found.second_only) == (3, 1)
    assert found.p_value == mcnemar.p_value(3, 1)
    assert found.least == pytest.approx(2 * 0.5**4)
    alike = mcnemar.compare(first, first)
    assert (alike.p_value, alike.least) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mcnemar.compare([0.5, 1], [1, 1]), r"first: expected right \(1\) or wrong \(0\)"),
        (lambda: mcnemar.compare([0, 1], [[1, 1]]), "second: expected right"),
        (lambda: mcnemar.compare([0, 1], [1]), "first system answers 2 items, the second 1"),
        (lambda: mcnemar.p_value(-1, 3), "must not be negative: -1, 3"),
    ],
)
def test_what_is_not_right_or_wrong_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
