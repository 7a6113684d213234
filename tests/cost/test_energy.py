"""Energy: packages' counters that begin anew or may not be read; GPUs by a made-up NVML."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmbench.cost import energy
from mmbench.cost.energy import Energy, UnreportedError, packages

SPAN = 262_143_328_850


def package(powercap: Path, name: str, microjoules: int, called: str = "package-0") -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{called}\n")
    (folder / "max_energy_range_uj").write_text(f"{SPAN}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder


def test_a_package_counts_what_it_took_meanwhile(tmp_path: Path) -> None:
    folder = package(tmp_path, "intel-rapl:0", 5_000_000)
    meter = Energy(powercap=tmp_path)
    (folder / "energy_uj").write_text("17500000\n")
    assert meter.stop() == {"energy_joules": 12.5, "energy_cpu_joules": 12.5}
    assert meter.how == f"package-0 (RAPL); {energy.IDLE}"


def test_a_counter_that_begins_anew_is_no_negative_energy(tmp_path: Path) -> None:
    folder = package(tmp_path, "intel-rapl:0", SPAN - 2_000_000)
    meter = Energy(powercap=tmp_path)
    for now in (1_000_000, 9_000_000, 500_000):  # twice over, looked at between
        (folder / "energy_uj").write_text(str(now))
        meter._read()
    found = meter.stop()["energy_joules"]
    assert found == pytest.approx(2 + 1 + 8 + (SPAN / 1e6 - 9 + 0.5))


def test_the_thread_looks_before_a_counter_can_begin_anew_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy.Package, "period", 0.01)
    folder = package(tmp_path, "intel-rapl:0", 0)
    meter = Energy(powercap=tmp_path)
    (counter,) = meter._counters["cpu"]
    for now in (SPAN - 1_000_000, 3_000_000, 2_000_000):
        before = counter.joules
        (folder / "next").write_text(str(now))
        (folder / "next").replace(folder / "energy_uj")  # a counter is never seen half written
        for _ in range(1000):
            if counter.joules != before:
                break
            meter._ticker._over.wait(0.01)  # type: ignore[union-attr]
    assert meter.stop()["energy_joules"] == pytest.approx((2 * SPAN + 2_000_000) / 1e6)


def test_every_package_counts_once_and_nothing_else_does(tmp_path: Path) -> None:
    for name, called in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ):
        package(tmp_path, name, 0, called)
    assert [one.name for one in packages(tmp_path)] == ["package-0 (RAPL)", "package-1 (RAPL)"]
    meter = Energy(powercap=tmp_path)
    for path in tmp_path.glob("*/energy_uj"):
        path.write_text("1000000")
    assert meter.stop()["energy_joules"] == 2.0


def test_where_nothing_reports_there_is_a_reason(tmp_path: Path) -> None:
    for powercap, why in (
        (tmp_path / "none", "there is no "),
        (tmp_path, "shows no processor package"),
    ):
        meter = Energy(powercap=powercap)
        assert meter.stop() == {"energy_joules": None}
        assert meter.how.startswith("unknown of the CPU: ")
        assert why in meter.how
        assert meter._ticker is None, "nothing to look at, no thread"


def test_a_counter_for_root_alone_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "intel-rapl:0", 5)
    read = Path.read_text

    def refuse(self: Path, *arguments: Any, **options: Any) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UnreportedError, match="may be read by root alone"):
        packages(tmp_path)
    meter = Energy(powercap=tmp_path)
    assert meter.stop() == {"energy_joules": None}
    assert "energy_uj may be read by root alone" in meter.how


@pytest.mark.parametrize("content", ["", "many", None])
def test_a_counter_that_breaks_meanwhile_is_unknown(tmp_path: Path, content: str | None) -> None:
    folder = package(tmp_path, "intel-rapl:0", 5)
    meter = Energy(powercap=tmp_path)
    if content is None:
        (folder / "energy_uj").unlink()
    else:
        (folder / "energy_uj").write_text(content)
    assert meter.stop() == {"energy_joules": None}
    assert str(folder / "energy_uj") in meter.how


# --- GPUs ----------------------------------------------------------------------------------------


class Nvml(types.ModuleType):
    """A made-up ``pynvml``: two GPUs, of which one has no counter."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.counted = {"GPU-new": 7_000}
        self.power = {"GPU-new": 300_000, "GPU-old": 200_000}
        self.open = 0
        self.broken = ""

    def nvmlInit(self) -> None:  # noqa: N802
        if self.broken == "init":
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid not in self.power:
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if handle not in self.counted or self.broken == "lost":
            raise self.NVMLError("Not Supported")
        return self.counted[handle]

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        if self.broken:
            raise self.NVMLError("Not Supported")
        return self.power[handle]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """NVML, and a torch that numbers its GPUs the other way round."""
    made = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    uuids = ("old", "new", "gone")

    def properties(number: int) -> Any:
        return types.SimpleNamespace(uuid=uuids[number])

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    return made


def test_a_gpu_with_a_counter_is_read_before_and_after(nvml: Nvml, tmp_path: Path) -> None:
    meter = Energy([1], tmp_path / "none")
    assert nvml.open == 1
    nvml.counted["GPU-new"] += 45_000
    assert meter.stop() == {"energy_joules": 45.0, "energy_gpu_joules": 45.0}
    assert meter.how == (
        f"GPU 1 (NVML's energy counter); {energy.IDLE}; unknown of the CPU: there is no "
        f"{tmp_path / 'none'}"
    )
    assert nvml.open == 0


def test_power_is_added_up_where_there_is_no_counter(
    nvml: Nvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(energy.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(energy, "Ticker", lambda seconds, call: None)
    meter = Energy([0], tmp_path / "none")
    for seconds, watts in ((2.0, 400), (1.0, 100)):  # 200 W at first
        clock[0] += seconds
        nvml.power["GPU-old"] = watts * 1000
        meter._read()
    found = meter.stop()
    assert found["energy_joules"] == pytest.approx(2 * 300 + 1 * 250)
    assert "power, added up every 0.1 s" in meter.how


def test_cpu_and_gpu_are_added(nvml: Nvml, tmp_path: Path) -> None:
    folder = package(tmp_path, "intel-rapl:0", 0)
    meter = Energy([1], tmp_path)
    nvml.counted["GPU-new"] += 5_000
    (folder / "energy_uj").write_text("2000000")
    found = meter.stop()
    assert found == {
        "energy_joules": 7.0,
        "energy_cpu_joules": 2.0,
        "energy_gpu_joules": 5.0,
    }
    assert "package-0 (RAPL), GPU 1" in meter.how


def set_back(nvml: Nvml) -> None:
    nvml.counted["GPU-new"] = 3


def lose(nvml: Nvml) -> None:
    nvml.broken = "lost"


@pytest.mark.parametrize(
    ("change", "why"), [(set_back, "set the GPU's energy counter back"), (lose, "Not Supported")]
)
def test_a_gpu_that_breaks_meanwhile_leaves_no_sum(
    nvml: Nvml, tmp_path: Path, change: Callable[[Nvml], None], why: str
) -> None:
    folder = package(tmp_path, "intel-rapl:0", 0)
    meter = Energy([1], tmp_path)
    (folder / "energy_uj").write_text("2000000")
    change(nvml)
    assert meter.stop() == {"energy_joules": None, "energy_cpu_joules": 2.0}
    assert meter.how.startswith("unknown of the GPU: NVML: ")
    assert why in meter.how
    assert meter.how.endswith(f"package-0 (RAPL); {energy.IDLE}")
    assert nvml.open == 0


def test_a_gpu_that_nvml_does_not_know_or_no_nvml_at_all(
    nvml: Nvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = Energy([2], tmp_path / "none")
    assert meter.stop() == {"energy_joules": None}
    assert "unknown of the GPU: NVML: Not Found" in meter.how
    nvml.broken = "init"
    meter = Energy([1], tmp_path / "none")
    assert meter.stop() == {"energy_joules": None}
    assert "NVML: Driver Not Loaded" in meter.how
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = Energy([1], tmp_path / "none")
    assert meter.stop() == {"energy_joules": None}
    assert "nvidia-ml-py is not installed" in meter.how


def test_the_real_pynvml_has_all_that_is_asked_of_it() -> None:
    real = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    for name in vars(Nvml):
        if name.startswith("nvml"):
            assert callable(getattr(real, name)), name
    assert issubclass(real.NVMLError, Exception)
