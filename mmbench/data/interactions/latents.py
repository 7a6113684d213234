"""Draws what is behind the items of a split: labels, states, and what has gone wrong with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmbench import rng
from mmbench.data.interactions.law import (
    Law,
    group_given_label,
    state_given_label,
    swapped_state,
)
from mmbench.data.interactions.structures import MODALITIES, SIZE, Floats, Ints

#: What stands in the columns `misaligned` and `conflict` of an item that is as it should be.
NOBODY = "none"
_NAMES = np.array([*MODALITIES, NOBODY])


@dataclass(frozen=True)
class Drawn:
    """N items before anything is rendered.

    Attributes:
        labels: [N] the label.
        truth: [N] the label before label noise.
        told: [N] whether a model is told the label.
        states: For each modality, [N] what it shows.
        group: [N] the group attribute of the item; zeros where there is none.
        misaligned: [N] the modality that is another item's, or ``none``.
        conflict: [N] the modality that is that of an item with another label, or ``none``.
    """

    labels: Ints
    truth: Ints
    told: np.ndarray[tuple[int], np.dtype[np.bool_]]
    states: tuple[Ints, ...]
    group: Ints
    misaligned: np.ndarray[tuple[int], np.dtype[np.str_]]
    conflict: np.ndarray[tuple[int], np.dtype[np.str_]]


def draw(seed: int, source: str, split: str, items: int, law: Law, fraction: float) -> Drawn:
    """Draw items.

    Args:
        seed: The data seed.
        source: The split whose labels and latents these are (see `Changes.like`).
        split: The split that they are in.
        items: N. The first n items do not depend on it.
        law: That of the split.
        fraction: Share of the items whose label is told.
    """
    stream = _Stream(seed, split, items)
    truth, *latents = _cells(law.structure.table, _Stream(seed, source, items).uniform("item"))
    share = group_given_label(law.group_correlation)
    group = _pick(share[truth], _Stream(seed, source, items).uniform("group"))
    if law.group is None:
        group = np.zeros(items, dtype=np.int64)
    else:
        latents[law.group] = 2 * latents[law.group] + group
    everyone = tuple(range(len(MODALITIES)))
    label = law.clean.sum(axis=(1, 2, 3))
    anyone = {
        m: np.broadcast_to(label @ state_given_label(law.clean, m), (SIZE, law.clean.shape[m + 1]))
        for m in everyone
    }
    other = {m: swapped_state(law.clean, m) for m in law.structure.speaking}
    misaligned = _swap(stream, "misaligned", law.misaligned, anyone, truth, latents)
    conflict = _swap(stream, "conflict", law.conflict, other, truth, latents)
    wrong = stream.uniform("flipped") < law.label_noise
    shift = 1 + rng.integers(seed, "interactions", split, "label", count=items, below=SIZE - 1)
    labels = np.where(wrong, (truth + shift) % SIZE, truth)
    return Drawn(
        labels=labels,
        truth=truth,
        told=stream.uniform("told") < fraction,
        states=tuple(latents),
        group=group,
        misaligned=_NAMES[misaligned],
        conflict=_NAMES[conflict],
    )


@dataclass(frozen=True)
class _Stream:
    """Named draws of one number an item."""

    seed: int
    split: str
    items: int

    def uniform(self, name: str) -> Floats:
        return rng.uniform(self.seed, "interactions", self.split, name, count=self.items)


def _cells(table: Floats, unit: Floats) -> list[Ints]:
    """Return one cell of a table for each number in [0, 1), as an index for each axis."""
    steps = np.cumsum(table.ravel())
    flat = np.searchsorted(steps / steps[-1], unit, side="right")
    return [np.asarray(axis, dtype=np.int64) for axis in np.unravel_index(flat, table.shape)]


def _pick(law: Floats, unit: Floats) -> Ints:
    """Return for each item a number with the probabilities of its row, [N, K]."""
    steps = np.cumsum(law, axis=1)
    return np.asarray((steps[:, :-1] <= unit[:, None] * steps[:, -1:]).sum(axis=1), dtype=np.int64)


def _swap(
    stream: _Stream,
    what: str,
    rate: float,
    by: dict[int, Floats],
    truth: Ints,
    states: list[Ints],
) -> Ints:
    """Draw one modality anew in some items, in place; return which, or the number of modalities."""
    hit = stream.uniform(what) < rate
    which = np.array(sorted(by))[(stream.uniform(f"{what} whose") * len(by)).astype(np.int64)]
    unit = stream.uniform(f"{what} state")
    for modality, law in by.items():
        rows = np.flatnonzero(hit & (which == modality))
        states[modality][rows] = _pick(law[truth[rows]], unit[rows])
    return np.where(hit, which, len(MODALITIES))
