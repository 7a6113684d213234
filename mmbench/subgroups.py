"""Scores of subgroups, from what has been scored already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.scoring import SHARED, Score, Scored, combine, score
from mmbench.types import Predictions

if TYPE_CHECKING:
    from mmbench.metrics import Metric
    from mmbench.references import References


@dataclass(frozen=True)
class Subgroup:
    """Some of the items.

    Attributes:
        name: What they have in common.
        items: How many.
        scores: Metric -> score. Of a single item, or a single cluster, there is a value and no
            interval, see `Score`.
        reasons: Metric -> why these items cannot be scored with it.
    """

    name: str
    items: int
    scores: Mapping[str, Score]
    reasons: Mapping[str, str]


def subgroups(
    scored: Scored,
    predictions: Predictions,
    references: References,
    output: str,
    labels: Sequence[str],
    order: Sequence[str],
    clusters: Sequence[Any] | None = None,
) -> list[Subgroup]:
    """Score each subgroup with every metric.

    Where an item's statistics depend on that item alone, they are those that are there (document
    frequencies, as of CIDEr, stay those of all items); else the subgroup is scored anew.

    Args:
        scored: All items.
        predictions: What was scored, in the order of the references.
        references: Of all items.
        output: The output that was scored.
        labels: [N] the subgroup of each item.
        order: The subgroups, in the order in which they are wanted.
        clusters: [N] the unit that each item belongs to.
    """
    place: dict[str, list[int]] = {}
    for item, label in enumerate(labels):
        place.setdefault(label, []).append(item)
    found = []
    for name in order:
        index = place[name]
        scores: dict[str, Score] = {}
        reasons: dict[str, str] = {}
        own = None if clusters is None else [clusters[item] for item in index]
        for metric in scored.scores:
            try:
                loaded: Metric = registry.load("metric", metric)
                if loaded.local:
                    rows = scored.statistics[loaded.family].rows[np.asarray(index)]
                    scores[metric] = combine(metric, [rows], own)
                else:
                    part = _part(predictions, index)
                    truth = {output: references.take(index)}
                    scores.update(score(part, truth, output, [metric], own, None, True).scores)
            except UsageError as error:
                reasons[metric] = str(error)
        found.append(Subgroup(name, len(index), scores, reasons))
    return found


def _part(predictions: Predictions, index: Sequence[int]) -> Predictions:
    """Return what was predicted for some items."""

    def take(values: Any) -> Any:
        return values[np.asarray(index)] if hasattr(values, "dtype") else [values[i] for i in index]

    columns = {
        name: values if name.rpartition(".")[2] in SHARED else take(values)
        for name, values in predictions.columns.items()
    }
    outputs = {name: take(values) for name, values in predictions.outputs.items()}
    return Predictions([predictions.ids[i] for i in index], outputs, columns)
