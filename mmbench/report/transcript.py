"""Samples as lines for a terminal: what was said, by which branch, and what would be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmbench.report import colours, verdicts, voices
from mmbench.report.samples import Answers, Sample

_INDENT = 9


class Piece(NamedTuple):
    """A word, and its colour on places that have colours."""

    text: str
    colour: str = ""


Line = list[Piece]


def transcript(answers: Answers, samples: Sequence[Sample], columns: int) -> list[Line]:
    """Write down samples.

    Args:
        answers: Where they are from.
        samples: The items.
        columns: Characters of a line.

    Returns:
        Lines of pieces that are written one after the other.
    """
    gated = len(answers.branches) > 1 and any(sample.weights for sample in samples)
    marked = gated and voices.constant(samples) is None
    lines: list[Line] = [[Piece(f"samples of {answers.split}:")]]
    for sample in samples:
        lines.append([Piece(f"  {sample.id}  {sample.label(answers.metric)}")])
        lines += _paragraph("said", _said(answers, sample, marked), columns)
        if sample.references:
            lines += _paragraph("true", _words(sample.references[0]), columns)
        for fact in verdicts.wrong_facts(answers, sample) or ():
            lines += _paragraph("wrong", _words(fact, colours.WRONG), columns)
    if gated:
        lines += _paragraph("", _words(voices.legend(answers.branches, samples)), columns, indent=2)
    return lines


def plain(line: Line) -> str:
    """Return a line without colours."""
    return "".join(piece.text for piece in line)


def _said(answers: Answers, sample: Sample, marked: bool) -> list[Piece]:
    """Return the predicted words; if `marked`, with the loudest branch behind each."""
    if not sample.said.split():
        return [Piece("(nothing)")]
    if not marked:
        return _words(sample.said)
    paints = list(colours.of_branches(answers.branches).values())
    return [
        Piece(_printable(voice.word) + voices.mark(voice, answers.branches), paints[voice.loudest])
        for voice in voices.voices(sample)
        if voice.word is not voices.END
    ]


def _words(text: str, colour: str = "") -> list[Piece]:
    return [Piece(_printable(word), colour) for word in text.split()]


def _printable(word: str) -> str:
    """Replace control characters: no caption shall steer a terminal."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in word)


def _paragraph(
    label: str, words: Sequence[Piece], columns: int, indent: int = 4 + _INDENT
) -> list[Line]:
    """Break words into lines, `label` before the first and blanks before the others."""
    lines: list[Line] = []
    used = columns
    for piece in words:
        if used + 1 + len(piece.text) > columns:
            lead = f"    {label}" if label and not lines else ""
            lines.append([Piece(lead.ljust(indent))])
            used = indent - 1
        else:
            lines[-1].append(Piece(" "))
        lines[-1].append(piece)
        used += 1 + len(piece.text)
    return lines
