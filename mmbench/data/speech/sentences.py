"""Draws what is said, typed and asked for: everything about an item but its times and its noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data.speech import grammar, lexicon
from mmbench.data.speech.lexicon import MOST, NONE, WORDS
from mmbench.data.speech.params import Structure
from mmbench.text import SPECIALS, Vocabulary

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """N items.

    Attributes:
        words: [N, 6] what is spoken, NONE behind the last word.
        text: [N, L] token ids of what is typed, 0 behind the last; None where nothing is.
        label: [N] the thing that is asked for; None where nothing is.
        columns: What else is known: ``topic`` or ``kind``, [N].
    """

    words: Ints
    text: Ints | None = None
    label: Ints | None = None
    columns: Mapping[str, Ints] = field(default_factory=dict)


def typed_words(structure: Structure) -> Vocabulary:
    """Return the vocabulary of what is typed."""
    if structure == "context":
        return Vocabulary.build([lexicon.COMMON, *lexicon.TOPICS])
    if structure == "translation":
        return Vocabulary((*SPECIALS, lexicon.GAP_TOKEN, *WORDS))
    return Vocabulary.build([lexicon.CHATTER, lexicon.THINGS])


def typed_length(structure: Structure) -> int:
    """Return the most tokens of what is typed."""
    lengths = {"context": lexicon.CONTEXT, "translation": MOST, "intent": lexicon.TYPED[1]}
    return lengths[structure]


def draw(seed: int, split: str, items: int, structure: Structure) -> Drawn:
    """Draw the sentences of a split; the first n do not depend on how many follow."""
    uniforms = _uniform(seed, split, "words", shape=(items, MOST))
    if structure == "context":
        return _context(seed, split, uniforms)
    if structure == "translation":
        words = grammar.draw(grammar.clauses(), uniforms)
        known = typed_words("translation")
        hidden = _uniform(seed, split, "gaps", shape=words.shape) < lexicon.GAP
        text = np.where(hidden, known.ids[lexicon.GAP_TOKEN], words + known.ids[WORDS[0]])
        return Drawn(words, np.where(words == NONE, 0, text))
    if structure == "intent":
        return _requests(seed, split, uniforms)
    return Drawn(grammar.draw(grammar.loop(), uniforms))


def topic_chances() -> NDArray[np.float64]:
    """Return how likely each typed token is on each topic, [4, V]."""
    known = typed_words("context")
    table = np.zeros((len(lexicon.TOPICS), len(known)))
    table[:, known.encode(lexicon.COMMON)] = (1.0 - lexicon.TOPICAL) / len(lexicon.COMMON)
    for topic, own in enumerate(lexicon.TOPICS):
        table[topic, known.encode(own)] = lexicon.TOPICAL / len(own)
    return table


def _context(seed: int, split: str, uniforms: NDArray[np.float64]) -> Drawn:
    items = len(uniforms)
    topics = _below(seed, split, "topic", items, len(lexicon.TOPICS))
    words = _by(topics, uniforms, {t: grammar.about(t) for t in range(len(lexicon.TOPICS))})
    cumulated = np.cumsum(topic_chances(), axis=1)
    drawn = _uniform(seed, split, "text", shape=(items, lexicon.CONTEXT))
    # The last token has a chance on some topics only: what rounding leaves goes to none of them.
    drawn = drawn[..., None] * cumulated[topics][:, None, -1:]
    text = (cumulated[topics][:, None] <= drawn).sum(axis=2)
    return Drawn(words, text, columns={"topic": topics})


def _requests(seed: int, split: str, uniforms: NDArray[np.float64]) -> Drawn:
    items, things = len(uniforms), len(lexicon.THINGS)
    kind = _below(seed, split, "kind", items, len(lexicon.KINDS))
    label = _below(seed, split, "label", items, things)
    other = (label + 1 + _below(seed, split, "other", items, things - 1)) % things
    second = _below(seed, split, "second", items, 2)
    telling = np.select(
        [kind == 1, kind == 3], [np.full(items, NONE), np.array(lexicon.ORDINALS)[second]], label
    )
    words = _by(telling, uniforms, {k: grammar.request(k) for k in lexicon.KEYWORDS})
    fewest, most = lexicon.TYPED
    length = fewest + _below(seed, split, "typed length", items, most - fewest + 1)
    known = typed_words("intent")
    names, chatter = (np.array(known.encode(w)) for w in (lexicon.THINGS, lexicon.CHATTER))
    fill = _uniform(seed, split, "chatter", shape=(items, most))
    text = chatter[np.floor(fill * len(chatter)).astype(np.int64)]
    place = np.arange(most)
    turns = _uniform(seed, split, "typed places", shape=(items, most))
    order = np.argsort(np.where(place < length[:, None], turns, 2.0), axis=1, kind="stable")
    early, late = order[:, :2].min(axis=1), order[:, :2].max(axis=1)
    rows = np.arange(items)
    one, two = (kind == 1) | (kind == 2), kind == 3
    text[rows[one], order[one, 0]] = names[label[one]]
    text[rows[two], early[two]] = names[np.where(second, other, label)[two]]
    text[rows[two], late[two]] = names[np.where(second, label, other)[two]]
    return Drawn(words, np.where(place < length[:, None], text, 0), label, {"kind": kind})


def _by(
    which: Ints, uniforms: NDArray[np.float64], grammars: Mapping[int, grammar.Grammar]
) -> Ints:
    """Draw each item's sentence from the grammar that it names."""
    words = np.full(uniforms.shape, NONE, dtype=np.int64)
    for name, law in grammars.items():
        rows = which == name
        if rows.any():
            words[rows] = grammar.draw(law, uniforms[rows])
    return words


def _uniform(seed: int, split: str, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.uniform(seed, "speech", split, name, count=int(np.prod(shape))).reshape(shape)


def _below(seed: int, split: str, name: str, items: int, below: int) -> Ints:
    return rng.integers(seed, "speech", split, name, count=items, below=below)
