"""Work on several cores: in order, all of it, whatever becomes of a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import pytest

from mmbench import leaderboard, shares_of_work, store
from mmbench.shares_of_work import spread


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(shares_of_work.threading, "active_count", lambda: 1)


def squares(items: Sequence[int]) -> tuple[int, list[int]]:
    return os.getpid(), [item**2 for item in items]


def test_all_is_done_in_its_order(two_cores: None) -> None:
    found = spread(squares, range(7), worth=True)
    assert [one for _, share in found for one in share] == [item**2 for item in range(7)]
    if sys.platform == "linux":
        assert len({process for process, _ in found}) == 2


def test_what_is_not_worth_it_is_done_in_one_piece(two_cores: None) -> None:
    assert spread(squares, range(7), worth=False) == [squares(range(7))]
    assert spread(squares, [3], worth=True) == [squares([3])]
    assert spread(squares, [], worth=True) == [squares([])]


def test_what_a_process_does_not_send_is_done_here(two_cores: None) -> None:
    here = os.getpid()

    def dies(items: Sequence[int]) -> list[int]:
        if os.getpid() != here:
            os._exit(1)
        return [item**2 for item in items]

    assert spread(dies, range(4), worth=True) == [[0, 1], [4, 9]]


def test_an_error_is_the_same_in_whichever_share(
    two_cores: None, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(items: Sequence[int]) -> list[int]:
        return [1 // (3 - item) for item in items]

    with pytest.raises(ZeroDivisionError):
        spread(fails, range(4), worth=True)
    assert capfd.readouterr().err == ""


def test_boards_are_the_same_however_many_make_them(
    two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    from msgspec.structs import replace

    found, _ = store.scan(Path(__file__).parents[1] / "results" / "reference")
    for task in ("a", "b"):
        found += [
            store.Stored(s.folder, replace(s.record, task=task, identity=task + s.record.identity))
            for s in found[:18]
        ]
    said: list[list[str]] = [[], []]
    alone = leaderboard.boards(found, "nist", problems=said[0]) + leaderboard.boards(found)
    monkeypatch.setattr(leaderboard, "_MANY", 1)
    both = leaderboard.boards(found, "nist", problems=said[1]) + leaderboard.boards(found)
    assert alone == both
    assert len(alone) == 3
    assert said[0] == said[1]
