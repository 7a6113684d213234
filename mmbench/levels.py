"""What is possible on a task: scores of its oracle for every set of modalities.

The figures stand in the task's TOML under ``[levels.METRIC]``; a test computes them again and
compares. One table serves all budgets, since a budget never changes the test items. Write them by

    python -m mmbench.levels TASK
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mmbench import catalog, registry
from mmbench.data import _load
from mmbench.errors import UsageError
from mmbench.scoring import Score, score
from mmbench.spec import LevelSpec, TaskSpec, alone_of
from mmbench.types import Dataset

#: Digits after the point that are written.
DIGITS = 4


def levels(task: TaskSpec, dataset: Dataset) -> dict[str, LevelSpec]:
    """Score the oracle on the test split.

    Returns:
        Metric -> floor (it sees nothing), each modality alone, ceiling (it sees all), the proven
        bounds that the dataset gives, and what the best late fusion has. A metric of all items as a
        whole that says the same of floor and ceiling (how real pictures look) has no levels: there
        is no way between them of which a score could be a share.

    Raises:
        UsageError: The dataset has no oracle.
    """
    oracle = dataset.oracle
    if oracle is None:
        raise UsageError(f"task {task.name!r}: its dataset has no oracle, so no levels are known")
    split = dataset.splits["test"]
    output = dataset.signature.main
    alone = alone_of(task.modalities)

    def scores(heard: frozenset[str]) -> dict[str, Score]:
        said = oracle(split, heard)
        return dict(score(said, split.references, output, task.metric_names, ids=split.ids).scores)

    nothing, everything = scores(frozenset()), scores(frozenset(task.modalities))
    each = {name: scores(heard) for name, heard in alone.items()}
    proven = _load.bounds(task, dataset)
    late, late_references = _load.late(task, dataset)
    return {
        metric: LevelSpec(
            floor=round(nothing[metric].value, DIGITS),
            ceiling=round(everything[metric].value, DIGITS),
            alone={name: round(own[metric].value, DIGITS) for name, own in each.items()},
            bound={k: round(v, DIGITS) for k, v in sorted(proven.get(metric, {}).items())},
            late=round(late[metric], DIGITS) if metric in late else None,
            late_reference=(
                round(late_references[metric], DIGITS) if metric in late_references else None
            ),
        )
        for metric in task.metric_names
        if registry.load("metric", metric).local or not _alike(nothing[metric], everything[metric])
    }


#: Two scores that are no more standard errors apart say the same.
APART = 4


def _alike(one: Score, other: Score) -> bool:
    return abs(one.value - other.value) <= APART * max(one.se, other.se)


def toml(found: dict[str, LevelSpec]) -> str:
    """Write levels as TOML."""
    lines: list[str] = []
    for metric, level in found.items():
        lines += ["", f"[levels.{_key(metric)}]"]
        lines += [f"floor = {level.floor}", f"ceiling = {level.ceiling}"]
        for key, table in (("alone", level.alone), ("bound", level.bound)):
            if table:
                inner = ", ".join(f'"{name}" = {value}' for name, value in table.items())
                lines.append(f"{key} = {{ {inner} }}")
        told = (("late", level.late), ("late_reference", level.late_reference))
        lines += [f"{key} = {value}" for key, value in told if value is not None]
    return "\n".join(lines) + "\n"


def _key(metric: str) -> str:
    """Return a metric's name as a key; options in parentheses make quotes necessary.

    >>> _key("wer"), _key("wer(normalizer=english)")
    ('wer', '"wer(normalizer=english)"')
    """
    if re.fullmatch(r"[A-Za-z0-9_-]+", metric):
        return metric
    escaped = metric.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def write(path: Path, found: dict[str, LevelSpec]) -> None:
    """Put levels at the end of a task's TOML, in place of those that stand there."""
    text = path.read_text(encoding="utf-8")
    others = re.sub(
        r"^\[levels\..*?(?=^\[(?!levels\.)|\Z)", "", text, flags=re.DOTALL | re.MULTILINE
    )
    path.write_text(others.rstrip("\n") + "\n" + toml(found), encoding="utf-8")


def main(names: list[str]) -> None:
    """Compute and write the levels of the tasks that are named, or of the TOMLs."""
    if not names or names[0].startswith("-"):
        print("usage: python -m mmbench.levels TASK|FILE.toml ...: writes [levels] into the TOML")
        return
    for name in names:
        task = catalog.task(name)
        write(catalog.task_path(name), levels(task, _load.load(task)))


if __name__ == "__main__":
    main(sys.argv[1:])
