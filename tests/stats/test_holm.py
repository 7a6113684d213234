from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmbench.stats.holm import holm


def by_closure(p: list[float]) -> list[float]:
    """Adjust by closed testing: reject i when every set of hypotheses with i is, by Bonferroni."""
    sets = [s for n in range(1, len(p) + 1) for s in combinations(range(len(p)), n)]
    return [
        max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in range(len(p))
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_it_is_closed_testing_with_bonferroni(p: list[float]) -> None:
    assert holm(p) == pytest.approx(by_closure(p))


def test_nothing_needs_no_correction() -> None:
    assert holm([]) == []
    assert holm([0.03]) == [0.03]


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_any_false_rejection_is_as_rare_as_it_says_and_bonferroni_finds_less(
    correlation: float,
) -> None:
    from scipy.special import ndtr

    rng = np.random.default_rng(0)
    wrong = ours = bonferroni = 0
    for _ in range(2000):
        z = rng.normal(size=8) * (1 - correlation) ** 0.5 + rng.normal() * correlation**0.5
        z[4:] += 3.0  # four are true, four are not
        p = 2 * ndtr(-np.abs(z))
        rejected = np.array(holm(p.tolist())) < 0.05
        wrong += rejected[:4].any()
        ours += rejected[4:].sum()
        bonferroni += (p[4:] * 8 < 0.05).sum()
    assert wrong / 2000 <= 0.06
    assert ours > bonferroni
