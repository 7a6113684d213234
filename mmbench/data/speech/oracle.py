"""The best answers: exact search over all that may have been said, given any of the modalities.

Words and their translation are those of the likeliest path of states (`search.viterbi`), jointly
over sentence, times, topic and the lead of the lips. That path does not minimise the expected word
error rate, nor maximise BLEU, and a model may pass it by a little: such levels are references.
A request is answered by its exact posterior (`posterior`), which nobody passes in expectation.
With ``render = "wave"`` the likelihood of a frame is itself an approximation (`templates`).

The oracle is told each item's signal-to-noise ratio and length; a model hears them, more or less.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.speech import features, grammar, lexicon, sentences, templates
from mmbench.data.speech.grammar import Grammar
from mmbench.data.speech.lexicon import MOST, NONE, WORDS
from mmbench.data.speech.references import Law, law_of
from mmbench.data.speech.search import Evidence, forward, viterbi
from mmbench.data.speech.timing import SILENT, STATE_COUNT
from mmbench.errors import UsageError
from mmbench.types import Predictions, Ragged

if TYPE_CHECKING:
    from mmbench.types import Split

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Digits by which probabilities are compared: equal ones stay equal on every machine.
_DIGITS = 9
# Items whose evidence is held at once.
_BLOCK = 256
_NEVER = -1e30
# Sentences that a guess without sound and lips is chosen from, and by.
_CANDIDATES, _SAMPLE = 200, 1000


def oracle(split: Split, heard: frozenset[str]) -> Predictions:
    """Answer for each item, by the modalities of `heard`, any subset.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    law = law_of(split)
    _check_heard(split, heard)
    if law.structure == "intent":
        chances = posterior(split, heard)
        said = [lexicon.THINGS[best] for best in np.round(chances, _DIGITS).argmax(axis=1)]
        return Predictions(split.ids, {"intent": said}, {"intent.scores": chances.tolist()})
    words = heard_words(split, heard)
    rows = [tuple(w for w in row if w != NONE) for row in words.tolist()]
    if law.structure == "translation":
        return Predictions(split.ids, {"translation": [lexicon.translate(row) for row in rows]})
    return Predictions(split.ids, {"words": [" ".join(WORDS[w] for w in row) for row in rows]})


def _check_heard(split: Split, heard: frozenset[str]) -> None:
    for name in sorted(heard):
        if name not in split.inputs:
            raise UsageError(f"unknown modality {name!r}: the data have {', '.join(split.inputs)}")


def heard_words(split: Split, heard: frozenset[str]) -> Ints:
    """Return the words of the likeliest path, [N, 6], NONE behind the last."""
    law = law_of(split)
    ways = _ways(split, heard)
    if not heard & {"audio", "video"}:
        return _unheard(split, ways, law)
    found = np.full((len(split), MOST), NONE, dtype=np.int64)
    best = np.full(len(split), -np.inf)
    for rows, led in evidence_of(split, heard):
        for lead, evidence in led:
            for grammar_of, chance, nodes in ways:
                own = None if nodes is None else nodes[rows]
                part = Evidence(evidence.frames, evidence.lengths, own)
                words, score = viterbi(part, grammar_of)
                score = score + lead + chance[rows]
                better = score > best[rows]
                found[rows][better] = words[better]
                best[rows] = np.where(better, score, best[rows])
    return found


def posterior(split: Split, heard: frozenset[str]) -> Floats:
    """Return the exact posterior of what is asked for, [N, 6]; `intent` only.

    Bayes' rule over the four kinds of request, of which each is as likely: a thing is spoken, or
    typed, or both, or one of two typed things is spoken of as the first or the second. The voice
    and the lips say which word tells (`search.forward` of `grammar.request`), what is typed is
    certain, fillers say nothing.
    """
    law_of(split)
    _check_heard(split, heard)
    spoken = np.exp(_keyword_scores(split, heard))  # [N, 9]
    things = len(lexicon.THINGS)
    own, first, second = spoken[:, :things], spoken[:, things, None], spoken[:, things + 1, None]
    silent = spoken[:, -1:]
    if "text" in heard:
        one, early, late, count = _typed(split)
        chances = np.where(
            count[:, None] == 0, own, np.where(count[:, None] == 1, one * (own + silent),
            0.5 * (early * first + late * second) / (things - 1)),
        )  # fmt: skip
    else:
        chances = 2.0 * own + silent + 0.5 * (first + second)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def _keyword_scores(split: Split, heard: frozenset[str]) -> Floats:
    """Return the log-likelihood of each telling word, [N, 9], the largest of a row being 0."""
    found = np.zeros((len(split), len(lexicon.KEYWORDS)))
    if heard & {"audio", "video"}:
        for rows, led in evidence_of(split, heard):
            for column, keyword in enumerate(lexicon.KEYWORDS):
                each = [lead + forward(e, grammar.request(keyword)) for lead, e in led]
                found[rows, column] = np.logaddexp.reduce(each, axis=0)
    return np.asarray(found - found.max(axis=1, keepdims=True))


def _typed(split: Split) -> tuple[Floats, Floats, Floats, Ints]:
    """Return which things are typed, first and last of them, [N, 6] each; and how many, [N]."""
    known = sentences.typed_words("intent")
    names = np.array(known.encode(lexicon.THINGS))
    text = split.inputs["text"]
    assert isinstance(text, Ragged)
    is_thing = np.asarray(text.values)[..., None] == names  # [N, L, 6]
    here = is_thing.any(axis=2)
    rows, first = np.arange(len(split)), here.argmax(axis=1)
    last = here.shape[1] - 1 - here[:, ::-1].argmax(axis=1)
    early, late = is_thing[rows, first].astype(np.float64), is_thing[rows, last].astype(np.float64)
    return early, early, late, here.sum(axis=1)


# --- what is known of a sentence apart from sound and lips ---------------------------------------


def _ways(split: Split, heard: frozenset[str]) -> list[tuple[Grammar, Floats, Floats | None]]:
    """Return grammars, the log-chance of each for each item [N], and what is known of its nodes."""
    law, items = law_of(split), len(split)
    if law.structure == "context":
        known = np.zeros((items, len(lexicon.TOPICS)))
        if "text" in heard:
            text = split.inputs["text"]
            assert isinstance(text, Ragged)
            with np.errstate(divide="ignore"):
                table = np.maximum(np.log(sentences.topic_chances()), _NEVER)
            known = table.T[np.asarray(text.values)].sum(axis=1)  # [N, 4]
        return [(grammar.about(t), known[:, t], None) for t in range(len(lexicon.TOPICS))]
    if law.structure == "translation":
        return [(grammar.clauses(), np.zeros(items), _source(split, heard))]
    return [(grammar.loop(), np.zeros(items), None)]


def _source(split: Split, heard: frozenset[str]) -> Floats | None:
    """Return [N, Q], 0 where a node of a clause is what is typed, and else never."""
    if "text" not in heard:
        return None
    known, law = sentences.typed_words("translation"), grammar.clauses()
    place, length = grammar.clause_places()
    text = split.inputs["text"]
    assert isinstance(text, Ragged)
    there = np.asarray(text.values)[:, place]  # [N, Q]
    fits = (there == law.words + known.ids[WORDS[0]]) | (there == known.ids[lexicon.GAP_TOKEN])
    fits &= np.asarray(text.lengths)[:, None] == length
    return np.where(fits, 0.0, _NEVER)


def _unheard(split: Split, ways: list[tuple[Grammar, Floats, Floats | None]], law: Law) -> Ints:
    """Return the guess with the fewest expected errors, or the first clause that fits."""
    if law.structure != "translation":
        chances = np.stack([chance for _, chance, _ in ways], axis=1)
        guesses = np.stack([_guess(law.seed, law.structure, way) for way in range(len(ways))])
        return np.asarray(guesses[chances.argmax(axis=1)])
    listed, _ = grammar.sentences(grammar.clauses())
    table = np.array([[*row, *[NONE] * (MOST - len(row))] for row in listed])
    if ways[0][2] is None:
        return np.tile(table[0], (len(split), 1))
    known = sentences.typed_words("translation")
    text = split.inputs["text"]
    assert isinstance(text, Ragged)
    found = np.empty((len(split), MOST), dtype=np.int64)
    tokens = np.where(table == NONE, 0, table + known.ids[WORDS[0]])
    for row, typed in enumerate(np.asarray(text.values)):
        gap = typed == known.ids[lexicon.GAP_TOKEN]
        fits = ((tokens == typed) | (gap & (tokens > 0))).all(axis=1)
        found[row] = table[fits.argmax()]
    return found


@cache
def _guess(seed: int, structure: str, way: int) -> Ints:
    """Return, of some sentences, the one with the fewest edits to a sample of others, [6]."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    law = grammar.about(way) if structure == "context" else grammar.loop()

    def drawn(name: str, count: int) -> Ints:
        uniforms = rng.uniform(seed, "speech", "guess", name, count=count * MOST)
        return grammar.draw(law, uniforms.reshape(count, MOST))

    def letters(words: Ints) -> list[str]:
        return ["".join(chr(97 + w) for w in row if w != NONE) for row in words.tolist()]

    same = [[w] * n + [NONE] * (MOST - n) for w in range(len(WORDS)) for n in range(1, MOST + 1)]
    choices = np.concatenate([np.array(same), drawn("candidates", _CANDIDATES)])
    sample = letters(drawn("sample", _SAMPLE))
    edits = cdist(letters(choices), sample, scorer=Levenshtein.distance)
    return np.asarray(choices[edits.mean(axis=1).argmin()])


# --- sound and lips ------------------------------------------------------------------------------


def evidence_of(
    split: Split, heard: frozenset[str]
) -> Iterator[tuple[slice, list[tuple[float, Evidence]]]]:
    """Yield blocks of items: for each lead of the lips its log-chance, and the evidence."""
    law = law_of(split)
    lengths = _lengths(split)
    leads = law.most + 1 if "video" in heard else 1
    for begin in range(0, len(split), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        count = lengths[rows]
        sound: Floats | float = 0.0
        if "audio" in heard:
            sound = _sound_scores(split, law, rows, int(count.max()))
        if "video" not in heard:
            yield rows, [(0.0, Evidence(np.asarray(sound), count))]
            continue
        seen = _picture_scores(split, law, rows, int(count.max()))
        yield (
            rows,
            [
                (-np.log(leads), Evidence(sound + led(seen, count, lead), count))
                for lead in range(leads)
            ],
        )


def led(frames: Floats, lengths: Ints, lead: int) -> Floats:
    """Bring what the lips show, `lead` frames early, to the time of the voice: [N, T, 49].

    They show the first `lead` frames of the voice before the clip begins; what they show in its
    last frames is rest, and counts with the last frame, which is rest, too.
    """
    items, length = frames.shape[:2]
    time = np.arange(length)
    real = time < lengths[:, None]
    found = np.zeros_like(frames)
    found[:, lead:] = frames[:, : length - lead]
    found *= real[..., None]
    tail = real & (time >= lengths[:, None] - lead)
    over = (frames[..., SILENT] * tail).sum(axis=1)
    found[np.arange(items), lengths - 1, SILENT] += over
    return found


def _lengths(split: Split) -> Ints:
    some = split.inputs["video"]
    assert isinstance(some, Ragged)
    return np.asarray(some.lengths, dtype=np.int64)


def _sound_scores(split: Split, law: Law, rows: slice, length: int) -> Floats:
    x = split.inputs["audio"]
    assert isinstance(x, Ragged)
    ratios = np.asarray(split.groups["snr_db"][rows], dtype=np.float64)
    if law.render == "features":
        return features.audio_scores(x.values[rows, :length], ratios)
    frames = templates.sound_frames(np.asarray(x.values[rows, 0]))[:, :length]
    found = np.empty((*frames.shape[:2], STATE_COUNT))
    for ratio in np.unique(ratios):
        items = ratios == ratio
        found[items] = templates.of_voice(law.seed, float(ratio)).scores(frames[items])
    return found


def _picture_scores(split: Split, law: Law, rows: slice, length: int) -> Floats:
    x = split.inputs["video"]
    assert isinstance(x, Ragged)
    shown = np.asarray(x.values[rows, :length])
    if law.render == "features":
        return features.video_scores(shown)
    seen = np.asarray(shown.any(axis=(2, 3)))
    return templates.of_lips(law.seed).scores(templates.picture_frames(shown)) * seen[..., None]
