"""What is said where costs of a board do not compare."""

from __future__ import annotations

from typing import Any

import pytest

from mmbench import caveats, store
from mmbench.caveats import machine

OF_RUN = {"measured": {"peak_host_bytes": "high-water mark of the process, set back when"}}
OLD_CPU = {"device": "cpu", "cpu": "Old 3000", "threads": 1}


def record(provenance: dict[str, Any], **cost: Any) -> store.Record:
    needed = dict.fromkeys(("status", "task", "task_digest", "budget", "model", "model_digest"), "")
    return store.Record(
        **needed,
        task_version=1,
        seed=0,
        identity="",
        definition={},
        provenance=provenance,
        data={},
        cost=cost,
    )


@pytest.mark.parametrize(
    ("provenance", "told"),
    [
        (OLD_CPU, "cpu (Old 3000, 1 thread)"),
        (OLD_CPU | {"threads": 4}, "cpu (Old 3000, 4 threads)"),
        ({"device": "cpu"}, "cpu (unknown processor)"),
        ({"device": "H200", "cpu": "Old 3000", "threads": 1}, "H200"),
        ({}, "unknown"),
    ],
)
def test_a_machine_is_its_gpu_or_its_processor_and_threads(
    provenance: dict[str, Any], told: str
) -> None:
    assert machine(record(provenance)) == told


def test_alike_records_need_no_words() -> None:
    one = record(OLD_CPU | OF_RUN, train_seconds=1.0, peak_host_bytes=1)
    assert caveats.caveats({"a": [one, one], "b": [one]}) == {}
    assert caveats.caveats({}) == {}


def test_seconds_of_several_machines_are_named_with_their_models() -> None:
    here = record(OLD_CPU, train_seconds=1.0)
    more = record(OLD_CPU | {"threads": 2}, latency_p50_seconds=0.1)
    there = record({"device": "H200"}, train_seconds=1.0)
    elsewhere = record({"device": "A100"})  # tells no seconds, as what was scored from a file
    told = caveats.caveats({"a": [here], "b": [here, more], "c": [there], "d": [elsewhere]})
    assert told == {
        "seconds": "seconds, items/s and energy compare on one machine only: H200: c; "
        "cpu (Old 3000, 1 thread): a, b; cpu (Old 3000, 2 threads): b"
    }
    many = {f"m{k}": [here] for k in range(9)} | {"z": [there]}
    assert "m0, m1, m2, m3, m4 and 4 more" in caveats.caveats(many)["seconds"]


def test_energy_of_different_parts_is_named() -> None:
    gpu = record({"device": "H200"}, energy_joules=5.0, energy_gpu_joules=5.0)
    both = record(
        {"device": "H200"}, energy_joules=7.0, energy_gpu_joules=5.0, energy_cpu_joules=2.0
    )
    none = record({"device": "H200"}, energy_joules=None, energy_cpu_joules=2.0)
    told = caveats.caveats({"a": [gpu], "b": [both], "c": [none]})
    assert told == {"energy": "energy is of different parts: CPU and GPU: b; GPU: a"}


def test_memory_of_a_run_and_of_a_whole_process_are_told_apart() -> None:
    old = record(OLD_CPU, peak_host_bytes=1)
    new = record(OLD_CPU | OF_RUN, peak_host_bytes=1)
    whole = record(
        OLD_CPU | {"measured": {"peak_host_bytes": "high-water mark of the whole process, what"}},
        peak_host_bytes=1,
    )
    assert [caveats.whole_process(one) for one in (old, new, whole)] == [True, False, True]
    told = caveats.caveats({"a": [old], "b": [new], "c": [whole], "d": [record(OLD_CPU)]})
    assert told == {
        "memory": "host memory is of different spans: of the run alone: b; "
        "of the whole process: a, c"
    }


@pytest.mark.parametrize("value", ["many", None, True, float("inf"), float("nan"), [1], {}])
def test_what_is_no_number_is_none(value: Any) -> None:
    assert caveats.number({"energy_joules": value}, "energy_joules") is None
