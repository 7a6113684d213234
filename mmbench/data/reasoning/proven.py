"""Bounds that are proven: what a set of modalities, or late fusion, cannot pass.

They are expectations over the law of the items, so a score on N items may pass one by its own
standard error. Those of a set of modalities are what the exact posterior promises, over items that
are drawn for it, moved by three standard errors to the safe side. That of late fusion is exact.

**Late fusion** is bounded in its log loss. Write an item as names and relations, level by level, in
alphabetical order: for two levels that are pairs, one bit says whether their arrows cross; where a
pair meets a single thing, one bit says which of the two it follows; and one bit each says which of
a pair the question calls S, and which T. Everything else is *context*, and is given to all
modalities for nothing. Given the context these bits are fair and independent, each is known to one
modality alone, and

* ``path``: yes or no is the parity of bits that two modalities or three have. Late fusion adds up
  functions of single modalities. Turn two bits of different modalities: the answer stays, and so
  does the law. Averaged over all such turns, the logits are the same numbers whatever the parity,
  and by Jensen's inequality the average loses no more than they did: at least 1 bit.
* ``match``: the same, with a further group: a relation of the scene and the one that the question
  names in its place, turned by as much. Averaged over both, nothing is left: at least 1 bit.
* ``relation``: a sum modulo 3 of relations of which each half has one at least. Turn one of either
  by as much, in opposite directions: at least log2(3) bits.
* ``dialogue``: the parity says which of two arrows is the second. At least 1 bit, where there are
  two and they bear different relations; else we claim nothing.

The logarithm of a mixture with fixed weights is concave in what is averaged, so that the bounds
hold for it as they do for log-linear fusion.
"""

from __future__ import annotations

from functools import cache
from math import log, log2
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data.reasoning import arrays, draws
from mmbench.data.reasoning.laws import laws
from mmbench.data.reasoning.params import Params
from mmbench.data.reasoning.posterior import MODALITIES, posterior
from mmbench.data.reasoning.questions import classes_of, tokens_of
from mmbench.data.reasoning.references import PlantedAnswers, params_of
from mmbench.data.reasoning.scenes import HALVES, RELATIONS
from mmbench.types import Split

if TYPE_CHECKING:
    from mmbench.types import Floats

#: Items that expectations are taken over, and the seed of their draw.
DRAWS, _SEED = 40_000, 20268
#: Standard errors to the safe side.
_SAFE = 3.0


def bounds(split: Split, draws: int = DRAWS) -> dict[str, dict[str, float]]:
    """Return proven bounds: metric -> modalities joined by ``+`` -> expected value at best.

    Args:
        split: Any split of this dataset, or a part of one.
        draws: Items that the expectations are taken over.
    """
    return {
        metric: {names: _safe(values, metric) for names, values in table.items()}
        for metric, table in _promised(params_of(split), draws).items()
    }


def late_bounds(split: Split) -> dict[str, float]:
    """Return what late fusion of all modalities reaches at best: metric -> expected value."""
    bits = late_bits(params_of(split))
    return {"bits": bits, "nll": bits * log(2)}


@cache
def late_bits(params: Params) -> float:
    """Return the least log loss of late fusion in bits."""
    least = {"path": 1.0, "match": 1.0, "relation": log2(len(RELATIONS))}
    if "dialogue" in params.questions:
        two = sum(law.chance for law in laws("dialogue", params) if law.ends[1][1] <= law.pairs)
        least["dialogue"] = two * (1 - 1 / len(RELATIONS))
    return sum(least[kind] for kind in params.questions) / len(params.questions)


def _safe(values: tuple[float, float], metric: str) -> float:
    value, error = values
    if metric in ("accuracy", "micro_f1"):
        return min(1.0, value + _SAFE * error)
    return max(0.0, value - _SAFE * error)


@cache
def _promised(params: Params, items: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Return metric -> modalities -> (mean, its standard error) of what the posterior promises."""
    split = sample(params, items)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for code in range(1, 2 ** len(MODALITIES)):
        heard = [name for at, name in enumerate(MODALITIES) if code >> at & 1]
        chances = posterior(split, frozenset(heard))
        best = chances.max(axis=1)
        logs = np.log(np.where(chances > 0, chances, 1.0))
        nats = -(chances * logs).sum(axis=1)
        figures = {
            "accuracy": best,
            "micro_f1": best,  # equals accuracy: every item has one class
            "bits": nats / log(2),
            "nll": nats,
            "brier": 1.0 - (chances**2).sum(axis=1),
        }
        for metric, values in figures.items():
            found.setdefault(metric, {})["+".join(heard)] = _mean(values)
    return found


def _mean(values: Floats) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def sample(params: Params, items: int) -> Split:
    """Draw items of a law that are in no task: a split for expectations."""
    drawn = draws.draw(_SEED, "sample", params, items, 0, 1)
    tokens, _ = tokens_of(drawn.scenes, drawn.asked)
    classes = classes_of(params.questions)
    return Split(
        ids=[str(i) for i in range(items)],
        inputs={
            **{
                half: arrays.graph(_SEED, "sample", scenes=drawn.scenes, half=at)
                for at, half in enumerate(HALVES)
            },
            "question": tokens,
        },
        targets={},
        references={
            "answer": PlantedAnswers(np.zeros(items, dtype=np.int64), classes, params=params)
        },
    )
