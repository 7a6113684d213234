"""Items that cannot be read, left out where the task allows it: each with its reason.

A dataset whose `Params` have ``skip_bad`` gathers what is wrong (`Bad`) in place of raising it, has
anything in the place of such items, and hands all to `without`, which takes them away. A split
keeps its order, and what is drawn for the others does not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import replace

import numpy as np

from mmbench.data._cache import Entry
from mmbench.errors import DataError
from mmbench.types import Dataset

#: Place of an item -> why it cannot be read, as a line that names file and row.
Bad = dict[int, str]


def of(entry: Entry, name: str = "bad") -> Bad:
    """Return what is wrong as an entry's value tells it, whose keys are texts in JSON."""
    return {int(place): why for place, why in entry.values.get(name, {}).items()}


def of_splits(entry: Entry, splits: Mapping[str, Sized]) -> dict[str, Bad]:
    """Return what is wrong by split, where an entry counts all items through, split after split.

    Args:
        entry: Of `mmbench.data._building.prepared`.
        splits: Split -> its items, in the order of the count.
    """
    bad, found, start = of(entry), dict[str, Bad](), 0
    for name, items in splits.items():
        end = start + len(items)
        found[name] = {k - start: why for k, why in bad.items() if start <= k < end}
        start = end
    return found


def without(dataset: Dataset, bad: Mapping[str, Mapping[int, str]]) -> Dataset:
    """Return the dataset without its bad items, which it counts as left out.

    A gallery stays whole: an entry that is right for no item any more only distracts.

    Args:
        dataset: All items.
        bad: Split -> place of an item in it -> why it cannot be read.

    Raises:
        DataError: A split has no other item.
    """
    splits, lines = dict(dataset.splits), dict[str, Sequence[str]](dataset.left_out)
    for name, reasons in bad.items():
        if not reasons:
            continue
        split = splits[name]
        kept = np.array([i for i in range(len(split)) if i not in reasons], dtype=np.int64)
        told = [*lines.get(name, ()), *(reasons[place] for place in sorted(reasons))]
        if not len(kept):
            raise nothing_left(name, told[0])
        splits[name] = split.take(kept)
        lines[name] = told
    return replace(dataset, splits=splits, left_out=lines)


def nothing_left(split: str, first: str) -> DataError:
    """Return the error that no item of a split can be read; `first` says why of one."""
    return DataError(f"every item of the split {split!r} is bad; the first: {first}")
