from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmbench.errors import DataError, UsageError
from mmbench.tables import Table
from mmbench.tables.groups import are_groups, in_order, labelled, of_items


def test_groups_are_what_the_column_says_numbers_in_order() -> None:
    labels = labelled([10, 2, None, 2.0, "", float("nan")], "size")
    assert labels == ["10", "2", "(none)", "2", "(none)", "(none)"]
    assert in_order(labels) == ["2", "10", "(none)"]
    assert in_order(labelled(["out", "in", "out"], "place")) == ["in", "out"]
    assert labelled([True, False], "flag") == ["True", "False"]


@pytest.mark.parametrize("kind", [float, str, np.float32])
def test_many_numbers_become_quarters_of_about_equal_size(kind: Any) -> None:
    draw = np.random.default_rng(0)
    values = draw.permutation(1000) / 10
    labels = labelled([kind(x) for x in values], "length")
    names = in_order(labels)
    assert names == ["0 to 24.9", "25 to 49.9", "50 to 74.9", "75 to 99.9"]
    assert [labels.count(name) for name in names] == [250] * 4
    for value, name in zip(values, labels, strict=True):
        low, high = map(float, name.split(" to "))
        assert low <= value <= high


def test_equal_numbers_stay_together_and_missing_ones_apart() -> None:
    values: list[Any] = [1] * 70 + list(range(2, 22)) + [None] * 10
    labels = labelled(values, "length")
    assert len({labels[k] for k in range(70)}) == 1
    assert labels[90:] == ["(none)"] * 10
    assert sum(labels.count(name) for name in in_order(labels)) == 100


def test_too_many_names_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        labelled([f"clip{k}" for k in range(51)], "clip")
    assert str(caught.value) == (
        "--by clip: has 51 different values: expected at most 50 groups, or numbers, which are put "
        "into quarters"
    )


def test_a_column_of_items_takes_the_row_of_each_and_refuses_rows_that_differ() -> None:
    table = Table("refs.csv", {"place": ["in", "in", "out"]}, lambda row: f":{row + 2}")
    assert of_items(table, "place", [[0, 1], [2], []]) == ["in", "out", None]
    with pytest.raises(DataError) as caught:
        of_items(table, "place", [[0], [1, 2]])
    assert str(caught.value) == (
        "refs.csv:4: place is 'out', but in another row of the same item it is 'in'"
    )


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("place", ["in", "out"] * 3, True),
        ("speaker", [1, 2] * 3, True),
        ("same", ["in"] * 6, False),
        ("distinct", list("abcdef"), False),
        ("gap", ["in", None] * 3, False),
        ("prediction", ["in", "out"] * 3, False),
        ("p:cat", ["0", "1"] * 3, False),
        ("scores", np.ones((6, 2)), False),
        ("lists", [[1], [2]] * 3, False),
    ],
)
def test_a_column_looks_like_groups_if_few_values_repeat(
    name: str, values: Any, expected: bool
) -> None:
    assert are_groups(name, values) is expected
