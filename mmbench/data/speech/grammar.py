"""Which sentences there are, and how likely: a finite automaton whose nodes are words.

Everything that is decoded here has such a grammar: any words in a loop, words by a topic's bigrams,
clauses that can be translated, requests with a telling word.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mmbench.data.speech import lexicon
from mmbench.data.speech.lexicon import FEWEST, MOST, NONE, WORDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PLACES = range(1, MOST + 1)


@dataclass(frozen=True)
class Grammar:
    """An automaton of Q nodes. A sentence is a path; there are no circles.

    Attributes:
        words: [Q] the word of each node.
        start: [Q] chance that a sentence begins there.
        step: [Q, Q] chance that the second follows the first.
        stop: [Q] chance that a sentence ends there; of a node that can be reached, it and its row
            of `step` sum to 1.
    """

    words: Ints
    start: Floats
    step: Floats
    stop: Floats


@cache
def hazards(fewest: int = FEWEST, most: int = MOST) -> Floats:
    """Return the chance to end after the k-th word, [most], for an even number of words.

    >>> hazards(2, 4).round(2).tolist()
    [0.0, 0.33, 0.5, 1.0]
    """
    return np.array([1.0 / (most - k + 1) if k >= fewest else 0.0 for k in range(1, most + 1)])


def bigram(table: Floats, fewest: int = FEWEST, most: int = MOST) -> Grammar:
    """Return sentences whose first word is any, and each next one drawn by its predecessor.

    Args:
        table: [W, W] chance of the second word behind the first.
        fewest: Words of a sentence at least.
        most: Words of a sentence at most.
    """
    count = len(table)
    end = hazards(fewest, most)
    step = np.zeros((most, count, most, count))
    for place in range(most - 1):
        step[place, :, place + 1, :] = (1.0 - end[place]) * table
    start = np.zeros(most * count)
    start[:count] = 1.0 / count
    size = most * count
    words = np.tile(np.arange(count), most)
    return Grammar(words, start, step.reshape(size, size), np.repeat(end, count))


@cache
def loop() -> Grammar:
    """Return sentences of any words, each as likely."""
    return bigram(np.full((len(WORDS), len(WORDS)), 1.0 / len(WORDS)))


@cache
def about(topic: int) -> Grammar:
    """Return sentences on a topic."""
    return bigram(lexicon.bigrams(topic))


@cache
def clauses() -> Grammar:
    """Return clauses: one line of nodes for each choice of the words that may be left out."""
    members = lexicon.PLACES
    patterns = [
        [kind for (kind, needed), kept in zip(lexicon.SLOTS, choice, strict=True) if needed or kept]
        for choice in product(
            *[(True,) if needed else (True, False) for _, needed in lexicon.SLOTS]
        )
    ]
    places = [(p, k) for p, pattern in enumerate(patterns) for k in range(len(pattern))]
    size = len(places) * members
    words = np.array([patterns[p][k] * members + m for p, k in places for m in range(members)])
    start, stop, step = np.zeros(size), np.zeros(size), np.zeros((size, size))
    for row, (p, k) in enumerate(places):
        here = slice(row * members, (row + 1) * members)
        if k == 0:
            start[here] = 1.0 / len(patterns) / members
        if k == len(patterns[p]) - 1:
            stop[here] = 1.0
        else:
            step[here, (row + 1) * members : (row + 2) * members] = 1.0 / members
    return Grammar(words, start, step, stop)


@cache
def clause_places() -> tuple[Ints, Ints]:
    """Return of each node of `clauses` its place in its sentence, and the sentence's length."""
    grammar = clauses()
    place = np.zeros(len(grammar.words), dtype=np.int64)
    length = np.zeros_like(place)
    for node in range(len(place)):
        before = np.flatnonzero(grammar.step[:, node])
        place[node] = place[before[0]] + 1 if len(before) else 0
    for node in reversed(range(len(place))):
        behind = np.flatnonzero(grammar.step[node])
        length[node] = length[behind[0]] if len(behind) else place[node] + 1
    return place, length


@cache
def request(keyword: int) -> Grammar:
    """Return spoken requests: fillers and one telling word at any place; of NONE, only fillers."""
    fillers = lexicon.FILLERS
    if keyword == NONE:
        table = np.full((len(fillers), len(fillers)), 1.0 / len(fillers))
        plain = bigram(table)
        return Grammar(np.array(fillers)[plain.words], plain.start, plain.step, plain.stop)
    # Length l and place p have the chance 1/4 1/l for p <= l. So p is drawn place by place, and
    # behind it l is, in a way that does not depend on p.
    chance = np.array([1.0 / length if length >= FEWEST else 0.0 for length in _PLACES])
    at_least = np.cumsum(chance[::-1])[::-1] / (MOST - FEWEST + 1)  # that p is here
    now = at_least / np.cumsum(at_least[::-1])[::-1]  # the same, if it was not before
    end = chance / np.cumsum(chance[::-1])[::-1]
    count = len(fillers)
    # Nodes of a place: fillers before the telling word, the word, fillers behind it.
    width = 2 * count + 1
    before, there, behind = slice(0, count), slice(count, count + 1), slice(count + 1, width)
    step = np.zeros((MOST, width, MOST, width))
    start, stop = np.zeros((MOST, width)), np.zeros((MOST, width))
    start[0, before], start[0, there] = (1.0 - now[0]) / count, now[0]
    for place in range(MOST):
        stop[place, there] = stop[place, behind] = end[place]
        if place < MOST - 1:
            step[place, before, place + 1, before] = (1.0 - now[place + 1]) / count
            step[place, before, place + 1, there] = now[place + 1]
            step[place, there, place + 1, behind] = (1.0 - end[place]) / count
            step[place, behind, place + 1, behind] = (1.0 - end[place]) / count
    size = MOST * width
    words = np.tile([*fillers, keyword, *fillers], MOST)
    return Grammar(words, start.ravel(), step.reshape(size, size), stop.ravel())


def draw(grammar: Grammar, uniforms: Floats) -> Ints:
    """Draw sentences: [N, 6] words, NONE behind the last.

    Args:
        grammar: The automaton.
        uniforms: [N, 6] numbers in 0..1; one a word.
    """
    items, most = uniforms.shape
    size = len(grammar.words)
    # The last column is the end; from there on it stays there.
    chances = np.concatenate([grammar.step, grammar.stop[:, None]], axis=1)
    cumulated = np.cumsum(np.concatenate([chances, np.eye(1, size + 1, size)]), axis=1)
    first = np.cumsum(np.append(grammar.start, 0.0))
    node = _chosen(np.broadcast_to(first, (items, size + 1)), uniforms[:, 0])
    words = np.append(grammar.words, NONE)
    found = np.full((items, most), NONE, dtype=np.int64)
    for place in range(most):
        if place:
            node = _chosen(cumulated[node], uniforms[:, place])
        found[:, place] = words[node]
    return found


def _chosen(cumulated: Floats, uniforms: Floats) -> Ints:
    """Return the first column whose cumulated chance lies above; [N, Q] and [N]."""
    # What rounding leaves short of 1 must not choose a column without a chance.
    scaled = uniforms * cumulated[:, -1]
    return np.asarray((cumulated <= scaled[:, None]).sum(axis=1), dtype=np.int64)


def sentences(grammar: Grammar) -> tuple[list[tuple[int, ...]], Floats]:
    """List every sentence of a small grammar, with its chance."""
    found: dict[tuple[int, ...], float] = {}
    open_ends: list[tuple[tuple[int, ...], float]] = [
        ((int(n),), float(grammar.start[n])) for n in np.flatnonzero(grammar.start)
    ]
    while open_ends:
        nodes, chance = open_ends.pop()
        last = nodes[-1]
        if grammar.stop[last]:
            said = tuple(int(grammar.words[n]) for n in nodes)
            found[said] = found.get(said, 0.0) + chance * float(grammar.stop[last])
        for n in np.flatnonzero(grammar.step[last]):
            open_ends.append(((*nodes, int(n)), chance * float(grammar.step[last, n])))
    order = sorted(found)
    return order, np.array([found[said] for said in order])
