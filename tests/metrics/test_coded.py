"""Rows that many items share: whatever metric returns them, they say what the rows would say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmbench.errors import UsageError
from mmbench.metrics import Metric, family, influence, metric, pseudo_values
from mmbench.metrics._coded import Coded
from mmbench.metrics._influence import estimate

CODES = np.random.default_rng(0).integers(0, 4, 50)
#: The last row is nobody's.
TABLE = np.array([[0.5, 1.0], [3.0, 2.0], [-1.0, 4.0], [2.5, 0.25], [9.0, 9.0]])
ITEMS = range(len(CODES))


def coded(items: object) -> Coded:
    """Rows that are counted."""
    return Coded(TABLE, CODES)


(RATE,) = family(
    coded,
    name="rate",
    columns=("errors", "words"),
    values={"rate": lambda sums: sums[..., 0] / sums[..., 1]},
)


def highest(rows: np.ndarray) -> tuple[float, np.ndarray]:
    """Return what can only be computed from all rows."""
    size = len(rows)
    return float(np.sort(rows[:, 0])[size // 2]), rows[:, 0] - rows[:, 1].mean()


@metric(columns=("errors", "words"), whole=highest)
def in_order(items: object) -> Coded:
    """A metric of all rows that knows nothing of counts."""
    return coded(items)


@metric
def mean_of_codes(items: object) -> Coded:
    """A mean of few different scores."""
    return Coded(TABLE[:, :1], CODES)


def by_rows(of: Metric) -> Metric:
    """Return the metric whose function returns the rows one by one."""
    return replace(of, stats=lambda items: np.asarray(of.stats(items)))


@pytest.mark.parametrize("of", [RATE, in_order, mean_of_codes], ids=lambda of: of.name)
def test_rows_that_are_counted_say_what_rows_one_by_one_say(of: Metric) -> None:
    ours, rows = of.measure(ITEMS), by_rows(of).measure(ITEMS)
    assert isinstance(ours, Coded)
    assert type(rows) is np.ndarray
    assert of.of(ours) == pytest.approx(of.of(rows), rel=1e-15)
    np.testing.assert_allclose(pseudo_values(of, ours), pseudo_values(of, rows), rtol=1e-9)
    value, distinct = estimate(of, ours)
    assert (len(distinct), value) == (len(TABLE), pytest.approx(of.of(rows), rel=1e-15))
    assert np.isfinite(distinct).all()


def test_their_influence_is_that_of_the_rows() -> None:
    # To the precision of differences: two sums that differ in the last digit.
    ours, rows = RATE.measure(ITEMS), by_rows(RATE).measure(ITEMS)
    np.testing.assert_allclose(influence(RATE, ours), influence(RATE, rows), rtol=1e-8)


def test_a_row_that_is_not_finite_is_refused_where_an_item_has_it() -> None:
    table, codes = TABLE.copy(), CODES.copy()
    table[4] = np.nan
    replace(RATE, stats=lambda items: Coded(table, CODES)).measure(ITEMS)
    codes[7] = 4
    broken = replace(RATE, stats=lambda items: Coded(table, codes))
    with pytest.raises(UsageError, match="'rate': its function is not finite on item 7"):
        broken.measure(ITEMS)


def test_the_number_of_items_and_of_columns_is_checked() -> None:
    with pytest.raises(UsageError, match=r"shape \(49, 2\), got \(50, 2\)"):
        RATE.measure(range(49))
    narrow = replace(RATE, stats=lambda items: Coded(TABLE[:, :1], CODES))
    with pytest.raises(UsageError, match=r"shape \(50, 2\), got \(50, 1\)"):
        narrow.measure(ITEMS)


def test_other_statistics_of_the_same_rows_are_not_counted_again() -> None:
    first = coded(ITEMS)
    assert first.with_table(TABLE * 2).counts is first.counts
    np.testing.assert_array_equal(first.counts[:4], np.bincount(CODES))
    assert first.counts[4] == 0


def test_a_check_may_ask_for_an_option() -> None:
    @metric(options={"k": 3}, check=lambda items, k: f"k is {k}" if k > 3 else "")
    def some(items: object, k: int) -> list[float]:
        """Some metric."""
        return [float(k)] * 2

    some.require([1, 2])
    with pytest.raises(UsageError, match=r"'some\(k=5\)': k is 5"):
        some.configure({"k": 5}).require([1, 2])
