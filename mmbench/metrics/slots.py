"""Slot F1: which facts a caption states, whatever words it chooses.

For datasets that plant the facts of each item and read captions back into facts. Matching words,
as BLEU and CIDEr do, barely sees a swapped relation; here it is one fact missed and one invented.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics._contract import Metric, family, ratio
from mmbench.metrics._items.text import TextItems

if TYPE_CHECKING:
    from mmbench.references import Slots
    from mmbench.types import Floats

#: The kinds of slot that have a metric of their own; a dataset need not have all.
KINDS = ("object", "attribute", "relation", "sound", "emitter", "count")
#: Those of captions of what happens in time. Their statistics are a family of their own, so that
#: records of captions that have none of them keep their columns.
TIMED = ("motion", "time")
#: Stands for all kinds without one; only `slot_f1` counts them.
_OTHER = "other"
_NONE: frozenset[tuple[str, ...]] = frozenset()


def _slot_rows(items: TextItems) -> Floats:
    """Slot F1: facts stated rightly, among those stated and those that hold.

    ``F1 = 2 tp / (predicted + expected)`` over the corpus, with tp the fillers that stand both
    among those of the prediction and those of the item; `slot_f1` over all kinds together
    (micro-averaged), ``<kind>_f1`` over one kind.

    Range 0 to 1, proven; higher is better. An empty prediction states nothing and scores 0. Where
    nothing is stated and nothing expected, the value is 0, not 1.

    Returns:
        [N, 3 x kinds]: tp, predicted and expected for each kind of slot.
    """
    others = {kind for slots in items.slots or () for kind in slots} - set(KINDS)
    return _rows(items, [*((kind,) for kind in KINDS), tuple(sorted(others))])


def _timed_slot_rows(items: TextItems) -> Floats:
    """Slot F1 of what happens when: the motions that a caption names, and its time stamps.

    As `slot_f1` of one kind: ``<kind>_f1 = 2 tp / (predicted + expected)`` over the corpus. A time
    stamp is right if it is the rounded one of the same event; how coarsely is the dataset's rule.

    Range 0 to 1, proven; higher is better.

    Returns:
        [N, 3 x kinds]: tp, predicted and expected for each kind of slot.
    """
    return _rows(items, [(kind,) for kind in TIMED])


def _rows(items: TextItems, groups: list[tuple[str, ...]]) -> Floats:
    """Return [N, 3 x groups]: tp, predicted and expected of each group of kinds."""
    if items.slots is None:
        raise UsageError(f"slot F1: {_lacks_slots(items)}")
    pairs = zip(items.predicted_slots, items.slots, strict=True)
    rows = [[_counts(said, true, kinds) for kinds in groups] for said, true in pairs]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 3 * len(groups))


def _counts(said: Slots, true: Slots, kinds: tuple[str, ...]) -> tuple[int, int, int]:
    """Return tp, predicted and expected of one item over some kinds of slot."""
    pairs = [(said.get(kind, _NONE), true.get(kind, _NONE)) for kind in kinds]
    return (
        sum(len(ours & theirs) for ours, theirs in pairs),
        sum(len(ours) for ours, _ in pairs),
        sum(len(theirs) for _, theirs in pairs),
    )


def _f1(column: int | None, total: Floats) -> Floats:
    """Return F1 of the sums: of the kind whose tp stands in `column`, or (None) of all kinds."""
    kinds = total.reshape(*total.shape[:-1], -1, 3)
    tp, predicted, expected = np.moveaxis(
        kinds.sum(axis=-2) if column is None else kinds[..., column, :], -1, 0
    )
    return ratio(2 * tp, predicted + expected)


def _lacks_slots(items: TextItems, kind: str | None = None) -> str:
    """Say what is missing to score slots of `kind` (None: of any), or return an empty string."""
    missing = [
        name for name, value in (("slots", items.slots), ("parser", items.parse)) if value is None
    ]
    if missing or items.slots is None:
        return (
            f"the references have no {' and no '.join(missing)}: it needs a dataset that plants "
            f"the facts of each item; bleu4, cider_d and rouge_l need only texts"
        )
    planted = {name for slots in items.slots for name in slots}
    if not planted or (kind is not None and kind not in planted):
        which = f"slots of the kind {kind!r}" if kind else "slots"
        return f"no item has {which}; there are: {', '.join(sorted(planted)) or 'none at all'}"
    return ""


def _make() -> list[Metric]:
    columns = tuple(
        f"{kind}_{part}" for kind in (*KINDS, _OTHER) for part in ("tp", "said", "true")
    )
    kinds: list[str | None] = [None, *KINDS]
    return [
        family(
            _slot_rows,
            name="slots",
            columns=columns,
            values={f"{kind or 'slot'}_f1": partial(_f1, KINDS.index(kind) if kind else None)},
            bounds=(0.0, 1.0),
            settings="slots:planted|average:micro",
            check=partial(_lacks_slots, kind=kind),
        )[0]
        for kind in kinds
    ]


slot_f1, object_f1, attribute_f1, relation_f1, sound_f1, emitter_f1, count_f1 = _make()
motion_f1, time_f1 = [
    family(
        _timed_slot_rows,
        name="timed_slots",
        columns=tuple(f"{kind}_{part}" for kind in TIMED for part in ("tp", "said", "true")),
        values={f"{kind}_f1": partial(_f1, place)},
        bounds=(0.0, 1.0),
        settings="slots:planted|average:micro",
        check=partial(_lacks_slots, kind=kind),
    )[0]
    for place, kind in enumerate(TIMED)
]
