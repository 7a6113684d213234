"""The wiring of a model as a figure: what meets what, from the inputs on the left to decisions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbench.errors import StoreError
from mmbench.report import canvas, colours
from mmbench.report.canvas import Style

if TYPE_CHECKING:
    from mmbench.wiring import Part, Wiring

_BOX, _HIGH = 172, 46  # pixels of a part
_ACROSS, _DOWN = 62, 16  # pixels between parts
_EDGE = 24  # pixels around
_HEAD = 66  # pixels of the title
_NAME, _KIND = Style(8.0, bold=True), Style(7.0, colours.FAINT)


def save(folder: Path, wiring: Wiring) -> Path:
    """Draw a wiring into ``NAME.png``; return its path.

    Raises:
        StoreError: The folder cannot be written.
    """
    return canvas.save(folder, f"{wiring.model}.png", _few(canvas.png(lambda: figure(wiring))))


def _few(content: bytes) -> bytes:
    """Write a PNG with a palette: a third of the bytes, and nobody sees it."""
    from PIL import Image

    file = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        few = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
        few.save(file, "PNG", optimize=True)
    return file.getvalue()


def figure(wiring: Wiring) -> Any:
    """Draw the parts in columns; stripes say which modalities a part depends on."""
    columns = _columns(wiring)
    tallest = max(len(column) for column in columns)
    title = f"{wiring.model}: {wiring.summary}"
    wide = 2 * _EDGE + len(columns) * _BOX + (len(columns) - 1) * _ACROSS
    wide = max(wide, round(canvas.width(title, Style(11, bold=True))) + 2 * _EDGE)
    high = _HEAD + tallest * (_HIGH + _DOWN) + 2 * _EDGE
    page = canvas.Page(wide, high)
    page.write(_EDGE, 14, title, Style(11, bold=True))
    paper = f"{wiring.family}; {wiring.paper}" if wiring.paper else wiring.family
    page.write(_EDGE, 36, canvas.shorten(paper, _KIND, wide - 2 * _EDGE), _KIND)
    at: dict[int, tuple[float, float]] = {}
    body = high - _HEAD - _EDGE
    for k, column in enumerate(columns):
        used = len(column) * (_HIGH + _DOWN) - _DOWN
        for row, place in enumerate(column):
            top = _HEAD + (body - used) / 2 + row * (_HIGH + _DOWN)
            at[place] = (_EDGE + k * (_BOX + _ACROSS), top)
    shades = colours.of_branches(wiring.modalities)
    for a, b in wiring.edges:
        _line(page, at[a], at[b], wiring.parts[b].training)
    for k, part in enumerate(wiring.parts):
        _box(page, at[k], part, shades)
    return page.figure


def _columns(wiring: Wiring) -> list[list[int]]:
    """Put each part behind all that feed it; in a column, near what feeds it."""
    depth = [0] * len(wiring.parts)
    feeds: dict[int, list[int]] = {}
    for a, b in sorted(wiring.edges, key=lambda edge: edge[1]):
        depth[b] = max(depth[b], depth[a] + 1)
        feeds.setdefault(b, []).append(a)
    # Decisions and branches stand at the right edge, each in a column of its own.
    inner = [depth[k] for k, p in enumerate(wiring.parts) if p.stage not in ("branch", "decision")]
    last = max(inner, default=-1)
    for k, part in enumerate(wiring.parts):
        if part.stage == "branch":
            depth[k] = last + 1
        elif part.stage == "decision":
            depth[k] = last + 2
    columns: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for k in range(len(wiring.parts)):
        columns[depth[k]].append(k)
    place: dict[int, float] = {}
    for column in columns:
        middle = {
            k: sum(place[a] for a in feeds[k]) / len(feeds[k]) if k in feeds else float(k)
            for k in column
        }
        column.sort(key=lambda k: (middle[k], k))
        for row, k in enumerate(column):
            place[k] = (row + 0.5) / len(column)
    return [column for column in columns if column]


def _line(
    page: canvas.Page, start: tuple[float, float], end: tuple[float, float], training: bool
) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    x0, y0 = start[0] + _BOX, page.high - start[1] - _HIGH / 2
    x1, y1 = end[0], page.high - end[1] - _HIGH / 2
    bend = max(_ACROSS * 0.6, (x1 - x0) * 0.35)
    points = [(x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1)]
    curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
    page.figure.add_artist(
        PathPatch(
            curve,
            facecolor="none",
            edgecolor=colours.LINE,
            linewidth=1.2,
            zorder=1,
            linestyle=(0, (3, 2)) if training else "-",
            transform=page.pixels,
        )
    )


def _box(page: canvas.Page, at: tuple[float, float], part: Part, shades: dict[str, str]) -> None:
    x, y = at
    page.box(x, y, _BOX, _HIGH, colours.TRACK)
    if part.training:
        page.box(x + 1, y + 1, _BOX - 2, _HIGH - 2, "white")
    stripe = _BOX / max(1, len(part.sees))
    for k, name in enumerate(part.sees):
        page.box(x + k * stripe, y, stripe, 5, shades[name])
    told = f"{part.name} x {part.times}" if part.times > 1 else part.name
    page.write(x + 6, y + 9, canvas.shorten(told, _NAME, _BOX - 12), _NAME)
    kind = f"{part.kind}, training only" if part.training else part.kind
    page.write(x + 6, y + 26, canvas.shorten(kind, _KIND, _BOX - 12), _KIND)


def gallery(folder: Path, wirings: Sequence[Wiring], task: str) -> Path:
    """Draw all, and a page that shows them by family; return the page's path.

    Raises:
        StoreError: The folder cannot be written.
    """
    by_family: dict[str, list[Wiring]] = {}
    for wiring in wirings:
        save(folder, wiring)
        by_family.setdefault(wiring.family, []).append(wiring)
    lines = [
        "# What meets what",
        "",
        f"The wiring of each model on `{task}`, found by sending items through it and following",
        "the gradients. A stripe has the colour of a modality that the part depends on; what is",
        "white and dashed plays a part in training only. Drawn by",
        f"`mmbench list models --gallery DIR -t {task}`.",
    ]
    for family, members in by_family.items():
        lines += ["", f"## {family}"]
        for one in members:
            lines += [
                "",
                f"**`{one.model}`**: {one.summary}",
                "",
                f"![{one.model}]({one.model}.png)",
            ]
    page = folder / "README.md"
    try:
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{page}: cannot be written: {error.strerror or error}") from None
    return page
