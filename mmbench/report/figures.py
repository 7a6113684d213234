"""All figures of one record, drawn and written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmbench.report import canvas, curve, scores, sheet, voices
from mmbench.report.samples import Answers, choose
from mmbench.spec import TaskSpec
from mmbench.store import Record

#: Items on the contact sheet, and captions in the figure of the gate, unless asked otherwise.
SHEET_ITEMS, GATE_ITEMS = 12, 6


def draw_all(
    folder: Path, record: Record, task: TaskSpec, answers: Answers | None, items: int | None
) -> dict[str, Path]:
    """Draw every figure that the record has the content for, and write them.

    Args:
        folder: Where they go; made if missing.
        record: The record.
        task: What it was measured on.
        answers: What it said, or None.
        items: Items on the sheet and captions in the gate's figure; None: as many as look good.

    Returns:
        Name -> file: ``curve``, ``scores``, ``sheet``, ``gate``, as far as there is something to
        draw: no sheet without data, no gate where there is one branch.

    Raises:
        StoreError: The folder cannot be written.
    """
    title = f"{record.task}/{record.model} {record.budget}, seed {record.seed}"
    drawings: dict[str, Callable[[], Any]] = {}
    if record.curve:
        drawings["curve"] = lambda: curve.figure(record, task, title)
    if record.scores:
        drawings["scores"] = lambda: scores.figure(record, task, title)
    if answers is not None and answers.data is not None:
        shown = [s for s in choose(answers, items or SHEET_ITEMS) if s.row is not None]
        drawings["sheet"] = lambda: sheet.figure(answers, shown, title)
    if answers is not None and answers.weights is not None and len(answers.branches) > 1:
        spoken = choose(answers, items or GATE_ITEMS)
        drawings["gate"] = lambda: voices.figure(answers, spoken, title)
    return {
        name: canvas.save(folder, f"{name}.png", canvas.png(draw))
        for name, draw in drawings.items()
    }
