"""Labelled time steps: for each recording a list of classes, one a frame.

A cell holds the list (in a CSV file as JSON, or as text with blanks between). Classes are all that
both sides name, in the order of `label`. One of them is no event where it is called as one of
`BACKGROUND`; else every class is an event. Key frames, numbers from 0, stand in a column ``keys``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmbench.errors import DataError, UsageError
from mmbench.references import FrameReferences, References
from mmbench.tables import columns
from mmbench.tables.cells import is_missing, parsed, short
from mmbench.tables.kinds import Answers
from mmbench.tables.kinds._classes import in_order
from mmbench.tables.kinds.label import label_name
from mmbench.tables.pairs import single
from mmbench.tables.table import Table

#: What columns of frames are usually called.
USUAL = ("frames", "labels", "label", "states", "events", "value", "matrix")
KEYS = ("keys", "key_frames", "keyframes")
#: Names of the class that is no event, the first that is there.
BACKGROUND = ("background", "none", "nothing", "silence", "o", "-", "0")


def truth(
    references: Table,
    rows: Sequence[Sequence[int]],
    predictions: Table,
    given: Mapping[str, str],
) -> FrameReferences:
    """Return the right class of every frame.

    Raises:
        UsageError: No column looks like the references, or several do.
        DataError: A cell holds no list of labels, or a recording has two rows.
    """
    keys = columns.of_names(references, KEYS)
    if keys is not None and columns.find(references, "reference", USUAL, given, [keys]) is None:
        raise UsageError(
            f"{references.source}: has key frames and no frames: add a column 'frames', the label "
            f"of every frame, which says how long a recording is"
        )
    name = columns.of_reference(references, predictions, USUAL, given, [keys])
    own = single(references, rows)
    right = [_frames(references, name, row) for row in own]
    said_name = _column(predictions, given)
    said = [_frames(predictions, said_name, row) for row in range(len(predictions))]
    classes = in_order(x for frames in [*right, *said] for x in frames or ())
    place = {label: k for k, label in enumerate(classes)}
    lower = [label.lower() for label in classes]
    found = []
    for frames, row in zip(right, own, strict=True):
        if frames is None:
            raise DataError(f"{references.where(row)}: {name} is empty: expected a list of labels")
        found.append(np.array([place[label] for label in frames], dtype=np.int64))
    return FrameReferences(
        frames=found,
        classes=classes,
        background=next((lower.index(none) for none in BACKGROUND if none in lower), None),
        keys=None if keys is None else [_numbers(references, keys, row) for row in own],
    )


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return the predicted classes, by name.

    Raises:
        UsageError: No column looks like the predictions, or several do.
        DataError: A cell holds no list of labels.
    """
    name = _column(predictions, given)
    values = [None if row is None else _frames(predictions, name, row) for row in rows]
    keys = columns.of_names(predictions, KEYS)
    if keys is None:
        return Answers(values, {})
    told = [None if row is None else _numbers(predictions, keys, row) for row in rows]
    return Answers(values, {"keys": told})


def _column(predictions: Table, given: Mapping[str, str]) -> str:
    keys = columns.of_names(predictions, KEYS)
    return columns.need(predictions, "prediction", USUAL, given, [keys])


def _frames(table: Table, column: str, row: int) -> list[str] | None:
    value = parsed(table.columns[column][row])
    if is_missing(value):
        return None
    if isinstance(value, str):
        value = value.split()
    where = f"{table.where(row)}: {column}"
    if not isinstance(value, list | tuple):
        raise DataError(f"{where} is {short(value)}: expected a list of labels, one a frame")
    return [label_name(label, where) for label in value]


def _numbers(table: Table, column: str, row: int) -> Any:
    value = parsed(table.columns[column][row])
    value = value.split() if isinstance(value, str) else value
    try:
        return np.array([int(x) for x in value or ()], dtype=np.int64)
    except (TypeError, ValueError):
        raise DataError(
            f"{table.where(row)}: {column} is {short(value)}: expected numbers of frames, from 0"
        ) from None
