"""Which column is what: by name, by elimination, by what the user says; never by guessing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmbench.errors import DataError, UsageError
from mmbench.tables import Table, columns
from mmbench.tables.kinds import label, text

USUAL = text.USUAL


def table(*names: str, ids: Any = ("a", "b")) -> Table:
    return Table("said.csv", {name: list(ids) if name == "id" else ["x", "y"] for name in names})


@pytest.mark.parametrize("name", columns.IDS)
def test_ids_are_found_by_their_names_in_any_case(name: str) -> None:
    found = Table("t", {"caption": ["x"], name.title(): ["a"]})
    assert columns.ids(found, {}) == ["a"]


def test_of_several_names_of_ids_the_first_in_the_list_counts() -> None:
    found = Table("t", {"image_id": [1], "id": [2]})
    assert columns.ids(found, {}) == ["2"]
    assert columns.ids(found, {"id": "image_id"}) == ["1"]
    assert columns.ids(found, {"id": "elsewhere"}) == ["2"], "the other table may have that one"


@pytest.mark.parametrize(
    ("value", "name"),
    [("a", "a"), (" a", " a"), (7, "7"), (7.0, "7"), (np.int64(7), "7"), (np.float32(7), "7")],
)
def test_an_id_is_a_text_or_a_whole_number(value: Any, name: str) -> None:
    assert columns.ids(Table("t", {"id": [value]}), {}) == [name]


@pytest.mark.parametrize(
    ("value", "what"),
    [(None, "no id"), ("", "no id"), (" ", "the id ' '"), (True, "the id True"), (1.5, "1.5"),
     (float("nan"), "nan"), ([1], r"the id \[1\]")],
)  # fmt: skip
def test_a_row_without_an_id_is_named(value: Any, what: str) -> None:
    found = Table("said.jsonl", {"id": ["a", value]}, lambda row: f":{row + 5}")
    with pytest.raises(DataError, match=rf"^said.jsonl:6: has .*{what}.* in the column 'id': exp"):
        columns.ids(found, {})


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["id", "prediction", "caption"], "prediction"),
        (["id", "Hypothesis", "text"], "Hypothesis"),
        (["id", "caption", "place"], "caption"),
        (["id", "my_model"], "my_model"),
        (["id", "my_model", "split"], "my_model"),
        (["id", "place", "city"], None),
        (["id"], None),
    ],
)
def test_the_predictions_are_found(names: list[str], found: str | None) -> None:
    assert columns.find(table(*names), "prediction", USUAL, {}) == found


@pytest.mark.parametrize(
    "names", [["id", "text", "translation"], ["id", "prediction", "hyp"], ["caption", "Caption "]]
)
def test_where_several_would_do_there_is_no_guessing(names: list[str]) -> None:
    wanted = [name for name in names if name != "id"]
    if "Caption " in names:
        assert columns.find(table(*names), "prediction", USUAL, {}) == "caption"
        return
    with pytest.raises(UsageError) as caught:
        columns.find(table(*names), "prediction", USUAL, {})
    assert str(caught.value) == (
        f"said.csv: several columns may be the prediction: {', '.join(wanted)}; "
        f"--column prediction=NAME says which"
    )
    assert columns.find(table(*names), "prediction", USUAL, {"prediction": wanted[1]}) == wanted[1]


def test_a_column_that_is_not_there_is_refused_with_the_near_one() -> None:
    with pytest.raises(UsageError) as caught:
        columns.find(table("id", "caption"), "prediction", USUAL, {"prediction": "captoin"})
    assert str(caught.value) == (
        "--column prediction=captoin: said.csv has no column 'captoin': did you mean 'caption'? "
        "it has: id, caption"
    )


def test_a_table_without_the_column_says_what_it_has_and_what_is_expected() -> None:
    with pytest.raises(UsageError) as caught:
        columns.need(table("id", "place", "city"), "reference", label.USUAL, {})
    assert str(caught.value) == (
        "said.csv: no column looks like the reference (it has: id, place, city); expected a name "
        "like references, label, class, category, answer, or --column reference=NAME"
    )


def test_one_table_holds_both_sides_under_different_names() -> None:
    both = table("id", "text", "hyp")
    assert columns.find(both, "prediction", USUAL, {}) == "hyp"
    assert columns.of_reference(both, both, USUAL, {}) == "text"
    other = table("id", "prediction", "label")
    assert columns.of_reference(other, other, label.USUAL, {}) == "label"


def test_columns_of_probabilities_are_no_predictions() -> None:
    found = table("id", "p:cat", "p:dog", "my_model")
    assert columns.of_scores(found) == {"cat": "p:cat", "dog": "p:dog"}
    taken = columns.of_scores(found).values()
    assert columns.find(found, "prediction", label.USUAL, {}, taken) == "my_model"


def test_numbered_columns_hold_a_reference_each() -> None:
    found = table("id", "reference_1", "reference_2", "ref3", "caption 4", "reference", "text_1a")
    assert columns.numbered(found) == ["reference_1", "reference_2", "ref3", "caption 4"]
