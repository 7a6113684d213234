"""Boards as figures: levels that coincide share a label, the files are what their names say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmbench.errors import StoreError, UsageError
from mmbench.leaderboard import Board, Row
from mmbench.report import board
from mmbench.scoring import Score

SCORE = Score(
    "cider_d", 3.2, 3.1, 3.3, 0.05, 9.0, 100, 3, "seeds and items", "cider_d|v1", True, (0.0, 10.0)
)
ROW = Row("early", (1, 1), SCORE, 3.2, {}, 0.7, 3, 1000, 10.0, "cpu")
PUBLISHED = Row("NIC", None, None, 2.0, {}, None, 0, None, None, "", "a paper")
BOARD = Board(
    "captioning@1", "small", "cider_d", "test", True, 1.0, 4.0, {"audio": 1.001}, (),
    (ROW, PUBLISHED), "95 % intervals", (),
)  # fmt: skip


def test_levels_too_close_to_tell_apart_share_a_label() -> None:
    marks = [("floor", 0.1), ("all", 0.9), ("audio alone", 0.101)]
    assert board._merged(marks, [0.5]) == [(0.1, "floor, audio alone"), (0.9, "all")]


def test_every_model_has_its_row_and_every_board_its_panel() -> None:
    panels = board.figure([BOARD, BOARD]).axes
    assert len(panels) == 2
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["early", "NIC"]


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_a_figure_is_of_the_kind_that_its_name_says(
    tmp_path: Path, name: str, begins: bytes
) -> None:
    board.save(tmp_path / name, [BOARD])
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_the_same_boards_give_the_same_png(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        board.save(tmp_path / name, [BOARD])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        board.save(tmp_path / "a.gif", [BOARD])


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        board.save(tmp_path / "file" / "a.png", [BOARD])
