from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

# Records that no run has made stand beside the tests of the commands.
sys.path.append(str(Path(__file__).parents[1] / "cli"))


def check_neat(figure: Any) -> list[str]:
    """Fail where a text is cut off or lies on another; return all texts."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    width, height = canvas.get_width_height()
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text.figure is not None
    ]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    # matplotlib keeps tick labels beyond the axes' limits, which it never draws.
    boxes = [(text, box) for text, box in boxes if box.width > 0 and not _beyond(text, box, figure)]
    assert boxes
    for text, box in boxes:
        assert box.x0 >= -1, f"{text!r} is cut off on the left"
        assert box.x1 <= width + 1, f"{text!r} is cut off on the right"
        assert box.y0 >= -1, f"{text!r} is cut off below"
        assert box.y1 <= height + 1, f"{text!r} is cut off above"
    for (one, first), (two, second) in itertools.combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        # A line box holds room for signs that most lines lack, so lines may touch.
        assert across <= 1.5 or down <= 4.5, f"{one!r} lies on {two!r}"
    return [text for text, _ in boxes]


def _beyond(text: str, box: Any, figure: Any) -> bool:
    labels = [
        (label, axes, axis)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in axis.get_ticklabels(which="both")
    ]
    for label, axes, axis in labels:
        if label.get_text() == text and label.get_window_extent().bounds == box.bounds:
            low, high = sorted(axis.get_view_interval())
            at = label.get_position()[0 if axis is axes.xaxis else 1]
            return not low <= at <= high
    return False


@pytest.fixture
def neat() -> Callable[[Any], list[str]]:
    return check_neat
