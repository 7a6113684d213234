"""What a run's record says of its cost; that measuring changes no bit and fails no run."""

from __future__ import annotations

import random
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from mmbench import catalog, store
from mmbench import run as flow
from mmbench.cost import energy, memory, meter
from mmbench.cost.meter import Meter
from mmbench.run import Run, Settings, execute

MEASURED = {
    "peak_host_bytes",
    "items_per_second",
    "latency_p50_seconds",
    "energy_joules",
}


class Watcher:
    def phase(self, name: str) -> None:
        pass

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        pass

    def items(self, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Blind:
    """Stands for a meter and measures nothing."""

    how: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, device: str) -> None:
        pass

    def stop(self, items: int, seconds: float) -> None:
        pass

    def cost(self, *arguments: Any) -> dict[str, Any]:
        return {}


@pytest.fixture
def make(task: Callable[..., str], workplace: Path) -> Callable[..., store.Stored]:
    """Carry out a run of a few steps."""
    spec = catalog.task(task())

    def carry_out(name: str, model: str = "late", **settings: Any) -> store.Stored:
        own = Settings(results=workplace / name, device="cpu", **settings)
        return execute(Run(spec, tiny.spec(model), "brief", 0, own), Watcher())

    return carry_out


def test_a_smoke_run_tells_all_that_this_machine_can_tell(make: Callable[..., Any]) -> None:
    stored = make("results")
    for record in (stored.record, store.read(stored.folder).record):
        cost, how = record.cost, record.provenance["measured"]
        assert 0 < cost["parameters"] <= cost["parameters_in_all"]
        assert cost["flops_per_item"] > 0
        assert cost["train_seconds"] > 0
        assert cost["samples_per_second"] > 0
        assert cost["items_per_second"] > 36 / cost["test_seconds"] * 0.99  # that scores as well
        assert 0 < cost["latency_p50_seconds"] < 5
        assert 1 <= cost["latency_items"] <= 24
        assert 50e6 < cost["peak_host_bytes"] < 100e9
        assert "peak_device_bytes" not in cost
        assert set(how) == MEASURED
        if cost.get("energy_joules") is None:
            assert how["energy_joules"].startswith("unknown of the CPU: ")
        assert all(isinstance(x, int | float | None) for x in cost.values())
    assert stored.record.cost["energy_joules"] is None or stored.record.cost["energy_joules"] > 0


def test_parameters_that_are_not_trained_count_in_all(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model = flow.make_model

    def frozen(*arguments: Any) -> Any:
        model = make_model(*arguments)
        model.encoders.requires_grad_(False)
        return model

    whole = make("whole").record.cost
    monkeypatch.setattr(flow, "make_model", frozen)
    cost = make("frozen").record.cost
    assert cost["parameters_in_all"] == whole["parameters_in_all"] == whole["parameters"]
    assert cost["parameters"] < whole["parameters"]


def test_measuring_changes_no_bit(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = make("usual")
    watched = memory._set_back, energy.packages
    monkeypatch.setattr(memory, "_set_back", lambda proc: False)  # a thread looks, then
    monkeypatch.setattr(energy, "packages", lambda powercap: [Steady()])
    looked = make("looked")
    assert looked.record.cost["energy_joules"] > 0
    monkeypatch.setattr(memory, "_set_back", watched[0])
    monkeypatch.setattr(energy, "packages", watched[1])
    monkeypatch.setattr(flow, "Meter", Blind)
    blind = make("blind")
    assert "latency_p50_seconds" not in blind.record.cost
    assert set(usual.record.files) == {store.ITEMS, store.PREDICTIONS, store.WEIGHTS}
    assert usual.record.files == looked.record.files == blind.record.files
    assert usual.record.scores == looked.record.scores == blind.record.scores
    assert usual.record.curve == looked.record.curve == blind.record.curve
    assert usual.record.identity == blind.record.identity


class Steady:
    """A counter that moves whenever it is looked at."""

    name, period = "package-0", 0.001

    def __init__(self) -> None:
        self.joules = 0.0

    def read(self) -> None:
        self.joules += 0.5


def test_no_random_state_is_touched(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[Any] = []

    class Noting(Meter):
        def cost(self, *arguments: Any) -> dict[str, Any]:
            before = _states()
            found = super().cost(*arguments)
            states.append((before, _states()))
            return found

    monkeypatch.setattr(flow, "Meter", Noting)
    make("results")
    ((before, after),) = states
    assert before == after


def _states() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()
    return (random.getstate(), (kind, keys.tolist(), *rest), torch.get_rng_state().tolist())


class Broken:
    """A measurement that does not even begin."""

    def __init__(self, *arguments: Any) -> None:
        raise RuntimeError("the driver\nis in a bad mood")


class Breaking:
    """A measurement that breaks when it is asked."""

    how = "well"

    def __init__(self, *arguments: Any) -> None:
        pass

    def stop(self) -> None:
        raise OSError("gone")


def failing(*arguments: Any) -> None:
    raise RuntimeError("no such kernel")


@pytest.mark.parametrize("kind", [Broken, Breaking])
def test_a_measurement_that_fails_fails_no_run(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    for name in ("HostPeak", "Energy"):
        monkeypatch.setattr(meter, name, kind)
    monkeypatch.setattr(meter, "latency", failing)
    monkeypatch.setattr("mmbench.predict.flops_per_item", failing)
    record = make("results").record
    assert record.status == "finished"
    how = record.provenance["measured"]
    why = "RuntimeError: the driver is in a bad mood" if kind is Broken else "OSError: gone"
    for key in ("peak_host_bytes", "energy_joules"):
        assert record.cost[key] is None
        assert how[key] == f"unknown: {why}"
    for key in ("flops_per_item", "latency_p50_seconds"):
        assert record.cost[key] is None
        assert how[key] == "unknown: RuntimeError: no such kernel"


def test_a_model_that_was_not_tested_is_not_timed(make: Callable[..., Any]) -> None:
    watch = Meter("cpu")
    watch.stop()
    told = watch._latency(False, failing)  # type: ignore[arg-type]
    assert told == {"latency_p50_seconds": None, "latency_p95_seconds": None, "latency_items": 0}
    assert watch.how["latency_p50_seconds"] == "unknown: the model was not tested"
    assert watch.how["items_per_second"] == "unknown: the model was not tested"


def test_a_limit_holds_for_what_is_timed_too(make: Callable[..., Any]) -> None:
    assert make("results", limit=3).record.cost["latency_items"] <= 3


def test_what_comes_after_the_stop_is_no_cost_of_the_run() -> None:
    watch = Meter("cpu")
    watch.stop(100, 2.0)
    first = dict(watch._found)
    held = np.ones(30_000_000)
    watch.stop(999, 1.0)
    assert watch._found == first
    assert first["items_per_second"] == 50.0
    assert held.nbytes > 0


# --- on a GPU ------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A torch that has a GPU as far as memory goes; returns what is asked of it."""
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    reset = lambda number: asked.append(("reset", number))  # noqa: E731
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)

    def peak(number: int) -> int:
        asked.append(("peak", number))
        return 2**30

    monkeypatch.setattr(torch.cuda, "max_memory_allocated", peak)
    properties = types.SimpleNamespace(uuid="made-up")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    return asked


def test_the_gpus_peak_is_reset_before_and_read_before_anything_else(gpu: list[Any]) -> None:
    watch = Meter("cuda")
    assert gpu == [("reset", 1)]
    watch.stop(10, 1.0)
    assert gpu == [("reset", 1), ("peak", 1)]
    watch.stop()
    assert len(gpu) == 2
    assert watch._found["peak_device_bytes"] == 2**30
    assert "this run" in watch.how["peak_device_bytes"]
    assert watch._found["energy_joules"] is None
    assert "unknown of the GPU: " in watch.how["energy_joules"]


def test_a_gpu_that_does_not_answer_fails_no_run(
    gpu: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", failing)
    watch = Meter("cuda")
    watch.stop(10, 1.0)
    assert watch._found["peak_device_bytes"] is None
    assert watch.how["peak_device_bytes"] == "unknown: RuntimeError: no such kernel"
    assert watch._found["energy_joules"] is None
    assert watch.how["energy_joules"] == "unknown: RuntimeError: the run's GPU does not answer"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_gpu_tells_memory_and_energy() -> None:
    watch = Meter("cuda")
    held = torch.ones(50_000_000, device="cuda")
    del held
    watch.stop(10, 1.0)
    assert 200e6 <= watch._found["peak_device_bytes"] < 260e6  # type: ignore[operator]
    assert watch.how["energy_joules"]


def test_the_time_for_single_items_is_a_share_within_bounds() -> None:
    assert meter.spend(0.0) == meter.SHORTEST
    assert meter.spend(20.0) == 1.0
    assert meter.spend(1e6) == meter.LONGEST


def test_what_runs_had_in_common_is_shared_out_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted:
        how = "counted"

        def __init__(self, found: Any) -> None:
            self.found = found

        def stop(self) -> Any:
            return self.found

    def one(joules: float | None, peak: int, *common: Any, **more: float) -> Meter:
        made = Meter("cpu", *common)
        made._energy = Counted({"energy_joules": joules, **more})  # type: ignore[assignment]
        made._host = Counted(peak)  # type: ignore[assignment]
        made._began -= 10.0
        return made

    whole = one(100.0, 7, energy_cpu_joules=80.0, energy_dram_joules=20.0)
    whole.stop()
    last = one(3.0, 5, whole, 5, energy_cpu_joules=2.0)
    last.stop(4, 2.0)
    assert last._found["energy_joules"] == pytest.approx(100 / 5 + 3)
    assert last._found["energy_cpu_joules"] == pytest.approx(80 / 5 + 2)
    assert "energy_dram_joules" not in last._found
    assert last._found["energy_seconds"] == pytest.approx(10 / 5 + 10, abs=1)
    assert last._found["peak_host_bytes"] == 7
    assert last._found["items_per_second"] == 2.0
    assert last.how["energy_joules"] == "counted; in training its share of that of 5 seeds together"
    assert last.how["peak_host_bytes"] == "counted; in training of 5 seeds together"
    assert last.how["train_seconds"] == "its share of the steps of 5 seeds together"
    # One by itself has all of it, and nothing is to be said.
    single = one(3.0, 9, whole, 1)
    single.stop()
    assert (single._found["energy_joules"], single._found["peak_host_bytes"]) == (103.0, 9)
    assert single.how["energy_joules"] == "counted"
    assert "train_seconds" not in single.how
    # What one of both does not know is not known, and why is said.
    blind = one(None, 7)
    blind.how["energy_joules"] = "unknown: for a reason"
    blind.stop()
    unknown = one(3.0, 5, blind, 5)
    unknown.stop()
    assert unknown._found["energy_joules"] is None
    assert "energy_seconds" not in unknown._found
    assert unknown.how["energy_joules"] == "unknown: for a reason"
