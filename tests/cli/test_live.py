"""The table that a terminal shows while runs work, drawn on a console that is read back."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from mmbench import sweep
from mmbench.cli._progress import Live, Plain, Quiet, progress
from mmbench.run import Run, Settings

Write = Callable[..., str]


class Left:
    def __init__(self, seconds: float | None) -> None:
        self.left = seconds
        self.asked: list[tuple[set[int], dict[int, tuple[float, float | None]]]] = []

    def seconds(
        self, ended: set[int], running: Mapping[int, tuple[float, float | None]]
    ) -> float | None:
        self.asked.append((ended, dict(running)))
        return self.left


@pytest.fixture
def runs(task: Write, own_components: None) -> list[Run]:
    return sweep.plan([task()], ["late", "hybrid"], [0, 1], None, Settings())


def console(width: int = 100) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)


def drawn(live: Live, width: int = 100) -> list[str]:
    paper = Console(file=io.StringIO(), width=width, record=True, color_system=None)
    paper.print(live.board)
    return [line.rstrip() for line in paper.export_text().splitlines()]


def test_the_table_shows_what_runs_what_failed_and_the_time_left(runs: list[Run]) -> None:
    now, left = [0.0], Left(700.0)
    live = Live(4, left, console(), lambda: now[0])
    one, two = live.begin(runs[0], 1), live.begin(runs[2], 3)
    assert drawn(live)[-1] == "0/4 done, about 11:40 left", "what is not claimed is no row"
    one.phase("data")
    two.phase("data")
    now[0] = 10.0
    one.phase("train")
    now[0] = 16.0
    one.step(300, 1000, 2.5, None)
    one.step(301, 1000, None, 0.41)
    table = drawn(live)
    assert table[0].split() == ["run", "phase", "step", "loss", "val", "left"]
    assert table[1].split()[:4] == ["mini/late", "seed", "0", "train"]
    assert table[1].split()[-4:] == ["301/1000", "2.500", "0.410", "0:14"]
    assert table[2].split()[:4] == ["mini/hybrid", "seed", "0", "data"]
    assert table[-1] == "0/4 done, 2 at work, about 11:40 left"
    assert left.asked[-1] == (set(), {1: (16.0, pytest.approx(13.9, abs=0.1)), 3: (16.0, None)})
    live.ended(3, "mini/hybrid seed 0: failed: the scene is broken", failed=True)
    live.ended(1, "mini/late seed 0: rouge_l 0.5")
    table = drawn(live)
    assert not any("seed 0" in line for line in table[:1])
    assert "failed  mini/hybrid seed 0: failed: the scene is broken" in table
    assert table[-1] == "2/4 done, 1 failed, about 11:40 left"
    said = live.console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert said == [
        "mini/hybrid seed 0: failed: the scene is broken",
        "mini/late seed 0: rouge_l 0.5",
    ]


def test_items_move_the_bar_and_another_phase_begins_anew(runs: list[Run]) -> None:
    now = [0.0]
    live = Live(1, None, console(), lambda: now[0])
    one = live.begin(runs[0], 1)
    one.phase("train")
    one.step(10, 10, 1.0, 0.5)
    one.phase("test")
    assert "10/10" not in drawn(live)[1]
    now[0] = 2.0
    one.items(50, 200)
    assert drawn(live)[1].split()[-4:] == ["50/200", "1.000", "0.500", "0:06"]
    assert drawn(live)[-1] == "0/1 done, 1 at work"


def test_notes_are_lines_and_long_lines_break_nothing(runs: list[Run]) -> None:
    live = Live(4, None, console(60))
    watcher = live.begin(runs[1], 2)
    watcher.note("resumed at step 400 of 672 [bold]as it was[/bold]")
    watcher.phase("train")
    live.ended(4, "mini/hybrid seed 1: failed: " + "long " * 40, failed=True)
    text = live.console.file.getvalue()  # type: ignore[attr-defined]
    assert "[2/4] mini/late seed 1: resumed at step 400 of 672 [bold]as it was[/bold]\n" in text
    assert all(len(line) <= 60 for line in drawn(live, 60))


def test_of_a_narrow_table_names_are_cut_and_numbers_are_not(runs: list[Run]) -> None:
    now = [0.0]
    live = Live(4, None, console(80), lambda: now[0])
    watcher = live.begin(runs[2], 1)
    watcher.phase("train")
    live.board.rows[1].title = "flickr8k_captioning/weighted_average_dynamic seed 12"
    now[0] = 60.0
    watcher.step(1301, 20000, 2.534, 0.412)
    row = drawn(live, 80)[1]
    assert row.split()[-4:] == ["1301/20000", "2.534", "0.412", "14:22"]
    assert row.startswith("flickr8k")
    assert "…" in row.split()[0] + row.split()[1]


def test_the_last_failures_are_named_and_all_are_counted(runs: list[Run]) -> None:
    live = Live(9, None, console())
    for number in range(5):
        live.ended(number, f"run {number}: failed: why", failed=True)
    assert drawn(live)[-4:] == [
        *(f"failed  run {number}: failed: why" for number in (2, 3, 4)),
        "5/9 done, 5 failed",
    ]


def test_a_real_sweep_on_a_terminal_leaves_lines_and_no_table(runs: list[Run]) -> None:
    paper = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Live(2, None, paper) as live:
        watcher = live.begin(runs[0], 1)
        watcher.phase("train")
        watcher.step(1, 2, 0.5, None)
        live.screen.refresh()
        live.ended(1, "mini/late seed 0: done")
    text = paper.file.getvalue()  # type: ignore[attr-defined]
    assert "mini/late seed 0: done" in text
    assert "1/2" in text
    assert text.rstrip("\n").endswith("\x1b[?25h") or "\x1b[2K" in text, "the table is wiped"


def test_watchers_of_several_runs_do_not_meddle(runs: list[Run], capsys: object) -> None:
    plain = Plain(4)
    one, two = plain.begin(runs[0], 1), plain.begin(runs[2], 3)
    one.step(4, 8, 1.0, None)
    two.step(2, 8, 2.0, None)
    one.step(4, 8, 1.0, None)
    err = capsys.readouterr().err  # type: ignore[attr-defined]
    assert err.splitlines() == [
        "[1/4] mini/late seed 0: step 4/8  loss 1.000",
        "[3/4] mini/hybrid seed 0: step 2/8  loss 2.000",
    ]


def test_quiet_says_nothing(runs: list[Run], capsys: object) -> None:
    quiet = progress(1, quiet=True)
    assert type(quiet) is Quiet
    watcher = quiet.begin(runs[0], 1)
    watcher.note("resumed")
    quiet.ended(1, "failed", failed=True)
    assert capsys.readouterr() == ("", "")  # type: ignore[attr-defined]
    assert not Path("results").exists()
