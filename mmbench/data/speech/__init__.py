"""Audio-visual speech: words that are heard and seen, with a known law. Built in, generated.

Sentences of three to six words, each a row of states that last as long as they happen to; the
voice, in noise, tells the manner of every onset well and its place badly, the lips tell the place
and not the manner. What is asked for (`structure`) is the words, the words after a text that says
what is spoken of, their translation, or what a spoken and a typed line together ask for. Lips can
be covered and lead the voice; the voice can be features or a waveform.

The parts: `lexicon` (words and languages), `grammar` (sentences), `sentences` (draws them),
`timing` (states in time), `features`, `voice` and `lips` (what is shown), `search` (exact search
and sums), `templates` (likelihood of waveforms and pictures), `oracle` (best answers), `proven`
(bounds).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmbench import catalog, rng
from mmbench.data import _sound
from mmbench.data._cache import Entry, Made, Parts, cached, rendered
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.interactions import noise as normals
from mmbench.data.interactions import sequences
from mmbench.data.scenecap import noise as grain
from mmbench.data.speech import features, lexicon, lips, sentences, timing, voice
from mmbench.data.speech.lexicon import MOST, NONE, WORDS
from mmbench.data.speech.oracle import heard_words, oracle, posterior
from mmbench.data.speech.params import Conditions, Params, check
from mmbench.data.speech.proven import bounds, late_bounds, late_references
from mmbench.data.speech.references import Law, RequestLabels, SpokenTexts
from mmbench.references import References
from mmbench.text import EOS, SPECIALS, Vocabulary
from mmbench.types import Array, Dataset, Modality, Output, Ragged, Signature, Split

__all__ = [
    "VERSION",
    "Params",
    "bounds",
    "build",
    "heard_words",
    "late_bounds",
    "late_references",
    "oracle",
    "posterior",
    "source_digest",
]

#: Raised whenever the data change.
VERSION = 1
#: The symbol 0 of a transcript.
BLANK = "<blank>"
# Items that are rendered at once. Each block has streams of its own, so it is part of the data.
_BLOCK = 250


def source_digest(request: Request) -> str:
    """Return the digest of what lies on the user's disk: nothing does."""
    del request
    return ""


def build(request: Request) -> Dataset:
    """Return the dataset, from the cache if it has been made before.

    Modalities: ``audio`` and ``video``, of which both have the frames of their utterance, and
    ``text`` where something is typed. Output: ``words``, ``translation`` or ``intent``. The first
    n items of a split are the same whatever its size.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
    """
    params = checked(request, "speech", VERSION, Params)
    check(params, tuple(request.splits), f"{catalog.task_where(request.task)}: dataset.params")
    shared = [str(module.__file__) for module in (rng, _sound, normals, grain, sequences)]
    key = {
        "name": "speech",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*sorted(Path(__file__).parent.glob("*.py")), *shared),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits))
    splits = {name: _split(entry, name, params, request.seed) for name in request.splits}
    return Dataset(signature(params), splits, entry.fingerprint, oracle)


def signature(params: Params) -> Signature:
    """Return what models need to know."""
    if params.render == "wave":
        modalities = {
            "audio": Modality("spectrogram", voice.SHAPE),
            "video": Modality("video", lips.SHAPE),
        }
    else:
        modalities = {
            "audio": Modality("sequence", (timing.FRAMES, features.AUDIO)),
            "video": Modality("sequence", (timing.FRAMES, features.VIDEO)),
        }
    if _types(params):
        vocabulary = sentences.typed_words(params.structure).words
        length = sentences.typed_length(params.structure)
        modalities["text"] = Modality("text", (length,), vocabulary)
    return Signature(modalities, {_output(params): _answer(params)})


def _output(params: Params) -> str:
    names = {"translation": "translation", "intent": "intent"}
    return names.get(params.structure, "words")


def _answer(params: Params) -> Output:
    if params.structure == "intent":
        return Output("label", len(lexicon.THINGS), lexicon.THINGS)
    if params.structure == "translation":
        return Output("text", lexicon.TRANSLATED + 1, _target_words(params).words)
    if params.output == "text":
        return Output("text", MOST + 1, _target_words(params).words)
    # Six words, and a blank between equal ones.
    return Output("transcript", 2 * MOST - 1, (BLANK, *WORDS))


def _target_words(params: Params) -> Vocabulary:
    translated = params.structure == "translation"
    return Vocabulary((*SPECIALS, *(lexicon.target_words() if translated else WORDS)))


def _types(params: Params) -> bool:
    if params.structure == "translation":
        return params.source_text
    return params.structure in ("context", "intent")


# --- drawing and rendering -----------------------------------------------------------------------


def _make(seed: int, params: Params, splits: Mapping[str, int]) -> Made:
    arrays: dict[str, Any] = {}
    for split, items in splits.items():
        made = _items(seed, params, params.of(split), items)
        arrays.update({f"{split}.{field}": array for field, array in made.items()})
    return arrays, {}


def _items(seed: int, params: Params, rules: Conditions, items: int) -> dict[str, Any]:
    """Return the arrays of one split."""
    source = ("speech", rules.source)
    drawn = sentences.draw(seed, rules.source, items, params.structure)
    shape = (items, MOST, timing.STATES)
    uniforms = rng.uniform(seed, *source, "durations", count=int(np.prod(shape)))
    states, lengths = timing.paths(
        drawn.words, timing.durations(drawn.words, uniforms.reshape(shape))
    )
    which = rng.integers(seed, *source, "ratio", count=items, below=len(rules.ratios))
    lead = rng.integers(seed, *source, "lead", count=items, below=rules.most + 1)
    begins = rng.uniform(seed, *source, "covered", count=items)
    covered = timing.covered(lengths, rules.occlusion, begins)
    ratios = np.array(rules.ratios, dtype=np.float64)[which]
    said = _Utterances(seed, rules.source, states, lengths, ratios, lead, covered)
    found: dict[str, Any] = {
        "words": drawn.words.astype(np.int8),
        "lengths": lengths.astype(np.int16),
        "snr_db": ratios,
        "lead": lead.astype(np.int8),
        **_rendered(said, params),
    }
    if drawn.text is not None and _types(params):
        found["text"] = drawn.text.astype(np.int16)
    if drawn.label is not None:
        found["label"] = drawn.label
    found.update({name: column.astype(np.int8) for name, column in drawn.columns.items()})
    return found


@dataclass(frozen=True)
class _Utterances:
    """What is rendered of a split: states [N, T], and of each item the rest."""

    seed: int
    source: str
    states: timing.Ints
    lengths: timing.Ints
    ratios: timing.Floats
    lead: timing.Ints
    covered: Array

    def real(self, rows: slice) -> Array:
        """Whether a frame is one of the utterance, [n, T]."""
        return np.asarray(np.arange(self.states.shape[1]) < self.lengths[rows][:, None])

    def names(self, render: str, block: int) -> tuple[object, ...]:
        return "speech", self.source, render, block


def _rendered(said: _Utterances, params: Params) -> dict[str, Parts]:
    """Return voice and lips of a split; 0 behind the end of an utterance."""
    waves = params.render == "wave"
    count = len(said.states)
    rows = [slice(at, min(at + _BLOCK, count)) for at in range(0, count, _BLOCK)]
    made = (_wave, _lips) if waves else (_voice_features, _lip_features)
    modalities = signature(params).modalities
    return {
        name: rendered(
            rows, modalities[name].shape, np.uint8 if waves else np.float32, partial(render, said)
        )
        for name, render in zip(("audio", "video"), made, strict=True)
    }


def _wave(said: _Utterances, block: int, rows: slice) -> Array:
    names = said.names("wave", block)
    waves = [
        voice.wave(said.seed, *names, item, states=row[:length], snr_db=float(ratio))
        for item, (row, length, ratio) in enumerate(
            zip(said.states[rows], said.lengths[rows].tolist(), said.ratios[rows], strict=True)
        )
    ]
    return voice.spectrograms(waves)[:, None]


def _lips(said: _Utterances, block: int, rows: slice) -> Array:
    seen = timing.moved(said.states[rows], said.lead[rows])
    shown = lips.pictures(
        said.seed, *said.names("wave", block), "lips", states=seen, covered=said.covered[rows]
    )
    return np.asarray(shown * said.real(rows)[..., None, None])


def _voice_features(said: _Utterances, block: int, rows: slice) -> Array:
    part = said.states[rows]
    noise = features.noise(
        said.seed, *said.names("features", block), "voice",
        items=len(part), frames=part.shape[1], width=features.AUDIO,
    )  # fmt: skip
    return np.asarray(features.audio(part, said.ratios[rows], noise) * said.real(rows)[..., None])


def _lip_features(said: _Utterances, block: int, rows: slice) -> Array:
    seen = timing.moved(said.states[rows], said.lead[rows])
    noise = features.noise(
        said.seed, *said.names("features", block), "lips",
        items=len(seen), frames=seen.shape[1], width=features.VIDEO,
    )  # fmt: skip
    shown = features.video(seen, said.covered[rows], noise)
    return np.asarray(shown * said.real(rows)[..., None])


# --- as a split ----------------------------------------------------------------------------------


def _split(entry: Entry, name: str, params: Params, seed: int) -> Split:
    prefix = f"{name}."
    arrays = {
        key.removeprefix(prefix): array
        for key, array in entry.arrays.items()
        if key.startswith(prefix)
    }
    lengths = np.asarray(arrays["lengths"], dtype=np.int64)
    heard = lengths * voice.STEPS - 2 if params.render == "wave" else lengths
    inputs: dict[str, Array | Ragged] = {
        "audio": Ragged(arrays["audio"], heard),
        "video": Ragged(arrays["video"], lengths),
    }
    if "text" in arrays:
        counts = (np.asarray(arrays["text"]) != 0).sum(axis=1)
        inputs["text"] = Ragged(arrays["text"], counts)
    rules = params.of(name)
    target, references = _answers(arrays, params, Law(
        params.structure, params.render, rules.most, seed
    ))  # fmt: skip
    output = _output(params)
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(len(lengths))],
        inputs=inputs,
        targets={output: target},
        references={output: references},
        groups=_groups(arrays, rules),
    )


def _answers(arrays: Mapping[str, Array], params: Params, law: Law) -> tuple[Array, References]:
    if params.structure == "intent":
        labels = np.asarray(arrays["label"])
        return labels, RequestLabels(labels, lexicon.THINGS, law=law)
    rows = [tuple(w for w in row if w != NONE) for row in np.asarray(arrays["words"]).tolist()]
    if params.structure == "translation":
        said = [lexicon.translate(row) for row in rows]
    else:
        said = [" ".join(WORDS[w] for w in row) for row in rows]
    references = SpokenTexts([(text,) for text in said], law=law)
    answer = _answer(params)
    if answer.kind == "transcript":
        return (np.asarray(arrays["words"], dtype=np.int16) + 1), references
    known = Vocabulary(answer.vocabulary)
    target = np.zeros((len(said), 1, answer.size), dtype=np.int16)
    for row, text in zip(target, said, strict=True):
        ids = [*known.encode(text.split()), EOS]
        row[0, : len(ids)] = ids
    return target, references


def _groups(arrays: Mapping[str, Array], rules: Conditions) -> dict[str, Array]:
    """Return the columns that subgroups can be reported by."""
    columns: dict[str, Array] = {"snr_db": np.asarray(arrays["snr_db"])}
    columns["words"] = (np.asarray(arrays["words"]) != NONE).sum(axis=1)
    if rules.most:
        columns["lead_ms"] = np.asarray(arrays["lead"], dtype=np.int64) * timing.MILLISECONDS
    if "topic" in arrays:
        names = np.array([topic[0] for topic in lexicon.TOPICS])
        columns["topic"] = names[np.asarray(arrays["topic"])]
    if "kind" in arrays:
        columns["kind"] = np.array(lexicon.KINDS)[np.asarray(arrays["kind"])]
    return columns
