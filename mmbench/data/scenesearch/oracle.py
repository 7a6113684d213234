"""The best answers of retrieval, and what nobody passes: both follow from who looks alike.

What a query shows is its *key*: the attributes that its modalities show and texts tell. The n
entries of the gallery with that key are the ones that may be right, and nothing tells them apart:
attributes, noise and wordings are drawn on their own, and the order of the gallery is drawn with
them, so each is right with probability 1/n, whatever else is seen of this and all other items. So
the rank of the right entry is at best even on 1..n, and

* recall at k is at most ``min(k, n) / n``,
* the mean reciprocal rank (here also the average precision) at most ``(1 + ... + 1/n) / n``,
* the mean rank at least ``(n + 1) / 2``,

averaged over the queries. Backward the same holds with the queries that have a text's key. The
oracle puts those n entries first, tied, which scores exactly that. The median of the ranks has no
such form: its levels are references.

**Late fusion.** Where attributes are independent, "has the key of the image" and "has the key of
the audio" are two scores whose sum is largest for the entries that have both: late fusion reaches
the ceiling. Of a heading it knows nothing: the expected loss of every softmax over candidates is
convex in the sum f(image, text) + g(audio, text). Adding (by exclusive or) a constant to ground and
heading, or to air and heading, changes no probability, so the mean of a sum over all such
constants has no larger loss; and in that mean neither f nor g depends on the heading. So the late
fusion with the least cross-entropy leaves the heading out. Another one may rank better than that,
so its scores are references, no bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmbench.data.scenesearch.world import SHOWN, TOLD, VALUES, Ints
from mmbench.errors import UsageError
from mmbench.types import Predictions

if TYPE_CHECKING:
    from mmbench.types import Floats, Split

#: What is told in place of what.
_HEADING = ("ground", "air")
BOTH = frozenset(SHOWN)
_DEPTHS = (1, 5, 10)


def known(split: Split, heard: frozenset[str]) -> tuple[str, ...]:
    """Return the attributes that texts tell and these modalities show.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    strange = heard - set(SHOWN) - {"text"}
    if strange:
        names = ", ".join((*SHOWN, "text"))
        raise UsageError(f"unknown modality {min(strange)!r}: this dataset has {names}")
    told = _told(split)
    seen = {name for modality in heard & set(SHOWN) for name in SHOWN[modality]}
    if "heading" in told and seen >= set(_HEADING):
        seen.add("heading")
    return tuple(name for name in told if name in seen) if "text" in heard else ()


def oracle(split: Split, heard: frozenset[str]) -> Predictions:
    """Rank entries by how much of what is known of a query they have; those with all are tied.

    Args:
        split: Any split of this dataset, or a part of one.
        heard: The modalities to look at, any subset; without ``text`` nothing can be compared.

    Returns:
        The columns ``match.embedding`` [N, E] and ``match.gallery`` [M, E] of zeros and ones.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    names = known(split, heard)
    assert split.gallery is not None
    sides = [_codes(part.groups, names) for part in (split, split.gallery)]
    queries, entries = (_one_hot(codes, names) for codes in sides)
    return Predictions(
        split.ids,
        {"match": [None] * len(split)},
        {"match.embedding": queries, "match.gallery": entries},  # type: ignore[dict-item]
    )


def bounds(split: Split) -> dict[str, dict[str, float]]:
    """Return proven bounds: metric -> modalities joined by ``+`` -> expected value at best."""
    found: dict[str, dict[str, float]] = {}
    for heard in ((), ("image",), ("audio",), ("image", "audio")):
        names = known(split, frozenset((*heard, "text")))
        for metric, value in ideal(split, names).items():
            found.setdefault(metric, {})["+".join((*heard, "text"))] = value
    return found


def late_references(split: Split) -> dict[str, float]:
    """Return what the late fusion with the least cross-entropy scores: references, no bounds."""
    names = known(split, BOTH | {"text"})
    return ideal(split, tuple(name for name in names if name != "heading"))


def ideal(split: Split, names: tuple[str, ...]) -> dict[str, float]:
    """Return the expected value of each metric for whoever knows these attributes of all items."""
    assert split.gallery is not None
    sides = [_codes(part.groups, names) for part in (split, split.gallery)]
    found: dict[str, float] = {}
    for back, (askers, candidates) in (("", sides), ("_back", sides[::-1])):
        alike = counts(askers, candidates)
        if back:
            alike = alike[alike > 0]  # texts of items that are not in this part ask for nobody
        recalls = {k: float(np.mean(np.minimum(k, alike) / alike)) for k in _DEPTHS}
        found.update({f"recall_at_{k}{back}": value for k, value in recalls.items()})
        harmonic = np.cumsum(1.0 / np.arange(1, alike.max() + 1))
        reciprocal = float(np.mean(harmonic[alike - 1] / alike))
        found[f"mrr{back}"] = found[f"retrieval_map{back}"] = reciprocal
        found[f"mean_rank{back}"] = float(np.mean((alike + 1) / 2))
    found["rsum"] = sum(value for name, value in found.items() if name.startswith("recall"))
    return found


def counts(askers: Ints, candidates: Ints) -> Ints:
    """Return [A] how many of the candidates [C, K] have the same K numbers as each asker [A, K]."""
    both = np.concatenate([askers, candidates])
    kinds, which = np.unique(both, axis=0, return_inverse=True)
    which = which.reshape(-1)
    each = np.bincount(which[len(askers) :], minlength=len(kinds))
    return np.asarray(each[which[: len(askers)]])


def _told(split: Split) -> tuple[str, ...]:
    groups = split.gallery.groups if split.gallery is not None else {}
    for told in TOLD.values():
        if set(told) == set(groups):
            return told
    raise UsageError("this split is not of the dataset 'scenesearch': its gallery tells nothing")


def _codes(groups: Mapping[str, Any], names: tuple[str, ...]) -> Ints:
    """Return the attributes of items as numbers, [N, K]."""
    size = len(next(iter(groups.values())))
    columns = [np.zeros(size, dtype=np.int64)]  # so that nothing known is one key for all
    for name in names:
        place = {value: k for k, value in enumerate(VALUES[name])}
        columns.append(np.array([place[str(v)] for v in np.asarray(groups[name]).tolist()]))
    return np.stack(columns, axis=1)


def _one_hot(codes: Ints, names: tuple[str, ...]) -> Floats:
    """Return [N, E]: for each attribute a one in the place of its value; a zero if none is known.

    All have the same length, so that cosines are counts of equal attributes.
    """
    parts: list[NDArray[np.float64]] = [np.zeros((len(codes), 1))]
    for k, name in enumerate(names, 1):
        parts.append(np.eye(len(VALUES[name]))[codes[:, k]])
    return np.concatenate(parts, axis=1)
