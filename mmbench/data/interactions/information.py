"""How much each set of modalities knows: the lattice I(Y; X_S), and the best scores possible.

Every figure is an expectation over the data of something that the exact posterior gives for each
item (its entropy, its largest probability, ...), taken over simulated items. Nobody beats these in
expectation, so they are bounds; their standard errors are known, and small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import log

import numpy as np

from mmbench import rng
from mmbench.data.interactions.evidence import Projected, log_likelihood
from mmbench.data.interactions.law import Law
from mmbench.data.interactions.noise import normals
from mmbench.data.interactions.posterior import of_likelihoods
from mmbench.data.interactions.references import INTENSITIES
from mmbench.data.interactions.sequences import LENGTHS
from mmbench.data.interactions.structures import MODALITIES, SIZE, Floats, Ints

#: Items that a figure is the mean over. A bit's standard error is then at most 0.002, usually
#: below 0.001.
DRAWS = 200_000
# Items that are simulated at once; each block has a stream of its own.
_BLOCK = 10_000


@dataclass(frozen=True)
class Estimate:
    """The mean over simulated items, and its standard error."""

    value: float
    se: float


#: A set of modalities -> figure -> what it is at best.
Known = Mapping[frozenset[str], Mapping[str, Estimate]]


@cache
def lattice(law: Law, draws: int = DRAWS, seed: int = 0) -> Known:
    """Return the best that can be expected of every set of modalities, on items of a law.

    Figures: ``information`` (I(Y; X_S) in bits), ``bits`` and ``nll`` (log loss, in bits and
    nats), ``accuracy``, ``brier``; of `sentiment`, also ``mae`` and ``acc2`` of the intensity.

    Args:
        law: Where the items come from; all that goes wrong in it is part of it.
        draws: Simulated items.
        seed: The seed of the simulation; no data depend on it.
    """
    figures = _FIGURES | (_OF_INTENSITY if law.name == "sentiment" else {})
    rows: dict[frozenset[str], list[Floats]] = {}
    for likelihoods, items in _simulated(law, draws, seed):
        for size in range(len(MODALITIES) + 1):
            for heard in combinations(range(len(MODALITIES)), size):
                chances = of_likelihoods(law, {m: likelihoods[m] for m in heard}, items)
                values = np.stack([figure(chances) for figure in figures.values()], axis=1)
                rows.setdefault(frozenset(MODALITIES[m] for m in heard), []).append(values)
    return {heard: _estimates(law, figures, np.concatenate(of)) for heard, of in rows.items()}


def _estimates(
    law: Law, figures: Mapping[str, Callable[[Floats], Floats]], rows: Floats
) -> dict[str, Estimate]:
    means, errors = rows.mean(axis=0), rows.std(axis=0, ddof=1) / len(rows) ** 0.5
    pairs = zip(means.tolist(), errors.tolist(), strict=True)
    found = {name: Estimate(*pair) for name, pair in zip(figures, pairs, strict=True)}
    loss = found["bits"]
    found["nll"] = Estimate(loss.value * log(2), loss.se * log(2))
    found["information"] = Estimate(label_entropy(law) - loss.value, loss.se)
    return found


def label_entropy(law: Law) -> float:
    """Return H(Y) in bits."""
    label = law.table.sum(axis=(1, 2, 3))
    return float(-(label * np.log2(label)).sum())


# --- what the posterior [N, C] of each item says -------------------------------------------------


def _entropy(chances: Floats) -> Floats:
    """Return the entropy in bits: the expected log loss of who says the posterior."""
    return np.asarray(-(chances * np.log2(np.maximum(chances, 1e-300))).sum(axis=1))


def _largest(chances: Floats) -> Floats:
    return np.asarray(chances.max(axis=1))


def _brier(chances: Floats) -> Floats:
    return np.asarray(1.0 - (chances**2).sum(axis=1))


def _distance(chances: Floats) -> Floats:
    """Return the least expected absolute error; one of the classes' numbers reaches it."""
    numbers = np.asarray(INTENSITIES)
    return np.asarray((chances @ np.abs(numbers[:, None] - numbers)).min(axis=1))


def _sign(chances: Floats) -> Floats:
    positive = chances[:, np.asarray(INTENSITIES) > 0].sum(axis=1)
    return np.asarray(np.maximum(positive, 1.0 - positive))


_FIGURES: dict[str, Callable[[Floats], Floats]] = {
    "bits": _entropy,
    "accuracy": _largest,
    "brier": _brier,
}
_OF_INTENSITY: dict[str, Callable[[Floats], Floats]] = {"mae": _distance, "acc2": _sign}


# --- simulated items -----------------------------------------------------------------------------


def _simulated(law: Law, draws: int, seed: int) -> Iterator[tuple[list[Floats], int]]:
    """Simulate what is seen of items, block by block: log-likelihoods [N, S] of each modality."""
    steps = np.cumsum(law.table.ravel())
    for block, start in enumerate(range(0, draws, _BLOCK)):
        items = min(_BLOCK, draws - start)
        stream = (seed, "interactions", "simulated", block)
        unit = rng.uniform(*stream, "item", count=items)
        flat = np.searchsorted(steps / steps[-1], unit, side="right")
        _, *states = np.unravel_index(flat, law.table.shape)
        seen = []
        for modality, state in enumerate(states):
            found = log_likelihood(_seen(law, modality, state, stream), law, modality)
            gone = rng.uniform(*stream, "gone", modality, count=items) < law.missing[modality]
            seen.append(np.where(gone[:, None], 0.0, found))
        yield seen, items


def _seen(law: Law, modality: int, states: Ints, stream: tuple[int, str, str, int]) -> Projected:
    """Simulate the projections of one modality; the rest of a sequence is noise that says nothing.

    That the directions are orthonormal makes the projected noise independent, too.
    """
    length, deviation, items = LENGTHS[modality], law.deviations[modality], len(states)
    group = None
    if modality == law.group:
        noise = normals(*stream, "group", shape=(items, 2))[:, 0]
        sign = 2.0 * (states % 2) - 1.0
        group = length * law.group_amplitude * sign + length**0.5 * deviation * noise
        states = states // 2
    values = law.structure.values if modality == 1 else None
    width = SIZE if values is None else 2 * SIZE
    x = deviation * normals(*stream, "noise", modality, shape=(items, length, width))
    order = rng.words(*stream, "times", modality, count=items * length).reshape(items, length)
    times, rows = np.argsort(order, axis=1, kind="stable"), np.arange(items)
    if values is None:
        x[rows, times[:, 0], states] += law.amplitudes[modality]
        return Projected(x, group)
    for thing in range(SIZE):
        x[rows, times[:, thing], thing] += law.amplitudes[modality]
        x[rows, times[:, thing], SIZE + values[states, thing]] += law.amplitudes[modality]
    return Projected(x, group)
