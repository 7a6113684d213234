"""Who makes a run: a lock beside its folder, so that no two processes make the same one.

The lock is the operating system's and ends with the process that holds it, however that ends; what
a killed one leaves is an empty hidden file that claims nothing, and goes with the next claim. So
does what it had half written, and a record that it had moved aside comes back.
"""

from __future__ import annotations

import errno
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mmbench.errors import PlaceError
from mmbench.store import explained, recover

#: What a file system says that knows no locks.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


class _NoLocksError(PlaceError):
    """The file system knows no locks."""


def path_of(folder: Path) -> Path:
    """Return the file whose lock is the claim on a run's folder."""
    return folder.with_name(f".{folder.name}.claim")


@contextmanager
def claim(results: Path, folder: Path) -> Iterator[bool]:
    """Claim a run for as long as the block lasts.

    Args:
        results: The results folder, for errors.
        folder: That of the run, which need not be there.

    Yields:
        Whether the run is this process's; False where another one is making it just now.

    Raises:
        PlaceError: Nothing can be written there, or the file system knows no locks.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    path = path_of(folder)
    lock = FileLock(path)
    with explained(results):
        folder.parent.mkdir(parents=True, exist_ok=True)
        there = path.exists()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the lock that would outlive its process
                lock.acquire(timeout=0)
        except Timeout:
            mine = False
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            if not there:
                path.unlink(missing_ok=True)
            raise _no_locks(results) from None
        else:
            mine = True
    try:
        if type(lock) is SoftFileLock:  # what filelock makes of its lock where there are none
            raise _no_locks(results)
        if mine:
            with explained(results):
                recover(folder)
        yield mine
    finally:
        if mine:
            # While it is held: a process that opened the file before sees that it has no name any
            # more, and looks anew.
            with suppress(OSError):
                path.unlink(missing_ok=True)
            lock.release()


@contextmanager
def alone(results: Path, folder: Path, seconds: float = 10.0) -> Iterator[None]:
    """Keep other writers away from a record that is changed in a moment, and wait for them.

    Args:
        results: The results folder, for errors.
        folder: The record's.
        seconds: How long to wait.

    Raises:
        PlaceError: Another process is making it all that time, or nothing can be written there.
    """
    ends = time.monotonic() + seconds
    with ExitStack() as held:
        while True:
            try:
                if held.enter_context(claim(results, folder)):
                    break
            except _NoLocksError:
                break  # nobody makes runs there
            if time.monotonic() > ends:
                raise PlaceError(
                    f"{folder}: another process is making this record: give the same command "
                    f"again when it is done"
                )
            time.sleep(0.02)
        yield


def clear(results: Path, folder: Path) -> None:
    """Take away what a process that was killed left of its claim."""
    if path_of(folder).exists():
        with suppress(_NoLocksError), claim(results, folder):
            pass


def _no_locks(results: Path) -> _NoLocksError:
    return _NoLocksError(
        f"{results}: its file system knows no locks, by which processes keep out of each other's "
        f"way: --results or MMBENCH_RESULTS names a folder on another one"
    )
