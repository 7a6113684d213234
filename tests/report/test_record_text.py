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


def test_the_cost_line_says_what_is_known() -> None:
    cost = {
        "parameters": 318389,
        "steps": 1000,
        "best_step": 900,
        "stopped_early": True,
        "train_seconds": 279.0,
        "samples_per_second": 229.4,
        "peak_host_bytes": 840_000_000,
        "peak_device_bytes": 2_500_000_000,
    }
    assert about.cost_line(record(cost=cost)) == (
        "318,389 parameters; trained 4 min 39 s, 1,000 steps, stopped early, best at 900; "
        "229 samples/s; peak memory 0.84 GB; peak GPU memory 2.50 GB"
    )
    assert about.cost_line(record()) == "not known: made elsewhere"


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
