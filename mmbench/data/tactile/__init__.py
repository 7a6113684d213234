"""Tactile: what a thing is made of, and how hard it is, from touch, form and odour. Built in.

Senses that are no text, picture or sound: a series of pressures (a sequence), a set of points, and
what receptors of a nose say (a vector). How hard a thing is takes touch and form, and which of two
materials it is takes odour and form; see `law`.

The parts: `law` (what comes with what, and what is best), `senses` (render).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from mmbench import rng
from mmbench.data import _finite
from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.interactions import noise, sequences
from mmbench.data.tactile import law as laws
from mmbench.data.tactile import senses
from mmbench.data.tactile.law import CLASSES, DEGREES, ERROR, FORMS, MODALITIES, STATES, VALUES, Law
from mmbench.errors import UsageError
from mmbench.references import LabelReferences, ScalarReferences
from mmbench.types import Dataset, Modality, Output, Predictions, Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

__all__ = ["VERSION", "Params", "bounds", "build", "late_bounds", "late_references", "oracle",
           "source_digest"]  # fmt: skip

#: Raised whenever the data change.
VERSION = 1
# Digits by which probabilities are compared: equal ones stay equal on every machine.
_DIGITS = 9


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may set.

    Attributes:
        interaction: How often odour and form together tell the kind, .5 (never more than chance)
            to 1.
        noise: Noise on every number, as a multiple of the usual, 0 to 1.5. With more, states could
            not be read off any more, and the oracle would be out of reach.
    """

    interaction: Annotated[float, msgspec.Meta(ge=0.5, le=1.0)] = 0.92
    noise: Annotated[float, msgspec.Meta(ge=0.0, le=1.5)] = 1.0


@dataclass(frozen=True, kw_only=True)
class Things(LabelReferences):
    """The right material of each item, and how it came about.

    Attributes:
        law: That of the split.
        states: [N, 4] in the order of `law.STATES`.
    """

    law: Law
    states: Array

    def take(self, index: Sequence[int]) -> Things:
        """Return the references of the items `index`, in that order."""
        rows = list(index)
        return replace(self, labels=self.labels[rows], states=self.states[rows])


def source_digest(request: Request) -> str:
    """Return the digest of what lies on the user's disk: nothing does."""
    del request
    return ""


def build(request: Request) -> Dataset:
    """Return the dataset, from the cache if it has been made before.

    The first n items of a split are the same whatever its size.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
    """
    params = checked(request, "tactile", VERSION, Params)
    files: list[str | Path] = [*sorted(Path(__file__).parent.glob("*.py")), _finite.__file__]
    key = {
        "name": "tactile",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*files, noise.__file__, sequences.__file__),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits))
    splits = {name: _split(entry, name, Law(params.interaction)) for name in request.splits}
    return Dataset(signature(Law(params.interaction)), splits, entry.fingerprint, oracle)


def signature(law: Law) -> Signature:
    """Return what models need to know."""
    chances = laws.readings() @ law.table.sum(axis=(0, 2, 3, 4))
    mean = float(chances @ VALUES)
    spread = float(np.sqrt(chances @ (VALUES - mean) ** 2))
    return Signature(
        {
            "touch": Modality("sequence", (senses.STEPS, senses.TAXELS)),
            "form": Modality("points", (senses.POINTS, 3)),
            "odour": Modality("vector", (senses.RECEPTORS,)),
        },
        {
            "material": Output("label", len(CLASSES), CLASSES),
            "hardness": Output(
                "scalar", 1, main=False, offset=round(mean, 6), scale=round(spread, 6)
            ),
        },
    )


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    table = Law(params.interaction).table
    steps = np.cumsum(table.ravel())
    arrays: dict[str, Any] = {}
    for split, items in splits.items():
        unit = rng.uniform(seed, "tactile", split, "thing", count=items)
        cell = np.searchsorted(steps / steps[-1], unit, side="right")
        material, hardness, form, size, odour = np.unravel_index(cell, table.shape)
        error = rng.integers(seed, "tactile", split, "reading", count=items, below=2 * ERROR + 1)
        points, lengths = senses.form(seed, split, form, size, params.noise)
        made = {
            "material": material.astype(np.uint8),
            "hardness": (DEGREES[hardness] + error - ERROR).astype(np.int16),
            "states": np.stack([hardness, form, size, odour], axis=1).astype(np.uint8),
            "touch": senses.touch(seed, split, laws.force(hardness, size), params.noise),
            "form": points,
            "lengths": lengths,
            "odour": senses.odour(seed, split, odour, params.noise),
        }
        arrays.update({f"{split}.{field}": array for field, array in made.items()})
    return arrays, {}


def _split(entry: Entry, name: str, law: Law) -> Split:
    arrays = {
        key.removeprefix(f"{name}."): array
        for key, array in entry.arrays.items()
        if key.startswith(f"{name}.")
    }
    labels = np.asarray(arrays["material"]).astype(np.int64)
    states = np.asarray(arrays["states"]).astype(np.int64)
    read = np.asarray(arrays["hardness"]).astype(np.float64)
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(len(labels))],
        inputs={
            "touch": arrays["touch"],
            "form": Ragged(arrays["form"], arrays["lengths"]),
            "odour": arrays["odour"],
        },
        targets={"material": labels, "hardness": read.astype(np.float32)},
        references={
            "material": Things(labels, CLASSES, law=law, states=states),
            "hardness": ScalarReferences(read),
        },
        groups={
            "material": np.array(CLASSES)[labels],
            "form": np.array(FORMS)[states[:, list(STATES).index("form")]],
            "size": states[:, list(STATES).index("size")],
        },
    )


# --- what is possible ----------------------------------------------------------------------------


def _things(split: Split) -> Things:
    found = split.references.get("material")
    if not isinstance(found, Things):
        raise UsageError("this split is not of the dataset 'tactile', so its law is unknown")
    return found


def oracle(split: Split, heard: frozenset[str]) -> Predictions:
    """Answer with the exact posterior of the material, and the median of the hardness.

    Nobody beats the first in expected accuracy and log loss, nor the second in absolute error. For
    correlation the median is not the best answer: that level is a reference.

    Args:
        split: Any split of this dataset, or a part of one.
        heard: The modalities to look at, any subset.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    for name in sorted(heard - set(MODALITIES)):
        raise UsageError(f"unknown modality {name!r}: the data have {', '.join(MODALITIES)}")
    things = _things(split)
    chances = laws.posterior(things.law, things.states, heard, "material")
    said = [CLASSES[best] for best in np.round(chances, _DIGITS).argmax(axis=1)]
    read = laws.median(laws.posterior(things.law, things.states, heard, "hardness"))
    outputs = {"material": said, "hardness": read.astype(np.float64).tolist()}
    return Predictions(split.ids, outputs, {"material.scores": chances.tolist()})


def bounds(split: Split) -> dict[str, dict[str, float]]:
    """Return proven bounds, exact: metric -> modalities joined by ``+`` -> expected value at best.

    Every predictor that sees no more than those is bounded, whatever it is; see `law.limits`.
    """
    law = _things(split).law
    found: dict[str, dict[str, float]] = {}
    for heard in range(1, 2 ** len(MODALITIES)):
        names = [name for place, name in enumerate(MODALITIES) if heard >> place & 1]
        for metric, value in laws.limits(law, frozenset(names)).items():
            found.setdefault(metric, {})["+".join(names)] = value
    return found


def late_bounds(split: Split) -> dict[str, float]:
    """Return proven bounds on late fusion: its log loss; see `law.late_limits`."""
    known = laws.late_limits(_things(split).law)
    return {metric: known[metric] for metric in ("bits", "nll")}


def late_references(split: Split) -> dict[str, float]:
    """Return what joining all but form and kind scores: references, no bounds."""
    known = laws.late_limits(_things(split).law)
    return {metric: known[metric] for metric in ("accuracy", "brier")}
