"""The best answers of recommendation, and what nobody passes, from the exact posterior.

**Next item.** The catalogue's entries are drawn like the user's own one, whose place is drawn
evenly. So given one user and the catalogue, entry j is the right one with probability
``w_j ~ p(colour_j | user) p(brand_j | user)``, of which a modality that is not heard leaves its
factor out. Every measure here is a sum over places of what a right answer is worth there, so the
expected value is largest when entries stand in falling order of w (the probability ranking
principle, Robertson 1977), and that largest value is the bound. It holds for all who answer each
user by itself, and backward for all who answer each item by itself. The logarithms of the factors
add up, so late fusion of (user, image) and (user, text) reaches it.

**Click.** The probability of a click given what is heard is known, so its entropy, and how often
its likelier side is right, bound the expected log loss, Brier score and accuracy. Late fusion knows
nothing: the law stays the same when colours are renamed in the user's vector and in the images, and
brands likewise; log loss is convex in the terms of a log-linear sum, and in their probabilities for
a mixture with fixed weights, so the mean over all renamings is no worse; in it the terms of image
and text are constants, and of the user alone a click is independent.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.data.scenesearch.world import VALUES
from mmbench.data.tastes.law import (
    BRANDS,
    CLASSES,
    CLICKS,
    LIKED,
    click_chances,
    codes,
    law_of,
)
from mmbench.errors import UsageError
from mmbench.types import Predictions

if TYPE_CHECKING:
    from mmbench.types import Floats, Split

MODALITIES = ("user", "image", "text")
#: Digits by which probabilities are compared: equal ones stay equal on every machine.
_DIGITS = 9
_DEPTH = 10
_SETS = {
    "match": ("image+text", "user+image", "user+text", "user+image+text"),
    "click": (
        "user", "image", "text", "image+text", "user+image", "user+text", "user+image+text",
    ),
}  # fmt: skip


def oracle(split: Split, heard: frozenset[str]) -> Predictions:
    """Answer with the exact posterior of each item.

    Args:
        split: Any split of this dataset, or a part of one.
        heard: The modalities to look at, any subset.

    Returns:
        Next item: columns ``match.embedding`` [N, E] and ``match.gallery`` [M, E], whose cosine
        orders entries as the posterior does. Click: the likelier class, and ``click.scores``.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    strange = heard - set(MODALITIES)
    if strange:
        known = ", ".join(MODALITIES)
        raise UsageError(f"unknown modality {min(strange)!r}: this dataset has {known}")
    if split.gallery is None:
        chances = click_chances(split, heard)
        scores = np.stack([1 - chances, chances], axis=1)
        said = [CLASSES[best] for best in np.round(scores, _DIGITS).argmax(axis=1)]
        return Predictions(split.ids, {"click": said}, {"click.scores": scores.tolist()})
    queries, entries = _sides(split, heard)
    # A last number, which entries have as 0, gives all queries one length: a cosine is then the
    # logarithm of the posterior but for constants, in both directions.
    square = (queries**2).sum(axis=1, keepdims=True)
    rest = np.sqrt(np.maximum(square.max() - square, 0.0))
    columns: dict[str, Any] = {
        "match.embedding": np.concatenate([queries, rest], axis=1),
        "match.gallery": np.concatenate([entries, np.zeros((len(entries), 1))], axis=1),
    }
    return Predictions(split.ids, {"match": [None] * len(split)}, columns)


def bounds(split: Split) -> dict[str, dict[str, float]]:
    """Return proven bounds: metric -> modalities joined by ``+`` -> expected value at best."""
    found: dict[str, dict[str, float]] = {}
    for names in _SETS["click" if split.gallery is None else "match"]:
        for metric, value in ideal(split, frozenset(names.split("+"))).items():
            found.setdefault(metric, {})[names] = value
    return found


def late_bounds(split: Split) -> dict[str, float]:
    """Return what late fusion has at best: of clicks, what is known without looking."""
    if split.gallery is not None:
        return {}
    base = float(_weigh(LIKED, LIKED))
    nats = -base * log(base) - (1 - base) * log(1 - base)
    return {"nll": nats, "bits": nats / log(2)}


def late_references(split: Split) -> dict[str, float]:
    """Return what the late fusion with the least cross-entropy scores: references, no bounds."""
    if split.gallery is None:
        return {"accuracy": float(max(_weigh(LIKED, LIKED), 1 - _weigh(LIKED, LIKED)))}
    return ideal(split, frozenset(MODALITIES))


def ideal(split: Split, heard: frozenset[str]) -> dict[str, float]:
    """Return the expected value of each metric for whoever answers by the exact posterior."""
    if split.gallery is None:
        return _of_clicks(click_chances(split, heard))
    queries, entries = _sides(split, heard)
    logs = queries @ entries.T
    return of_chances(logs, "") | of_chances(logs.T, "_back")


def of_chances(logs: Floats, suffix: str) -> dict[str, float]:
    """Return the expected value of each metric if candidates stand in falling order.

    Args:
        logs: [A, C] logarithms of how likely each candidate is to be the right one, up to a
            constant for each asker.
        suffix: What the names end in.
    """
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    mean = np.sort(weights, axis=1)[:, ::-1].mean(axis=0)  # [C], by place
    place = np.arange(1, len(mean) + 1)
    found = {f"recall_at_{k}": float(mean[:k].sum()) for k in (1, 5, 10)}
    found["mrr"] = found["retrieval_map"] = float((mean / place).sum())
    found["retrieval_ndcg"] = float((mean / np.log2(place + 1))[:_DEPTH].sum())
    found["mean_rank"] = float((mean * place).sum())
    return {f"{name}{suffix}": value for name, value in found.items()}


def _of_clicks(chances: Floats) -> dict[str, float]:
    both = np.stack([1 - chances, chances])
    nats = float(-(both * np.log(both)).sum(axis=0).mean())
    accuracy = float(both.max(axis=0).mean())
    return {
        "nll": nats,
        "bits": nats / log(2),
        "brier": float((2 * both[0] * both[1]).mean()),
        "accuracy": accuracy,
        "micro_f1": accuracy,
    }


def _weigh(colour: float, brand: float) -> float:
    """Return how often a user clicks who likes the colour and the brand so often."""
    return float(np.array([1 - colour, colour]) @ CLICKS @ np.array([1 - brand, brand]))


def _sides(split: Split, heard: frozenset[str]) -> tuple[Floats, Floats]:
    """Return users [N, E] and entries [M, E] whose inner products are logarithms of the posterior.

    A column of zeros stands where nothing is heard.
    """
    assert split.gallery is not None
    law = law_of(split)
    colours, brands = law.tastes(split)
    groups = split.gallery.groups
    queries = [np.zeros((len(split), 1))]
    entries = [np.zeros((len(split.gallery), 1))]
    for modality, logs, name, values in (
        ("image", colours, "colour", VALUES["colour"]),
        ("text", brands, "brand", BRANDS),
    ):
        if {"user", modality} <= heard:
            most = logs.max(axis=1, keepdims=True)
            total = most + np.log(np.exp(logs - most).sum(axis=1, keepdims=True))
            queries.append(logs - total)
            entries.append(np.eye(logs.shape[1])[codes(groups[name], values)])
    return np.concatenate(queries, axis=1), np.concatenate(entries, axis=1)
