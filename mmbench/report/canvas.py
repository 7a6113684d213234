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
#: What a figure can be written as.
FORMATS = ("png", "svg", "pdf")
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
    return picture(make, "png")


def picture(make: Callable[[], Any], kind: str, title: str = "", alt: str = "") -> bytes:
    """Draw a figure and return it in one of `FORMATS`; the same figure gives the same bytes.

    Args:
        make: As `png` has it.
        kind: ``png``, ``svg`` or ``pdf``.
        title: Names the figure.
        alt: Says in words what is to be seen. Both stand in the file: as text chunks ``Title`` and
            ``Description`` of a PNG, ``title`` and ``desc`` of an SVG, title and subject of a PDF.
    """
    title, alt = plain(title), plain(alt)
    file = io.BytesIO()
    with _defaults():
        figure = make()
        figure.savefig(file, format=kind, metadata=_metadata(kind, title, alt))
    return _described(file.getvalue(), title, alt) if kind == "svg" else file.getvalue()


def plain(text: str, most: int | None = None) -> str:
    r"""Return a text in one line, without what cannot be seen; cut after `most` characters.

    >>> plain("a\n b\0c") == "a b\ufffdc", plain("abcdef", 4)
    (True, 'abc…')
    """
    seen = "".join(" " if c.isspace() else c if c.isprintable() else "\ufffd" for c in text)
    flat = " ".join(seen.split())
    return flat if most is None or len(flat) <= most else flat[: most - 1] + ELLIPSIS


def _metadata(kind: str, title: str, alt: str) -> dict[str, str | None]:
    """Return what a file says of itself: neither when nor by which version it was drawn."""
    if kind == "pdf":
        none = dict.fromkeys(("Creator", "Producer", "CreationDate"))
        return {**none, "Title": title or None, "Subject": alt or None}
    without = ("Software",) if kind == "png" else ("Date", "Creator")
    told = {key: text for key, text in (("Title", title), ("Description", alt)) if text}
    return {**dict.fromkeys(without), **told}


def _described(svg: bytes, title: str, alt: str) -> bytes:
    """Give an SVG a role, and its title and description as elements that readers read out."""
    from xml.sax.saxutils import escape

    text = svg.decode("utf-8")
    after = "</title>" if title else ">"
    end = text.index(after, text.index("<svg ")) + len(after)
    head = text[:end].replace("<svg ", '<svg role="img" ', 1)
    desc = f"\n <desc>{escape(alt)}</desc>" if alt else ""
    return f"{head}{desc}{text[end:]}".encode()


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
    # Ids in an SVG are drawn at random otherwise; journals want fonts as they are, not as drawings.
    rc |= {"svg.hashsalt": "mmbench", "pdf.fonttype": 42}
    with matplotlib.rc_context(rc), warnings.catch_warnings():
        # A caption may hold any character; the font draws a box for those that it lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


@lru_cache(maxsize=1)
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(8, 8, DPI)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=4096)
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
    # No sign that can be seen is narrower than a pixel: the rest of 10,000 need not be measured.
    most = max(1, int(room))
    if len(text) <= most and width(text, style) <= room:
        return text
    keep = min(len(text), most)
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
        from matplotlib.transforms import Affine2D

        self.wide, self.high = wide, high
        self.figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI, facecolor="white")
        # SVG and PDF are drawn at 72 dots an inch: pixels of `DPI` are the same place there.
        self.pixels = Affine2D().scale(1 / DPI) + self.figure.dpi_scale_trans

    def axes(self, x: float, y: float, wide: float, high: float) -> Any:
        """Return axes in a rectangle of pixels, without any frame but the line below."""
        corner = (x / self.wide, 1 - (y + high) / self.high)
        axes = self.figure.add_axes((*corner, wide / self.wide, high / self.high))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set(color=colours.LINE, linewidth=0.8)
        axes.tick_params(
            labelsize=8.5, length=3, color=colours.LINE, labelcolor=colours.INK,
            labelfontfamily=FONT,
        )  # fmt: skip
        return axes

    def line(self, points: Sequence[tuple[float, float]], colour: str, **options: Any) -> None:
        """Draw a line through points; options as `Line2D` has."""
        from matplotlib.lines import Line2D

        xs, ys = [x for x, _ in points], [self.high - y for _, y in points]
        self.figure.add_artist(Line2D(xs, ys, color=colour, transform=self.pixels, **options))

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        colour: str,
        gap: float = 0.0,
        **options: Any,
    ) -> None:
        """Draw an arrow that leaves `gap` pixels at both ends; options as a patch has."""
        from matplotlib.patches import FancyArrowPatch

        points = gap * 72 / DPI
        self.figure.add_artist(
            FancyArrowPatch(
                (start[0], self.high - start[1]),
                (end[0], self.high - end[1]),
                arrowstyle="-|>",
                mutation_scale=8,
                shrinkA=points,
                shrinkB=points,
                linewidth=1.1,
                color=colour,
                transform=self.pixels,
                **options,
            )
        )

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

    def box(
        self, x: float, y: float, wide: float, high: float, colour: str, **options: Any
    ) -> None:
        """Fill a rectangle; options as `Rectangle` has."""
        from matplotlib.patches import Rectangle

        corner = (x, self.high - y - high)
        self.figure.add_artist(
            Rectangle(corner, wide, high, facecolor=colour, lw=0, transform=self.pixels, **options)
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
