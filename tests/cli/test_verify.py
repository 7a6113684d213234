"""`mmbench verify`: a record that is not what it says is named, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from made_up import change, found

import mmbench
from mmbench import scoring, sealed, store, trust
from mmbench.data import _load
from mmbench.paired import task_of
from mmbench.records import scores_of
from mmbench.store import Stored
from mmbench.types import Predictions

Cli: TypeAlias = Callable[..., Any]

LATE = "mini/late/brief-s0"


def reseal(stored: Stored, **parts: Any) -> Stored:
    """Write other things into a record, with the checksums of the files that are there."""
    there = [path for path in stored.folder.glob("*.*") if path.name != store.RECORD]
    parts.setdefault("files", {path.name: store.checksum(path) for path in sorted(there)})
    change(stored, **parts)
    return store.read(stored.folder)


def rewrite(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the columns of a Parquet file."""
    columns = parquet.read_table(path).to_pydict()
    edit(columns)
    parquet.write_table(pa.table(columns), path)


def nudge_items(stored: Stored, rows: int = 1) -> None:
    """Give the first items a better score."""

    def edit(columns: dict[str, Any]) -> None:
        columns["rouge_l.rouge_l"][:rows] = [1.0] * rows

    rewrite(stored.folder / store.ITEMS, edit)


def silence(stored: Stored, items: int, **parts: Any) -> Stored:
    """Make a record of predictions that lack a word for some items: consistent, and not its own."""
    task = task_of(stored.record)
    dataset, output = _load.load(task), task.main_output

    def edit(columns: dict[str, Any]) -> None:
        for row in range(items):
            columns[output][row] = columns[output][row].rpartition(" ")[0]

    rewrite(stored.folder / store.PREDICTIONS, edit)
    table = parquet.read_table(stored.folder / store.PREDICTIONS).to_pydict()
    scored, ids, statistics = {}, {}, {}
    for split in stored.record.scores:
        rows = [k for k, name in enumerate(table["split"]) if name == split]
        ids[split] = [table["id"][k] for k in rows]
        said = Predictions(ids[split], {output: [table[output][k] for k in rows]}, {})
        right = dataset.splits[split].references
        scored[split] = scoring.score(said, right, output, list(task.metric_names))
        statistics[split] = scored[split].statistics
    items_table = store.items_table(ids, statistics, dict.fromkeys(ids))
    parquet.write_table(items_table, stored.folder / store.ITEMS)
    return reseal(stored, scores=scores_of(scored), **parts)


def verdicts(cli: Cli, *arguments: object, code: int = 0) -> dict[str, dict[str, Any]]:
    done = cli("verify", *arguments, "--json", "-q")
    assert done.code == code, done.err
    return {one["name"]: one for one in json.loads(done.out)["records"]}


def verdict(cli: Cli, stored: Stored, *arguments: object, code: int = 0) -> dict[str, Any]:
    (one,) = verdicts(cli, stored.folder, *arguments, code=code).values()
    return one


def said(one: Mapping[str, Any], check: str, outcome: str) -> str:
    """What was said of a check; it has to be there, with this outcome."""
    return " | ".join(
        c["said"] for c in one["checks"] if (c["name"], c["outcome"]) == (check, outcome)
    )


def only_fails(one: Mapping[str, Any], check: str) -> str:
    """What failed, which has to be this alone; and a level that says so."""
    failed = [c for c in one["checks"] if c["outcome"] == "failed"]
    assert {c["name"] for c in failed} == {check}, failed
    assert (one["outcome"], one["level"]) == ("failed", "failed")
    return str(failed[0]["said"])


# --- what is as it says --------------------------------------------------------------------------


def test_records_as_they_were_made_are_rescored(cli: Cli, results: Path, made: Path) -> None:
    done = cli("verify", "--include", made.parent / "mini.toml")
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 5 + 2
    for line in lines[:5]:
        assert line.startswith("ok      mini/")
        assert line.endswith("  rescored: 6 scores follow from the predictions")
    assert lines[5] == "5 records: 5 ok; 5 rescored"
    assert lines[6] == "wrote results/verified.json; next: mmbench leaderboard"
    findings = trust.read(results)
    assert sorted(findings) == [s.record.name for s in store.scan(results)[0]]
    for stored in store.scan(results)[0]:
        assert trust.level(stored, findings) == trust.RESCORED
    before = (results / trust.FILE).read_bytes()
    cli("verify", "--include", made.parent / "mini.toml")
    assert (results / trust.FILE).read_bytes() == before


def test_every_check_is_told_where_it_is_wanted(cli: Cli, results: Path) -> None:
    out = cli("verify", LATE, "-v", "--no-write").out
    for check in ("record", "files", "task", "identity", "scores", "predictions"):
        assert f"  {check}: " in out
    assert "        note    task: the task is not known here: --include its TOML\n" in out
    assert not (results / trust.FILE).exists()


def test_nothing_of_it_needs_torch(results: Path) -> None:
    code = (
        "import sys; from mmbench.cli import run_cli; "
        "assert run_cli(['verify', '--results', sys.argv[1]]) == 0; "
        "assert 'torch' not in sys.modules"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(mmbench.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, str(results)], check=True, env=env)


@pytest.mark.parametrize("lack", [store.PREDICTIONS, store.WEIGHTS])
def test_what_is_not_stored_is_no_failure_but_shows_less(
    cli: Cli, results: Path, lack: str
) -> None:
    stored = found("late")
    (stored.folder / lack).unlink()
    one = verdict(cli, stored)
    assert one["outcome"] == "note"
    assert said(one, "files", "note") == f"{lack.partition('.')[0]} are not stored here"
    rescored = lack == store.WEIGHTS
    assert one["level"] == ("rescored" if rescored else "self-reported")
    assert said(one, "scores", "ok") == "6 scores follow from the item statistics"
    assert (stored.record.name in trust.read(results)) == rescored


def test_a_name_stands_for_all_that_begin_with_it(cli: Cli, results: Path) -> None:
    assert len(verdicts(cli, "mini/late")) == 2
    assert len(verdicts(cli, "mini")) == 5
    assert list(verdicts(cli, found("concat").record.identity[:6])) == [found("concat").record.name]
    assert len(verdicts(cli, "-m", "late,image_only")) == 3
    assert len(verdicts(cli, results, "-t", "mini")) == 5
    assert list(verdicts(cli, found("late", 1).folder)) == [found("late", 1).record.name]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--results", "none"], "none: there is no such folder; --results names another"),
        (["--results", "empty"], "empty: holds no records that are asked for; 'mmbench run'"),
        (["-m", "nobody"], "results: holds no records that are asked for"),
        (["nothing/here"], "no record 'nothing/here' in results: known: mini/concat, "),
    ],
)
def test_where_there_is_nothing_it_says_so(
    cli: Cli, results: Path, arguments: list[str], told: str
) -> None:
    Path("empty").mkdir()
    done = cli("verify", *arguments)
    assert done.code == 4
    assert told in done.error


# --- what is not ---------------------------------------------------------------------------------


def test_a_score_that_does_not_follow_from_the_items_fails(cli: Cli, results: Path) -> None:
    stored = found("late")
    scores = msgspec.to_builtins(stored.record.scores)
    scores["test"]["rouge_l"]["value"] += 0.2
    typed = msgspec.convert(scores, dict[str, dict[str, store.StoredScore]])
    reseal(stored, scores=typed)
    done = cli("verify")
    assert done.code == 1
    (line,) = (line for line in done.out.splitlines() if line.startswith("failed"))
    assert stored.record.name in line
    assert "scores: rouge_l on test is 0." in line
    assert "by the item statistics, the record says " in line
    assert "5 records: 4 note, 1 failed; 4 rescored" in done.out
    assert "what failed is left off the boards" in done.out
    assert trust.read(results)[stored.record.name].level == trust.FAILED


def test_item_statistics_that_do_not_follow_from_the_predictions_fail(
    cli: Cli, results: Path
) -> None:
    stored = found("late")
    nudge_items(stored)
    items = store.read_items(reseal(stored))
    scores = {split: dict(own) for split, own in stored.record.scores.items()}
    for name in ("rouge_l",):
        got = scoring.combine(name, [items["test"].families[name][1]])
        scores["test"][name] = scores_of({"test": scoring.Scored({name: got}, {})})["test"][name]
    one = verdict(cli, reseal(stored, scores=scores), code=1)
    told = only_fails(one, "predictions")
    assert told.startswith(
        "the item statistics of rouge_l on test are not those of the predictions"
    )
    assert "1 of 24 items differ (test-" in told


def test_predictions_of_other_items_fail(cli: Cli, results: Path) -> None:
    stored = found("late")

    def swap(columns: dict[str, Any]) -> None:
        columns["id"][:2] = columns["id"][1::-1]

    rewrite(stored.folder / store.PREDICTIONS, swap)
    told = only_fails(verdict(cli, reseal(stored), code=1), "predictions")
    assert "the items of 'test' are not those of the task" in told


@pytest.mark.parametrize("how", ["another type", "no column", "other words"])
def test_predictions_that_nobody_can_score_fail(cli: Cli, results: Path, how: str) -> None:
    stored = found("late")

    def spoil(columns: dict[str, Any]) -> None:
        if how == "no column":
            del columns["caption"]
        elif how == "another type":
            columns["caption"] = [[1.5, None]] * len(columns["id"])
        else:
            columns["caption"] = ["\x1b[2J" * 1000] * len(columns["id"])

    rewrite(stored.folder / store.PREDICTIONS, spoil)
    told = only_fails(verdict(cli, reseal(stored), code=1), "predictions")
    assert told.isprintable()
    assert len(told) < 600


@pytest.mark.parametrize("name", [store.ITEMS, store.PREDICTIONS, store.WEIGHTS])
def test_a_damaged_file_is_named(cli: Cli, results: Path, name: str) -> None:
    stored = found("late")
    path = stored.folder / name
    path.write_bytes(path.read_bytes()[:-9])
    one = verdict(cli, stored, code=1)
    assert f"{name} does not match the record's checksum" in said(one, "files", "failed")
    assert said(one, "record", "ok")


def test_a_file_that_came_later_is_named(cli: Cli, results: Path) -> None:
    stored = found("late")
    files = {n: d for n, d in stored.record.files.items() if n != store.PREDICTIONS}
    one = verdict(cli, reseal(stored, files=files), code=1)
    told = "predictions.parquet is none of the files that the record was stored with"
    assert said(one, "files", "failed") == told


def test_a_record_without_its_item_statistics_fails(cli: Cli, results: Path) -> None:
    stored = found("late")
    (stored.folder / store.ITEMS).unlink()
    one = verdict(cli, stored, code=1)
    assert said(one, "files", "failed") == "items.parquet is missing"


def test_a_record_that_lies_elsewhere_than_it_says_fails(cli: Cli, results: Path) -> None:
    stored = found("late")
    stored.folder.rename(stored.folder.parent / "brief-s7-00000000")
    one = verdicts(cli, code=1)["mini/late/brief-s7-00000000"]
    assert only_fails(one, "record").startswith(
        f"names {stored.record.name} but lies in mini/late/brief-s7-00000000"
    )


def definition(stored: Stored, *keys: str | int, value: Any) -> dict[str, Any]:
    """Return a record's definition with another value at a place."""
    content: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(stored.record.definition))
    node: Any = content
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    return content


@pytest.mark.parametrize(
    ("keys", "value", "check", "told"),
    [
        (("model", "width"), 32, "identity", "the model's digest does not follow"),
        (("model", "name"), "early", "identity", "the definition is of the model 'early'"),
        (("model", "width"), "wide", "identity", "the model's definition: Expected `int`"),
        (("task", "dataset", "seed"), 4, "task", "its digest does not follow"),
        (("task", "version"), 2, "task", "the definition is of mini@2, the record of mini@1"),
        (("limit",), 12, "task", "is to be ranked, but only 12 items were tested"),
    ],
)
def test_a_definition_that_was_changed_fails(
    cli: Cli, results: Path, keys: tuple[str, ...], value: Any, check: str, told: str
) -> None:
    stored = found("late")
    one = verdict(cli, reseal(stored, definition=definition(stored, *keys, value=value)), code=1)
    assert told in said(one, check, "failed")


@pytest.mark.parametrize("part", ["seed", "model_digest", "limit", "plugins", "source"])
def test_an_identity_that_does_not_follow_fails(cli: Cli, results: Path, part: str) -> None:
    stored = found("late")
    parts: dict[str, Any] = {
        "seed": {"seed": 5},
        "model_digest": {"model_digest": "0" * 64},
        "limit": {"ranked": False, "definition": definition(stored, "limit", value=24)},
        "plugins": {"provenance": stored.record.provenance | {"plugins": {"fusion x": "0"}}},
        "source": {"data": stored.record.data | {"source": "0"}},
    }[part]
    change(stored, **parts)
    (one,) = (v for v in verdicts(cli, code=1).values() if v["outcome"] == "failed")
    assert only_fails(one, "identity")


def test_fewer_items_than_the_task_has_fail(cli: Cli, results: Path) -> None:
    stored = found("late")
    task = definition(stored, "task", "splits", "test", value=25)
    one = verdict(cli, reseal(stored, definition=task), code=1)
    assert "digest does not follow" in said(one, "task", "failed")
    from mmbench.spec import TaskSpec

    changed = msgspec.convert(task["task"], TaskSpec).digest("brief")
    one = verdict(cli, reseal(stored, definition=task, task_digest=changed), code=1)
    assert "'test' has 25 items, 24 were scored" in said(one, "task", "failed")


def test_a_score_beyond_a_proven_bound_fails_where_the_record_does_not_say_so(
    cli: Cli, results: Path
) -> None:
    stored = found("late")
    bound = {"floor": 0.0, "ceiling": 0.1, "bound": {"audio+image": 0.01}}
    leaking = definition(stored, "task", "levels", value={"rouge_l": bound})
    one = verdict(cli, reseal(stored, definition=leaking), code=1)
    assert "is beyond the proven bound 0.0100" in only_fails(one, "bounds")
    wide = {s: dict(own) for s, own in stored.record.scores.items()}
    wide["test"]["rouge_l"] = msgspec.structs.replace(wide["test"]["rouge_l"], se=9.0)
    one = verdict(cli, reseal(stored, definition=leaking, scores=wide), code=1)
    assert said(one, "bounds", "failed"), "an error of its own making hides nothing"
    one = verdict(cli, reseal(stored, definition=leaking, status="leak", reason="beyond"))
    assert said(one, "bounds", "note") == "leak: beyond: not ranked"


def test_two_records_of_one_identity_that_differ_both_fail(cli: Cli, results: Path) -> None:
    stored = found("late")
    shutil.copytree(stored.folder, "results/mini/copy" / Path(stored.folder.name))
    copy = results / "mini/copy" / stored.folder.name
    twin = store.Stored(copy, stored.record)
    renamed = definition(stored, "model", "name", value="copy")
    reseal(twin, model="copy", definition=renamed)
    assert verdict(cli, twin)["outcome"] != "failed", "two names of one model are no fault"
    silence(store.read(copy), 3)
    both = verdicts(cli, code=1)
    for one, other in ((stored.record.name, twin), (store.read(copy).record.name, stored)):
        assert "too, of other scores" in said(both[one], "identity", "failed"), other


def test_what_has_changed_since_is_noted_and_no_failure(cli: Cli, results: Path, task: Any) -> None:
    stored = found("late")
    where = task("mini", ("version = 1\nsummary", "version = 2\nsummary"))
    one = verdict(cli, stored, "--include", where)
    assert said(one, "task", "note") == "the task has changed since: mini@1 is now @2"
    assert one["level"] == "rescored"
    scores = {split: dict(own) for split, own in stored.record.scores.items()}
    for own in scores.values():
        own["rouge_l"] = msgspec.structs.replace(own["rouge_l"], signature="rouge_l|v0")
        own["unheard_of"] = msgspec.structs.replace(own["cider_d"], signature="x")
    one = verdict(cli, reseal(stored, scores=scores))
    notes = said(one, "metrics", "note")
    assert "rouge_l, scored as 'rouge_l|v0', is another metric now" in notes
    assert "unheard_of, scored as 'x', is not known here" in notes
    assert said(one, "predictions", "ok") == "4 scores follow from the predictions"


def test_an_interval_of_another_version_is_noted_and_of_this_one_fails(
    cli: Cli, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = found("late")
    scores = {split: dict(own) for split, own in stored.record.scores.items()}
    scores["test"]["rouge_l"] = msgspec.structs.replace(scores["test"]["rouge_l"], se=1e-4)
    came = stored.record.provenance | {"commit": "a" * 40}
    stored = reseal(stored, scores=scores, provenance=came)
    one = verdict(cli, stored)
    assert said(one, "intervals", "note") == (
        "1 interval as mmbench aaaaaaaa made them (rouge_l on test)"
    )
    monkeypatch.setattr("mmbench.provenance.commit", lambda: "a" * 40)
    told = only_fails(verdict(cli, stored, code=1), "scores")
    assert told == "the interval of rouge_l on test is not that of the item statistics"


def test_data_that_are_others_now_are_noted(cli: Cli, results: Path) -> None:
    stored = found("late")
    one = verdict(cli, reseal(stored, data=stored.record.data | {"fingerprint": "other"}))
    assert said(one, "predictions", "note").endswith("on other data than there are now")
    assert one["level"] == "self-reported"


# --- what is kept --------------------------------------------------------------------------------


def test_what_was_found_is_of_this_content_only(cli: Cli, results: Path) -> None:
    cli("verify")
    stored = found("late")
    assert trust.level(stored, trust.read(results)) == trust.RESCORED
    again = reseal(stored, summary="another")
    assert trust.level(again, trust.read(results)) == trust.SELF_REPORTED
    cli("verify", again.folder)
    assert trust.level(again, trust.read(results)) == trust.RESCORED
    assert len(trust.read(results)) == 5, "what was found of the others stays"
    shutil.rmtree(again.folder)
    cli("verify", "mini/concat")
    assert len(trust.read(results)) == 4, "what is gone is not kept"


def test_a_failure_is_forgotten_when_it_is_mended(cli: Cli, results: Path) -> None:
    path = found("late").folder / store.WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(b"x")
    assert cli("verify").code == 1
    assert trust.read(results)[found("late").record.name].level == trust.FAILED
    path.write_bytes(whole)
    assert cli("verify").code == 0
    assert trust.read(results)[found("late").record.name].level == trust.RESCORED


def test_a_file_of_a_newer_version_is_left_alone_and_a_damaged_one_made_anew(
    cli: Cli, results: Path
) -> None:
    path = results / trust.FILE
    path.write_text('{"schema": 99, "findings": {}, "checksum": ""}')
    done = cli("verify")
    assert done.code == 0
    assert "warning: what was found is not kept: results/verified.json: schema 99" in done.err
    assert "99" in path.read_text()
    path.write_text("{")
    assert "wrote results/verified.json" in cli("verify").out
    assert len(trust.read(results)) == 5


def test_a_level_that_nobody_knows_is_refused(results: Path) -> None:
    content = {"late": {"checksum": "0", "level": "excellent"}}
    (results / trust.FILE).write_text(json.dumps({"schema": 1, "findings": content}))
    from mmbench.errors import StoreError

    with pytest.raises(StoreError, match="level"):
        trust.read(results)


# --- predictions from elsewhere ------------------------------------------------------------------


@pytest.fixture
def elsewhere(cli: Cli, workplace: Path) -> Path:
    """Predictions of classes, saved as a record of a shipped task."""
    from mmbench import catalog

    split = _load.load(catalog.task("redundant")).splits["test"]
    truth = split.references["label"]
    said = ["id,prediction"]
    for k, name in enumerate(split.ids):
        right = int(truth.labels[k])  # type: ignore[attr-defined]
        said.append(f"{name},{truth.classes[right if k % 3 else 0]}")  # type: ignore[attr-defined]
    Path("said.csv").write_text("\n".join(said) + "\n")
    done = cli("score", "-t", "redundant", "said.csv", "--save", "--name", "theirs")
    assert done.code == 0, done.err
    return Path("results")


def test_predictions_from_elsewhere_are_rescored_and_not_rerun(cli: Cli, elsewhere: Path) -> None:
    (one,) = verdicts(cli).values()
    assert (one["outcome"], one["level"]) == ("ok", "rescored"), one
    (one,) = verdicts(cli, "--rerun").values()
    assert said(one, "rerun", "note") == "not trained again: its predictions were made elsewhere"
    (stored,) = store.scan(elsewhere)[0]

    def better(columns: dict[str, Any]) -> None:
        columns["label"][0] = next(v for v in columns["label"] if v != columns["label"][0])

    rewrite(stored.folder / store.PREDICTIONS, better)
    assert "1 of 3,000 items differ" in only_fails(
        verdict(cli, reseal(stored), code=1), "predictions"
    )


def test_predictions_beside_a_file_of_references(cli: Cli, workplace: Path) -> None:
    Path("true.csv").write_text("id,reference\n1,a b\n2,b c\n3,c a\n")
    Path("said.csv").write_text("id,prediction\n1,a b\n2,b\n3,c a\n")
    cli("score", "said.csv", "--references", "true.csv", "--metrics", "wer", "--save")
    (one,) = verdicts(cli).values()
    assert one["level"] == "self-reported"
    assert "file of references, which is not stored" in said(one, "predictions", "note")
    assert said(one, "identity", "ok")
    assert said(one, "task", "ok")


# --- training again ------------------------------------------------------------------------------


def test_the_same_bits_are_reproduced_and_that_stands(cli: Cli, results: Path) -> None:
    stored = found("late")
    done = cli("verify", stored.folder, "--rerun")
    assert done.code == 0
    assert "reproduced: the same bits: item statistics, predictions, weights" in done.out
    assert "[1/1] mini/late seed 0: step 6/6" in done.err
    finding = trust.read(results)[stored.record.name]
    assert (finding.level, finding.rerun) == (trust.REPRODUCED, True)
    cli("verify")
    assert trust.read(results)[stored.record.name] == finding, "looking only takes nothing back"
    (stored.folder / store.WEIGHTS).write_bytes(b"x")
    cli("verify")
    assert trust.read(results)[stored.record.name].level == trust.FAILED


def test_committed_records_are_reproduced_by_their_checksums(cli: Cli, results: Path) -> None:
    stored = found("late")
    for name in (store.PREDICTIONS, store.WEIGHTS):
        (stored.folder / name).unlink()
    one = verdict(cli, stored, "--rerun")
    assert one["level"] == "reproduced"
    assert said(one, "rerun", "ok") == "the same bits: item statistics, predictions, weights"


def test_scores_within_the_tolerance_are_reproduced_and_the_environment_is_told(
    cli: Cli, results: Path
) -> None:
    stored = found("late")
    came = stored.record.provenance
    elsewhere = came | {"cpu": "Abacus 1", "packages": came["packages"] | {"numpy": "0.1"}}
    stored = silence(stored, 1, provenance=elsewhere)
    one = verdict(cli, stored, "--rerun")
    assert one["level"] == "reproduced"
    told = said(one, "rerun", "ok")
    assert told.startswith("scores agree within 2 standard errors (most apart, by 0.")
    assert "predictions differ; what differs in the environment: " in told
    assert "cpu Abacus 1 -> " in told
    assert any(part.startswith("numpy 0.1 -> ") for part in one["environment"])
    one = verdict(cli, stored, "--rerun", "--tolerance", "0.001", code=1)
    assert only_fails(one, "rerun").startswith("nothing agrees: ")
    assert "by more than 0.001 standard errors" in only_fails(one, "rerun")
    cli("verify")
    kept = trust.read(results)[stored.record.name]
    assert kept.level == trust.FAILED, "a look at the files does not clear it"


def test_scores_that_a_rerun_does_not_have_fail(cli: Cli, results: Path) -> None:
    """Item statistics and scores that agree with one another, without predictions to tell."""
    stored = found("late")
    nudge_items(stored, 24)
    for name in (store.PREDICTIONS, store.WEIGHTS):
        (stored.folder / name).unlink()
    items = store.read_items(reseal(stored))["test"].families["rouge_l"][1]
    scores = {split: dict(own) for split, own in stored.record.scores.items()}
    got = scoring.combine("rouge_l", [items])
    scores["test"] |= scores_of({"test": scoring.Scored({"rouge_l": got}, {})})["test"]
    stored = reseal(stored, scores=scores)
    assert verdict(cli, stored)["outcome"] != "failed", "nothing contradicts it"
    one = verdict(cli, stored, "--rerun", code=1)
    told = only_fails(one, "rerun")
    assert told.startswith("nothing agrees: 1 of 6 scores differ by more than 2 standard errors")
    assert "rouge_l on test" in told


def test_another_run_of_the_same_model_is_not_this_one(cli: Cli, results: Path) -> None:
    """A record whose items are those of another seed: all is consistent but what training says."""
    stored, other = found("late"), found("late", 1)
    weights = other.record.files[store.WEIGHTS]
    files = stored.record.files | {store.WEIGHTS: weights}
    (stored.folder / store.WEIGHTS).unlink()
    one = verdict(cli, reseal(stored, files=files), "--rerun")
    assert said(one, "rerun", "ok").startswith("scores are equal; weights differ; what differs")


def test_a_run_that_diverges_diverges_again(cli: Cli, workplace: Path, task: Any) -> None:
    lr = "recipe.stages.0.objectives.0.optimizer.lr=1e30"
    where = task()
    assert cli("run", "-t", where, "-m", "late", "--set", "width=16", "--set", lr, "-q").code == 1
    one = next(iter(verdicts(cli).values()))
    assert said(one, "scores", "note").startswith("none: diverged: ")
    assert one["level"] == "self-reported"
    one = next(iter(verdicts(cli, "--rerun").values()))
    assert one["level"] == "reproduced"
    assert said(one, "rerun", "ok").startswith("the same bits: ")


def test_what_would_be_trained_is_told_and_can_be_limited(cli: Cli, results: Path) -> None:
    done = cli("verify", "--rerun", "--dry-run")
    assert done.code == 0
    assert done.out.startswith("plan: 5 of 5 records to train again, about ")
    assert not (results / trust.FILE).exists()
    done = cli("verify", "--rerun", "--dry-run", "--limit-minutes", "1e-9")
    assert done.out.startswith("plan: 0 of 5 records to train again, about 0 s")
    assert "beyond --limit-minutes 1e-09" in done.out
    for name in ("--dry-run", "--limit-minutes"):
        done = cli("verify", name, *(["3"] if name != "--dry-run" else []))
        assert (done.code, f"{name}: goes with --rerun only" in done.error) == (2, True)


def test_what_was_found_before_ctrl_c_is_kept(
    cli: Cli, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench import rerun

    real, done_before = rerun.execute, []

    def stop(*arguments: Any) -> Any:
        done_before.append(1)
        if len(done_before) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(rerun, "execute", stop)
    done = cli("verify", "mini/late", "--rerun", "-q")
    assert done.code == 130
    assert "interrupted: not all was trained again, what was found is kept in results" in done.err
    findings = trust.read(results)
    assert [findings[found("late", seed).record.name].rerun for seed in (0, 1)] == [True, False]


def test_a_record_that_lies_nowhere_leaves_nothing_behind(cli: Cli, results: Path) -> None:
    shutil.copytree(found("late").folder, "bare")
    done = cli("verify", "bare")
    assert done.code == 1
    assert "but lies in " in done.out
    assert not list(Path.cwd().parent.parent.glob("*/verified.json"))
    assert not list(Path.cwd().glob("*.json"))


def test_without_torch_it_names_the_extra(
    cli: Cli, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    done = cli("verify", "--rerun")
    assert done.code == 2
    assert (
        "torch, which training needs, is not installed: pip install 'mmbench[train]'" in done.error
    )
    assert cli("verify").code == 0


def test_what_cannot_be_trained_is_a_note(cli: Cli, results: Path) -> None:
    stored = found("late")
    one = verdict(cli, reseal(stored, data=stored.record.data | {"fingerprint": "x"}), "--rerun")
    assert "trained on other data" in said(one, "rerun", "note")
    one = verdict(cli, reseal(stored, seed=stored.record.seed, model_digest="0"), "--rerun", code=1)
    assert "it is not what its definition says" in said(one, "rerun", "note")


def test_numbers_that_are_alike_are_the_same() -> None:
    from mmbench.record_checks import _rows_apart, _same

    assert _same(0.1 + 0.2, 0.3)
    assert not _same(0.3, 0.3000001)
    assert not _same(None, 0.0)
    assert _same(None, None)
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert list(_rows_apart(rows, rows + np.array([[0, 0], [0, 1e-3]]))) == [1]
    assert list(_rows_apart(rows, rows[:, :1])) == [0, 1]


def test_sealed_again_by_hand(results: Path) -> None:
    """What the tests above write is what a stranger could: whole by its own checksum."""
    stored = reseal(found("late"), summary="x")
    raw = json.loads((stored.folder / store.RECORD).read_text())
    assert sealed.seal(stored.record).checksum == raw["checksum"]
