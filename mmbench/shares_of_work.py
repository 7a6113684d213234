"""The same work on several cores: each takes a share of it, in a process of its own.

Python computes on one core at a time whatever its threads. A process that is forked has all that
its parent has, so nothing is handed over but what comes out; where there is no fork, or too little
to do, or other threads run that a fork would cut off, the work is done in one piece.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def spread(work: Callable[[Sequence[T]], R], items: Sequence[T], worth: bool) -> list[R]:
    """Return what comes of the work on each share of the items, in their order.

    Args:
        work: Does it for a share, and changes nothing that others see.
        items: What there is to do.
        worth: Whether it is enough for the shares to pay.
    """
    cores = min(8, os.cpu_count() or 1, len(items))
    if not worth or cores < 2 or sys.platform != "linux" or threading.active_count() > 1:
        return [work(items)]
    edges = [len(items) * core // cores for core in range(cores + 1)]
    first, *others = [items[a:b] for a, b in pairwise(edges)]
    started = [_start(work, share) for share in others]
    return [work(first), *(_end(work, *one) for one in zip(started, others, strict=True))]


#: A process that works on a share, and where what comes of it is sent; None where none started.
_Started = tuple[BaseProcess, Connection] | None


def _start(work: Callable[[Sequence[T]], R], share: Sequence[T]) -> _Started:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, share, theirs), daemon=True)
    try:
        with warnings.catch_warnings():
            # Threads of libraries for linear algebra, which put themselves right after a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
    except OSError:  # no memory, or no process, to be had
        return None
    finally:
        theirs.close()
    return process, ours


def _send(work: Callable[[Sequence[T]], R], share: Sequence[T], to: Connection) -> None:
    with suppress(Exception):  # it is done again, and fails, where somebody can say so
        to.send(work(share))
    to.close()


def _end(work: Callable[[Sequence[T]], R], started: _Started, share: Sequence[T]) -> R:
    """Take what a process sends; what it does not send is done here, errors included."""
    if started is None:
        return work(share)
    process, sent = started
    try:
        found: R = sent.recv()
    except (EOFError, OSError):
        return work(share)
    finally:
        sent.close()
        process.join()
    return found
