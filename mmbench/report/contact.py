"""Items of a task as a person sees and hears them, each with what is right; no record is needed."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.data import _load
from mmbench.references import readable
from mmbench.report import canvas
from mmbench.report.canvas import Page, Placed, Style, Word, lay, shorten
from mmbench.report.samples import (
    Answers,
    Sample,
    choose,
    item_of,
    main_output,
    with_words,
    words_in,
)
from mmbench.report.sheet import (
    CELL,
    COLUMNS,
    GAP,
    ID,
    MARGIN,
    SMALL,
    TITLE,
    band,
    draw_inputs,
    legend,
)  # fmt: skip
from mmbench.report.site.media import audible
from mmbench.report.site.names import slug
from mmbench.types import Modality, Ragged

if TYPE_CHECKING:
    from mmbench.spec import TaskSpec
    from mmbench.types import Array, Dataset, Split

#: Items that are drawn, and samples a second of a waveform.
ITEMS, RATE = 9, 16_000
#: What is right of an item: texts at most, and lines of each.
_RIGHT, _LINES = 2, 3
_MEANING = "below each item: what is right; of retrieval what is right may stand beside it too"
_TEXT, _INDENT = Style(9.0), 76


def save(
    task: TaskSpec, folder: Path, root: Path | None = None, split: str = "test"
) -> tuple[Path, list[Path]]:
    """Draw items of a split, the same that records of the task show first, and write their sounds.

    A waveform is written as it is; of a spectrogram one tone a band can be heard.

    Args:
        task: The task.
        folder: Where ``TASK.png`` and ``TASK-NUMBER-MODALITY.wav`` go, numbered as the items
            stand on the sheet; made if missing.
        root: Folder of the user's data.
        split: Which split.

    Returns:
        The contact sheet, and the sounds.

    Raises:
        DataError: Data are missing or broken.
        StoreError: The folder cannot be written.
    """
    dataset = _load.load(task, root)
    shown, outputs = _answers(task, dataset, split)
    samples = choose(shown, ITEMS)
    sheet = canvas.png(partial(figure, shown, samples, outputs, f"{task.name}@{task.version}"))
    path = canvas.save(folder, f"{slug(task.name)}.png", sheet)
    return path, [
        canvas.save(folder, f"{slug(task.name)}-{number:02d}-{slug(name)}.wav", sound)
        for number, sample in enumerate(samples, 1)
        for name, sound in _sounds(shown, sample).items()
    ]


def figure(
    answers: Answers, samples: Sequence[Sample], right: Mapping[str, Sequence[Any]], title: str
) -> Any:
    """Draw items in a grid, what is right below each.

    Args:
        answers: Where the samples are from; ``answers.data`` must be there.
        samples: The items.
        right: Output -> [N] what is right for each item of the data, a few texts each.
        title: Names the task.
    """
    told = [_told(right, sample) for sample in samples]
    cells = list(zip(samples, told, strict=True))
    rows = [cells[k : k + COLUMNS] for k in range(0, len(cells), COLUMNS)]
    highs = [max(_high(answers, *each) for each in row) for row in rows]
    page = Page(2 * MARGIN + COLUMNS * CELL + (COLUMNS - 1) * GAP, round(84 + sum(highs)))
    head = f"{title}: {len(samples)} items of {answers.split}, drawn at random"
    page.write(MARGIN, 16, shorten(head, TITLE, page.wide - 2 * MARGIN), TITLE)
    page.write_lines(MARGIN, 46, [legend(False, _MEANING)])
    y = 84.0
    for row, high in zip(rows, highs, strict=True):
        for column, (sample, lines) in enumerate(row):
            x = MARGIN + column * (CELL + GAP)
            page.write(x, y, shorten(sample.id, ID, CELL), ID)
            below = draw_inputs(page, answers, sample, x, y + 24)
            for label, text in lines:
                page.write(x, below + 1, shorten(label, SMALL, _INDENT - 6), SMALL)
                below = page.write_lines(x + _INDENT, below, text) + 6
        y += high
    return page.figure


def _told(
    right: Mapping[str, Sequence[Any]], sample: Sample
) -> list[tuple[str, list[list[Placed]]]]:
    """Break what is right of an item into lines, each text with the name of its output."""
    assert sample.row is not None
    return [
        (output, lay([Word(w, _TEXT) for w in text.split()], CELL - _INDENT, _LINES))
        for output, texts in right.items()
        for text in texts[sample.row][:_RIGHT]
        if text.split()
    ]


def _high(
    answers: Answers, sample: Sample, told: Sequence[tuple[str, list[list[Placed]]]]
) -> float:
    lines = sum(max(p.word.style.line for p in line) for _, text in told for line in text)
    return 24 + band(answers, sample) + lines + 6 * len(told) + 22


def _answers(
    task: TaskSpec, dataset: Dataset, split: str
) -> tuple[Answers, dict[str, Sequence[Any]]]:
    """Return the items as sheets take them, and what is right for each output."""
    data, modalities = dataset.splits[split], with_words(dataset.signature.modalities)
    right = {name: readable(references) for name, references in data.references.items()}
    told: dict[str, Sequence[Any]] = {n: texts for n, texts in right.items() if texts is not None}
    shown = {name: modalities[name] for name in modalities if name in data.inputs}
    if data.gallery is not None:
        texts = _right_texts(data, modalities)
        told = texts or told
        data, shown = _with_right_entries(data, modalities, [*texts])
    output = main_output(task)
    answers = Answers(
        task=task.name,
        split=split,
        output=output,
        ids=data.ids,
        texts=[""] * len(data),
        data=data,
        row={name: row for row, name in enumerate(data.ids)},
        modalities=shown,
        kind=task.outputs[output].kind,
    )
    return answers, told


def _right_texts(data: Split, modalities: Mapping[str, Modality]) -> dict[str, Sequence[Any]]:
    """Return modality -> [N] the texts of the entries that are right, a few each."""
    assert data.gallery is not None
    rows = next(iter(data.targets.values()))[:, :_RIGHT].tolist()
    found: dict[str, Sequence[Any]] = {}
    for name, values in data.gallery.inputs.items():
        if modalities[name].kind == "text":
            found[name] = [
                [" ".join(words_in(modalities[name], item_of(values, e))) for e in own if e >= 0]
                for own in rows
            ]
    return found


def _with_right_entries(
    data: Split, modalities: Mapping[str, Modality], without: Sequence[str]
) -> tuple[Split, dict[str, Modality]]:
    """Lay beside each query the first entry of the gallery that is right, but for its texts."""
    assert data.gallery is not None
    shown = {name: modalities[name] for name in modalities if name in data.inputs}
    first = next(iter(data.targets.values()))[:, 0]
    inputs, present = dict(data.inputs), dict(data.present)
    for name, values in data.gallery.inputs.items():
        if name in without:
            continue
        label = f"{name}, right"
        shown[label] = modalities[name]
        inputs[label] = (
            Ragged(values.values[first], values.lengths[first])
            if isinstance(values, Ragged)
            else values[first]
        )
        if name in data.gallery.present:
            present[label] = data.gallery.present[name][first]
    return replace(data, inputs=inputs, present=present), shown


def _sounds(answers: Answers, sample: Sample) -> dict[str, bytes]:
    """Return what can be heard of an item, as WAV files."""
    assert answers.data is not None
    assert sample.row is not None
    found = {}
    for name, modality in answers.modalities.items():
        there = answers.data.present.get(name)
        if there is not None and not there[sample.row]:
            continue
        item = item_of(answers.data.inputs[name], sample.row)
        if modality.kind == "spectrogram":
            found[name] = audible(item)
        elif modality.kind == "waveform":
            found[name] = recorded(item)
    return found


def recorded(item: Array) -> bytes:
    """Return a waveform as the bytes of a WAV file of `RATE` samples a second.

    Args:
        item: [T] or [C, T], integers of 16 bits, or floats within -1 and 1.
    """
    channels = np.atleast_2d(item)[:2]
    if channels.dtype.kind == "f":
        channels = np.rint(np.clip(channels, -1.0, 1.0) * 32767.0)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.ascontiguousarray(channels.T).astype("<i2").tobytes())
    return file.getvalue()
