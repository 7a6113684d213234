"""Recognition: a picture of a lesion and a record of the patient; is it malignant? Built in.

In the style of medical data, and with nothing medical in it: a 32 x 32 picture whose spot shows
signs, and a record, as a row of a table with missing values or as a short report. Both know
something alone, and what one of the signs means depends on a field of the record, which no late
fusion can use (see `law`).

The parts: `law` (what comes with what, and what is best), `picture` and `record` (render).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np

from mmbench import rng
from mmbench.data import _finite
from mmbench.data._cache import Entry, Made, Parts, cached, rendered
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.recognition import law as laws
from mmbench.data.recognition import picture, record
from mmbench.data.recognition.law import CLASSES, MISSING, SITES, Law
from mmbench.data.scenecap import noise as bytes_of
from mmbench.errors import UsageError
from mmbench.references import LabelReferences
from mmbench.text import Vocabulary
from mmbench.types import Dataset, Modality, Output, Predictions, Ragged, Signature, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmbench.types import Array, Floats

__all__ = [
    "VERSION", "Params", "bounds", "build", "late_bounds", "late_references", "oracle",
    "source_digest",
]  # fmt: skip

#: Raised whenever the data change.
VERSION = 1
# Digits by which probabilities are compared: equal ones stay equal on every machine.
_DIGITS = 9


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may set.

    Attributes:
        record: ``table``, a row of numbers as the modality ``record``, or ``report``, a text as the
            modality ``report``.
        prevalence: Share of malignant lesions, .05 to .95.
        interaction: How often texture and site together tell the truth, .5 (never more than
            chance) to 1.
        missing: How often a field of the record is missing, 0 to .9.
        noise: Even noise on every pixel of at most so many of 255 levels, 0 to 40.
    """

    record: Literal["table", "report"] = "table"
    prevalence: Annotated[float, msgspec.Meta(ge=0.05, le=0.95)] = 0.4
    interaction: Annotated[float, msgspec.Meta(ge=0.5, le=1.0)] = 0.9
    missing: Annotated[float, msgspec.Meta(ge=0.0, le=0.9)] = 0.15
    noise: Annotated[int, msgspec.Meta(ge=0, le=40)] = 12


@dataclass(frozen=True, kw_only=True)
class Cases(LabelReferences):
    """The right class of each item, and how it came about.

    Attributes:
        law: That of the split.
        states: [N, 7] what picture and record show, in the order of `law.STATES`.
    """

    law: Law
    states: Array

    def take(self, index: Sequence[int]) -> Cases:
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
    params = checked(request, "recognition", VERSION, Params)
    files: list[str | Path] = [
        *sorted(Path(__file__).parent.glob("*.py")),
        _finite.__file__,
        bytes_of.__file__,
    ]
    key = {
        "name": "recognition",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*files),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits))
    splits = {name: _split(entry, name, params) for name in request.splits}
    return Dataset(signature(params), splits, entry.fingerprint, oracle)


def signature(params: Params) -> Signature:
    """Return what models need to know."""
    told = Modality("vector", (record.WIDTH,))
    if params.record == "report":
        told = Modality("text", (record.longest(),), record.vocabulary())
    return Signature(
        {"image": Modality("image", picture.SHAPE), _name(params): told},
        {"label": Output("label", len(CLASSES), CLASSES)},
    )


def _name(params: Params) -> str:
    return "report" if params.record == "report" else "record"


def _law(params: Params) -> Law:
    return Law(params.prevalence, params.interaction, params.missing, params.record == "report")


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    arrays: dict[str, Any] = {}
    for split, items in splits.items():
        labels, states = _draw(seed, split, items, _law(params))
        made = {
            "labels": labels.astype(np.uint8),
            "states": states.astype(np.int8),
            "image": _pictures(seed, split, states[:, :3], params.noise),
        }
        fields = states[:, 3:]
        if params.record == "table":
            made["record"] = record.rows(fields)
        else:
            unit = _units(seed, split, "wording", items, record.DRAWS)
            made["report"], made["lengths"] = _encoded(record.reports(fields, unit))
        arrays.update({f"{split}.{field}": array for field, array in made.items()})
    return arrays, {}


def _units(seed: int, split: str, name: str, items: int, each: int) -> Floats:
    found = rng.uniform(seed, "recognition", split, name, count=items * each)
    return found.reshape(items, each)


def _draw(seed: int, split: str, items: int, law: Law) -> tuple[Array, Array]:
    """Draw labels [N] and states [N, 7]."""

    def unit(name: str) -> Floats:
        return rng.uniform(seed, "recognition", split, name, count=items)

    labels = (unit("label") < law.prevalence).astype(np.int64)
    border, size = laws.signs()
    tables = {"border": border, "size": size}
    tables |= {name: laws.numbers(name) for name in ("age", "s100", "ldh")}
    drawn = {name: _finite.pick(table[labels], unit(name)) for name, table in tables.items()}
    drawn["site"] = (unit("site") * len(SITES)).astype(np.int64)
    said = np.where(unit("texture") < law.interaction, labels, 1 - labels)
    drawn["texture"] = laws.meant(said, drawn["site"])  # turning it round twice undoes it
    for name in laws.FIELDS:
        gone = unit(f"missing {name}") < law.missing
        drawn[name] = np.where(gone, MISSING, drawn[name])
    return labels, np.stack([drawn[name] for name in laws.STATES], axis=1)


def _pictures(seed: int, split: str, signs: Array, noise: int) -> Parts:
    """Render all pictures."""
    draws = _units(seed, split, "picture", len(signs), picture.DRAWS)

    def block_of(block: int, rows: slice) -> Array:
        shape = (len(signs[rows]), *picture.SHAPE)
        raw = bytes_of.random_bytes(seed, "recognition", split, "pixels", block, shape=shape)
        return picture.render(signs[rows], draws[rows], raw, noise)

    return rendered(bytes_of.blocks(len(signs)), picture.SHAPE, np.uint8, block_of)


def _encoded(texts: Sequence[str]) -> tuple[Array, Array]:
    """Return token ids [N, L], 0 behind each text, and their numbers [N]."""
    words = Vocabulary(record.vocabulary())
    ids = np.zeros((len(texts), record.longest()), dtype=np.int16)
    lengths = np.zeros(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        found = words.encode(text.split())
        ids[row, : len(found)] = found
        lengths[row] = len(found)
    return ids, lengths


def _split(entry: Entry, name: str, params: Params) -> Split:
    arrays = {
        key.removeprefix(f"{name}."): array
        for key, array in entry.arrays.items()
        if key.startswith(f"{name}.")
    }
    labels = np.asarray(arrays["labels"]).astype(np.int64)
    states = np.asarray(arrays["states"]).astype(np.int64)
    told: Array | Ragged = arrays[_name(params)]
    if params.record == "report":
        told = Ragged(arrays["report"], arrays["lengths"])
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(len(labels))],
        inputs={"image": arrays["image"], _name(params): told},
        targets={"label": labels},
        references={"label": Cases(labels, CLASSES, law=_law(params), states=states)},
        present=_present(arrays, params),
        groups={
            "label": np.array(CLASSES)[labels],
            "site": np.array([*SITES, "missing"])[states[:, -1]],  # the last is that of -1
            "missing": (states == MISSING).sum(axis=1),
        },
    )


def _present(arrays: Mapping[str, Array], params: Params) -> dict[str, Array]:
    """Mark items whose report says nothing at all, and so is none."""
    if params.record == "table" or bool((arrays["lengths"] > 0).all()):
        return {}
    return {"report": np.asarray(arrays["lengths"]) > 0}


# --- what is possible ----------------------------------------------------------------------------


def _cases(split: Split) -> Cases:
    found = split.references.get("label")
    if not isinstance(found, Cases):
        raise UsageError("this split is not of the dataset 'recognition', so its law is unknown")
    return found


def _heard(heard: frozenset[str], split: Split) -> frozenset[str]:
    """Return what is heard in the law's words, where a report is a record too."""
    for name in sorted(heard - set(split.inputs)):
        raise UsageError(f"unknown modality {name!r}: the data have {', '.join(split.inputs)}")
    return frozenset("image" if name == "image" else "record" for name in heard)


def oracle(split: Split, heard: frozenset[str]) -> Predictions:
    """Answer with the exact posterior p(y | what is seen), which nobody beats in expectation.

    Args:
        split: Any split of this dataset, or a part of one.
        heard: The modalities to look at, any subset.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    cases = _cases(split)
    chances = laws.posterior(cases.law, cases.states, _heard(heard, split))
    said = [CLASSES[best] for best in np.round(chances, _DIGITS).argmax(axis=1)]
    return Predictions(split.ids, {"label": said}, {"label.scores": chances.tolist()})


def bounds(split: Split) -> dict[str, dict[str, float]]:
    """Return proven bounds, exact: metric -> modalities joined by ``+`` -> expected value at best.

    Every predictor that sees no more than those is bounded, whatever it is; see `law.limits`.
    """
    first, second = split.inputs
    found: dict[str, dict[str, float]] = {}
    for names in ((first,), (second,), (first, second)):
        known = laws.limits(_cases(split).law, _heard(frozenset(names), split))
        for metric, value in known.items():
            found.setdefault(metric, {})["+".join(names)] = value
    return found


def late_bounds(split: Split) -> dict[str, float]:
    """Return proven bounds on late fusion: its log loss; see `law.late_limits`."""
    known = laws.late_limits(_cases(split).law)
    return {metric: known[metric] for metric in ("bits", "nll")}


def late_references(split: Split) -> dict[str, float]:
    """Return what the late fusion with the least log loss scores: references, no bounds."""
    known = laws.late_limits(_cases(split).law)
    return {metric: known[metric] for metric in ("auroc", "accuracy", "brier")}
