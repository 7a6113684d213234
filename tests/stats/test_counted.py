from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench.errors import UsageError
from mmbench.stats import counted, crossed

FIELDS = ("value", "low", "high", "se", "df")
CELLS = st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 6)), min_size=1, max_size=6)


@given(cells=CELLS, level=st.sampled_from([0.5, 0.95, 0.99]))
@settings(deadline=None)
def test_it_is_the_interval_of_the_numbers_themselves(
    cells: list[tuple[float, int]], level: float
) -> None:
    values, counts = (np.array(part, dtype=np.float64) for part in zip(*cells, strict=True))
    if counts.sum() < 2:
        counts[0] += 2
    found = counted.interval(values, counts, level)
    expected = crossed.interval(np.repeat(values, counts.astype(int)), level=level)
    for field in FIELDS:
        got = getattr(found, field)
        assert got == pytest.approx(getattr(expected, field), rel=1e-12, abs=1e-12), field
    assert (found.items, found.seeds, found.scope, found.level) == (
        expected.items,
        expected.seeds,
        expected.scope,
        expected.level,
    )


@pytest.mark.parametrize(
    ("values", "counts", "level", "message"),
    [
        ([1.0, 2.0], [1.0, 0.0], 0.95, "at least two items, got 1"),
        ([1.0, np.nan], [3.0, 3.0], 0.95, "finite"),
        ([1.0, 2.0], [3.0, 3.0], 1.0, "level must lie between 0 and 1"),
    ],
)
def test_what_has_no_interval_is_refused(
    values: list[float], counts: list[float], level: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        counted.interval(np.array(values), np.array(counts), level)
