"""Files of every schema ever written are read for ever: one of each lies in ``golden/``.

Whoever raises a schema adds a file of the new one, made by a real run, and changes none that is
there. ``golden/schemaN`` holds records (without weights), ``verifiedN.json`` what was found of
them, ``studyN.json`` a study of ``mmbench tune``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from mini import TASK

from mmbench import leaderboard, store, trust, tune

Cli: TypeAlias = Callable[..., Any]

GOLDEN = Path(__file__).parent / "golden"
RECORDS = range(1, store.SCHEMA + 1)


@pytest.fixture
def golden(workplace: Path) -> Callable[[int], Path]:
    """A copy of the records of a schema."""

    def copy(schema: int) -> Path:
        shutil.copytree(GOLDEN / f"schema{schema}", "results")
        Path("mini.toml").write_text(TASK)
        return Path("results")

    return copy


def says(path: Path) -> int:
    return int(json.loads(path.read_text())["schema"])


@pytest.mark.parametrize("schema", RECORDS)
def test_records_of_every_schema_load_and_score(golden: Callable[[int], Path], schema: int) -> None:
    found, problems = store.scan(golden(schema))
    assert found
    assert not problems
    for stored in found:
        assert says(stored.folder / store.RECORD) == schema
        for split, scores in stored.record.scores.items():
            for metric, got in scores.items():
                now = leaderboard.aggregate([stored], metric, split)
                assert now.value == pytest.approx(got.value, rel=1e-9)
                assert now.n == got.n


@pytest.mark.parametrize("schema", RECORDS)
def test_records_of_every_schema_are_shown_ranked_and_verified(
    cli: Cli, golden: Callable[[int], Path], schema: int
) -> None:
    found, _ = store.scan(golden(schema))
    done = cli("leaderboard", "--include", "mini.toml")
    assert done.code == 0
    assert not done.err
    for stored in found:
        ranked = stored.record.ranked
        assert (f"not ranked: {stored.record.name}" in done.out) == (not ranked)
        assert stored.record.model in done.out
        assert cli("show", stored.record.name, "--no-figures").code == 0
    done = cli("verify", "--json")
    assert done.code == 0
    for one in json.loads(done.out)["records"]:
        assert one["outcome"] != "failed"
        checks = {check["name"]: check["said"] for check in one["checks"]}
        assert checks["scores"].endswith("follow from the item statistics")
        assert checks["identity"] == "follows from the definition"


def test_there_is_one_that_ranks_and_one_that_does_not() -> None:
    found, _ = store.scan(GOLDEN / f"schema{store.SCHEMA}")
    assert {stored.record.ranked for stored in found} == {True, False}
    small = sum(path.stat().st_size for path in GOLDEN.rglob("*.*") if path.is_file())
    assert small < 70_000 * store.SCHEMA, "they are copied with every checkout"


@pytest.mark.parametrize("schema", range(1, trust.SCHEMA + 1))
def test_what_was_found_is_read_whatever_its_schema(
    golden: Callable[[int], Path], schema: int
) -> None:
    path = GOLDEN / f"verified{schema}.json"
    assert says(path) == schema
    results = golden(1)
    shutil.copy(path, results / trust.FILE)
    findings = trust.read(results)
    levels = {s.record.task: trust.level(s, findings) for s in store.scan(results)[0]}
    assert levels == {"mini": trust.REPRODUCED, "redundant": trust.RESCORED}


@pytest.mark.parametrize("schema", range(1, tune.SCHEMA + 1))
def test_studies_of_every_schema_are_read(schema: int) -> None:
    path = GOLDEN / f"study{schema}.json"
    assert says(path) == schema
    study = tune.read(path)
    assert len(study.trials) == 2
    assert study.best is not None
