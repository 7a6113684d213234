"""The contact sheet: items as a person sees and hears them, and what the model said about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from mmbench.report import colours
from mmbench.report.canvas import Page, Placed, Style, Word, lay, shorten, width
from mmbench.report.samples import Answers, Sample, item_of, scored, words_in
from mmbench.report.verdicts import swap_words, verdicts
from mmbench.types import Modality

#: Cells side by side, pixels of a cell and between cells.
COLUMNS, CELL, GAP, MARGIN = 3, 400, 32, 30
#: Pixels of an image's side, and of what is drawn beside it.
IMAGE, _BESIDE = 192, 196
_NARROW = 124  # three of these fit side by side
#: An image of fewer pixels a side is shown as the squares that it consists of.
_SQUARES = 56
TITLE, HEAD = Style(12.0, bold=True), Style(10.5, bold=True)
ID, SMALL = Style(8.5, bold=True), Style(8.0, colours.FAINT)
_SAID, _LABEL = Style(9.0), 38

_TITLES = {
    "random": "drawn at random",
    "worst": "worst of the others by {metric}",
    "best": "best of the others by {metric}",
}


class Cell(NamedTuple):
    """One item, laid out: its lines are broken, so its height is known."""

    sample: Sample
    said: list[list[Placed]]
    references: list[list[list[Placed]]]
    high: float


#: Draws one modality of an item at (x, y); it may use `IMAGE` pixels of height.
Drawing = tuple[int, Callable[[Page, float, float], None]]


def figure(answers: Answers, samples: Sequence[Sample], title: str) -> Any:
    """Draw items in a grid, in groups: drawn at random, worst, best.

    Args:
        answers: Where the samples are from; ``answers.data`` must be there.
        samples: The items, as `samples.choose` gives them.
        title: Names the record.
    """
    judged = answers.references is not None and answers.references.parse is not None
    swaps = swap_words(answers.references) if judged and answers.references is not None else []
    groups = [
        (why, [cell(answers, sample, swaps) for sample in group])
        for why, group in groupby(samples, key=lambda sample: sample.why)
    ]
    rows = [(why, _rows(cells)) for why, cells in groups]
    high = 84 + sum(44 + sum(_high(row) for row in part) for _, part in rows)
    page = Page(2 * MARGIN + COLUMNS * CELL + (COLUMNS - 1) * GAP, round(high))
    page.write(
        MARGIN, 16, f"{title}: what it said about {len(samples)} items of {answers.split}", TITLE
    )
    page.write_lines(MARGIN, 46, [legend(judged)])
    y = 84.0
    for why, part in rows:
        page.write(MARGIN, y, _TITLES[why].format(metric=answers.metric), HEAD)
        y += 32
        for row in part:
            for column, each in enumerate(row):
                _draw(page, answers, each, MARGIN + column * (CELL + GAP), y)
            y += _high(row)
        y += 12
    return page.figure


def cell(answers: Answers, sample: Sample, swaps: Sequence[str]) -> Cell:
    """Break an item's texts into lines."""
    room = CELL - _LABEL
    said = lay(said_words(answers, sample, swaps), room, 6)
    few = sample.references[:2]
    references = [
        lay([Word(w, Style(9.0, colours.FAINT)) for w in text.split()], room, 3) for text in few
    ]
    lines = [line for text in (said, *references) for line in text]
    text = sum(max(place.word.style.line for place in line) for line in lines)
    return Cell(sample, said, references, 26 + band(answers, sample) + text + 6 * len(few) + 30)


def said_words(answers: Answers, sample: Sample, swaps: Sequence[str]) -> list[Word]:
    """Return the predicted words, coloured by whether what they state holds."""
    words = sample.said.split()
    if not words:
        return [Word("(nothing)", Style(9.0, colours.FAINT))]
    references = answers.references
    if references is None or references.parse is None or sample.truth is None:
        return [Word(word, _SAID) for word in words]
    looks = {
        True: Style(9.0, colours.RIGHT, bold=True),
        False: Style(9.0, colours.WRONG, bold=True),
        None: _SAID,
    }
    judged = verdicts(sample.said, sample.truth, references.parse, swaps)
    return [Word(w, looks[v], v is False) for w, v in zip(words, judged, strict=True)]


def drawings(answers: Answers, sample: Sample) -> list[Drawing]:
    """Return how to draw each modality of an item, and how wide that is."""
    found: list[Drawing] = []
    assert answers.data is not None
    assert sample.row is not None
    for name, modality in answers.modalities.items():
        row = sample.row
        there = answers.data.present.get(name)
        item = item_of(answers.data.inputs[name], row)
        if there is not None and not there[row]:
            found.append((_BESIDE, _absent(name)))
        elif modality.kind in _DRAW:
            found.append(_DRAW[modality.kind](name, modality, item))
        else:
            found.append((_BESIDE, _note(f"{name}: {modality.kind}, not drawn")))
    return found


def _rows(cells: Sequence[Cell]) -> list[list[Cell]]:
    return [list(cells[k : k + COLUMNS]) for k in range(0, len(cells), COLUMNS)]


def _high(row: Sequence[Cell]) -> float:
    return max(each.high for each in row)


def band(answers: Answers, sample: Sample) -> int:
    """Return the height that an item's modalities take: a row of them, or more."""
    return (1 + max(row for row, _, _ in places(drawings(answers, sample)))) * (IMAGE + 10)


def places(drawn: Sequence[Drawing]) -> list[tuple[int, int, Drawing]]:
    """Put drawings side by side, as many as fit into a cell: (row, x, drawing)."""
    found, row, x = [], 0, 0
    for drawing in drawn:
        if x and x + drawing[0] > CELL:
            row, x = row + 1, 0
        found.append((row, x, drawing))
        x += drawing[0] + 12
    return found


def _draw(page: Page, answers: Answers, each: Cell, x: float, y: float) -> None:
    sample = each.sample
    score = "" if sample.score is None else scored(answers.metric, sample.score)
    name = shorten(sample.id, ID, CELL - width(score, SMALL) - 16)
    page.write(x, y, name, ID)
    page.write(x + width(name, ID) + 10, y + 1, score, SMALL)
    y += 24
    y = draw_inputs(page, answers, sample, x, y)
    page.write(x, y + 1, "said", SMALL)
    y = page.write_lines(x + _LABEL, y, each.said)
    for lines in each.references:
        y += 6
        page.write(x, y + 1, "true", SMALL)
        y = page.write_lines(x + _LABEL, y, lines)


def draw_inputs(page: Page, answers: Answers, sample: Sample, x: float, y: float) -> float:
    """Draw an item's modalities, their top left at (x, y); return the `y` below them."""
    for row, left, (_, draw) in places(drawings(answers, sample)):
        draw(page, x + left, y + row * (IMAGE + 10))
    return y + band(answers, sample)


def legend(
    judged: bool, otherwise: str = "said: the prediction; true: references, two at most"
) -> list[Placed]:
    """Say what colours mean, or, where nothing is judged, what the labels mean."""
    if not judged:
        words = [Word(otherwise, SMALL)]
    else:
        words = [
            Word("In what it said: ", SMALL),
            Word("states what holds", Style(8.0, colours.RIGHT, bold=True)),
            Word("  ", SMALL),
            Word("states what does not", Style(8.0, colours.WRONG, bold=True), underlined=True),
            Word("  states no fact", Style(8.0)),
        ]
    return lay(words, 10_000)[0]


def _image(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw [C, H, W] pixels; of other than three channels the first, in grey."""
    _, high, wide = item.shape
    pixels = item.transpose(1, 2, 0) if item.shape[0] == 3 else item[0]
    scale = IMAGE / max(high, wide)
    options: dict[str, Any] = {
        "interpolation": "nearest" if max(high, wide) < _SQUARES else "bicubic"
    }
    if pixels.ndim == 2:
        options |= {"cmap": "gray", "vmin": 0, "vmax": 255}

    def draw(page: Page, x: float, y: float) -> None:
        page.image(x, y, wide * scale, high * scale, pixels, **options)

    return round(wide * scale), draw


def _spectrogram(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw each channel [T, F] as a heat map, time to the right and pitch upwards."""
    channels = item.shape[0]
    names = ("left", "right") if channels == 2 else [f"channel {c + 1}" for c in range(channels)]
    each = (IMAGE - 2) / channels

    def draw(page: Page, x: float, y: float) -> None:
        for k, label in enumerate(names):
            page.write(x, y + k * each - 1, f"{name}, {label}", SMALL)
            page.image(
                x, y + k * each + 18, _BESIDE, each - 22, item[k].T, origin="lower",
                interpolation="nearest", cmap="magma", vmin=0, vmax=255,
            )  # fmt: skip

    return _BESIDE, draw


def _sequence(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw the steps [T, d] of a sequence as a heat map, time to the right, blue below zero."""
    most = max(float(abs(item).max(initial=0.0)), 1e-9)
    return _NARROW, _map(name, item.T, most)


def _vector(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw the numbers [d] of a vector as a strip, blue below zero."""
    most = max(float(abs(item).max(initial=0.0)), 1e-9)
    return _NARROW, _map(name, item[None], most)


def _map(name: str, values: Any, most: float) -> Callable[[Page, float, float], None]:
    def draw(page: Page, x: float, y: float) -> None:
        page.write(x, y - 1, name, SMALL)
        page.image(
            x, y + 18, _NARROW, IMAGE - 24, values,
            interpolation="nearest", cmap="RdBu_r", vmin=-most, vmax=most,
        )  # fmt: skip

    return draw


def _text(name: str, modality: Modality, item: Any) -> Drawing:
    """Write the words [L] of a text; padding left out."""
    return _BESIDE, _note(f"{name}:", words_in(modality, item) or ["(empty)"])


def _absent(name: str) -> Callable[[Page, float, float], None]:
    return _note(f"{name}:", ["none"])


def _note(label: str, words: Sequence[str] = ()) -> Callable[[Page, float, float], None]:
    def draw(page: Page, x: float, y: float) -> None:
        page.write_lines(x, y, lay([Word(w, SMALL) for w in label.split()], _BESIDE, 2))
        page.write_lines(x, y + 20, lay([Word(w, _SAID) for w in words], _BESIDE, 8))

    return draw


#: Kind of modality -> how to draw one item of it.
_DRAW: dict[str, Callable[[str, Modality, Any], Drawing]] = {
    "image": _image,
    "spectrogram": _spectrogram,
    "text": _text,
    "sequence": _sequence,
    "vector": _vector,
}
