"""What stands on each page, from what the records hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmbench import caveats, store
from mmbench.errors import counted
from mmbench.report import columns
from mmbench.report.columns import number
from mmbench.report.record import duration, gigabytes, why_unknown
from mmbench.report.site import figures, rows
from mmbench.report.site.contents import Contents, Run, Table, model_page, task_page
from mmbench.report.site.items import Gallery
from mmbench.report.site.matrix import matrix
from mmbench.report.site.pages import markup
from mmbench.spec import TaskSpec

#: What the first page holds at most: it has to open at once, however many records there are.
ROWS, BOARDS, LINES, APART = 300, 60, 30, 5


def index(contents: Contents, keys: Mapping[int, str], problems: Sequence[str]) -> dict[str, Any]:
    """Return the first page: all boards, of many and long ones the best rows."""
    total = sum(len(table.board.rows) for table in contents.tables)
    shown = contents.tables[:BOARDS]
    most = None if total <= ROWS else max(3, ROWS // max(1, len(contents.tables)))
    return {
        "counts": {
            "runs": counted(len(contents.runs), "run"),
            "models": counted(len({run.record.model for run in contents.runs}), "model"),
            "tasks": counted(len({run.record.task for run in contents.runs}), "task"),
        },
        "problems": problems[:LINES],
        "problems_more": max(0, len(problems) - LINES),
        "sheets": [rows.sheet(table, keys[id(table)], most, APART) for table in shown],
        "others": [
            (f"{task_page(t.name)}#{keys[id(t)]}", f"{t.board.task}, {t.board.budget}")
            for t in contents.tables[BOARDS:]
        ],
    }


def tasks(contents: Contents) -> dict[str, Any]:
    """Return the list of all tasks."""
    return {
        "tasks": [
            {
                "name": name,
                "page": task_page(name),
                "summary": own[-1].task.summary,
                "modalities": ", ".join(own[-1].task.modalities),
                "models": len({run.record.model for run in own}),
                "runs": len(own),
            }
            for name, own in by_name(contents.runs, "task").items()
        ]
    }


def models(contents: Contents) -> dict[str, Any]:
    """Return the list of all models."""
    return {
        "models": [
            {
                "name": name,
                "page": model_page(name),
                "family": own[-1].record.family,
                "summary": own[-1].record.summary,
                "tasks": len({run.record.task for run in own}),
                "runs": len(own),
            }
            for name, own in by_name(contents.runs, "model").items()
        ]
    }


def by_name(runs: Iterable[Run], by: str) -> dict[str, list[Run]]:
    """Put runs together by their ``task`` or their ``model``."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(getattr(run.record, by), []).append(run)
    return dict(sorted(found.items()))


def task(
    name: str,
    runs: Sequence[Run],
    tables: Sequence[Table],
    keys: Mapping[int, str],
    gallery: Gallery | None,
    problems: list[str],
) -> dict[str, Any]:
    """Return a task's page.

    Args:
        name: The task.
        runs: Its runs.
        tables: Its boards, those of ``test`` first.
        keys: What tells each board apart.
        gallery: Items of it.
        problems: Takes what could not be drawn, a line each.
    """
    spec = runs[-1].task
    boards = []
    for table in tables:
        main = table.board.split == "test"
        key = keys[id(table)]
        boards.append(
            {
                "sheet": rows.sheet(table, key),
                "forest": markup(figures.forest(table, key)),
                "matrix": matrix(table, problems) if main else None,
                "curves": markup(figures.task_curves(table, key)) if main else "",
            }
        )
    alone = list(dict.fromkeys(m for level in spec.levels.values() for m in level.alone))
    return {
        "name": name,
        "summary": spec.summary,
        "facts": _task_facts(spec, runs),
        "alone": alone,
        "levels": [
            {
                "metric": metric,
                "floor": number(level.floor),
                "ceiling": number(level.ceiling),
                "alone": [number(level.alone[m]) if m in level.alone else "" for m in alone],
                "bounds": _bounds(level),
            }
            for metric, level in spec.levels.items()
        ],
        "boards": boards,
        "gallery": gallery,
        "runs": runs,
    }


def _bounds(level: Any) -> str:
    told = [f"{name} {number(value)}" for name, value in level.bound.items()]
    return ", ".join(told + ([f"late fusion {number(level.late)}"] if level.late else []))


def _task_facts(spec: TaskSpec, runs: Sequence[Run]) -> list[tuple[str, str]]:
    modalities = [f"{n} ({m.kind}, {_shape(m.shape)})" for n, m in spec.modalities.items()]
    outputs = [
        f"{n} ({o.kind}{f', {len(o.classes)} classes' if o.classes else ''})"
        for n, o in spec.outputs.items()
    ]
    budgets = [
        f"{name}: {budget.items:,} items, {budget.steps:,} steps"
        for name, budget in spec.budgets.items()
    ]
    digests = sorted({f"{run.record.budget} {run.record.task_digest[:12]}" for run in runs})
    data = f"{spec.dataset.name}, version {spec.dataset.version}, seed {spec.dataset.seed}"
    facts = [
        ("modalities", ", ".join(modalities)),
        ("outputs", ", ".join(outputs)),
        ("ranked by", spec.metrics.main),
        ("other metrics", ", ".join(name for name in spec.metric_names[1:])),
        ("splits", ", ".join(f"{name} {size:,}" for name, size in spec.splits.items())),
        ("dataset", data),
        *((f"dataset: {key}", str(value)) for key, value in spec.dataset.params.items()),
        ("budgets", "; ".join(budgets)),
        ("source", spec.source.paper),
        ("address", spec.source.url),
        ("licence", spec.source.licence),
        ("digest", ", ".join(digests)),
    ]
    return [(name, value) for name, value in facts if value]


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def model(
    name: str, runs: Sequence[Run], places: Sequence[tuple[rows.Sheet, rows.Line, int]]
) -> dict[str, Any]:
    """Return a model's page.

    Args:
        name: The model.
        runs: Its runs.
        places: Boards that it is on, its row, and how many are ranked there.
    """
    kinds: dict[str, Run] = {}
    for run in runs:
        kinds.setdefault(run.record.model_digest, run)
    return {
        "name": name,
        "summary": runs[-1].record.summary,
        "places": places,
        "model_facts": [
            c
            for c in (*columns.FACTS, *columns.MEASURED)
            if any(c in sheet.facts for sheet, _, _ in places)
        ],
        "definitions": [_definition(digest, run) for digest, run in kinds.items()],
        "runs": runs,
    }


def _definition(digest: str, run: Run) -> dict[str, Any]:
    record = run.record
    own = record.definition.get("model", {})
    pieces = dict(_flat({k: v for k, v in own.items() if k not in ("recipe", "search", "tuning")}))
    heard = own.get("modalities") or list(run.task.modalities)
    facts = [
        ("family", record.family),
        ("paper", str(own.get("paper") or "")),
        ("fusion", _component(own.get("fusion"))),
        ("hears", ", ".join(map(str, heard))),
        ("branches", ", ".join(map(str, record.definition.get("branches") or ()))),
        ("merged by", _component(own.get("combiner"))),
        ("kind", "decision-level (late) fusion" if record.definition.get("late") else ""),
        ("parameters", rows.count(record.cost.get("parameters"))),
        ("digest", digest[:12]),
    ]
    tuned = _flat(own.get("tuning") or {}, "tuning")
    recipe = [*_flat(own.get("recipe") or {}, "recipe"), *_flat(own.get("search") or {}, "search")]
    return {
        "digest": digest,
        "wiring": markup(figures.wiring(run, f"w{digest[:12]}")),
        "facts": [(key, value) for key, value in facts if value],
        "recipe": [*pieces.items(), *recipe, *tuned][:200],
    }


def _component(found: Any) -> str:
    if not isinstance(found, dict):
        return ""
    params = found.get("params") or {}
    told = ", ".join(f"{k} = {v}" for k, v in params.items()) if isinstance(params, dict) else ""
    return f"{found.get('name', '')}{f' ({told})' if told else ''}"


def _flat(content: Any, name: str = "") -> list[tuple[str, str]]:
    """Return nested tables as lines of a dotted key and a value."""
    if isinstance(content, Mapping):
        parts = content.items()
    elif isinstance(content, list | tuple) and any(isinstance(v, Mapping) for v in content):
        parts = enumerate(content)  # type: ignore[assignment]
    else:
        shown = ", ".join(map(str, content)) if isinstance(content, list | tuple) else content
        return [] if content in (None, "", [], ()) else [(name, str(shown))]
    return [
        line for key, value in parts for line in _flat(value, f"{name}.{key}" if name else str(key))
    ]


def run(found: Run, siblings: Sequence[Run], gallery: Gallery | None) -> dict[str, Any]:
    """Return a run's page.

    Args:
        found: The run.
        siblings: The other seeds of the same model on the same task.
        gallery: What it said.
    """
    record = found.record
    return {
        "run": found,
        "task_page": task_page(record.task),
        "model_page": model_page(record.model),
        "siblings": siblings,
        "splits": rows.scores(found),
        "curve": markup(figures.run_curve(found)),
        "cost": _cost(record),
        "gallery": gallery,
        "provenance": _provenance(record),
    }


def _cost(record: store.Record) -> list[tuple[str, str]]:
    """Return what a run cost, part by part; nothing where it was made elsewhere."""
    if not record.cost:
        return []
    writers: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("parameters", "parameters that are trained", rows.count),
        ("parameters_in_all", "parameters in all", rows.count),
        ("flops_per_item", "operations of an item", lambda x: columns.amount(x, "FLOP")),
        ("steps", "steps", rows.count),
        ("best_step", "weights kept from step", rows.count),
        ("train_seconds", "training", duration),
        ("samples_per_second", "items a second in training", rows.count),
        ("test_seconds", "testing", duration),
        ("items_per_second", "throughput in testing", columns.pace),
        ("latency_p50_seconds", "latency of one item, median", columns.brevity),
        ("latency_p95_seconds", "latency of one item, 95th percentile", columns.brevity),
        ("latency_items", "items timed one by one", rows.count),
        ("peak_host_bytes", "peak memory", gigabytes),
        ("peak_device_bytes", "peak device memory", gigabytes),
        ("energy_joules", "energy", lambda x: columns.amount(x, "J")),
    )
    known = {key: caveats.number(record.cost, key) for key, _, _ in writers}
    wanted = ("latency_p50_seconds", "items_per_second", "energy_joules")
    return [
        (name, why_unknown(record, key) if value is None else write(value))
        for key, name, write in writers
        if (value := known[key]) is not None or key in wanted
    ]


def _provenance(record: store.Record) -> list[tuple[str, str]]:
    came = {key: value for key, value in record.provenance.items() if key != "started"}
    lines = [
        ("record", record.name),
        ("identity", record.identity),
        ("started", str(record.provenance.get("started", ""))),
        *_flat(came),
        ("task digest", record.task_digest),
        ("model digest", record.model_digest),
        *((f"data: {key}", value) for key, value in record.data.items()),
        *((f"SHA-256 of {name}", digest) for name, digest in sorted(record.files.items())),
        ("checksum", record.checksum),
        ("schema", str(record.schema)),
    ]
    return [(name, value) for name, value in lines if value][:100]
