"""Looks at a task's data before anything is trained: what is wrong, and what is easy.

Sizes and missing parts, items that cannot be read, the same item in two splits, a speaker or video
in two splits, how frequent each class is, and the floors: the most frequent answer, and a linear
model of each modality alone. What a fusion adds has to be seen against these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmbench.audit import floors, splits
from mmbench.data import _load
from mmbench.errors import UsageError
from mmbench.spec import TaskSpec

__all__ = ["Audit", "audit"]


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        task: The task's name.
        sizes: Split -> items that can be used.
        left_out: Split -> a line for each item that cannot be read.
        missing: Split -> modality -> how many items lack it.
        duplicates: Items whose inputs are all the same and stand in two splits.
        shared: Modality -> in how many pairs of items of two splits that modality is the same.
        crossing: Clusters (speakers, videos) that have items in two splits.
        balance: Split -> output -> class -> share, or mean, spread and range of a number.
        metric: The task's main metric, which the floors are scores of.
        floors: ``majority``, each modality, and ``all`` together -> score on the test split; None
            where there is no such floor.
        notes: What could not be looked at, and why; and what is odd.
    """

    task: str
    sizes: Mapping[str, int]
    left_out: Mapping[str, Sequence[str]]
    missing: Mapping[str, Mapping[str, int]]
    duplicates: Sequence[str]
    shared: Mapping[str, int]
    crossing: Sequence[str]
    balance: Mapping[str, Mapping[str, Mapping[str, float]]]
    metric: str
    floors: Mapping[str, float]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong: every item can be read, and no split knows of another."""
        return not (self.left_out or self.duplicates or self.crossing)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain tables."""
        return {**asdict(self), "sound": self.sound}


def audit(task: TaskSpec, root: Path | None = None) -> Audit:
    """Look at the data of a task.

    Args:
        task: The task.
        root: Folder of the user's data.

    Raises:
        MmbenchError: The data cannot be loaded at all.
    """
    notes: list[str] = []
    try:
        task = _load.skipping(task)
    except UsageError:
        notes.append(f"the dataset {task.dataset.name} is read whole, or refused: no item is bad")
    dataset = _load.load(task, root)
    found = {name: dataset.splits[name] for name in task.splits}
    scores, more = floors.floors(task, dataset)
    return Audit(
        task=task.name,
        sizes={name: len(split) for name, split in found.items()},
        left_out={name: list(lines) for name, lines in dataset.left_out.items()},
        missing={name: splits.missing(split) for name, split in found.items()},
        duplicates=splits.duplicates(found, dataset.signature),
        shared=splits.shared(found, dataset.signature),
        crossing=splits.crossing(found),
        balance={name: splits.balance(split, dataset.signature) for name, split in found.items()},
        metric=task.metrics.main,
        floors=scores,
        notes=[*notes, *splits.mixed(found), *more],
    )
