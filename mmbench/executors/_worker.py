"""The process that carries out one job after the other, and tells what happens meanwhile."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from mmbench import catalog, registry, room
from mmbench.errors import MmbenchError
from mmbench.executors._messages import Setting, pack, pack_error
from mmbench.executors.contract import Job
from mmbench.executors.work import carry_out, unforeseen

#: Seconds between two tellings of how far a run is.
EVERY = 0.2
#: What a shell reports for a process that SIGTERM ended.
STOPPED = 128 + 15


class _Stopped(BaseException):
    """The pool wants no more of this process, or is gone."""


def serve(pool: Connection, setting: Setting) -> None:
    """Carry out jobs until the pool has no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pool's to tell
    signal.signal(signal.SIGTERM, _stop)
    try:
        trouble = _prepare(setting)
        while True:
            job: Job = pool.recv()
            pool.send(_carried_out(job, pool) if trouble is None else trouble)
    except (EOFError, OSError, _Stopped) as end:
        # All that had to be cleared away is; nothing is waited for.
        os._exit(STOPPED if isinstance(end, _Stopped) else 0)


def _prepare(setting: Setting) -> tuple[Any, ...] | None:
    """Stand where the pool stands and know what it knows; return what to answer if that fails."""
    try:
        os.chdir(setting.folder)
        os.environ.clear()
        os.environ.update(setting.environment)
        room.share(setting.workers)
        for shelf in setting.shelves:
            catalog.include(Path(shelf))
        for file in setting.files:
            registry.include(Path(file))
        registry.permit(*setting.permitted)
    except MmbenchError as error:  # a file of the user's that has changed since
        return ("raised", pack_error(error))
    return None


def _carried_out(job: Job, pool: Connection) -> tuple[Any, ...]:
    """Return the message by which a job ends."""
    spoken = _Spoken(pool)
    kept = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = spoken
    try:
        begun = {id(run): place for place, run in enumerate(job.runs)}
        outcomes = carry_out(job, lambda run: _Reporter(pool, begun[id(run)]))
        return ("done", [pack(outcome) for outcome in outcomes])
    except MmbenchError as error:
        return ("raised", pack_error(error))
    except Exception as error:
        return ("raised", pack_error(unforeseen(error)))
    finally:
        sys.stdout, sys.stderr = kept
        spoken.end()


def _stop(number: int, frame: object) -> NoReturn:
    raise _Stopped


class _Reporter:
    """See `mmbench.run.Watcher`: tells the pool, of steps only so often that it costs nothing."""

    def __init__(self, pool: Connection, place: int) -> None:
        self._pool, self._place = pool, place
        self._last = 0.0
        self._tell("begin")

    def phase(self, name: str) -> None:
        self._last = 0.0
        self._tell("phase", name)

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        if score is not None or done == total or self._due():
            self._tell("step", done, total, loss, score)

    def items(self, done: int, total: int) -> None:
        if done == total or self._due():
            self._tell("items", done, total)

    def note(self, text: str) -> None:
        self._tell("note", text)

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < EVERY:
            return False
        self._last = now
        return True

    def _tell(self, *what: Any) -> None:
        _send(self._pool, ("told", self._place, *what))


class _Spoken(io.TextIOBase):
    """What components print, which must not come between the lines of the one who shows them."""

    def __init__(self, pool: Connection) -> None:
        self._pool, self._begun = pool, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        self._say(lines)
        return len(text)

    def end(self) -> None:
        self._say([self._begun])
        self._begun = ""

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line.strip():
                _send(self._pool, ("said", line))


def _send(pool: Connection, message: tuple[Any, ...]) -> None:
    try:
        pool.send(message)
    except OSError:  # the pool is gone
        raise _Stopped from None
