"""Which modality spoke each word: the weights of a model's gate, as text and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmbench.report import colours
from mmbench.report.canvas import Page, Style, shorten, width
from mmbench.report.samples import Answers, Sample

#: What stands for the end mark, which has weights too.
END = "(end)"
#: Weights that differ by less are the same.
SAME = 1e-4

_WIDE, _MARGIN = 1320, 50
_BAR = 74  # pixels of a full bar
_PAD = 7  # pixels on both sides of a word
_NARROWEST = 30
_WORD, _HEAD, _SMALL = Style(9.0), Style(9.5, bold=True), Style(8.0, colours.FAINT)


class Voice(NamedTuple):
    """A word, and the weight of each branch when it was chosen; the weights add up to 1."""

    word: str
    weights: tuple[float, ...]

    @property
    def loudest(self) -> int:
        """The branch with the largest weight; of equal ones the first."""
        return max(range(len(self.weights)), key=lambda k: (self.weights[k], -k))


def voices(sample: Sample) -> list[Voice]:
    """Return the words of a prediction with their weights, the end mark last if it was reached."""
    weights = [tuple(word) for word in sample.weights or ()]
    words = [*sample.words, END] if sample.spoken else sample.words
    return [Voice(word, each) for word, each in zip(words, weights, strict=False)]


def codes(branches: Sequence[str]) -> dict[str, str]:
    """Shorten names to their first letters, as few as tell them apart.

    >>> codes(["joint", "image", "infrared", "audio"])
    {'joint': 'j', 'image': 'im', 'infrared': 'in', 'audio': 'a'}
    """
    found = {}
    for name in branches:
        others = [other for other in branches if other != name]
        lengths = (n for n in range(1, len(name) + 1) if not any(o[:n] == name[:n] for o in others))
        found[name] = name[: next(lengths, len(name))]
    return found


def share(weight: float) -> str:
    """Write a weight with two digits.

    >>> share(0.914), share(0.999)
    ('.91', '1.0')
    """
    text = f"{weight:.2f}"
    return text[1:] if text.startswith("0") else text[:3]


def mark(voice: Voice, branches: Sequence[str]) -> str:
    """Return what stands behind a word: the loudest branch's letter and weight, ``[j .91]``."""
    name = branches[voice.loudest]
    letters = codes(branches)[name]
    return f"[{letters} {share(voice.weights[voice.loudest])}]"


def constant(samples: Sequence[Sample]) -> tuple[float, ...] | None:
    """Return the weights if they are the same at every word of all samples: a static gate's."""
    words = [voice.weights for sample in samples for voice in voices(sample)]
    if not words or any(
        max(abs(a - b) for a, b in zip(w, words[0], strict=True)) > SAME for w in words
    ):
        return None
    return words[0]


def legend(branches: Sequence[str], samples: Sequence[Sample]) -> str:
    """Explain the marks, or say the weights where they are the same at every word."""
    fixed = constant(samples)
    if fixed is not None:
        told = ", ".join(f"{n} {share(w)}" for n, w in zip(branches, fixed, strict=True))
        what = "word" if samples[0].spoken else "item"
        return f"weights of the branches, the same at every {what}: {told}"
    letters = codes(branches)
    named = ", ".join(n if letters[n] == n else f"{letters[n]} {n}" for n in branches)
    if not samples[0].spoken:
        return f"answer [letter share]: the branch that had the largest share in it ({named})"
    return f"word[letter weight]: the branch with the largest weight at that word ({named})"


def figure(answers: Answers, samples: Sequence[Sample], title: str) -> Any:
    """Draw each caption as a sentence under bars: one bar a word, one colour a branch.

    Args:
        answers: Whose branches these are.
        samples: Items with weights.
        title: Names the record.
    """
    rows = [(sample, _lines(voices(sample))) for sample in samples]
    high = 104 + sum(30 + len(lines) * (_BAR + 42) for _, lines in rows) + 12
    page = Page(_WIDE, high)
    if answers.kind == "text":
        head = "which branch spoke each word"
        how = "Each bar is one word; the height of a colour is the weight of that branch at it."
    else:
        head = "which branch decided"
        how = "Each bar is one answer; the height of a colour is the share of that branch in it."
    page.write(_MARGIN, 14, f"{title}: {head}", Style(12.0, bold=True))
    page.write(_MARGIN, 42, how, _SMALL)
    paints = colours.of_branches(answers.branches)
    _keys(page, paints)
    y = 104.0
    for sample, lines in rows:
        head = shorten(sample.id, _HEAD, 500)
        page.write(_MARGIN, y, head, _HEAD)
        page.write(_MARGIN + width(head, _HEAD) + 12, y + 2, sample.label(answers.metric), _SMALL)
        y += 30
        for line in lines:
            _draw(page, y, line, list(paints.values()))
            y += _BAR + 42
    return page.figure


def _lines(said: Sequence[Voice]) -> list[list[tuple[float, float, Voice]]]:
    """Break a caption into lines of (left edge, width, voice); a bar is as wide as its word."""
    room = _WIDE - 2 * _MARGIN
    lines: list[list[tuple[float, float, Voice]]] = []
    x = room + 1.0
    for voice in said:
        voice = voice._replace(word=shorten(voice.word, _WORD, room / 4))
        wide = max(_NARROWEST, width(voice.word, _WORD) + 2 * _PAD)
        if x + wide > room:
            lines.append([])
            x = 0.0
        lines[-1].append((x, wide, voice))
        x += wide
    return lines or [[]]


def _draw(
    page: Page, y: float, line: Sequence[tuple[float, float, Voice]], paints: Sequence[str]
) -> None:
    """Draw one line of words below their bars."""
    for value, label in ((0.0, "0"), (0.5, "½"), (1.0, "1")):
        at = y + _BAR * (1 - value)
        page.write(_MARGIN - 10, at - 9, label, _SMALL, right=True)
    for x, wide, voice in line:
        left, top = _MARGIN + x, y
        for weight, paint in zip(voice.weights, paints, strict=True):
            page.box(left + 1, top, wide - 2, _BAR * weight, paint)
            top += _BAR * weight
        style = _SMALL if voice.word == END else _WORD
        centred = left + (wide - width(voice.word, style)) / 2
        page.write(centred, y + _BAR + 6, voice.word, style)
    if line:
        end = line[-1][0] + line[-1][1]
        page.box(_MARGIN, y + _BAR / 2, end, 1.0, "#ffffff")
    else:
        page.write(_MARGIN, y + _BAR / 2, "said nothing", _SMALL)


def _keys(page: Page, paints: dict[str, str]) -> None:
    x = float(_MARGIN)
    for name, paint in paints.items():
        page.box(x, 72, 14, 14, paint)
        page.write(x + 20, 70, name, _WORD)
        x += 20 + width(name, _WORD) + 26
