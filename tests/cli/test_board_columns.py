"""`mmbench leaderboard`: its columns, its formats, trust, and what of the records it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from made_up import add, change, found, let_in

from mmbench import leaderboard, scoring, store, trust
from mmbench.paired import rows_of
from mmbench.report import columns
from mmbench.report.escapes import plain

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
FACTS = [column.header for column in columns.FACTS]
TUNING = {
    "task": "mini",
    "task_digest": "0" * 64,
    "budget": "brief",
    "sampler": "random",
    "trials": 16,
    "seeds": (100, 100),
    "metric": "rouge_l",
    "score": 0.5,
}

Cli: TypeAlias = Callable[..., Any]


def rows(cli: Cli, *arguments: object) -> dict[str, dict[str, Any]]:
    done = cli("leaderboard", "--json", *arguments)
    assert done.code == 0, done.err
    (board,) = json.loads(done.out)["boards"]
    return {row["model"]: row for row in board["rows"]}


def cost(model: str, seed: int = 0, **parts: Any) -> None:
    change(found(model, seed), cost=found(model, seed).record.cost | parts)


def verified(level: str, *models: tuple[str, int], reason: str = "") -> None:
    """Write what was found, as `mmbench verify` does, beside what was found before."""
    findings = dict(trust.read(Path("results")))
    for model, seed in models:
        record = found(model, seed).record
        findings[record.name] = trust.Finding(checksum=record.checksum, level=level, reason=reason)
    trust.write(Path("results"), findings)


class Page(HTMLParser):
    """What a page holds: tags, texts of cells, and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


# --- what a run cost -----------------------------------------------------------------------------


def test_every_format_that_has_room_tells_what_a_model_cost(cli: Cli, results: Path) -> None:
    definition = found("late").record.definition
    for seed in (0, 1):
        model = definition["model"] | {"tuning": TUNING}
        change(found("late", seed), definition=definition | {"model": model})
        cost("late", seed, flops_per_item=1.5e9, peak_device_bytes=2 * 2**30 * (seed + 1))
    row = rows(cli)["late"]
    assert (row["trials"], row["flops_per_item"]) == (16, 1.5e9)
    assert row["peak_device_bytes"] == 4 * 2**30, "the most that any seed had"
    assert row["peak_host_bytes"] > 0
    assert row["train_seconds"] == pytest.approx(
        np.mean([found("late", seed).record.cost["train_seconds"] for seed in (0, 1)])
    )
    other = rows(cli)["concat"]
    assert (other["trials"], other["peak_device_bytes"]) == (None, None)
    assert other["flops_per_item"] == found("concat").record.cost["flops_per_item"]

    markdown = cli("leaderboard", "--format", "markdown").out.splitlines()
    header, line = (
        [cell.strip() for cell in next(x for x in markdown if what in x)[1:-1].split("|")]
        for what in ("| rank |", "| late |")
    )
    told = dict(zip(header, line, strict=True))
    assert header[-len(FACTS) :] == FACTS
    assert (told["trials"], told["FLOPs per item"]) == ("16", "1.5 G")
    assert (told["device memory"], told["trust"]) == ("4.0 GiB", "self-reported")
    assert re.fullmatch(r"\d+ [MG]iB|\d\.\d GiB", told["host memory"])

    table = csv.DictReader(io.StringIO(cli("leaderboard", "--format", "csv").out))
    (cells,) = (r for r in table if (r["model"], r["metric"]) == ("late", "rouge_l"))
    assert (cells["tuning_trials"], cells["flops_per_item"]) == ("16", "1.5e+09")
    assert cells["peak_device_bytes"] == str(4 * 2**30)
    assert cells["trust"] == "self-reported"
    for form in ("latex", "html"):
        out = cli("leaderboard", "--format", form).out
        assert all(header in out for header in FACTS)
        assert "1.5 G" in out
        assert "4.0 GiB" in out


def test_a_terminal_shows_what_differs_and_no_more(cli: Cli, results: Path) -> None:
    def header() -> list[str]:
        return str(cli("leaderboard").out.splitlines()[2]).split()

    usual = ["rank", "model", "rouge_l", "95%", "interval", "headroom", "seeds", "params"]
    assert header() == [*usual, "FLOPs", "train"]
    for stored in store.scan(results)[0]:  # as records of earlier versions, which did not count
        known = {key: of for key, of in stored.record.cost.items() if key != "flops_per_item"}
        change(stored, cost=known)
    assert header() == [*usual, "train"]
    verified(trust.RESCORED, ("image_only", 0))
    assert header()[-1] == "trust"
    definition = found("late").record.definition
    model = definition["model"] | {"tuning": TUNING}
    for seed in (0, 1):
        change(found("late", seed), definition=definition | {"model": model})
    assert "tuned" in header()
    assert "trust" in header()
    text = cli("leaderboard").out.splitlines()
    assert max(len(line) for line in text[2:6]) <= 110


@pytest.mark.parametrize("value", ["many", None, True, float("inf"), [1], {}])
def test_a_cost_that_is_no_number_is_not_shown(
    cli: Cli, results: Path, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(monkeypatch)
    names = ("flops_per_item", "peak_device_bytes", "peak_host_bytes", "train_seconds",
             "latency_p50_seconds", "latency_p95_seconds", "items_per_second",
             "energy_joules")  # fmt: skip
    for name in (*names, "parameters"):
        cost("image_only", **{name: value})
    row = rows(cli)["image_only"]
    for name in (*names, "parameters"):
        assert row[name] is None
    assert cli("leaderboard", "--format", "markdown").code == 0


# --- columns that are asked for ------------------------------------------------------------------


def header_of(text: str) -> list[str]:
    return re.split(r"  +", text.splitlines()[2])


def measured(**parts: Any) -> None:
    """Let both seeds of `late` tell what was measured, and `image_only` nothing."""
    for seed in (0, 1):
        cost("late", seed, **parts)
    new = ("latency_p50_seconds", "latency_p95_seconds", "items_per_second", "energy_joules")
    known = found("image_only").record.cost
    change(found("image_only"), cost={k: v for k, v in known.items() if k not in new})


def test_columns_that_are_asked_for_stand_beside_the_scores(cli: Cli, results: Path) -> None:
    measured(
        latency_p50_seconds=0.00354,
        latency_p95_seconds=1.25,
        items_per_second=1852.2,
        energy_joules=25_300.0,
    )
    done = cli("leaderboard", "--columns", "latency,energy,throughput", "--columns", "parameters")
    assert header_of(done.out) == [
        *("rank", "model", "rouge_l", "95% interval"),
        *("latency p50", "latency p95", "energy", "throughput", "parameters"),
    ]
    (line,) = (line for line in done.out.splitlines() if " late " in line)
    assert re.split(r"  +", line)[4:8] == ["3.54 ms", "1.25 s", "25 kJ", "1,852 items/s"]
    (line,) = (line for line in done.out.splitlines() if "image_only" in line)
    assert re.split(r"  +", line)[4:8] == ["unknown"] * 4
    assert "latency" not in cli("leaderboard").out
    for form in ("markdown", "latex", "html"):
        out = cli("leaderboard", "--format", form, "--columns", "latency").out
        assert "3.54 ms" in out
        assert "latency p95" in out
        assert "unknown" in out
        assert "headroom" not in out.lower().replace("headroom (oracles)", "")
        usual = cli("leaderboard", "--format", form).out
        assert "latency" not in usual
    out = cli("leaderboard", "--columns", "all", "--format", "markdown").out
    assert all(c.header in out for c in columns.MEASURED)


def test_of_what_there_is_none_there_is_no_column(cli: Cli, results: Path) -> None:
    assert header_of(cli("leaderboard", "--columns", "memory").out)[4:] == ["host memory"]
    cost("late", peak_device_bytes=2**30)
    headers = header_of(cli("leaderboard", "--columns", "memory").out)
    assert headers[4:] == ["host memory", "device memory"]


def test_machines_read_all_columns_always(cli: Cli, results: Path) -> None:
    measured(latency_p50_seconds=0.25, items_per_second=10.0, energy_joules=3.0)
    cost("late", 1, latency_p50_seconds=0.35, energy_joules=5.0)
    row = rows(cli)["late"]
    assert row["latency_p50_seconds"] == pytest.approx(0.3)
    assert (row["items_per_second"], row["energy_joules"]) == (10.0, 4.0)
    assert rows(cli)["image_only"]["energy_joules"] is None
    table = list(csv.DictReader(io.StringIO(cli("leaderboard", "--format", "csv").out)))
    cells = {r["model"]: r for r in table if r["metric"] == "rouge_l"}
    assert (cells["late"]["latency_p50_seconds"], cells["late"]["energy_joules"]) == ("0.3", "4")
    assert cells["image_only"]["items_per_second"] == ""


def test_columns_that_are_none_or_have_no_place_are_refused(cli: Cli, results: Path) -> None:
    done = cli("leaderboard", "--columns", "latencies")
    assert done.code == 2
    assert done.error.startswith("error: unknown column 'latencies': did you mean 'latency'?")
    for form, why in (("csv", "has them all"), ("json", "has them all"), ("overview", "no room")):
        done = cli("leaderboard", "--columns", "latency", "--format", form)
        assert done.code == 2
        assert why in done.error


def test_costs_that_do_not_compare_are_said_to(cli: Cli, results: Path) -> None:
    assert "machine" not in cli("leaderboard").out
    came = found("late", 1).record.provenance
    change(found("late", 1), provenance=came | {"threads": 8})
    processor = came["cpu"]
    told = (
        f"seconds, items/s and energy compare on one machine only: "
        f"cpu ({processor}, 1 thread): concat, image_only, late; cpu ({processor}, 8 threads): late"
    )
    done = cli("leaderboard")
    for line in done.out.splitlines():
        if line.startswith("seconds"):
            assert {*line.partition(": ")[2].split("; ")[0].split(": ")[1].split(", ")} == {
                "concat",
                "image_only",
                "late",
            }
            assert line.endswith(told.partition("; ")[2])
            break
    else:
        pytest.fail(done.out)
    for form in ("markdown", "latex", "html"):
        assert "one machine only" in cli("leaderboard", "--format", form).out
    old = found("concat", 0).record.provenance
    change(found("concat", 0), provenance={k: v for k, v in old.items() if k != "measured"})
    boards = json.loads(cli("leaderboard", "--json").out)["boards"]
    assert set(boards[0]["caveats"]) == {"seconds", "memory"}


# --- trust ---------------------------------------------------------------------------------------


def test_the_weakest_level_among_the_seeds_is_told(cli: Cli, results: Path) -> None:
    verified(trust.REPRODUCED, ("late", 0), ("image_only", 0))
    verified(trust.RESCORED, ("late", 1))
    verified(trust.RESCORED, ("concat", 0))
    told = {name: row["trust"] for name, row in rows(cli).items()}
    assert told == {"late": "rescored", "concat": "self-reported", "image_only": "reproduced"}
    text = cli("leaderboard").out
    assert re.search(r"late .* rescored$", text, flags=re.MULTILINE)


def test_what_failed_verification_is_left_off_with_its_reason(cli: Cli, results: Path) -> None:
    verified(trust.FAILED, ("late", 1), reason="rouge_l is 0.1, not 0.9")
    done = cli("leaderboard", "--json")
    name = found("late", 1).record.name
    assert done.err == (
        f"warning: {name}: failed verification: rouge_l is 0.1, not 0.9: left out\n"
    )
    assert rows(cli)["late"]["seeds"] == 1
    change(found("late", 1), summary="another record by now")
    assert rows(cli)["late"]["seeds"] == 2, "what was found is of what the record was"
    assert rows(cli)["late"]["trust"] == "self-reported"


def test_damaged_findings_are_one_warning(cli: Cli, results: Path) -> None:
    verified(trust.REPRODUCED, ("late", 0))
    path = Path("results", trust.FILE)
    path.write_text(path.read_text().replace("reproduced", "rescored"))
    done = cli("leaderboard")
    assert done.code == 0
    assert done.err.startswith(f"warning: {path}: does not match its checksum")
    assert len(done.err.splitlines()) == 1


# --- bad input -----------------------------------------------------------------------------------


def test_of_two_contents_of_one_identity_the_first_counts(
    cli: Cli, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(monkeypatch)
    stored = found("late", 1)
    twin = stored.folder.parent / "other"
    twin.mkdir()
    for path in stored.folder.iterdir():
        (twin / path.name).write_bytes(path.read_bytes())
    done = cli("leaderboard", "--json")
    assert done.err == f"warning: {stored.record.name}: seed 1 is there twice: the first counts\n"
    before = json.loads(done.out)
    changed = msgspec.structs.replace(stored, folder=twin)
    scores = dict(stored.record.scores["test"])
    higher = msgspec.structs.replace(scores["rouge_l"], value=scores["rouge_l"].value + 0.1)
    change(changed, scores={"test": scores | {"rouge_l": higher}})
    done = cli("leaderboard", "--json")
    assert done.err == (
        f"warning: {twin}: has the identity of {stored.folder} and other content: the first "
        f"counts\n"
    )
    assert json.loads(done.out) == before


def test_a_record_from_the_future_is_one_warning(cli: Cli, results: Path) -> None:
    stored = found("late", 1)
    change(stored, schema=99)
    done = cli("leaderboard", "--json")
    assert done.err == (
        f"warning: {stored.folder / 'record.json'}: schema 99 is newer than this mmbench reads "
        f"(1): upgrade it\n"
    )
    assert len(json.loads(done.out)["boards"][0]["rows"]) == 3


def spoilt(rows_of_items: np.ndarray, columns: list[str], family: str = "rouge_l") -> pa.Table:
    ids = [f"test-{i:04d}" for i in range(24)]
    statistics: Mapping[str, Any] = {"test": {family: (columns, rows_of_items)}}
    return store.items_table({"test": ids}, statistics, {"test": None})


ONES = np.ones((24, 2))
NAN = np.where(np.arange(24)[:, None] == 3, np.nan, ONES)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (pa.table({"a": [1]}), "expected item statistics, but there is no text column 'split'"),
        (spoilt(ONES, ["rouge_l", "count"], "bleu"), "holds no item statistics for 'rouge_l'"),
        (spoilt(ONES, ["count", "rouge_l"]), "other item statistics than those of 'rouge_l'"),
        (spoilt(NAN, ["rouge_l", "count"]), "item statistics of 'rouge_l' that are no finite"),
        (
            spoilt(ONES, ["rouge_l", "count"]).set_column(0, "split", [["ood"] * 24]),
            "holds no items of the split 'test'",
        ),
    ],
)
def test_item_statistics_of_something_else_are_one_warning(
    cli: Cli, results: Path, table: pa.Table, told: str
) -> None:
    record = found("late", 1).record
    store.write(Path("results"), record, table)
    done = cli("leaderboard", "--json")
    assert done.code == 0
    assert len(done.err.splitlines()) == 1
    assert told in done.err
    (board,) = json.loads(done.out)["boards"]
    seeds = {row["model"]: row["seeds"] for row in board["rows"]}
    assert seeds == {"late": 1, "concat": 2, "image_only": 1}


def test_no_records_are_one_line(cli: Cli) -> None:
    done = cli("leaderboard")
    assert (done.code, done.out) == (4, "")
    assert done.error == "error: results: holds no records; 'mmbench run' makes them"


HOSTILE = {
    "a script": "<script>alert(1)</script>",
    "a way out": "../../x",
    "nothing": "nul\x00l",
    "a terminal": "\x1b[31mred\x1b]0;title\x07",
    "lines": "two\nlines | and \\ more",
    "a formula": '"onmouseover="x" [l](javascript:x) `c` $x_1^2$ \\input{x} %',
    "ten thousand signs": "x" * 10_000,
}


@pytest.mark.parametrize("form", ["text", "markdown", "overview", "csv", "json", "latex", "html"])
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_names_do_no_harm(
    cli: Cli, results: Path, what: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(monkeypatch)
    name = HOSTILE[what]
    for seed in (0, 1):
        stored = found("late", seed)
        change(stored, model=name, model_digest="h" * 64)
    done = cli("leaderboard", "--format", form)
    assert done.code == 0, done.err
    if form == "json":
        assert name in {row["model"] for row in json.loads(done.out)["boards"][0]["rows"]}
        return
    if form == "csv":
        text = io.StringIO(done.out, newline="")
        assert plain(name) in {row["model"] for row in csv.DictReader(text)}
        return
    assert all(sign.isprintable() or sign == "\n" for sign in done.out)
    assert max(map(len, done.out.splitlines())) < 2000
    if form == "html":
        page = Page(done.out)
        assert not {"script", "a", "img"} & set(page.tags)
        assert not [key for key, _ in page.attributes if key.startswith("on")]
    if form in ("markdown", "overview"):
        assert "<script" not in done.out
        assert "[l](" not in done.out
    if form == "latex":
        assert r"\input{" not in done.out


# --- formats -------------------------------------------------------------------------------------


def test_latex_is_a_table_for_booktabs(cli: Cli, results: Path) -> None:
    lines = cli("leaderboard", "--format", "latex").out.splitlines()
    for line in (r"\begin{table}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{table}"):
        assert lines.count(line) == 1
    (begin,) = (line for line in lines if line.startswith(r"\begin{tabular}"))
    count = len(begin.removeprefix(r"\begin{tabular}{").removesuffix("}"))
    body = [line for line in lines if line.endswith(r" \\")]
    assert len(body) == 1 + 3
    assert {line.count("&") + 1 for line in body} == {count}
    assert r"image\_only" in "\n".join(body)


def test_html_is_one_page_that_loads_and_runs_nothing(cli: Cli, results: Path) -> None:
    change(found("concat", 0), status="diverged", reason="a loss is not finite", scores={})
    out = cli("leaderboard", "--format", "html").out
    page = Page(out)
    assert out.startswith("<!DOCTYPE html>")
    assert {"caption", "table", "main", "meter"} <= set(page.tags)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not [key for key, _ in page.attributes if key in ("src", "href")]
    scopes = [value for key, value in page.attributes if key == "scope"]
    assert scopes.count("row") == 3
    assert scopes.count("col") == 5 + len(FACTS)
    assert ("lang", "en") in page.attributes
    assert "light-dark(" in out
    assert any("diverged: a loss is not finite" in text for text in page.texts)
    assert "late" in page.texts


# --- the fast way is the slow way ----------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cider_d", "slot_f1", "bleu4"])
def test_places_and_scores_are_those_of_one_pair_after_the_other(metric: str) -> None:
    records, _ = store.scan(REFERENCE)
    (board,) = leaderboard.boards(records, metric)
    members: dict[str, list[store.Stored]] = {}
    for stored in records:
        members.setdefault(stored.record.model, []).append(stored)
    for row in board.rows:
        assert row.main == leaderboard.aggregate(members[row.model], metric)
        values = [s.record.scores["test"][metric].value for s in members[row.model]]
        assert [value for _, value in row.of_seeds] == pytest.approx(values, rel=1e-12)
    names = sorted(members)
    statistics = {
        name: [rows_of(store.read_items(s)["test"], metric) for s in members[name]]
        for name in names
    }
    sets = scoring.ranks(metric, [statistics[name] for name in names])
    for row in board.rows:
        place = names.index(row.model)
        assert row.rank == (sets.low[place], sets.high[place])


def test_a_made_up_model_stands_where_its_scores_put_it(cli: Cli, results: Path) -> None:
    add("best", np.full(24, 0.9) + 0.01 * np.arange(24) / 24)
    assert next(iter(rows(cli))) == "best"
