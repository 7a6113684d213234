"""One record as text and as JSON: what it scored, what it cost, how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mmbench import caveats, store
from mmbench.errors import MmbenchError, NotComparableError, counted
from mmbench.report import verdicts, voices
from mmbench.report.columns import UNKNOWN, amount, bar, brevity, number, pace
from mmbench.report.samples import Answers, Sample
from mmbench.spec import LevelSpec, TaskSpec, TuningSpec
from mmbench.store import Record, Stored, StoredScore


def level_of(task: TaskSpec, split: str, metric: str) -> LevelSpec | None:
    """Return what is possible on a metric, where it is known: oracles answer ``test`` alone."""
    return task.levels.get(metric) if split == "test" else None


def headroom(value: float | None, level: LevelSpec | None) -> float | None:
    """Return the share of the way from floor to ceiling; None where it is not known."""
    if value is None or level is None or level.ceiling == level.floor:
        return None
    return (value - level.floor) / (level.ceiling - level.floor)


def scores_of(record: Record, task: TaskSpec) -> dict[str, dict[str, StoredScore]]:
    """Return the scores in the task's order: ``test`` first, the main metric first."""
    splits = sorted(record.scores, key=lambda split: (split != "test", split))
    rank = {name: place for place, name in enumerate(task.metric_names)}
    return {
        split: dict(sorted(record.scores[split].items(), key=lambda s: (rank.get(s[0], 999), s[0])))
        for split in splits
    }


def siblings(stored: Stored) -> list[Stored]:
    """Return the records beside this one that differ in nothing but the seed, itself included."""
    found = [s for s in _beside(stored) if _kin(s.record) == _kin(stored.record)]
    return sorted(found, key=lambda s: (s.record.seed, s.record.identity))


def with_seed(stored: Stored, seed: int) -> Stored:
    """Return the record of the same model on the same task that has this seed.

    Of several, one that differs in nothing else is preferred, then one of the same budget, then
    the one made last.

    Raises:
        NotComparableError: There is none.
    """
    if stored.record.seed == seed:
        return stored
    beside = _beside(stored)
    found = [other for other in beside if other.record.seed == seed]
    if not found:
        known = ", ".join(str(s) for s in sorted({s.record.seed for s in beside}))
        name = f"{stored.record.task}/{stored.record.model}"
        raise NotComparableError(f"--seed {seed}: {name} is there with the seeds {known}")
    return max(found, key=lambda other: _nearness(other.record, stored.record))


def _beside(stored: Stored) -> list[Stored]:
    """Read the records of the same model on the same task."""
    found = []
    for path in sorted(stored.folder.resolve().parent.glob(f"*/{store.RECORD}")):
        if path.parent.name.startswith("."):
            continue
        try:
            other = store.read_in_place(path.parent)
        except MmbenchError:
            continue  # 'mmbench leaderboard' names what is damaged
        same_model = other.record.model == stored.record.model
        if same_model and other.record.task == stored.record.task:
            found.append(other)
    return found


def _nearness(other: Record, record: Record) -> tuple[object, ...]:
    started = str(other.provenance.get("started", ""))
    return (_kin(other) == _kin(record), other.budget == record.budget, started, other.name)


def header(stored: Stored, seeds: Sequence[int]) -> list[str]:
    """Say what the record is: name, status, task, seed, machine."""
    record = stored.record
    came = record.provenance
    title = f"{record.name}  {record.status}"
    if record.reason:
        title += f": {record.reason}"
    made = [str(came.get("started", "")).replace("T", " ").replace("+00:00", " UTC")]
    made += [f"on {came['device']}" if came.get("device") else ""]
    made += [f"{came['threads']} thread{'s' * (came['threads'] != 1)}" if "threads" in came else ""]
    made += [f"mmbench {came['mmbench']}" if came.get("mmbench") else ""]
    made += [f"commit {_commit(came['commit'])}" if came.get("commit") else ""]
    lines = [
        title,
        f"model   {record.model}: {record.summary}" if record.summary else "",
        f"task    {record.task}@{record.task_version}, budget {record.budget}",
        f"seed    {_seed(record, seeds)}",
        f"made    {', '.join(part for part in made if part)}",
    ]
    tuned = record.definition.get("model", {}).get("tuning")
    if tuned:
        lines.insert(2, f"tuned   {_tuned(msgspec.convert(tuned, TuningSpec))}")
    if not record.ranked:
        limit = record.definition.get("limit")
        lines.append(f"ranked  no: tested on the first {limit} items only")
    return [line for line in lines if line]


def _tuned(found: TuningSpec) -> str:
    """Say how the model's values were found, and what fewer trials would have found."""
    failed = f", {found.failed} failed" if found.failed else ""
    told = f"{found.effort}{failed}: validation {found.metric} {number(found.score)}"
    counts = [n for n in (1, 4, 16, 64, 256, 1024) if n <= len(found.expected_best)]
    best = ", ".join(f"{number(found.expected_best[n - 1])} of {n}" for n in counts)
    return f"{told}; expected best {best}" if best else told


def clusters_of(stored: Stored) -> dict[str, int]:
    """Return split -> the number of clusters, where items are not each their own."""
    try:
        items = store.read_items(stored)
    except MmbenchError:
        return {}  # whatever needs them says what is wrong
    counts = {split: (len(set(of.clusters)), len(of.ids)) for split, of in items.items()}
    return {split: clusters for split, (clusters, count) in counts.items() if clusters < count}


def score_table(
    scored: Mapping[str, Mapping[str, StoredScore]],
    task: TaskSpec,
    split: str,
    clusters: int | None = None,
) -> list[str]:
    """Lay out one split's scores with their intervals and what is possible.

    Args:
        scored: Split -> metric -> score.
        task: What it was measured on.
        split: One of the splits.
        clusters: Of how many units the intervals are; None: of the items.
    """
    scores = scored[split]
    items = next(iter(scores.values())).n if scores else 0
    rows = [["", "metric", "value", "95% interval", "floor", "ceiling", "headroom"]]
    for name, got in scores.items():
        level = level_of(task, split, name)
        part = headroom(got.value, level)
        rows.append(
            [
                "*" if name == task.metrics.main else "",
                name if got.higher_is_better else f"{name} (lower is better)",
                _number(got.value),
                f"[{_number(got.low)}, {_number(got.high)}]" if got.low is not None else "",
                _number(level.floor) if level else "",
                _number(level.ceiling) if level else "",
                f"{bar(part)} {part:.0%}" if part is not None else "",
            ]
        )
    keep = [k for k in range(len(rows[0])) if any(row[k] for row in rows[1:])]
    widths = {k: max(len(row[k]) for row in rows) for k in keep}
    counted, over = f"{items:,} item{'s' * (items != 1)}", "items"
    if clusters is not None:
        counted += f" in {clusters:,} cluster{'s' * (clusters != 1)}"
        over = "clusters"
    there = any(got.low is not None for got in scores.values())
    told = f"95% intervals over {over}" if there else "no intervals"
    lines = [f"{split}, {counted}, {told} for these weights:"]
    return lines + ["  ".join(row[k].ljust(widths[k]) for k in keep).rstrip() for row in rows]


def cost_lines(record: Record) -> list[str]:
    """Say what the record cost: its size, seconds, memory and energy, a line for each."""
    cost = record.cost
    if not cost:
        return ["not known: made elsewhere"]
    lines = [_size(cost), _training(record), _testing(record), _alone(record), _memory(record)]
    return [line for line in (*lines, _energy(record), _busy(record)) if line]


def _size(cost: Mapping[str, Any]) -> str:
    parts = []
    if "parameters" in cost:
        parts.append(f"{cost['parameters']:,} parameters")
        whole = cost.get("parameters_in_all", cost["parameters"])
        parts[0] += f" trained of {whole:,}" * (whole != cost["parameters"])
    if cost.get("flops_per_item") is not None:
        parts.append(f"{amount(cost['flops_per_item'], 'FLOPs')} an item")
    return "; ".join(parts)


def _training(record: Record) -> str:
    cost, parts = record.cost, []
    if "train_seconds" in cost:
        early = ", stopped early" if cost.get("stopped_early") else ""
        steps = f", {cost['steps']:,} steps{early}" if "steps" in cost else ""
        best = f", best at {cost['best_step']:,}" if cost.get("best_step") else ""
        how = str(record.provenance.get("measured", {}).get("train_seconds", ""))
        share = f" ({how})" if how else ""
        parts.append(f"trained {duration(cost['train_seconds'])}{share}{steps}{best}")
    if "samples_per_second" in cost:
        parts.append(f"{cost['samples_per_second']:,.0f} samples/s")
    return "; ".join(parts)


def _testing(record: Record) -> str:
    if not record.scores:
        return ""
    parts, pace_of = [], caveats.number(record.cost, "items_per_second")
    if record.cost.get("test_seconds"):
        parts.append(f"tested {duration(record.cost['test_seconds'])}")
    parts += [f"{pace(pace_of)} predicted in batches"] if pace_of is not None else []
    return "; ".join(parts)


def _alone(record: Record) -> str:
    """Say how long one item takes at batch size 1."""
    if not record.scores:
        return ""
    cost = record.cost
    middle, slow = (caveats.number(cost, f"latency_{p}_seconds") for p in ("p50", "p95"))
    if middle is None:
        return f"latency {why_unknown(record, 'latency_p50_seconds')}"
    few = ", too few for the slowest 5 %" if slow is None else ""
    most = "" if slow is None else f", {brevity(slow)} (95th percentile)"
    timed = f"{cost.get('latency_items', 0):,} timed{few}"
    return f"one item alone {brevity(middle)} (median){most}; {timed}"


def _memory(record: Record) -> str:
    parts = []
    for key, what in (("peak_host_bytes", "memory"), ("peak_device_bytes", "GPU memory")):
        value = caveats.number(record.cost, key)
        if value is not None:
            parts.append(f"peak {what} {gigabytes(value)}")
    if parts and "peak_host_bytes" in record.cost and caveats.whole_process(record):
        parts[0] += " (of the whole process, earlier runs included)"
    seeds = record.provenance.get("batched_seeds")
    if parts and isinstance(seeds, list) and len(seeds) > 1:
        parts[0] += f" (of all {len(seeds)} seeds together)"
    return "; ".join(parts)


def _energy(record: Record) -> str:
    """Say what energy the run took and of what, or why that is not known."""
    joules = caveats.number(record.cost, "energy_joules")
    if joules is None:
        return f"energy {why_unknown(record, 'energy_joules')}"
    seconds = caveats.number(record.cost, "energy_seconds")
    power = f", {joules / seconds:.0f} W on average" if seconds else ""
    how = record.provenance.get("measured", {}).get("energy_joules", "")
    return f"energy {amount(joules, 'J')}{power}{f': {how}' if how else ''}"


def _busy(record: Record) -> str:
    """Say that other work may have made the seconds longer."""
    load, cores = caveats.number(record.cost, "load_average"), record.provenance.get("cores")
    if load is None or not isinstance(cores, int) or load <= cores:
        return ""
    return f"seconds may be long: the machine was busy, load {load:.1f} on {counted(cores, 'core')}"


def why_unknown(record: Record, key: str) -> str:
    """Say that a part of the cost is not known, and why where the record says so.

    Records of earlier versions hold no such part, and no reason.
    """
    how = str(record.provenance.get("measured", {}).get(key, ""))
    return how if UNKNOWN in how else UNKNOWN


def gigabytes(value: float) -> str:
    """Write bytes.

    >>> gigabytes(840_000_000)
    '0.84 GB'
    """
    return f"{value / 1e9:.2f} GB"


def duration(seconds: float) -> str:
    """Write a time span.

    >>> duration(4.25), duration(754), duration(7500)
    ('4.2 s', '12 min 34 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def next_command(record: Record, results: str) -> str:
    """Return what to do next; `results` is the option that names the results folder, or empty."""
    if record.status == "diverged":
        try:
            stage = record.definition["model"]["recipe"]["stages"][0]
            rate = stage["objectives"][0]["optimizer"]["lr"] / 2
        except (KeyError, IndexError, TypeError):
            return record.reproduce
        key = "recipe.stages.0.objectives.0.optimizer.lr"
        return f"{record.reproduce}{results} --set {key}={rate:g}"
    return f"mmbench leaderboard -t {record.task}{results}"


def to_dict(
    stored: Stored,
    task: TaskSpec,
    seeds: Sequence[int],
    answers: Answers | None,
    chosen: Sequence[Sample],
) -> dict[str, Any]:
    """Return everything that `show` shows, for machines."""
    record = stored.record
    content: dict[str, Any] = msgspec.to_builtins(record)
    for key in ("definition", "files", "checksum", "schema"):
        content.pop(key)
    content["scores"] = msgspec.to_builtins(scores_of(record, task))
    for split, scores in record.scores.items():
        for name, got in scores.items():
            level = level_of(task, split, name)
            content["scores"][split][name] |= {
                "floor": level.floor if level else None,
                "ceiling": level.ceiling if level else None,
                "alone": level.alone if level else {},
                "headroom": headroom(got.value, level),
            }
    return content | {
        "name": record.name,
        "folder": str(stored.folder),
        "main": task.metrics.main,
        "seeds": list(seeds),
        "clusters": clusters_of(stored),
        "branches": list(answers.branches) if answers is not None else [],
        "samples": [_sample(answers, sample) for sample in chosen] if answers is not None else [],
    }


def _sample(answers: Answers, sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "split": answers.split,
        "why": sample.why,
        "score": sample.score,
        "said": sample.said,
        "references": list(sample.references),
        "wrong": verdicts.wrong_facts(answers, sample),
        "gate": [{"word": v.word, "weights": list(v.weights)} for v in voices.voices(sample)],
    }


def _kin(record: Record) -> tuple[object, ...]:
    plugins = record.provenance.get("plugins", {})
    clusters = str(record.definition.get("evaluation", {}).get("clusters", ""))
    return (
        *(record.task_digest, record.budget, record.model, record.model_digest, clusters),
        *(str(record.provenance.get("device", "")), sorted(plugins.items()), record.ranked),
    )


def _seed(record: Record, seeds: Sequence[int]) -> str:
    if len(seeds) < 2:
        return str(record.seed)
    listed = ", ".join(str(seed) for seed in seeds)
    return f"{record.seed}, of {len(seeds)} here ({listed}): 'mmbench leaderboard' combines them"


def _commit(commit: str) -> str:
    digits, plus, changed = commit.partition("+")
    return f"{digits[:8]}{plus}{changed}"


def _number(value: float | None) -> str:
    return "-" if value is None else number(value)


def span(got: StoredScore) -> str:
    """Write a score with its interval: ``0.512 [0.499, 0.525]``."""
    ends = f" [{_number(got.low)}, {_number(got.high)}]" if got.low is not None else ""
    return f"{_number(got.value)}{ends}"
