"""The check that the other tests of figures rest on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mmbench.report.canvas import Page, Style

STYLE = Style(9.0)


def page(*places: tuple[float, float]) -> Any:
    made = Page(300, 100)
    for k, (x, y) in enumerate(places):
        made.write(x, y, f"a caption {k}", STYLE)
    return made.figure


def test_texts_that_have_room_are_returned(neat: Callable[[Any], list[str]]) -> None:
    assert neat(page((5, 5), (5, 40), (150, 5))) == ["a caption 0", "a caption 1", "a caption 2"]


@pytest.mark.parametrize(
    ("places", "problem"),
    [
        (((5, 5), (40, 9)), "lies on"),
        (((260, 5),), "cut off on the right"),
        (((-20, 5),), "cut off on the left"),
        (((5, 95),), "cut off below"),
        (((5, -12),), "cut off above"),
    ],
)
def test_texts_that_overlap_or_are_cut_off_fail(
    neat: Callable[[Any], list[str]], places: tuple[tuple[float, float], ...], problem: str
) -> None:
    with pytest.raises(AssertionError, match=problem):
        neat(page(*places))
