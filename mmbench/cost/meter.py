"""What goes into a record of what its run cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mmbench.admission import line
from mmbench.cost.energy import Energy
from mmbench.cost.latency import FEWEST, Latency, latency
from mmbench.cost.memory import HostPeak
from mmbench.spec import DecodingSpec
from mmbench.types import Split

if TYPE_CHECKING:
    from mmbench.models.model import Model

T = TypeVar("T")

#: Timing single items takes this share of what the run took, within these bounds in seconds.
SHARE, SHORTEST, LONGEST = 0.05, 0.05, 2.0


class Meter:
    """Measures one run: made before the model is built, stopped when the tests are predicted.

    What several runs had in common is measured by one, and each of theirs, which measures the rest,
    is given it: of energy a run has its share, the peaks of memory are those of all.

    Attributes:
        how: Key of the cost -> how it was measured, or why it is not known.
    """

    def __init__(self, device: str, common: Meter | None = None, among: int = 1) -> None:
        """Begin.

        Args:
            device: ``cpu`` or ``cuda``.
            common: Measured what came before, and is stopped.
            among: So many runs had that in common.
        """
        self._common, self._among = common, among
        self.how: dict[str, str] = {}
        self._found: dict[str, float | None] = {}
        self._gpus = _try(_reset_gpus, self._lost("peak_device_bytes")) if device == "cuda" else []
        self._on_gpu = device == "cuda"
        self._host = _try(HostPeak, self._lost("peak_host_bytes"))
        self._energy = _try(self._count_energy, self._lost("energy_joules"))
        self._began = time.perf_counter()
        self._took: float | None = None

    def _count_energy(self) -> Energy:
        if self._on_gpu and not self._gpus:  # the processor's alone would look like little
            raise RuntimeError("the run's GPU does not answer")
        return Energy(self._gpus or ())

    def stop(self, items: int = 0, seconds: float = 0.0) -> None:
        """End: what comes now (scores, the meter's own work) is no cost of the run.

        Args:
            items: Predicted in the tests; 0: none were.
            seconds: That this took.
        """
        if self._took is not None:
            return
        self._took = time.perf_counter() - self._began
        for key, part in (("energy_joules", self._energy), ("peak_host_bytes", self._host)):
            if part is None:
                self._found[key] = None
                continue
            told: Any = _try(part.stop, self._lost(key))
            self._found |= told if isinstance(told, dict) else {key: told}
            self.how.setdefault(key, part.how)
        if self._found["energy_joules"] is not None:
            self._found["energy_seconds"] = self._took
        if self._on_gpu:
            peak = _try(lambda: _peak(self._gpus or ()), self._lost("peak_device_bytes"))
            self._found["peak_device_bytes"] = peak
            self.how.setdefault("peak_device_bytes", "tensors of torch's allocator, of this run")
        self._found["items_per_second"] = items / max(seconds, 1e-9) if items else None
        batches = "all test items in batches, decoding included"
        self.how["items_per_second"] = batches if items else _UNTESTED
        if hasattr(os, "getloadavg"):
            lost = self._lost("load_average")
            self._found["load_average"] = _try(lambda: os.getloadavg()[0], lost)
        if self._common is not None:
            self._add(self._common, self._among)

    def _add(self, common: Meter, among: int) -> None:
        """Add this run's part of what it had in common with others."""
        common.stop()
        self._took = (self._took or 0.0) + (common._took or 0.0) / among
        energies = {"energy_joules"} | {
            key for key in self._found if key.startswith("energy_") and key in common._found
        }
        for key in energies | {"peak_host_bytes", "peak_device_bytes"} & self._found.keys():
            own, theirs = self._found[key], common._found[key]
            if own is None or theirs is None:
                self._found[key] = None
            elif key in energies:
                self._found[key] = own + theirs / among
            else:
                self._found[key] = max(own, theirs)
            if theirs is None and key in common.how:
                self.how[key] = common.how[key]
            elif among > 1 and key in self.how:
                part = "its share of that of" if key in energies else "of"
                self.how[key] += f"; in training {part} {among} seeds together"
        # A part of the energy that only one of the two knows is no part of what both are.
        for key in [key for key in self._found if key.startswith("energy_")]:
            if key not in energies:
                del self._found[key]
        if self._found["energy_joules"] is None:
            self._found.pop("energy_seconds", None)
        if among > 1:
            self.how["train_seconds"] = f"its share of the steps of {among} seeds together"

    def cost(
        self,
        model: Model,
        split: Split,
        decoding: DecodingSpec,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Return what the run cost: what was measured, and what is measured of its model now.

        Args:
            model: On its device, trained.
            split: Items to try it on.
            decoding: How texts are read out.
            limit: The first `limit` items only.
        """
        self.stop()
        tested = self._found["items_per_second"] is not None
        seconds = spend(self._took or 0.0)
        timed = self._latency(tested, lambda: latency(model, split, decoding, seconds, limit))
        return self._found | self._operations(model, split) | timed

    def _operations(self, model: Model, split: Split) -> dict[str, Any]:
        from mmbench.predict import flops_per_item

        lost = self._lost("flops_per_item")
        return {"flops_per_item": _try(lambda: flops_per_item(model, split), lost)}

    def _latency(self, tested: bool, measure: Callable[[], Latency]) -> dict[str, Any]:
        key = "latency_p50_seconds"
        found = _try(measure, self._lost(key)) if tested else None
        if found is None:
            self.how.setdefault(key, _UNTESTED)
            return {key: None, "latency_p95_seconds": None, "latency_items": 0}
        few = f"; fewer than {FEWEST}: no 95th percentile" * (found.p95 is None)
        self.how[key] = f"single items of the test split, decoding included, after a warm-up{few}"
        return {
            key: found.p50,
            "latency_p95_seconds": found.p95,
            "latency_items": found.items,
        }

    def _lost(self, key: str) -> Callable[[Exception], None]:
        def note(error: Exception) -> None:
            self.how[key] = f"unknown: {type(error).__name__}: {line(str(error))}"

        return note


_UNTESTED = "unknown: the model was not tested"


def spend(took: float) -> float:
    """Return the seconds that timing single items may take after a run of so many.

    >>> spend(20), spend(3600)
    (1.0, 2.0)
    """
    return min(LONGEST, max(SHORTEST, SHARE * took))


def _try(call: Callable[[], T], note: Callable[[Exception], None]) -> T | None:
    """Return what a call returns; None where it fails, which is noted: it must fail no run."""
    try:
        return call()
    except Exception as error:
        note(error)
        return None


def _reset_gpus() -> list[int]:
    """Let torch count the memory of the run's GPU from now on; return its number."""
    import torch

    number = torch.cuda.current_device()
    torch.cuda.reset_peak_memory_stats(number)
    return [number]


def _peak(gpus: Sequence[int]) -> int | None:
    import torch

    return max((torch.cuda.max_memory_allocated(number) for number in gpus), default=None)
