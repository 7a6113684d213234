"""Texts: captions, translations, transcripts, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmbench.errors import DataError
from mmbench.references import References, TextReferences
from mmbench.tables import columns
from mmbench.tables.cells import parsed, plain, short, value_is_nan
from mmbench.tables.kinds import Answers
from mmbench.tables.table import Table

#: What columns of texts are usually called.
USUAL = (
    *("caption", "captions", "text", "texts", "transcript", "transcription", "translation"),
    *("sentence", "sentences", "answer", "answers", "summary", "value"),
)
#: Characters of one text at most: a longer one is a file by mistake, and would take minutes.
LONGEST = 100_000


def truth(
    references: Table,
    rows: Sequence[Sequence[int]],
    predictions: Table,
    given: Mapping[str, str],
) -> TextReferences:
    """Return the reference texts: of all rows of an item, of all texts of a cell.

    A cell holds a text or a list of texts (in a CSV file: as JSON); or several columns hold one
    each, ``reference_1``, ``reference_2``. Cells without any are passed over.

    Raises:
        UsageError: No column looks like the references, or several do.
        DataError: A cell holds something else, or an item has no text at all.
    """
    several = [] if "reference" in given else columns.numbered(references)
    names = several or [columns.of_reference(references, predictions, USUAL, given)]
    texts = [
        tuple(
            text
            for row in own
            for name in names
            for text in _texts(references, name, row)
            if text or not several  # a CSV file has no other way to leave a column out
        )
        for own in rows
    ]
    for own, found in zip(rows, texts, strict=True):
        if not found:
            raise DataError(f"{references.where(own[0])}: has no reference: expected a text")
    return TextReferences(texts)


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return the predicted texts; a list of one text, as COCO's tools write it, is that text.

    Raises:
        UsageError: No column looks like the predictions, or several do.
        DataError: A cell holds something else.
    """
    name = columns.need(predictions, "prediction", USUAL, given)
    return Answers([_text(predictions, name, row) for row in rows], {})


def _text(table: Table, column: str, row: int | None) -> str | None:
    value = None if row is None else table.columns[column][row]
    if row is None or value is None or value_is_nan(value):
        return None
    value = plain(value)
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return _checked(value, table, column, row)


def _texts(table: Table, column: str, row: int) -> Sequence[str]:
    value = table.columns[column][row]
    if value is None or value_is_nan(value):
        return ()
    listed = parsed(value)
    texts = isinstance(listed, list) and all(isinstance(text, str) for text in listed)
    if not isinstance(value, str) or texts:  # "[1, 2]" is a text like any other
        value = listed
    values = value if isinstance(value, list | tuple) else (value,)
    return [_checked(one, table, column, row) for one in values]


def _checked(value: Any, table: Table, column: str, row: int) -> str:
    if not isinstance(value, str):
        raise DataError(f"{table.where(row)}: {column} is {short(value)}: expected a text")
    if len(value) > LONGEST:
        raise DataError(
            f"{table.where(row)}: {column} has {len(value):,} characters: expected one text of at "
            f"most {LONGEST:,}"
        )
    return value
