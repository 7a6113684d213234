"""The contact sheet: items as a person sees and hears them, and what the model said about them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from mmbench.report import arrows, clouds, colours
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
#: Axes of targets that are pictures, [N, C, H, W].
PICTURES = 4
#: Frames of a video that are shown.
_FRAMES = 8
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


class Drawing(NamedTuple):
    """Draws one modality of an item, its top left at (x, y), into so many pixels."""

    wide: int
    draw: Callable[[Page, float, float], None]
    high: int = IMAGE


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
            found.append(_absent(name))
        else:
            found.append(drawing(name, modality, item))
    real = answers.data.targets.get(answers.output)
    if sample.picture is not None:
        # Beside the inputs, one each: a picture and what is as wide as a sound fit into a row.
        found.insert(1, _framed("generated", sample.picture))
        if real is not None:
            found.insert(3, _framed("real", real[sample.row]))
    elif isinstance(real, np.ndarray) and real.ndim == PICTURES:
        found.append(_framed("real", real[sample.row]))
    return found


def drawing(name: str, modality: Modality, item: Any) -> Drawing:
    """Return how to draw one item of a modality; of a kind that is not known as a heat map."""
    if not np.size(item):
        return _note(f"{name}:", ["(empty)"])
    return _DRAW.get(modality.kind, _other)(name, modality, item)


def _rows(cells: Sequence[Cell]) -> list[list[Cell]]:
    return [list(cells[k : k + COLUMNS]) for k in range(0, len(cells), COLUMNS)]


def _high(row: Sequence[Cell]) -> float:
    return max(each.high for each in row)


def band(answers: Answers, sample: Sample) -> int:
    """Return the height that an item's modalities take: a row of them, or more."""
    return max(y + drawn.high + 10 for _, y, drawn in places(drawings(answers, sample)))


def places(drawn: Sequence[Drawing]) -> list[tuple[int, int, Drawing]]:
    """Put drawings side by side, as many as fit into a cell: (x, y, drawing)."""
    found, x, y, high = [], 0, 0, 0
    for each in drawn:
        if x and x + each.wide > CELL:
            x, y, high = 0, y + high + 10, 0
        found.append((x, y, each))
        x, high = x + each.wide + 12, max(high, each.high)
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
    for left, down, drawn in places(drawings(answers, sample)):
        drawn.draw(page, x + left, y + down)
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


def _image(name: str, modality: Modality, item: Any, side: float = IMAGE) -> Drawing:
    """Draw [C, H, W] pixels; of other than three channels the first, in grey."""
    _, high, wide = item.shape
    pixels = item.transpose(1, 2, 0) if item.shape[0] == 3 else item[0]
    scale = side / max(high, wide)
    options: dict[str, Any] = {
        "interpolation": "nearest" if max(high, wide) < _SQUARES else "bicubic"
    }
    if pixels.ndim == 2:
        options |= {"cmap": "gray", "vmin": 0, "vmax": 255}

    def draw(page: Page, x: float, y: float) -> None:
        page.image(x, y, wide * scale, high * scale, pixels, **options)

    return Drawing(round(wide * scale), draw)


def _framed(name: str, item: Any) -> Drawing:
    """Draw [C, H, W] pixels below their name."""
    wide, draw, _ = _image(name, Modality("image", item.shape), item, IMAGE - 20)

    def framed(page: Page, x: float, y: float) -> None:
        page.write(x, y - 1, name, SMALL)
        draw(page, x, y + 18)

    return Drawing(max(wide, _NARROW), framed)


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

    return Drawing(_BESIDE, draw)


def _video(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw frames [T, H, W] of a video at even distances, the first and the last among them."""
    if item.ndim != 3:
        return _other(name, modality, item)
    frames, high, wide = item.shape
    shown = np.unique(np.linspace(0, frames - 1, min(frames, _FRAMES)).round().astype(int))
    columns = min(len(shown), _FRAMES // 2)
    rows = -(-len(shown) // columns)
    scale = min((IMAGE - 24) / (rows * high), CELL / (columns * wide))

    def draw(page: Page, x: float, y: float) -> None:
        page.write(x, y - 1, f"{name}, {len(shown)} of {frames} frames", SMALL)
        for k, frame in enumerate(shown):
            row, column = divmod(k, columns)
            page.image(
                x + column * wide * scale, y + 18 + row * high * scale, wide * scale, high * scale,
                item[frame], cmap="gray", vmin=0, vmax=255,
                interpolation="nearest" if max(high, wide) < _SQUARES else "bicubic",
            )  # fmt: skip

    return Drawing(max(round(columns * wide * scale), _NARROW), draw)


def _waveform(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw a waveform [T] or [C, T] as the range that it has at each pixel, channels as rows."""
    channels = np.atleast_2d(np.asarray(item, dtype=np.float64))
    if channels.ndim != 2:
        return _other(name, modality, item)
    most = max(float(np.abs(channels).max()), 1e-9)
    each = (IMAGE - 24) / len(channels)

    def draw(page: Page, x: float, y: float) -> None:
        page.write(x, y - 1, name, SMALL)
        for k, channel in enumerate(channels):
            middle = y + 18 + (k + 0.5) * each
            cuts = np.linspace(0, len(channel), _BESIDE + 1).astype(int)
            for column, (start, stop) in enumerate(itertools.pairwise(cuts)):
                part = channel[start : max(stop, start + 1)]
                top, low = float(part.max()) / most, float(part.min()) / most
                high = max((top - low) * each / 2, 1.0)
                page.box(x + column, middle - top * each / 2, 1.0, high, colours.INK)

    return Drawing(_BESIDE, draw)


def _other(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw numbers of any shape as a heat map, the first axis to the right; else say their kind."""
    values = np.asarray(item)
    if values.dtype.kind not in "biuf":
        return _note(f"{name}: {modality.kind}, not drawn")
    flat = values.astype(np.float64).reshape(len(values) if values.ndim else 1, -1)
    flat = np.nan_to_num(flat, posinf=0.0, neginf=0.0)
    return _map(f"{name}: {modality.kind}", flat.T, max(float(np.abs(flat).max()), 1e-9))


def _sequence(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw the steps [T, d] of a sequence as a heat map, time to the right, blue below zero."""
    most = max(float(abs(item).max(initial=0.0)), 1e-9)
    return _map(name, item.T, most)


def _graph(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw who points at whom, and by which relation."""
    return Drawing(arrows.SIDE, arrows.drawn(name, item, modality.vocabulary))


def _vector(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw the numbers [d] of a vector as a strip, blue below zero."""
    most = max(float(abs(item).max(initial=0.0)), 1e-9)
    return _map(name, item[None], most)


def _points(name: str, modality: Modality, item: Any) -> Drawing:
    """Draw a set of points [N, d], near ones dark."""

    def draw(page: Page, x: float, y: float) -> None:
        page.write(x, y - 1, name, SMALL)
        page.image(
            x, y + 18, _NARROW, _NARROW, clouds.drawn(item),
            interpolation="nearest", cmap="gray", vmin=0, vmax=255,
        )  # fmt: skip

    return Drawing(_NARROW, draw)


def _map(name: str, values: Any, most: float) -> Drawing:
    def draw(page: Page, x: float, y: float) -> None:
        page.write(x, y - 1, name, SMALL)
        page.image(
            x, y + 18, _NARROW, IMAGE - 24, values,
            interpolation="nearest", cmap="RdBu_r", vmin=-most, vmax=most,
        )  # fmt: skip

    return Drawing(_NARROW, draw)


def _text(name: str, modality: Modality, item: Any) -> Drawing:
    """Write the words [L] of a text; padding left out."""
    return _note(f"{name}:", words_in(modality, item) or ["(empty)"])


def _absent(name: str) -> Drawing:
    return _note(f"{name}:", ["none"])


def _note(label: str, words: Sequence[str] = ()) -> Drawing:
    above = lay([Word(w, SMALL) for w in label.split()], _BESIDE, 2)
    lines = lay([Word(w, _SAID) for w in words], _BESIDE, 8)

    def draw(page: Page, x: float, y: float) -> None:
        page.write_lines(x, y, above)
        page.write_lines(x, y + 20, lines)

    return Drawing(_BESIDE, draw, 20 + max(1, len(lines)) * _SAID.line)


#: Kind of modality -> how to draw one item of it.
_DRAW: dict[str, Callable[[str, Modality, Any], Drawing]] = {
    "image": _image,
    "spectrogram": _spectrogram,
    "text": _text,
    "sequence": _sequence,
    "set": _sequence,
    "graph": _graph,
    "vector": _vector,
    "video": _video,
    "waveform": _waveform,
    "points": _points,
}
