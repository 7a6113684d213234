"""A thread that looks every so often: for what has no counter of its own, or one that wraps."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable


class Ticker:
    """Calls a bound method every so many seconds until it is stopped or its object is gone.

    Args:
        seconds: Between two calls.
        call: A method; its object is held weakly, so that a run that fails leaves no thread.
    """

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._over = threading.Event()
        arguments = (weakref.WeakMethod(call), self._over, seconds)
        self._thread = threading.Thread(target=_tick, args=arguments, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Call no more; returns when the last call is over."""
        self._over.set()
        self._thread.join()


def _tick(
    weak: weakref.WeakMethod[Callable[[], None]], over: threading.Event, seconds: float
) -> None:
    while not over.wait(seconds):
        call = weak()
        if call is None:
            return
        call()
        del call  # nothing is held while it waits
