"""Worker processes on this machine, each with a pipe of its own.

Nothing is shared between workers, no lock and no queue, so that one that the system kills at any
moment takes nothing with it but its own run (pools that share a locked pipe, such as pebble's, can
be left waiting for a lock that nobody holds any more). Workers are forked from a process that has
imported torch and computed nothing: none inherits a context of the GPU, none waits for imports.
They open prepared data from the cache, memory-mapped, so these are in memory once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, cast

from mmbench import catalog, claims, registry
from mmbench.errors import MmbenchError, RunError
from mmbench.executors._messages import Setting, unpack, unpack_error
from mmbench.executors.contract import Job, Outcome, Watch
from mmbench.executors.work import folders, note_failure
from mmbench.run import Watcher

#: Seconds that a worker has to clear away what it was at before it is killed.
GRACE = 5.0


@cache
def _context() -> BaseContext:
    """Return how workers are started; where there is no forking from a server, each imports."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmbench.executors._preload"])
    return context


def warm() -> None:
    """Begin to import what workers need, beside whatever else is to be done before them."""
    if _context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()


class _Worker:
    """A process, the pipe to it, and the job that it is at."""

    def __init__(self, setting: Setting) -> None:
        from mmbench.executors._worker import serve

        self.pipe, theirs = _context().Pipe()
        start = cast("Callable[..., BaseProcess]", _context().Process)  # type: ignore[attr-defined]
        self.process = start(target=serve, args=(theirs, setting))
        self.process.start()
        theirs.close()  # so that the pipe ends where the process does
        self.job: Job | None = None
        self.watchers: dict[int, Watcher] = {}

    def end(self) -> int:
        """Wait for a process that has ended, or is about to, and return its exit code."""
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
        return self.process.exitcode or 0


class Pool:
    """See `mmbench.executors.Executor`.

    Args:
        jobs: Workers, at least one.
        watch: Begins to watch a run.
        said: Takes a line that a component printed.
    """

    def __init__(
        self, jobs: int, watch: Watch, said: Callable[[str], None] = lambda line: None
    ) -> None:
        self._slots = jobs
        self._watch = watch
        self._said = said
        self._workers: list[_Worker] = []
        self._setting = Setting(
            os.getcwd(),
            dict(os.environ),
            [str(path) for path in registry.included_files()],
            [str(path) for path in catalog.included()],
            sorted(registry.permitted()),
            jobs,
        )

    @property
    def slots(self) -> int:
        """How many workers there are at most."""
        return self._slots

    def submit(self, job: Job) -> None:
        """Give a job to a worker that has none; start one if need be."""
        while True:
            worker = next((w for w in self._workers if w.job is None), None)
            if worker is None:
                try:
                    worker = _Worker(self._setting)
                except (OSError, EOFError) as error:
                    why = getattr(error, "strerror", None) or "the system refuses it"
                    raise RunError(
                        f"--jobs {self._slots}: no further process can be started ({why}): fewer "
                        f"--jobs need fewer; what is finished is kept"
                    ) from None
                self._workers.append(worker)
            worker.job, worker.watchers = job, {}
            try:
                worker.pipe.send(job)
                return
            except OSError:  # it was killed while it had nothing to do
                self._workers.remove(worker)
                worker.end()

    def outcomes(self, seconds: float | None = None) -> list[Outcome]:
        """Pass on what workers tell until one of them has done its job, or was killed."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
            left = None if until is None else max(0.0, until - time.monotonic())
            ready = connection.wait(list(busy), left) if busy else []
            for pipe in ready:
                done = self._heard(busy[cast("Connection", pipe)])
                if done:
                    return done
            if not busy or (until is not None and time.monotonic() >= until):
                return []

    def _heard(self, worker: _Worker) -> list[Outcome]:
        """Take one message; return what became of the runs if it is the job's last."""
        job = worker.job
        assert job is not None
        try:
            kind, *content = worker.pipe.recv()
        except (EOFError, OSError):
            return self._bury(worker, job)
        if kind == "told":
            self._tell(worker, job, *content)
        elif kind == "said":
            self._said(content[0])
        elif kind == "raised":
            worker.job = None
            error = unpack_error(content[0])
            assert error is not None
            raise error
        else:
            worker.job = None
            return [unpack(run, one) for run, one in zip(job.runs, content[0], strict=True)]
        return []

    def _tell(self, worker: _Worker, job: Job, place: int, what: str, *content: Any) -> None:
        if what == "begin":
            worker.watchers[place] = self._watch(job.runs[place])
        else:
            getattr(worker.watchers[place], what)(*content)

    def _bury(self, worker: _Worker, job: Job) -> list[Outcome]:
        """Say what ended a worker; whatever it had finished counts."""
        self._workers.remove(worker)
        error = RunError(_cause(worker.end(), self._slots))
        outcomes = []
        for run in job.runs:
            for folder in folders(run):
                claims.clear(run.settings.results, folder)
            there = None
            with suppress(MmbenchError):
                there = None if run.settings.force else run.finished()
            if there is None:
                note_failure(run, error)
            outcomes.append(Outcome(run, there, error=None if there is not None else error))
        return outcomes

    def cancel(self) -> None:
        """Stop all workers; each clears away what it was writing."""
        for worker in self._workers:
            worker.process.terminate()
        self._end()

    def close(self) -> None:
        """Let all workers go."""
        for worker in self._workers:
            worker.pipe.close()
        self._end()

    def _end(self) -> None:
        while self._workers:
            self._workers.pop().end()


def _cause(code: int, jobs: int) -> str:
    """Say why a worker may have ended with this exit code, and what would help."""
    if code == -signal.SIGKILL:
        less = f"fewer --jobs (now {jobs}) or " if jobs > 1 else ""
        return (
            f"its process was killed by the system, most likely because memory ran out: {less}"
            f"a smaller batch needs less; the same command tries it again"
        )
    names: Mapping[int, str] = {-one.value: one.name for one in signal.Signals}
    how = f"was ended by {names[code]}" if code in names else f"ended with exit code {code}"
    return f"its process {how} before it was done: the same command tries it again"
