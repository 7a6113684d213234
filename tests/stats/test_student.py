from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from mmbench.stats.student import quantile, tail

DEGREES = [0.5, 1, 1.7, 2, 3, 4.2, 10, 29.9, 49, 51, 100, 999, 12345.6, 99_999, 100_001, 1e6, 1e9]


@pytest.mark.parametrize("df", DEGREES)
def test_quantiles_are_those_of_scipy(df: float) -> None:
    for p in (0.5001, 0.6, 0.75, 0.9, 0.95, 0.975, 0.995, 0.9999, 1 - 1e-8, 1e-12, 1e-30):
        assert quantile(p, df) == pytest.approx(special.stdtrit(df, p), rel=2e-12), p


@pytest.mark.parametrize("df", DEGREES)
def test_tails_are_those_of_scipy(df: float) -> None:
    for t in (0.0, 0.1, 1, 1.7, 2, 5, 20, 40, 1e5):
        expected = special.stdtr(df, -t)
        assert tail(t, df) == pytest.approx(expected, rel=2e-12 if t < 30 else 1e-9, abs=1e-290), t


@pytest.mark.parametrize("df", DEGREES)
def test_tail_and_quantile_undo_each_other_on_both_sides(df: float) -> None:
    for p in (0.001, 0.025, 0.3, 0.5, 0.7, 0.975, 0.999):
        assert tail(quantile(p, df), df) == pytest.approx(1 - p, rel=1e-12)
        assert quantile(p, df) == pytest.approx(-quantile(1 - p, df), rel=1e-12)
        assert tail(-1.3, df) + tail(1.3, df) == 1.0


def test_one_and_two_degrees_of_freedom_have_a_closed_form() -> None:
    for p in (0.6, 0.9, 0.975, 0.9999):
        assert quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-12)
        a = 2 * p - 1
        assert quantile(p, 2) == pytest.approx(a * math.sqrt(2 / (1 - a * a)), rel=1e-12)


def test_the_normal_distribution_is_the_limit() -> None:
    assert quantile(0.975, 1e12) == pytest.approx(special.ndtri(0.975), rel=1e-11)
    assert np.isclose(tail(2.0, 1e12), special.ndtr(-2.0), rtol=1e-11)
