"""What a person sees while a run works: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import click

from mmbench.run import Run

#: Plain lines show this many points of a training run.
PLAIN_POINTS = 8
VERBOSE_POINTS = 100


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

    def begin(self, run: Run, number: int) -> Quiet:
        """Watch another run, the `number`-th of the sweep."""
        self.run, self.number = run, number
        return self

    def line(self, text: str) -> None:
        """Say one line about the sweep."""

    def phase(self, name: str) -> None:
        """See `mmbench.run.Watcher`."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """See `mmbench.train.Progress`."""

    def items(self, done: int, total: int) -> None:
        """See `mmbench.run.Watcher`."""

    def _title(self) -> str:
        assert self.run is not None
        return f"[{self.number}/{self.total}] {self.run.model.name} seed {self.run.seed}"


class Plain(Quiet):
    """Lines on standard error, a handful a run; many, if they are asked for."""

    def __init__(self, total: int, verbose: bool = False) -> None:
        super().__init__(total)
        self.verbose = verbose
        self.points = VERBOSE_POINTS if verbose else PLAIN_POINTS
        self.now = ""
        self.tenth = 0

    def line(self, text: str) -> None:
        """Say one line."""
        click.echo(text, err=True)

    def phase(self, name: str) -> None:
        """Name the phases that can take long."""
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
        if score is not None or done % max(1, total // self.points) == 0:
            told = f"  loss {loss:.3f}" if loss is not None else ""
            told += f"  validation {score:.3f}" if score is not None else ""
            self.line(f"{self._title()}: step {done}/{total}{told}")


class Live(Quiet):
    """One bar for the run at hand; finished models are lines above it."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.task: Any = None
        self.note = ""

    def __enter__(self) -> Live:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def line(self, text: str) -> None:
        """Say one line above the bar."""
        self.bar.console.print(text, highlight=False, markup=False)

    def phase(self, name: str) -> None:
        """Start the bar anew."""
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.note = ""
        self.task = self.bar.add_task(f"{self._title()} {name}", total=None, note="")

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Move the bar."""
        if score is not None:
            self.note = f" val {score:.3f}"
        told = f"loss {loss:.3f}" if loss is not None else ""
        note = f"{done}/{total} {told}{self.note}"
        self.bar.update(self.task, completed=done, total=total, note=note)

    def items(self, done: int, total: int) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=done, total=total, note=f"{done}/{total} items")


def progress(total: int, quiet: bool, verbose: bool = False) -> Quiet:
    """Return what suits the place where standard error goes."""
    if quiet:
        return Quiet(total)
    return Live(total) if sys.stderr.isatty() and not verbose else Plain(total, verbose)


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
