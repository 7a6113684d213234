"""Energy, where the driver reports it: of processor packages (RAPL) and of NVIDIA's GPUs (NVML).

Both count whole devices: what they draw while idle, and what other processes make them draw, is in
it. So a figure is good for comparing runs that were alone on one machine, and for nothing else.
Memory, discs, fans and the losses of the power supply are in none of them.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmbench.admission import line
from mmbench.cost.ticker import Ticker

#: Where Linux shows the counters of Intel's and AMD's processors (Running Average Power Limit).
POWERCAP = Path("/sys/class/powercap")
#: Seconds between two readings of counters. A package's may begin anew after 65 kJ: at 400 W,
#: after less than three minutes, and twice between two readings could not be told from once.
COUNTERS = 20.0
#: Seconds between two readings of a power that has to be added up.
POWER = 0.1
IDLE = "whole devices: idle power and what else runs on them included"


class UnreportedError(Exception):
    """Nothing reports this energy; the message says why."""


class Counter(Protocol):
    """One device's energy.

    Attributes:
        name: What is counted, and by what.
        joules: Since it was made, up to the last reading.
        period: Seconds within which the next reading has to come.
    """

    name: str
    joules: float
    period: float

    def read(self) -> None:
        """Count up to now.

        Raises:
            UnreportedError: It cannot be read any more.
        """


class Package:
    """A processor package's counter in a folder of `POWERCAP`: microjoules that begin anew."""

    period = COUNTERS

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"{(folder / 'name').read_text().strip()} (RAPL)"
        self.joules = 0.0
        self._span = int((folder / "max_energy_range_uj").read_text())
        self._last = self._now()

    def read(self) -> None:
        """Count up to now; a counter that stands lower than before has begun anew."""
        now = self._now()
        gone = now - self._last
        self.joules += (gone if gone >= 0 else gone + self._span) / 1e6
        self._last = now

    def _now(self) -> int:
        try:
            return int((self.folder / "energy_uj").read_text())
        except PermissionError:
            raise UnreportedError(
                f"{self.folder / 'energy_uj'} may be read by root alone"
            ) from None
        except (OSError, ValueError) as error:
            raise UnreportedError(f"{self.folder / 'energy_uj'}: {error}") from None


class _Nvml(ABC):
    """A GPU, asked by NVML.

    Args:
        nvml: The module ``pynvml``, ready.
        handle: Of the GPU.
        number: Its number, for people.
    """

    how = ""

    def __init__(self, nvml: Any, handle: Any, number: int) -> None:
        self.name = f"GPU {number} ({self.how})"
        self.joules = 0.0
        self._nvml, self._handle = nvml, handle
        self._last = self._now()

    @abstractmethod
    def _ask(self) -> int:
        """Return what NVML says now."""

    def _now(self) -> int:
        try:
            return self._ask()
        except self._nvml.NVMLError as error:
            raise UnreportedError(f"NVML: {error}") from None


class GpuCounter(_Nvml):
    """A GPU's own counter: millijoules since the driver was loaded; there since Volta."""

    how = "NVML's energy counter"
    period = COUNTERS

    def _ask(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def read(self) -> None:
        """Count up to now."""
        now = self._now()
        if now < self._last:
            raise UnreportedError("NVML: the driver set the GPU's energy counter back meanwhile")
        self.joules += (now - self._last) / 1e3
        self._last = now


class GpuPower(_Nvml):
    """A GPU's power in milliwatts, added up in trapezia."""

    how = f"NVML's power, added up every {POWER:g} s"
    period = POWER

    def __init__(self, nvml: Any, handle: Any, number: int) -> None:
        super().__init__(nvml, handle, number)
        self._since = time.perf_counter()

    def _ask(self) -> int:
        return int(self._nvml.nvmlDeviceGetPowerUsage(self._handle))

    def read(self) -> None:
        """Count up to now."""
        now, at = self._now(), time.perf_counter()
        self.joules += (self._last + now) / 2e3 * (at - self._since)
        self._last, self._since = now, at


def gpu(nvml: Any, handle: Any, number: int) -> Counter:
    """Return what counts a GPU's energy: its counter, or its power where there is none.

    Raises:
        UnreportedError: NVML tells neither.
    """
    try:
        return GpuCounter(nvml, handle, number)
    except UnreportedError:
        return GpuPower(nvml, handle, number)


class Energy:
    """Counts from now until it is stopped.

    Attributes:
        how: What was counted, and what could not be and why.
    """

    def __init__(self, gpus: Sequence[int] = (), powercap: Path = POWERCAP) -> None:
        """Begin.

        Args:
            gpus: The run's GPUs, as torch numbers them; those of other runs are left out.
            powercap: Where the system shows the packages' counters.
        """
        self.how = ""
        self._shut: Callable[[], object] = _nothing
        self._lock = threading.Lock()
        self._counters: dict[str, list[Counter]] = {"cpu": [], "gpu": []}
        self._why: dict[str, str] = {}
        self._parts = ("cpu", "gpu") if gpus else ("cpu",)
        self._open("cpu", lambda: packages(powercap))
        if gpus:
            self._open("gpu", lambda: self._gpus(gpus))
        periods = [counter.period for own in self._counters.values() for counter in own]
        self._ticker = Ticker(min(periods), self._read) if periods else None

    def _open(self, part: str, find: Callable[[], Sequence[Counter]]) -> None:
        try:
            self._counters[part] = list(find())
        except UnreportedError as error:
            self._why[part] = str(error)
        except Exception as error:  # a driver may answer anything, and no run fails by it
            self._why[part] = f"{type(error).__name__}: {error}"

    def _gpus(self, numbers: Sequence[int]) -> list[Counter]:
        try:
            import pynvml
        except ImportError:
            raise UnreportedError(
                "nvidia-ml-py is not installed: pip install nvidia-ml-py"
            ) from None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise UnreportedError(f"NVML: {error}") from None
        self._shut = pynvml.nvmlShutdown
        try:
            return [gpu(pynvml, _handle(pynvml, number), number) for number in numbers]
        except pynvml.NVMLError as error:
            raise UnreportedError(f"NVML: {error}") from None

    def _read(self) -> None:
        with self._lock:
            for part, counters in self._counters.items():
                try:
                    for counter in counters:
                        counter.read()
                except Exception as error:
                    self._why.setdefault(part, str(error))

    def stop(self) -> dict[str, float | None]:
        """End, and return joules: ``energy_joules`` in all, and of each part that is known.

        Of a run on a GPU whose own energy is not known there is no sum: the rest of it would look
        like little.
        """
        if self._ticker is not None:
            self._ticker.stop()
        self._read()
        try:
            self._shut()
        except Exception as error:
            self._why.setdefault("gpu", str(error))
        known = {
            part: sum(counter.joules for counter in self._counters[part])
            for part in self._parts
            if part not in self._why
        }
        told = [counter.name for part in known for counter in self._counters[part]]
        lost = [f"unknown of the {part.upper()}: {line(why)}" for part, why in self._why.items()]
        total = sum(known.values()) if self._parts[-1] in known else None
        counted = [", ".join(told), IDLE] if told else []
        self.how = "; ".join([*lost, *counted] if total is None else [*counted, *lost])
        return {
            "energy_joules": total,
            **{f"energy_{part}_joules": joules for part, joules in known.items()},
        }


def packages(powercap: Path = POWERCAP) -> list[Counter]:
    """Return the counters of all processor packages.

    Their parts (``intel-rapl:0:0``: cores, graphics) are in them, and what is named ``psys`` or
    ``intel-rapl-mmio`` counts the same once more.

    Raises:
        UnreportedError: There are none, or they may not be read.
    """
    if not powercap.is_dir():
        raise UnreportedError(f"there is no {powercap}")
    found: list[Counter] = []
    for folder in sorted(powercap.glob("intel-rapl:*")):
        if folder.name.count(":") != 1:
            continue
        try:
            if (folder / "name").read_text().startswith("package"):
                found.append(Package(folder))
        except (OSError, ValueError) as error:
            raise UnreportedError(f"{folder}: {error}") from None
    if not found:
        raise UnreportedError(f"{powercap} shows no processor package")
    return found


def _handle(nvml: Any, number: int) -> Any:
    """Return NVML's handle of the GPU that torch numbers so, whatever is visible to torch."""
    import torch

    uuid = str(torch.cuda.get_device_properties(number).uuid)
    return nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")


def _nothing() -> None:
    """Shut what was never opened."""
