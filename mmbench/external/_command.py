"""What was asked for, and the command that asks for it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmbench import catalog, registry, store

if TYPE_CHECKING:
    from mmbench.evaluation import Evaluation


@dataclass(frozen=True)
class Asked:
    """What was asked for that an evaluation does not keep.

    Attributes:
        columns: Role -> column, where the user said which.
        clusters: Column of the unit that items share; empty: the task's own, or none.
        kind: Kind of the output, where the user said which.
        allow_missing: Whether items without a prediction count as failures or are refused.
        data: Folder of the user's data.
        files: Files of metrics, named instead of the metric in them.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    clusters: str = ""
    kind: str = ""
    allow_missing: bool = False
    data: Path | None = None
    files: Sequence[Path] = ()


def metrics(found: Evaluation, asked: Asked) -> dict[str, dict[str, str]]:
    """Return metric -> how to name it again, and the file to include where that does not."""
    files = {path.resolve(): path.name for path in asked.files}
    told = {}
    for name in found.scores:
        plain = name.partition("(")[0]
        file = registry.included_file("metric", plain)
        if file is None:
            told[name] = {"name": name}
        elif name == plain and file.resolve() in files:
            told[name] = {"name": f"./{file.name}"}
        else:
            told[name] = {"name": name, "include": f"./{file.name}"}
    return told


def sides(references: Path | None, task: str | None) -> list[str]:
    """Return the options that name what is right; files by name alone."""
    parts = []
    if task is not None:
        parts += ["-t", f"./{Path(task).name}" if task.endswith(".toml") else task]
    for path in catalog.included() if task is not None else []:
        parts += ["--include", f"./{path.name}"]
    if references is not None:
        parts += ["--references", references.name]
    return parts


def command(
    record: store.Record, first: Sequence[str], options: Mapping[str, object], asked: Asked
) -> str:
    """Return the command that makes this record again."""
    metrics = record.definition["evaluation"]["metrics"].values()
    parts = ["mmbench", "score", *first]
    for file in dict.fromkeys(told["include"] for told in metrics if "include" in told):
        parts += ["--include", file]
    parts += ["--metrics", ",".join(told["name"] for told in metrics)]
    for role, column in asked.columns.items():
        parts += ["--column", f"{role}={column}"]
    for option, value in {"--kind": asked.kind, "--cluster": asked.clusters, **options}.items():
        parts += [option, str(value)] if value else []
    parts += ["--data", "DIR"] if asked.data is not None and record.data["source"] else []
    parts += ["--allow-missing"] if asked.allow_missing else []
    return shlex.join([*parts, "--save"])
