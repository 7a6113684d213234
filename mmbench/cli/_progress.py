"""What a person sees while runs work: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from mmbench.run import Run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Plain lines show this many points of a training run.
PLAIN_POINTS = 8
VERBOSE_POINTS = 100
#: The table names this many failures, the last ones.
SHOWN_FAILURES = 3

Q = TypeVar("Q", bound="Quiet")


class Left(Protocol):
    """See `mmbench.forecast.Remaining`."""

    def seconds(
        self, ended: set[int], running: Mapping[int, tuple[float, float | None]]
    ) -> float | None:
        """Return the seconds that are left."""


class Quiet:
    """Says nothing. The base of the others; a sweep enters one and asks it for watchers."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.run: Run | None = None

    def __enter__(self) -> Quiet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def begin(self: Q, run: Run, number: int) -> Q:
        """Return what watches another run, the `number`-th of the sweep, beside those at work."""
        watcher = copy.copy(self)
        watcher.run, watcher.number = run, number
        return watcher

    def ended(self, number: int, text: str, failed: bool = False) -> None:
        """Say what became of the `number`-th run; nothing if the text is empty."""
        if text:
            self.line(text)

    def line(self, text: str) -> None:
        """Say one line about the sweep."""

    def phase(self, name: str) -> None:
        """See `mmbench.run.Watcher`."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """See `mmbench.train.Progress`."""

    def items(self, done: int, total: int) -> None:
        """See `mmbench.run.Watcher`."""

    def note(self, text: str) -> None:
        """See `mmbench.run.Watcher`."""
        self.line(f"{self._title()}: {text}")

    def _title(self) -> str:
        assert self.run is not None
        name = f"{self.run.task.name}/{self.run.model.name}"
        return f"[{self.number}/{self.total}] {name} seed {self.run.seed}"


class Plain(Quiet):
    """Lines on standard error, a handful a run; many, if they are asked for."""

    def __init__(self, total: int, verbose: bool = False) -> None:
        super().__init__(total)
        self.verbose = verbose
        self.points = VERBOSE_POINTS if verbose else PLAIN_POINTS
        self.said = 0
        self.now = ""
        self.tenth = 0

    def line(self, text: str) -> None:
        """Say one line."""
        click.echo(text, err=True)

    def phase(self, name: str) -> None:
        """Name the phases that can take long."""
        self.said = 0
        self.now, self.tenth = name, 0
        if self.verbose or name in ("data", "test"):
            self.line(f"{self._title()}: {name}")

    def items(self, done: int, total: int) -> None:
        """Say how far data are prepared, a tenth at a time."""
        if self.now == "data" and done * 10 // total > self.tenth:
            self.tenth = done * 10 // total
            self.line(f"{self._title()}: data {done:,}/{total:,} items")

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Say where training is, at its validations and a few times between."""
        every = max(1, total // self.points)
        # Of a worker's steps not all are told: the first one past a point stands for it.
        if score is not None or done // every > self.said:
            self.said = done // every
            told = f"  loss {loss:.3f}" if loss is not None else ""
            told += f"  validation {score:.3f}" if score is not None else ""
            self.line(f"{self._title()}: step {done}/{total}{told}")


@dataclass
class _Row:
    """What the table says of a run that works."""

    title: str
    began: float
    phase: str = ""
    since: float = 0.0
    done: int = 0
    total: int = 0
    loss: float | None = None
    score: float | None = None


@dataclass
class _Board:
    """What the table shows, for all watchers of a sweep: runs by their number."""

    total: int
    left: Left | None
    clock: Callable[[], float]
    wide: bool = True
    rows: dict[int, _Row] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def __rich__(self) -> Any:
        """Draw it. Called by the thread that refreshes the screen: rows come and go meanwhile."""
        from rich.console import Group
        from rich.text import Text

        lines: list[Any] = [self._table(list(self.rows.values()))]
        for text in self.failures[-SHOWN_FAILURES:]:
            lines.append(Text(f"failed  {text}", style="red", no_wrap=True, overflow="ellipsis"))
        lines.append(Text(self._sum(), style="bold", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _table(self, rows: list[_Row]) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        # What may wrap is what a narrow terminal shortens: the names, which are cut, not wrapped.
        table.add_column("run")
        table.add_column("phase", no_wrap=True, min_width=5)
        table.add_column("", width=16 if self.wide else 6)
        for name in ("step", "loss", "val", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        now = self.clock()
        for row in rows:
            known = bool(row.total)
            bar = ProgressBar(
                total=row.total or None,
                completed=row.done,
                pulse=not known,
                animation_time=now,
            )
            table.add_row(
                Text(row.title, no_wrap=True, overflow="ellipsis"),
                row.phase,
                bar,
                f"{row.done}/{row.total}" if known else "",
                "" if row.loss is None else f"{row.loss:.3f}",
                "" if row.score is None else f"{row.score:.3f}",
                _clock(_left(row, now)),
            )
        return table

    def _sum(self) -> str:
        counts = [f"{len(self.ended)}/{self.total} done"]
        counts += [f"{len(self.failures)} failed"] if self.failures else []
        counts += [f"{len(self.rows)} at work"] if self.rows else []
        if self.left is not None:
            now = self.clock()
            rows = list(self.rows.items())
            running = {number: (now - row.began, _left(row, now)) for number, row in rows}
            seconds = self.left.seconds(set(self.ended), running)
            counts += [f"about {_clock(seconds)} left"] if seconds else []
        return ", ".join(counts)


class Live(Quiet):
    """A table of what runs; what is done, and what has failed, are lines above it."""

    def __init__(
        self,
        total: int,
        left: Left | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(total)
        from rich.console import Console
        from rich.live import Live as Screen

        self.console = console or Console(stderr=True)
        self.board = _Board(total, left, clock, wide=self.console.width >= 100)
        self.screen = Screen(self.board, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Live:
        self.screen.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.screen.stop()

    def line(self, text: str) -> None:
        """Say one line above the table."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def ended(self, number: int, text: str, failed: bool = False) -> None:
        """Take a run from the table, and say what became of it."""
        self.board.rows.pop(number, None)
        self.board.ended.add(number)
        if failed:
            self.board.failures.append(text)
        style = "red" if failed else None
        if text:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True, style=style)

    def phase(self, name: str) -> None:
        """Start the run's row anew."""
        row = self._row()
        row.phase, row.since, row.done, row.total = name, self.board.clock(), 0, 0

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Move the bar."""
        row = self._row()
        row.done, row.total = done, total
        row.loss = row.loss if loss is None else loss
        row.score = row.score if score is None else score

    def items(self, done: int, total: int) -> None:
        """Move the bar."""
        row = self._row()
        row.done, row.total = done, total

    def _row(self) -> _Row:
        assert self.run is not None
        rows = self.board.rows
        if self.number not in rows:
            title = f"{self.run.task.name}/{self.run.model.name} seed {self.run.seed}"
            rows[self.number] = _Row(title, self.board.clock())
        return rows[self.number]


def _left(row: _Row, now: float) -> float | None:
    """Return the seconds until a run's phase ends, at the pace that it had."""
    if not row.total or not row.done:
        return None
    return (now - row.since) / row.done * (row.total - row.done)


def _clock(seconds: float | None) -> str:
    """Return a time as a clock shows it.

    >>> _clock(None), _clock(65.4), _clock(3700.0)
    ('', '1:05', '1:01:40')
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def progress(total: int, quiet: bool, verbose: bool = False, left: Left | None = None) -> Quiet:
    """Return what suits the place where standard error goes.

    Args:
        total: Runs.
        quiet: Show nothing.
        verbose: Show much, as lines.
        left: Knows how long it all takes.
    """
    if quiet:
        return Quiet(total)
    return Live(total, left) if sys.stderr.isatty() and not verbose else Plain(total, verbose)


@contextmanager
def pages(quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Show how many pages are done: a bar on a terminal, a line at every tenth elsewhere."""
    if quiet:
        yield lambda done, total, what: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress("pages", *columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("pages", total=None)
            yield lambda done, total, what: bar.update(task, completed=done, total=total)
    else:
        yield _tenths


def _tenths(done: int, total: int, what: str) -> None:
    if total >= 50 and done * 10 // total > (done - 1) * 10 // total:
        click.echo(f"pages: {done:,}/{total:,}", err=True)
