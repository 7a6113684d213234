"""What is wanted next is made on a thread meanwhile: an order says what that will be.

The order is a hint. What is asked for is compared with it, and made on the spot where it is
something else, so a batch never depends on what was expected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

from mmbench.models.feed.rows import Index

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """Makes things by index ahead of time.

    The thread ends with `close`, with the object, or with the interpreter. What goes wrong on it
    is raised where the thing is asked for.

    Args:
        make: Makes a thing; called on the thread and on the caller's. It must not refer to whoever
            holds this object, which then could never be given up.
    """

    def __init__(self, make: Callable[[Index], Made]) -> None:
        self._make = make
        self._pool: ThreadPoolExecutor | None = None
        self._order: Iterator[Index] = iter(())
        self._depth = 1
        self._coming: deque[tuple[Index, Future[Made]]] = deque()

    def plan(self, order: Iterable[Index], depth: int) -> None:
        """Expect the indices of `order`, `depth` of them at a time; what was expected is dropped.

        The order is read on the caller's thread, a few steps ahead of what is taken.
        """
        self._drop()
        self._order, self._depth = iter(order), depth
        self._fill()

    def take(self, index: Index) -> Made:
        """Return the thing of `index`: the one that was made ahead if it is what was expected."""
        if not self._coming or not np.array_equal(self._coming[0][0], index):
            return self._make(index)
        _, made = self._coming.popleft()
        self._fill()
        return made.result()

    def close(self) -> None:
        """End the thread; things can still be asked for."""
        self._order = iter(())
        self._drop()
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def _fill(self) -> None:
        while len(self._coming) < self._depth:
            index = next(self._order, None)
            if index is None:
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="mmbench-feed")
            self._coming.append((index, self._pool.submit(self._make, index)))

    def _drop(self) -> None:
        for _, made in self._coming:
            made.cancel()
        self._coming.clear()
