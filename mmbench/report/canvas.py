"""Where figures are drawn: matplotlib's Agg, no pyplot, no state that outlives a figure.

Charts use matplotlib's axes. Sheets, whose parts are words and pictures, are laid out in pixels
from the top left on a `Page`, with measured text, so that nothing overlaps or is cut off.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mmbench import sealed
from mmbench.errors import StoreError
from mmbench.report import colours
from mmbench.types import Array

#: Pixels per inch of every figure; text of 9 points is 15 pixels high.
DPI = 120
FONT = "DejaVu Sans"  # comes with matplotlib, so it is there on every machine
ELLIPSIS = "…"


class Style(NamedTuple):
    """How a text looks; size in points."""

    size: float = 9.0
    colour: str = colours.INK
    bold: bool = False

    @property
    def line(self) -> int:
        """Pixels from one line to the next."""
        return round(self.size * DPI / 72 * 1.32)


@dataclass(frozen=True)
class Word:
    """A word of a text that is laid out."""

    text: str
    style: Style
    underlined: bool = False


class Placed(NamedTuple):
    """A word and the pixel at which it begins in its line."""

    x: float
    word: Word


def png(make: Callable[[], Any]) -> bytes:
    """Draw a figure and return it as PNG; the same figure gives the same bytes.

    Args:
        make: Makes the matplotlib figure. It is called with matplotlib's own defaults, whatever
            the user's ``matplotlibrc`` says.
    """
    with _defaults():
        figure = make()
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def svg(make: Callable[[], Any], salt: str) -> str:
    """Draw a figure and return it as SVG whose texts are texts; the same figure, the same text.

    Args:
        make: As for `png`. Nothing in its texts is read as mathematics.
        salt: Tells the ids of one figure from those of another.
    """
    with _defaults(), _options(salt):
        file = io.BytesIO()
        make().savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue().decode("utf-8")


def _options(salt: str) -> Any:
    import matplotlib

    told = {"svg.fonttype": "none", "svg.hashsalt": salt, "text.parse_math": False}
    return matplotlib.rc_context(told | {"font.family": FONT})  # type: ignore[arg-type]


def save(folder: Path, name: str, content: bytes) -> Path:
    """Write a figure whole or not at all; return its path.

    Raises:
        StoreError: The folder cannot be written.
    """
    try:
        sealed.put(folder / name, content)
    except OSError as error:
        raise StoreError(
            f"{folder}: figures cannot be written ({error.strerror or error}): --figures names "
            f"another folder, --no-figures makes none"
        ) from None
    return folder / name


@contextmanager
def _defaults() -> Iterator[None]:
    import matplotlib

    rc = {
        name: value for name, value in matplotlib.rcParamsDefault.items() if "backend" not in name
    }
    with matplotlib.rc_context(rc), warnings.catch_warnings():
        # A caption may hold any character; the font draws a box for those that it lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


@lru_cache(maxsize=1)
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(8, 8, DPI)  # type: ignore[no-untyped-call]


def width(text: str, style: Style) -> float:
    """Return how many pixels wide a text is."""
    from matplotlib.font_manager import FontProperties

    weight = "bold" if style.bold else "normal"
    font = FontProperties(family=FONT, size=style.size, weight=weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        return float(_renderer().get_text_width_height_descent(text, font, False)[0])


def shorten(text: str, style: Style, room: float) -> str:
    """Cut a text so that it fits into `room` pixels, an ellipsis at its end.

    Line breaks and other white space become a blank, control characters a replacement sign.
    """
    text = "".join(" " if c.isspace() else c if c.isprintable() else "\ufffd" for c in text)
    if width(text, style) <= room:
        return text
    keep = len(text)
    while keep > 0 and width(text[:keep] + ELLIPSIS, style) > room:
        keep -= max(1, keep // 8)
    return text[: max(keep, 0)] + ELLIPSIS


def lay(words: Sequence[Word], room: float, most: int = 99) -> list[list[Placed]]:
    """Break words into lines.

    Args:
        words: In order; a word wider than a line is cut.
        room: Pixels of a line.
        most: Lines at most; where there is more to say, the last word is an ellipsis.

    Returns:
        Lines of placed words, none of which ends beyond `room`.
    """
    lines: list[list[Placed]] = []
    end = room + 1.0  # no line is begun yet
    for word in words:
        word = replace(word, text=shorten(word.text, word.style, room))
        gap = width(" ", word.style)
        wide = width(word.text, word.style)
        if end + gap + wide > room:
            if len(lines) == most:
                _close(lines[-1], word.style, room)
                break
            lines.append([])
            end = -gap
        lines[-1].append(Placed(end + gap, word))
        end += gap + wide
    return lines


def _close(line: list[Placed], style: Style, room: float) -> None:
    """End a line with an ellipsis; drop words until it fits."""
    mark = Word(ELLIPSIS, Style(style.size, colours.FAINT))
    need = width(f" {ELLIPSIS}", style)
    while True:
        last = line[-1]
        end = last.x + width(last.word.text, last.word.style)
        if end + need <= room or len(line) == 1:
            line.append(Placed(min(end + width(" ", style), room - need), mark))
            return
        line.pop()


class Page:
    """A white figure on which things are put in pixels, from the top left."""

    def __init__(self, wide: int, high: int) -> None:
        from matplotlib.figure import Figure
        from matplotlib.transforms import IdentityTransform

        self.wide, self.high = wide, high
        self.figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI, facecolor="white")
        self.pixels = IdentityTransform()

    def write(self, x: float, y: float, text: str, style: Style, right: bool = False) -> None:
        """Write one line whose top is at `y`; it begins (or, if `right`, ends) at `x`."""
        self.figure.text(
            x,
            self.high - y - style.line * 0.76,
            text,
            transform=self.pixels,
            family=FONT,
            fontsize=style.size,
            color=style.colour,
            weight="bold" if style.bold else "normal",
            ha="right" if right else "left",
            va="baseline",
            parse_math=False,
        )

    def write_lines(self, x: float, y: float, lines: Sequence[Sequence[Placed]]) -> float:
        """Write what `lay` made; return the `y` below it."""
        for line in lines:
            for place in line:
                word = place.word
                self.write(x + place.x, y, word.text, word.style)
                if word.underlined:
                    bottom = y + word.style.line * 0.9
                    wide = width(word.text, word.style)
                    self.box(x + place.x, bottom, wide, 1.6, word.style.colour)
            y += max((p.word.style.line for p in line), default=0)
        return y

    def box(self, x: float, y: float, wide: float, high: float, colour: str) -> None:
        """Fill a rectangle."""
        from matplotlib.patches import Rectangle

        corner = (x, self.high - y - high)
        self.figure.add_artist(
            Rectangle(corner, wide, high, facecolor=colour, lw=0, transform=self.pixels)
        )

    def image(
        self, x: float, y: float, wide: float, high: float, pixels: Array, **options: Any
    ) -> None:
        """Put an array into a rectangle, a thin frame around it; options as `Axes.imshow` has."""
        corner = (x / self.wide, 1 - (y + high) / self.high)
        axes = self.figure.add_axes((*corner, wide / self.wide, high / self.high))
        axes.imshow(pixels, aspect="auto", **options)
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set(color=colours.LINE, linewidth=0.6)
