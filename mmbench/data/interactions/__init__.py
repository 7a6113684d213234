"""The interaction suite: sequences of three modalities whose interaction is planted, and known.

One label, three unaligned sequences (text, vision, audio), and eight ways in which the label
depends on them: redundant, unique, synergistic, and what is between (see `structures`). Because
the data are drawn from a law that is written down, everything that can be known of the label from
any part of the modalities is known exactly: what each modality says alone, what all say together,
and how much of it no late fusion can reach. What goes wrong with real data can be planted too:
noise, wrong labels, misaligned and missing modalities, contradictions, a spurious attribute (see
`params`).

The parts: `structures` (laws of label and latents), `law` (of a split, with all that goes wrong in
it), `latents` and `sequences` (draw and render), `evidence` and `posterior` (exact inference),
`oracle` (best answers), `information` (bits of every set of modalities), `late` (the best late
fusion), `proven` (bounds from both), `broja` (redundant, unique and synergistic bits of two
sources).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmbench import catalog, rng
from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.interactions import latents, noise, sequences
from mmbench.data.interactions.law import Law, latents_of, law
from mmbench.data.interactions.oracle import oracle
from mmbench.data.interactions.params import Params, check, each
from mmbench.data.interactions.posterior import posterior
from mmbench.data.interactions.proven import bounds, late_bounds, late_references
from mmbench.data.interactions.references import INTENSITIES, PlantedLabels
from mmbench.data.interactions.structures import MODALITIES, Structure, structure
from mmbench.references import References, ScalarReferences
from mmbench.types import Dataset, Modality, Output, Signature, Split

__all__ = [
    "VERSION",
    "Params",
    "bounds",
    "build",
    "late_bounds",
    "late_references",
    "oracle",
    "posterior",
    "source_digest",
]

#: Raised whenever the data change.
VERSION = 1
#: The target of an item whose label is not told.
UNKNOWN = -1


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
    params = checked(request, "interactions", VERSION, Params)
    check(params, tuple(request.splits), f"{catalog.task_where(request.task)}: dataset.params")
    key = {
        "name": "interactions",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*sorted(Path(__file__).parent.glob("*.py"))),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits))
    splits = {name: _split(entry, name, params) for name in request.splits}
    return Dataset(signature(params), splits, entry.fingerprint, oracle)


def signature(params: Params) -> Signature:
    """Return what models need to know."""
    planted = structure(params.structure)
    outputs = {"label": Output("label", len(planted.classes), planted.classes)}
    if params.structure == "sentiment":
        spread = float(np.std(INTENSITIES))  # classes are even, so their mean is 0
        outputs["intensity"] = Output("scalar", 1, main=False, offset=0.0, scale=spread)
    shapes = sequences.SHAPES.items()
    return Signature({name: Modality("sequence", shape) for name, shape in shapes}, outputs)


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    arrays: dict[str, Any] = {}
    for split, items in splits.items():
        made = _items(seed, params, split, items)
        arrays.update({f"{split}.{field}": array for field, array in made.items()})
    return arrays, {}


def _items(seed: int, params: Params, split: str, items: int) -> dict[str, Any]:
    """Return the arrays of one split."""
    changes, rules = params.of(split), law(params, split)
    source = changes.like or split
    drawn = latents.draw(seed, source, split, items, rules, changes.label_fraction)
    found: dict[str, Any] = {
        "labels": drawn.labels,
        "truth": drawn.truth,
        "told": drawn.told,
        "group": drawn.group,
        "misaligned": drawn.misaligned,
        "conflict": drawn.conflict,
    }
    for modality, name in enumerate(MODALITIES):
        x = _sequences(seed, source, split, params, rules, drawn, modality)
        there = np.ones(items, dtype=bool)
        if rules.missing[modality]:
            chance = rng.uniform(seed, "interactions", split, "missing", name, count=items)
            there = chance >= rules.missing[modality]
            found[f"present {name}"] = there
        found[name] = noise.quantised(x * there[:, None, None])
    return found


def _sequences(
    seed: int,
    source: str,
    split: str,
    params: Params,
    rules: Law,
    drawn: latents.Drawn,
    modality: int,
) -> Any:
    """Return one modality of a split, [N, T, d] float64."""
    name = MODALITIES[modality]
    states, group = latents_of(drawn.states[modality], rules, modality)
    values = rules.structure.values if modality == 1 else None
    x = rules.amplitudes[modality] * sequences.signal(
        seed, "interactions", source, name, "times", modality=modality, states=states, values=values
    )
    if group is not None:
        height = rules.group_amplitude * (2.0 * group - 1.0)
        x += height[:, None, None] * sequences.group_direction(modality)
    own, more = each(params.noise)[modality], each(params.of(split).feature_noise)[modality]
    for deviation, stream in ((own, (source, name, "noise")), (more, (split, name, "more noise"))):
        if deviation:
            x += deviation * sequences.static(
                seed, "interactions", *stream, modality=modality, items=len(states)
            )
    return x


def _split(entry: Entry, name: str, params: Params) -> Split:
    prefix = f"{name}."
    arrays = {
        key.removeprefix(prefix): array
        for key, array in entry.arrays.items()
        if key.startswith(prefix)
    }
    labels = np.asarray(arrays["labels"])
    planted = structure(params.structure)
    targets: dict[str, Any] = {"label": np.where(arrays["told"], labels, UNKNOWN)}
    references: dict[str, References] = {
        "label": PlantedLabels(labels, planted.classes, law=law(params, name))
    }
    if params.structure == "sentiment":
        numbers = np.asarray(INTENSITIES)[labels]
        targets["intensity"] = numbers.astype(np.float32)
        references["intensity"] = ScalarReferences(numbers)
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(len(labels))],
        inputs={modality: arrays[modality] for modality in MODALITIES},
        targets=targets,
        references=references,
        present={m: arrays[key] for m in MODALITIES if (key := f"present {m}") in arrays},
        groups=_groups(arrays, params, name, planted),
    )


def _groups(
    arrays: Mapping[str, Any], params: Params, split: str, planted: Structure
) -> dict[str, Any]:
    """Return the columns that subgroups can be reported by: those of what is planted here."""
    changes = params.of(split)
    columns = {"label": np.array(planted.classes)[arrays["labels"]]}
    if params.group is not None:
        columns["group"] = arrays["group"]
    if changes.label_fraction < 1.0:
        columns["told"] = arrays["told"]
    if changes.label_noise:
        columns["flipped"] = arrays["labels"] != arrays["truth"]
    if changes.misaligned:
        columns["misaligned"] = arrays["misaligned"]
    if changes.conflict:
        columns["conflict"] = arrays["conflict"]
    return columns
