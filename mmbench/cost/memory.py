"""How much memory of the host a run had at its peak, not all the runs of its process."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmbench.cost.ticker import Ticker

#: Where Linux tells of this process, and lets its high-water mark be set back.
PROC = Path("/proc/self")
#: Seconds between two looks where there is no mark that can be set back.
PERIOD = 0.02
#: The mark counts pages in batches for each core: so far it may lie above what is there.
_SLACK = 32 * 2**20


class HostPeak:
    """The most resident memory of this process from now until it is stopped, in bytes.

    On Linux the kernel's own high-water mark is set back and read (``/proc/self/clear_refs``),
    which misses nothing. Elsewhere a thread looks every 20 ms (psutil), and may miss a peak that
    is shorter. Where there is no psutil either, there is the mark of the whole process alone.
    Memory of processes that this one starts is not counted.

    Attributes:
        how: How it was measured, or why it is not known.
    """

    def __init__(self, proc: Path = PROC) -> None:
        """Begin.

        Args:
            proc: Where the system tells of this process.
        """
        self.how = ""
        self._proc = proc
        self._process: Any = None
        self._ticker: Ticker | None = None
        self._most = 0
        self._lock = threading.Lock()
        if _set_back(proc):
            self.how = "high-water mark of the process, set back when the run began"
            return
        with suppress(Exception):  # no psutil, or one that this system does not let look
            import psutil

            self._process = psutil.Process()
            self._look()
            self._ticker = Ticker(PERIOD, self._look)
            self.how = f"resident memory of the process, looked at every {PERIOD * 1000:.0f} ms"

    def _look(self) -> None:
        with self._lock:
            self._most = max(self._most, int(self._process.memory_info().rss))

    def stop(self) -> int | None:
        """End, and return the peak; None where the system does not say."""
        if self._ticker is not None:
            self._ticker.stop()
            with suppress(Exception):
                self._look()
            return self._most
        if self.how:
            peak = _status(self._proc).get("VmHWM")
            if peak is not None:
                return peak
        peak = _process_peak()
        if peak is None:
            self.how = "unknown: the system does not tell, and psutil is not installed"
        else:
            self.how = "high-water mark of the whole process, what it did before included"
        return peak


def _set_back(proc: Path) -> bool:
    """Set the high-water mark back to what is there; whether it can be told that this worked."""
    try:
        (proc / "clear_refs").write_text("5")  # see proc_pid_clear_refs(5), since Linux 4.0
        now = _status(proc)
        return now["VmHWM"] <= now["VmRSS"] + _SLACK
    except (OSError, KeyError):
        return False


def _status(proc: Path) -> dict[str, int]:
    """Return what the kernel counts of this process in kB, in bytes."""
    found = {}
    try:
        lines = (proc / "status").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        name, _, value = line.partition(":")
        number, _, unit = value.strip().partition(" ")
        if unit == "kB":
            found[name] = int(number) * 1024
    return found


def _process_peak() -> int | None:
    """Return the most memory that this process ever had."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
