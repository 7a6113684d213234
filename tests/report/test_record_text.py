from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mmbench import paired
from mmbench.report import record as about
from mmbench.spec import LevelSpec, TaskSpec, parse_task
from mmbench.store import Record, Stored, StoredScore

TASK = parse_task(
    {
        "schema": 1,
        "name": "mini",
        "version": 3,
        "summary": "",
        "dataset": {"name": "scenecap", "version": 1},
        "modalities": {"image": {"kind": "image", "shape": [3, 48, 48]}},
        "outputs": {"caption": {"kind": "text"}},
        "splits": {"train": 1, "val": 2, "test": 2},
        "metrics": {"main": "cider_d", "also": ["slot_f1"]},
        "budgets": {"small": {"items": 1, "steps": 1}},
        "levels": {"cider_d": {"floor": 0.5, "ceiling": 2.5, "alone": {"image": 1.5}}},
    },
    "mini",
)


def score(value: float | None = 1.0, half: float = 0.05, **more: Any) -> StoredScore:
    ends = (None, None) if value is None else (value - half, value + half)
    settings = {"n": 1000, "signature": "v1", "higher_is_better": True, "bounds": (0.0, 10.0)}
    return StoredScore(value=value, low=ends[0], high=ends[1], se=half / 2, **(settings | more))


def record(**more: Any) -> Record:
    settings: dict[str, Any] = {
        "status": "finished",
        "task": "mini",
        "task_version": 3,
        "task_digest": "d",
        "budget": "small",
        "model": "hybrid",
        "summary": "a gate",
        "model_digest": "m",
        "seed": 1,
        "identity": "0123456789abcdef",
        "definition": {"task": msgspec.to_builtins(TASK), "limit": None},
        "provenance": {
            "started": "2026-01-02T03:04:05+00:00",
            "device": "cpu",
            "threads": 1,
            "mmbench": "0.1.0",
            "commit": "0123456789012345678901234567890123456789+changed",
        },
        "data": {"fingerprint": "f"},
        "reproduce": "mmbench run -t mini -m hybrid --seeds 1-1",
    }
    return Record(**(settings | more))


def test_the_header_says_what_made_when_and_where() -> None:
    text = "\n".join(about.header(Stored(Path("x"), record()), [1]))
    for part in (
        "mini/hybrid/small-s1-01234567  finished",
        "mini@3, budget small",
        "2026-01-02 03:04:05 UTC",
        "on cpu, 1 thread",
        "commit 01234567+changed",
    ):
        assert part in text
    assert "leaderboard" not in text


def test_the_header_names_other_seeds_limits_and_reasons() -> None:
    bad = record(status="leak", reason="beyond", ranked=False, definition={"task": {}, "limit": 50})
    text = "\n".join(about.header(Stored(Path("x"), bad), [0, 1, 2]))
    assert "1, of 3 here (0, 1, 2): 'mmbench leaderboard' combines them" in text
    assert "leak: beyond" in text
    assert "first 50 items only" in text


def test_the_table_has_levels_and_headroom_on_the_test_split_alone() -> None:
    scores = {"cider_d": score(1.0), "slot_f1": score(0.25)}
    lines = about.score_table({"test": scores}, TASK, "test")
    assert lines[1].split()[:3] == ["metric", "value", "95%"]
    assert lines[2].split() == [
        *["*", "cider_d", "1.000", "[0.950,", "1.050]", "0.500", "2.500"],
        *["|#####...............|", "25%"],
    ]
    assert lines[3].split() == ["slot_f1", "0.250", "[0.200,", "0.300]"]
    other = "\n".join(about.score_table({"ood": scores}, TASK, "ood"))
    assert "headroom" not in other
    assert "0.500" not in other


def test_a_score_without_a_value_is_a_dash() -> None:
    lines = about.score_table({"test": {"cider_d": score(None)}}, TASK, "test")
    assert lines[2].split() == ["*", "cider_d", "-", "0.500", "2.500"]
    assert about.span(score(None)) == "-"
    assert about.span(score(1.0)) == "1.000 [0.950, 1.050]"


@pytest.mark.parametrize(
    ("value", "level", "expected"),
    [
        (1.5, LevelSpec(0.5, 2.5), 0.5),
        (0.3, LevelSpec(0.5, 2.5), -0.1),
        (30.0, LevelSpec(50.0, 10.0), 0.5),  # lower is better
        (1.0, LevelSpec(1.0, 1.0), None),
        (None, LevelSpec(0.5, 2.5), None),
        (1.0, None, None),
    ],
)
def test_headroom_is_the_share_of_the_way_from_floor_to_ceiling(
    value: float | None, level: LevelSpec | None, expected: float | None
) -> None:
    assert about.headroom(value, level) == pytest.approx(expected)


def test_scores_come_in_the_tasks_order_and_test_first() -> None:
    scored = {
        "another": score(),
        "cider_d": score(),
        "slot_f1": score(),
    }
    got = about.scores_of(record(scores={"ood": scored, "test": scored}), TASK)
    assert list(got) == ["test", "ood"]
    assert list(got["test"]) == ["cider_d", "slot_f1", "another"]


COST = {
    "parameters": 318389,
    "parameters_in_all": 318389,
    "flops_per_item": 31_000_000,
    "steps": 1000,
    "best_step": 900,
    "stopped_early": True,
    "train_seconds": 279.0,
    "samples_per_second": 229.4,
    "test_seconds": 12.3,
    "items_per_second": 1852.2,
    "latency_p50_seconds": 0.00354,
    "latency_p95_seconds": 0.0119,
    "latency_items": 100,
    "peak_host_bytes": 840_000_000,
    "peak_device_bytes": 2_500_000_000,
    "energy_joules": 25_000.0,
    "energy_gpu_joules": 25_000.0,
    "energy_seconds": 250.0,
    "load_average": 0.9,
}
MEASURED = {
    "peak_host_bytes": "high-water mark of the process, set back when the run began",
    "energy_joules": "GPU 0 (NVML's energy counter)",
}


def test_the_cost_says_what_is_known() -> None:
    came = {"measured": MEASURED, "cores": 2}
    assert about.cost_lines(record(cost=COST, provenance=came, scores={"test": {}})) == [
        "318,389 parameters; 31 MFLOPs an item",
        "trained 4 min 39 s, 1,000 steps, stopped early, best at 900; 229 samples/s",
        "tested 12.3 s; 1,852 items/s predicted in batches",
        "one item alone 3.54 ms (median), 11.9 ms (95th percentile); 100 timed",
        "peak memory 0.84 GB; peak GPU memory 2.50 GB",
        "energy 25 kJ, 100 W on average: GPU 0 (NVML's energy counter)",
    ]
    few = COST | {"latency_p95_seconds": None, "latency_items": 7, "parameters_in_all": 400_000}
    lines = about.cost_lines(
        record(cost=few | {"load_average": 6.31}, provenance=came, scores={"test": {}})
    )
    assert lines[0].startswith("318,389 parameters trained of 400,000; ")
    assert lines[3] == "one item alone 3.54 ms (median); 7 timed, too few for the slowest 5 %"
    assert lines[-1] == "seconds may be long: the machine was busy, load 6.3 on 2 cores"


def test_what_a_record_of_an_earlier_version_does_not_tell_is_unknown() -> None:
    old = {
        "parameters": 318389,
        "train_seconds": 279.0,
        "test_seconds": 12.3,
        "peak_host_bytes": 840_000_000,
    }
    assert about.cost_lines(record(cost=old, scores={"test": {}})) == [
        "318,389 parameters",
        "trained 4 min 39 s",
        "tested 12.3 s",
        "latency unknown",
        "peak memory 0.84 GB (of the whole process, earlier runs included)",
        "energy unknown",
    ]
    why = {"energy_joules": "unknown of the CPU: there is no /sys/class/powercap"}
    lines = about.cost_lines(record(cost=old, provenance={"measured": why}))
    assert lines[-1] == "energy unknown of the CPU: there is no /sys/class/powercap"
    assert about.cost_lines(record()) == ["not known: made elsewhere"]


def test_a_diverged_record_is_offered_half_its_learning_rate() -> None:
    stage = {"objectives": [{"name": "supervised", "optimizer": {"lr": 0.002}}]}
    definition = {"task": {}, "model": {"recipe": {"stages": [stage]}}}
    got = about.next_command(record(status="diverged", definition=definition), " --results r")
    assert got == (
        "mmbench run -t mini -m hybrid --seeds 1-1 --results r "
        "--set recipe.stages.0.objectives.0.optimizer.lr=0.001"
    )
    assert about.next_command(record(), "") == "mmbench leaderboard -t mini"
    bare = record(status="diverged", definition={"task": {}})
    assert about.next_command(bare, "") == bare.reproduce


def test_a_task_that_is_not_there_any_more_is_taken_from_the_record() -> None:
    assert paired.task_of(record()) == TASK
    assert isinstance(paired.task_of(record(task="captioning")), TaskSpec)
    assert paired.task_of(record(task="captioning")).name == "mini"
