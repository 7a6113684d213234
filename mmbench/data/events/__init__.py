"""Events: short clips in which a ball bounces and moves, and something sounds. Built in, generated.

Sixteen frames of video and a spectrogram. A task chooses among the outputs: ``clip`` (motion x
sound x whether the sounds are on the bounces), ``synchrony`` (the last of these alone),
``emotion``, ``events`` (what happens at each frame, and key frames) and ``caption`` (subtitles with
time stamps). Fusion shows in the synchrony, of which neither stream says anything.

The parts: `world` (what happens), `render` (video), `sound` (audio), `grammar` (captions),
`parser` (captions back to slots), `posterior` (exact inference), `oracle` (best answers), `proven`
(bounds), `params` (what a task may set).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mmbench import catalog, rng
from mmbench.data._cache import Entry, Made, Parts, cached, rendered
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.events import grammar, noise, render, sound, world
from mmbench.data.events.oracle import make_oracle
from mmbench.data.events.params import MODALITIES, Noise, Params, check
from mmbench.data.events.parser import parse, slots_of
from mmbench.data.events.proven import bounds, late_bounds, late_references
from mmbench.data.events.references import Law, PlantedFrames, PlantedLabels, PlantedTexts
from mmbench.errors import SpecError, nearest
from mmbench.references import References
from mmbench.text import SPECIALS
from mmbench.types import Dataset, Modality, Output, Signature, Split

__all__ = [
    "VERSION",
    "Params",
    "bounds",
    "build",
    "late_bounds",
    "late_references",
    "source_digest",
]

#: Raised whenever the data change.
VERSION = 1
#: Output -> what models have to know of it; the first one asked for is the main one by default.
OUTPUTS = {
    "clip": Output("label", len(world.CLIPS), world.CLIPS),
    "synchrony": Output("label", len(world.SYNCHRONY), world.SYNCHRONY),
    "emotion": Output("label", len(world.EMOTIONS), world.EMOTIONS),
    "events": Output("frames", len(world.EVENTS), world.EVENTS, background=world.BACKGROUND),
    "caption": Output("text", grammar.longest(), grammar.vocabulary()),
}
_RENDERED: Mapping[str, ModuleType] = {"video": render, "audio": sound}


def source_digest(request: Request) -> str:
    """Return the digest of what lies on the user's disk: nothing does."""
    del request
    return ""


def build(request: Request) -> Dataset:
    """Return the dataset, from the cache if it has been made before.

    The first n clips of a split are the same whatever its size.

    Raises:
        SpecError: Another version is asked for, a parameter is wrong, or there is no such output.
    """
    params = checked(request, "events", VERSION, Params)
    check(params, tuple(request.splits), f"{catalog.task_where(request.task)}: dataset.params")
    asked = _outputs(request)
    key = {
        "name": "events",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*sorted(Path(__file__).parent.glob("*.py"))),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits))
    splits = {name: _split(entry, name, params, asked) for name in request.splits}
    modalities = {name: Modality(kind, _RENDERED[name].SHAPE) for name, kind in _KINDS.items()}
    train = splits.get("train", next(iter(splits.values())))
    return Dataset(Signature(modalities, asked), splits, entry.fingerprint, make_oracle(train))


_KINDS = {"video": "video", "audio": "spectrogram"}


def _outputs(request: Request) -> dict[str, Output]:
    """Return the outputs that the task asks for, the main one first; without any, ``clip``."""
    told = request.outputs
    for name, output in told.items():
        if name not in OUTPUTS:
            near = nearest(name, OUTPUTS)
            offer = f"did you mean {near!r}? " if near else ""
            raise SpecError(
                f"{catalog.task_where(request.task)}: outputs.{name}: {offer}the dataset 'events' "
                f"has {', '.join(OUTPUTS)}"
            )
        if output.classes and output.classes != OUTPUTS[name].vocabulary:
            raise SpecError(
                f"{catalog.task_where(request.task)}: outputs.{name}.classes: the data's are "
                f"{', '.join(OUTPUTS[name].vocabulary)}"
            )
    names = sorted(told, key=lambda name: not told[name].main) or ["clip"]
    return {name: replace(OUTPUTS[name], main=at == 0) for at, name in enumerate(names)}


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    arrays: dict[str, Any] = {}
    for split, items in splits.items():
        changes = params.of(split)
        source = changes.like or split
        clips = world.draw(seed, source, items, params.asynchrony)
        facts = grammar.facts_of(clips)
        frames = world.events(clips)
        made = {
            "clip": clips.clip.astype(np.int64),
            "synchrony": clips.synchronous,
            "emotion": clips.emotion,
            "events": frames.astype(np.int64),
            "caption": _captions(seed, source, facts, params.references),
            "facts": facts.astype(np.uint8),
        }
        for name in MODALITIES:
            there = np.ones(items, dtype=bool)
            if rate := getattr(changes.missing, name):
                chance = rng.uniform(seed, "events", split, "missing", name, count=items)
                there = chance >= rate
                made[f"present {name}"] = there
            more = getattr(changes.more_noise, name)
            own = getattr(params.noise, name)
            made[name] = _rendered(seed, source, split, name, clips, (own, more), there)
        arrays.update({f"{split}.{field}": array for field, array in made.items()})
    return arrays, {}


def _captions(seed: int, split: str, facts: world.Ints, references: int) -> NDArray[np.int16]:
    """Return the token ids of the references, [N, R, L]."""
    ways = grammar.draw_wordings(seed, split, len(facts), references)
    texts = [
        grammar.caption(grammar.Facts(*fact), grammar.Wording(*way))
        for fact, row in zip(facts.tolist(), ways.tolist(), strict=True)
        for way in row
    ]
    return grammar.encode(texts).reshape(len(facts), references, grammar.longest())


def _rendered(
    seed: int,
    source: str,
    split: str,
    modality: str,
    clips: world.Clips,
    deviations: tuple[int, int],
    there: NDArray[np.bool_],
) -> Parts:
    """Render a modality of all clips; one that is absent is all zeros."""
    module = _RENDERED[modality]

    def block_of(block: int, rows: slice) -> NDArray[np.uint8]:
        part = clips.take(rows)
        pixels = module.clean(part).astype(np.int16)
        streams = ((source, modality, "noise", block), (split, modality, "more noise", block))
        for deviation, stream in zip(deviations, streams, strict=True):
            pixels += noise.normal(deviation, seed, "events", *stream, shape=pixels.shape)
        here = there[rows].reshape(-1, *[1] * (pixels.ndim - 1))
        return np.asarray(np.clip(pixels, 0, 255) * here, dtype=np.uint8)

    return rendered(noise.blocks(len(clips)), module.SHAPE, np.uint8, block_of)


def _split(entry: Entry, name: str, params: Params, asked: Mapping[str, Output]) -> Split:
    prefix = f"{name}."
    arrays = {
        key.removeprefix(prefix): array
        for key, array in entry.arrays.items()
        if key.startswith(prefix)
    }
    items = len(arrays["clip"])
    facts = np.asarray(arrays["facts"], dtype=np.int64)
    motion, sounds, synchronous, number = facts[:, :4].T
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(items)],
        inputs={modality: arrays[modality] for modality in MODALITIES},
        targets={output: arrays[output] for output in asked},
        references={output: _references(output, arrays, params, name) for output in asked},
        present={m: arrays[key] for m in MODALITIES if (key := f"present {m}") in arrays},
        groups={
            "motion": np.array(world.MOTIONS)[motion],
            "sound": np.array(world.SOUNDS)[sounds],
            "synchrony": np.array(world.SYNCHRONY)[synchronous],
            "bounces": number,
        },
    )


def _references(output: str, arrays: Mapping[str, Any], params: Params, split: str) -> References:
    law = _law(params, split)
    right = np.asarray(arrays[output])
    if output == "caption":
        words, marks = grammar.vocabulary(), len(SPECIALS)
        return PlantedTexts(
            texts=[
                tuple(" ".join(words[i] for i in row if i >= marks) for row in rows)
                for rows in right.tolist()
            ],
            slots=[slots_of(grammar.Facts(*row)) for row in arrays["facts"].tolist()],
            parse=parse,
            law=law,
        )
    if output == "events":
        return PlantedFrames(
            frames=list(right),
            classes=world.EVENTS,
            background=world.BACKGROUND,
            keys=world.onsets(right),
            law=law,
        )
    return PlantedLabels(labels=right, classes=OUTPUTS[output].vocabulary, law=law)


def _law(params: Params, split: str) -> Law:
    """Return the law of a split: deviations of independent noise add up squared."""
    more: Noise = params.of(split).more_noise
    both = [np.hypot(getattr(params.noise, m), getattr(more, m)) for m in MODALITIES]
    return Law(float(both[0]), float(both[1]), params.asynchrony)
