"""A job becomes outcomes: its runs are claimed, made and stored, or said to have failed."""

from __future__ import annotations

import os
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path

from mmbench import claims, failures, registry, store
from mmbench.data import _cache
from mmbench.errors import DeviceError, MmbenchError, PlaceError, RunError, StoreError
from mmbench.executors.contract import Job, Outcome, Watch
from mmbench.rescore import outdated, rescore
from mmbench.run import Run, execute
from mmbench.together import made_together, spent_checkpoints


def carry_out(job: Job, watch: Watch) -> list[Outcome]:
    """Do the runs of a job, but none that another process is making just now.

    What a run raises is its outcome, and is told beside where its record would be.

    Args:
        job: The runs.
        watch: Begins to watch a run that is made.

    Raises:
        PlaceError: Nothing can be written to the results folder.
    """
    found: list[Outcome | None] = []
    with ExitStack() as held:
        for run, before in zip(job.runs, job.before or (None,) * len(job.runs), strict=True):
            written = stamp(run)
            if not _claimed(run, held):
                known = written if before is None else before
                found.append(Outcome(run, busy=True, before=known))
                continue
            # With --force a record counts that was made while this process waited for it.
            repeat = run.settings.force and (before is None or stamp(run) == before)
            found.append(None if repeat else _there(run, watch))
        missing = [run for run, got in zip(job.runs, found, strict=True) if got is None]
        made = iter(_make(missing, watch))
        outcomes = [got or next(made) for got in found]
        for outcome in outcomes:
            if outcome.stored is not None:
                for folder in folders(outcome.run):
                    failures.clear(folder)
                if outcome.fresh:
                    _clear_checkpoints(outcome.run)
            elif outcome.error is not None:
                note_failure(outcome.run, outcome.error)
    return outcomes


def folders(run: Run) -> list[Path]:
    """Return where a run's record may come to be: a seed of a batch may be trained alone after all.

    The first is where the same run is made that nobody asked a batch for.
    """
    return list(dict.fromkeys((run.alone.folder, run.folder)))


def _claimed(run: Run, held: ExitStack) -> bool:
    """Claim all places of a run, or none, in the order in which everybody claims them."""
    with ExitStack() as mine:
        for folder in folders(run):
            if not mine.enter_context(claims.claim(run.settings.results, folder)):
                return False
        held.push(mine.pop_all())
    return True


def _clear_checkpoints(run: Run) -> None:
    """Remove what was kept to go on from: its record is there, however its seed was trained."""
    for checkpoints in _checkpoints(run):
        if checkpoints.exists():
            with suppress(OSError):
                store.discard(checkpoints, run.folder)


def _checkpoints(run: Run) -> set[Path]:
    return {run.checkpoints, run.alone.checkpoints}


def _make(runs: list[Run], watch: Watch) -> list[Outcome]:
    """Make runs that are not there."""
    if runs and runs[0].settings.batch_seeds:
        return _together(runs, watch)
    return [_alone(run, watch) for run in runs]


def _together(runs: list[Run], watch: Watch) -> list[Outcome]:
    """Make runs whose seeds are trained as a batch; what was stored before an error counts."""
    watcher = watch(runs[0])
    error: MmbenchError
    try:
        with _cache.telling(watcher.note):
            made = made_together(runs, watcher)
        if not made:  # what fails then is one seed's trouble
            return [_alone(run, watch, run.alone) for run in runs]
        return [Outcome(run, stored) for run, stored in zip(runs, made, strict=True)]
    except PlaceError:
        raise
    except DeviceError as lost:
        raise _lost(runs[0], lost) from lost
    except MmbenchError as known:
        error = known
    except Exception as unknown:
        error = unforeseen(unknown)
    found = []
    for run in runs:
        there = None if run.settings.force else run.finished()
        found.append(Outcome(run, error=error) if there is None else Outcome(run, there))
    return found


def _alone(run: Run, watch: Watch, made_as: Run | None = None) -> Outcome:
    """Make a run; of a batch that is none after all, as the run of which nobody asked for one."""
    watcher = watch(run)
    try:
        with _cache.telling(watcher.note):
            if made_as is None:
                return Outcome(run, execute(run, watcher))
            there = None if run.settings.force else made_as.finished()
            return Outcome(run, there or execute(made_as, watcher))
    except PlaceError:
        raise
    except DeviceError as lost:
        raise _lost(run, lost) from lost
    except MmbenchError as error:
        return Outcome(run, error=error)
    except Exception as error:
        return Outcome(run, error=unforeseen(error))


def _lost(run: Run, error: DeviceError) -> DeviceError:
    """Note that a run failed with which the group of processes ends, and name it.

    The others are begun before it when the same command comes again, so that it cannot keep them
    from ever being made.
    """
    note_failure(run, error)
    lost = DeviceError(f"{run.task.name}/{run.model.name} seed {run.seed}: {error}")
    lost.exit_code = error.exit_code
    return lost


def finished(run: Run) -> Outcome | None:
    """Return what is there already; None where it is not, or lacks a score that is asked for.

    A record that is damaged is the outcome, too: this record's trouble, not that of the others.
    """
    try:
        there = run.finished()
        if there is None or outdated(_as_made(run, there), there):
            return None
    except StoreError as error:
        return Outcome(run, error=_damaged(error))
    _tidy(run)
    return Outcome(run, there, fresh=False)


def _tidy(run: Run) -> None:
    """Take away what a process left that was killed when its record was written already.

    A checkpoint that is younger than the record is of a run that repeats it, and is gone on from.
    """
    places = folders(run)
    spent = run.settings.batch_seeds and spent_checkpoints(run)
    left = spent or any(
        path.exists() for folder in places for path in (claims.path_of(folder), _beside(folder))
    )
    if not left:
        return
    with suppress(MmbenchError), ExitStack() as held:  # it can be looked at all the same
        if not _claimed(run, held):
            return
        written = stamp(run)
        old = [path for path in map(_beside, places) if 0 < _changed(path) <= written]
        for path in [*old, *(spent_checkpoints(run) if spent else ())]:
            with suppress(OSError):
                store.discard(path, run.folder)


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.checkpoint")  # as `Run.checkpoints` says


def _there(run: Run, watch: Watch) -> Outcome | None:
    """Return what is there meanwhile, scored with what is asked for now."""
    try:
        there = run.finished()
        if there is None:
            return None
        of = _as_made(run, there)
        if not outdated(of, there):
            return Outcome(run, there, fresh=False, elsewhere=True)
        watcher = watch(run)
        with _cache.telling(watcher.note):
            return Outcome(run, rescore(of, there, watcher), fresh=False, rescored=True)
    except PlaceError:
        raise
    except StoreError as error:
        return Outcome(run, error=_damaged(error))
    except MmbenchError as error:
        return Outcome(run, error=error)


def _as_made(run: Run, there: store.Stored) -> Run:
    """Return the run that a record is of: its seed may have been trained alone."""
    return run if there.record.identity == run.identity else run.alone


def _damaged(error: StoreError) -> StoreError:
    return StoreError(f"{error}; --force repeats the run")


def stamp(run: Run) -> int:
    """Return when the run's record was written, in ns; 0 where there is none."""
    for folder in (run.folder, run.alone.folder):  # as `Run.finished` looks for it
        if written := _changed(folder / store.RECORD):
            return written
    return 0


def _changed(path: Path) -> int:
    """Return when a path was changed last, in ns; 0 where it is not there."""
    with suppress(OSError):
        return os.stat(path).st_mtime_ns
    return 0


def note_failure(run: Run, error: MmbenchError) -> None:
    """Tell beside where its record would be that a run failed."""
    failures.write(
        run.folder,
        task=run.task.name,
        model=run.model.name,
        budget=run.budget,
        seed=run.seed,
        identity=run.identity,
        error=error,
    )


def unforeseen(error: Exception) -> RunError:
    """Say in one line what mmbench did not foresee; mostly an error in a file of the user's."""
    told = [text.strip() for text in str(error).splitlines() if text.strip()]
    what = f"{type(error).__name__}: {told[0]}" if told else type(error).__name__
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, MemoryError):
        return RunError("there is not enough memory for it: fewer --jobs leave more to each", trace)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU that several may share
        less = "fewer --jobs leave more of the GPU to each, a smaller batch needs less"
        return RunError(f"the GPU's memory is full: {less}", trace)
    own = registry.culprit(error)
    if own:
        return RunError(f"{own}: {what}; --debug shows the way there", trace)
    return RunError(f"internal: {what}; --debug shows where, please report it", trace)
