from __future__ import annotations

import os
from pathlib import Path

import matplotlib
import pytest

from mmbench import rng
from mmbench.errors import StoreError
from mmbench.report import canvas
from mmbench.report.canvas import Page, Style, Word, lay, png, save, shorten, width

PLAIN = Style(9.0)
BOLD = Style(9.0, bold=True)


def page(text: str = "a red circle") -> Page:
    made = Page(300, 60)
    made.write(10, 10, text, PLAIN)
    made.box(10, 40, 100, 10, "#0072b2")
    return made


def chunks(content: bytes) -> list[bytes]:
    """Return the types of the chunks of a PNG."""
    found, place = [], 8
    while place < len(content):
        found.append(content[place + 4 : place + 8])
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return found


def test_the_same_figure_gives_the_same_bytes_and_names_no_software() -> None:
    first, second = (png(lambda: page().figure) for _ in range(2))
    assert first == second
    assert first != png(lambda: page("a blue circle").figure)
    assert b"tEXt" not in chunks(first)
    assert first[16:24] == (300).to_bytes(4, "big") + (60).to_bytes(4, "big")


def test_a_users_matplotlibrc_neither_changes_figures_nor_is_changed() -> None:
    expected = png(lambda: page().figure)
    with matplotlib.rc_context({"text.color": "red", "font.size": 30, "savefig.dpi": 40}):
        assert png(lambda: page().figure) == expected
        assert matplotlib.rcParams["savefig.dpi"] == 40


@pytest.mark.parametrize(
    "text", ["雪の中の犬", "$x^2", "a\nb\tc", "\x07bell", "\U0001f600", "{%s}"]
)
def test_no_caption_is_too_odd_to_be_drawn(text: str) -> None:
    words = [Word(word, PLAIN) for word in text.split()]

    def make() -> object:
        made = Page(300, 60)
        made.write_lines(5, 5, lay(words, 280))
        made.write(5, 30, shorten(text, PLAIN, 280), PLAIN)
        return made.figure

    assert len(png(make)) > 500


@pytest.mark.parametrize("room", [60.0, 200.0, 411.0])
def test_no_line_is_wider_than_its_room_and_no_word_is_lost(room: float) -> None:
    lengths = rng.integers(7, "words", count=60, below=14).tolist()
    words = [Word("m" * (1 + n) if n % 3 else "il" * (1 + n), BOLD) for n in lengths]
    lines = lay(words, room)
    for line in lines:
        ends = [place.x + width(place.word.text, BOLD) for place in line]
        assert ends[-1] <= room + 0.01
        for end, following in zip(ends, line[1:], strict=False):
            assert following.x > end
    said = [place.word.text for line in lines for place in line]
    for text, word in zip(said, words, strict=True):
        assert text == word.text or width(word.text, BOLD) > room
        assert word.text.startswith(text.removesuffix(canvas.ELLIPSIS))


def test_what_exceeds_the_lines_ends_in_an_ellipsis_inside_the_room() -> None:
    words = [Word("circle", PLAIN) for _ in range(50)]
    lines = lay(words, 150, most=3)
    assert len(lines) == 3
    last = lines[-1][-1]
    assert last.word.text == canvas.ELLIPSIS
    assert last.x + width(canvas.ELLIPSIS, PLAIN) <= 150
    few = lay(words[:4], 150, most=3)
    assert canvas.ELLIPSIS not in [place.word.text for line in few for place in line]


def test_a_word_wider_than_the_room_is_cut_to_fit() -> None:
    cut = shorten("w" * 500, PLAIN, 120)
    assert cut.endswith(canvas.ELLIPSIS)
    assert 90 < width(cut, PLAIN) <= 120
    assert shorten("short", PLAIN, 120) == "short"


def test_figures_are_written_whole_and_replace_older_ones(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "figures"
    assert save(folder, "curve.png", b"one") == folder / "curve.png"
    save(folder, "curve.png", b"two")
    assert (folder / "curve.png").read_bytes() == b"two"
    assert os.listdir(folder) == ["curve.png"]


def test_a_failed_write_leaves_the_older_figure_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "curve.png", b"one")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StoreError, match=r"No space left on device.*--figures") as caught:
        save(tmp_path, "curve.png", b"two")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "curve.png").read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["curve.png"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"file/figures: figures cannot be written"):
        save(tmp_path / "file" / "figures", "curve.png", b"one")
