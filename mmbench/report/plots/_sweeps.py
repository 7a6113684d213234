"""Along what robustness is looked at: the splits of a task, or one number of its data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mmbench import leaderboard
from mmbench.data import _load
from mmbench.errors import MmbenchError
from mmbench.leaderboard import Board
from mmbench.paired import task_of
from mmbench.report.plots._source import Source, measured_alike
from mmbench.scoring import score
from mmbench.spec import TaskSpec
from mmbench.store import Record, Stored

#: Of a definition: what does not affect the data.
_OUTSIDE = ("name", "version", "summary", "levels", "source", "metrics", "threads", "parameters")


class Stop(NamedTuple):
    """One place on the axis.

    Attributes:
        text: What stands below it.
        at: Its place.
        board: The scores there.
        ceiling: What the oracle of all modalities reaches there, if that is known.
    """

    text: str
    at: float
    board: Board
    ceiling: float | None


class Sweep(NamedTuple):
    """One axis.

    Attributes:
        title: What was measured.
        axis: What changes: ``split``, or where the number stands in the task's definition.
        stops: Two at least.
        numeric: Whether places are numbers, and not the order of splits.
    """

    title: str
    axis: str
    stops: tuple[Stop, ...]
    numeric: bool


def sweeps(source: Source) -> list[Sweep]:
    """Return every axis that the records hold: numbers of the data, then splits of other tasks."""
    groups = measured_alike(source.records)
    families = _families(groups)
    within = {id(group) for _, family in families for group in family.values()}
    rest = [group for group in groups if id(group) not in within]
    found = []
    for metric in source.asked:
        found += [_along_number(source, metric, path, family) for path, family in families]
        found += [_along_splits(source, metric, group) for group in rest]
    return [sweep for sweep in found if sweep is not None]


def numbers(content: Any, path: str = "") -> dict[str, Any]:
    """Return every value that stands in nested tables and lists, by its path.

    >>> numbers({"noise": {"text": 1.5}, "away": [0, "x"]})
    {'noise.text': 1.5, 'away.0': 0, 'away.1': 'x'}
    """
    if isinstance(content, Mapping):
        pairs = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list | tuple):
        pairs = [(str(key), value) for key, value in enumerate(content)]
    else:
        return {path: content}
    found: dict[str, Any] = {}
    for key, value in pairs:
        found |= numbers(value, f"{path}.{key}" if path else key)
    return found


def _families(
    groups: Sequence[list[Stored]],
) -> list[tuple[str, dict[float, list[Stored]]]]:
    """Put together tasks that are equal but for one number in their data's parameters."""
    found: dict[tuple[str, str], dict[float, list[Stored]]] = {}
    for group in groups:
        # As the record has it: the task of that name may be another by now.
        task = msgspec.convert(group[0].record.definition["task"], TaskSpec)
        params = numbers(_load.whole_params(task))
        for path, value in params.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            others = {key: other for key, other in params.items() if key != path}
            key = (path, _outline(task, group[0].record, others))
            found.setdefault(key, {}).setdefault(float(value), group)
    return [(path, family) for (path, _), family in sorted(found.items()) if len(family) > 1]


def _outline(task: TaskSpec, record: Record, params: Mapping[str, Any]) -> str:
    """Return all that two tasks of a family share."""
    content = msgspec.to_builtins(task)
    kept = {key: value for key, value in content.items() if key not in (*_OUTSIDE, "budgets")}
    kept["dataset"] = {**kept["dataset"], "params": params}
    budget = [record.budget, content["budgets"].get(record.budget)]
    return json.dumps([kept, budget], sort_keys=True, default=str)


def _along_number(
    source: Source, metric: str | None, path: str, family: Mapping[float, list[Stored]]
) -> Sweep | None:
    stops = []
    for value, group in sorted(family.items()):
        for board in leaderboard.boards(group, metric, source.split, source.problems):
            if board.rows:
                stops.append(Stop(f"{value:g}", value, board, board.ceiling))
    if len(stops) < 2:
        return None
    names = list(dict.fromkeys(stop.board.task.partition("@")[0] for stop in stops))
    board = stops[0].board
    told = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    title = f"{told} | {board.split} | {board.metric} | {board.budget}"
    return Sweep(title, path, tuple(stops), True)


def _along_splits(source: Source, metric: str | None, group: list[Stored]) -> Sweep | None:
    task = task_of(group[0].record)
    scored = {split for stored in group for split in stored.record.scores}
    stops: list[Stop] = []
    for split in [*(s for s in task.splits if s in scored), *sorted(scored - set(task.splits))]:
        for board in leaderboard.boards(group, metric, split, source.problems):
            if any(row.main is not None for row in board.rows):
                stops.append(Stop(split, float(len(stops)), board, board.ceiling))
    if len(stops) < 2:
        return None
    known = _ceilings(source, task, group[0].record, [s for s in stops if s.ceiling is None])
    stops = [stop._replace(ceiling=known.get(stop.text, stop.ceiling)) for stop in stops]
    board = stops[0].board
    return Sweep(f"{board.task} | {board.metric} | {board.budget}", "split", tuple(stops), False)


def _ceilings(
    source: Source, task: TaskSpec, record: Record, stops: Sequence[Stop]
) -> dict[str, float]:
    """Let the oracle answer on splits of which the task tells no ceiling, where it has one."""
    if not stops or not task.modalities:
        return {}
    try:
        if source.data is None and _load.needs_data(task):
            return {}
        dataset = _load.load(task, source.data)
        if dataset.oracle is None or dataset.fingerprint != record.data.get("fingerprint"):
            return {}
        found = {}
        for stop in stops:
            split = dataset.splits[stop.text]
            said = dataset.oracle(split, frozenset(task.modalities))
            metric = stop.board.metric
            scored = score(said, split.references, dataset.signature.main, [metric], ids=split.ids)
            found[stop.text] = scored.scores[metric].value
    except MmbenchError as error:
        source.problems.append(f"{task.name}: no ceilings of further splits: {error}")
        return {}
    return found
