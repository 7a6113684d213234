"""The sheet of flips: items on which two models differ most, as a person sees and hears them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmbench.compare import Comparison, Flip
from mmbench.report import canvas, colours
from mmbench.report.canvas import Page, Placed, Style, Word, lay, shorten, width
from mmbench.report.samples import Answers, Sample
from mmbench.report.sheet import (
    CELL,
    COLUMNS,
    GAP,
    HEAD,
    ID,
    IMAGE,
    MARGIN,
    SMALL,
    TITLE,
    band,
    draw_inputs,
    drawings,
    legend,
    said_words,
)
from mmbench.report.verdicts import swap_words

_RIGHT = Style(9.0, colours.FAINT)
_GOOD, _BAD = Style(9.0, colours.RIGHT, bold=True), Style(9.0, colours.WRONG, bold=True)
#: Lines of a text at most, and references that are shown.
_LINES, _REFERENCES = 5, 2


class Cell(NamedTuple):
    """One item, laid out: who says what, in lines that fit, so its height is known."""

    flip: Flip
    sample: Sample
    told: list[tuple[str, list[list[Placed]]]]
    high: float


def draw_all(folder: Path, found: Sequence[Comparison]) -> list[Comparison]:
    """Draw what can be drawn, write it, and return the comparisons with the names of the files.

    A sheet of each comparison, and a picture of each modality of each item that is no text.

    Args:
        folder: Where they go; made if missing.
        found: Comparisons with flips.

    Raises:
        StoreError: The folder cannot be written.
    """
    made, stems = [], set[str]()
    for one in found:
        if not one.flips or one.answers is None or one.answers.data is None:
            made.append(one)
            continue
        stem = _stem(one, stems)
        stems.add(stem)
        flips = [
            replace(flip, media=_media(folder, f"{stem}-{k:02d}", one.answers, flip))
            for k, flip in enumerate(one.flips, 1)
        ]
        file = canvas.png(partial(figure, one))
        sheet = canvas.save(folder, f"{stem}.png", file)
        made.append(replace(one, flips=tuple(flips), sheet=str(sheet)))
    return made


def figure(one: Comparison) -> Any:
    """Draw the items that speak for the first model, then those that speak for the second."""
    answers = one.answers
    assert answers is not None
    better = one.differences[0].higher_is_better
    groups = [(name, [f for f in one.flips if (f.change > 0) == (better == first)])
              for name, first in ((one.first, True), (one.second, False))]  # fmt: skip
    parts = [
        (name, [_cell(one, answers, flip) for flip in flips]) for name, flips in groups if flips
    ]
    rows = [
        (name, [cells[k : k + COLUMNS] for k in range(0, len(cells), COLUMNS)])
        for name, cells in parts
    ]
    room = COLUMNS * CELL + (COLUMNS - 1) * GAP
    high = 84 + sum(44 + sum(_high(row) for row in part) for _, part in rows)
    page = Page(2 * MARGIN + room, round(high))
    title = f"{one.first} and {one.second}, {one.task} {one.budget}".strip()
    title += f": {len(one.flips)} items of {one.split} that changed most"
    page.write(MARGIN, 16, shorten(title, TITLE, room), TITLE)
    judged = answers.references is not None and answers.references.parse is not None
    said = any(flip.first or flip.second for flip in one.flips)
    wrong = " (wrong: orange and underlined)" if answers.kind == "label" and said else ""
    meant = f"what each said{wrong}, and what is right" if said else "what is right"
    page.write_lines(MARGIN, 46, [legend(judged and said, meant)])
    y = 84.0
    for name, part in rows:
        head = shorten(name, HEAD, 600)
        page.write(MARGIN, y, f"for {head}, by {one.main}", HEAD)
        y += 32
        for row in part:
            for column, each in enumerate(row):
                _draw(page, one, answers, each, MARGIN + column * (CELL + GAP), y)
            y += _high(row)
        y += 12
    return page.figure


def _stem(one: Comparison, taken: set[str]) -> str:
    """Return the beginning of a comparison's files: letters and digits only, and its own."""
    task = re.sub(r"[^A-Za-z0-9_-]+", "_", one.task.partition("@")[0])[:60]
    stems = [f"flips-{task}", *(f"flips-{task}-{k}" for k in range(2, len(taken) + 3))]
    return next(stem for stem in stems if stem not in taken)


def _media(folder: Path, stem: str, answers: Answers, flip: Flip) -> dict[str, str]:
    """Write a picture of each modality of an item; return their files."""
    found = {}
    names = [name for name, of in answers.modalities.items() if of.kind != "text"]
    shown = replace(answers, modalities={name: answers.modalities[name] for name in names})
    drawn = drawings(shown, _sample(answers, flip, ""))[: len(names)]  # no picture that was wanted
    for name, (wide, draw, _) in zip(names, drawn, strict=True):
        page = Page(wide + 2, IMAGE + 4)

        def picture(page: Page = page, draw: Any = draw) -> Any:
            draw(page, 1, 2)
            return page.figure

        file = f"{stem}-{re.sub(r'[^A-Za-z0-9_-]+', '_', name)[:40]}.png"
        found[name] = str(canvas.save(folder, file, canvas.png(picture)))
    return found


def _sample(answers: Answers, flip: Flip, said: str) -> Sample:
    row = answers.row[flip.id]
    references = answers.references
    truth = None if references is None or references.slots is None else references.slots[row]
    return Sample(flip.id, "flip", said, references=flip.right, truth=truth, row=row)


def _cell(one: Comparison, answers: Answers, flip: Flip) -> Cell:
    """Break an item's texts into lines."""
    references = answers.references
    judged = references is not None and references.parse is not None
    swaps = swap_words(references) if judged and references is not None else []
    told = []
    both = (
        (one.first, flip.first, any(f.first for f in one.flips)),
        (one.second, flip.second, any(f.second for f in one.flips)),
    )
    for name, said, known in both:
        if not known:
            continue  # its record was copied without its predictions
        words = said_words(answers, _sample(answers, flip, said), swaps)
        if answers.kind == "label" and flip.right:
            good = said in flip.right
            words = [Word(said, _GOOD if good else _BAD, underlined=not good)]
        told.append((f"{name} said", lay(words, CELL, _LINES)))
    for text in flip.right[:_REFERENCES]:
        told.append(("right", lay([Word(w, _RIGHT) for w in text.split()], CELL, 3)))
    lines = sum(max(p.word.style.line for p in line) for _, text in told for line in text)
    high = (
        24 + band(answers, _sample(answers, flip, "")) + lines + len(told) * (SMALL.line + 7) + 26
    )
    return Cell(flip, _sample(answers, flip, flip.first), told, high)


def _high(row: Sequence[Cell]) -> float:
    return max(each.high for each in row)


def _draw(page: Page, one: Comparison, answers: Answers, each: Cell, x: float, y: float) -> None:
    change = f"{one.main} {each.flip.change:+.2f}"
    name = shorten(each.flip.id, ID, CELL - width(change, SMALL) - 16)
    page.write(x, y, name, ID)
    page.write(x + width(name, ID) + 10, y + 1, change, SMALL)
    y = draw_inputs(page, answers, each.sample, x, y + 24)
    for label, lines in each.told:
        page.write(x, y + 1, shorten(label, SMALL, CELL), SMALL)
        y = page.write_lines(x, y + SMALL.line, lines) + 7
