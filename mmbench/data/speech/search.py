"""Exact search and exact sums over everything that may have been said.

`viterbi` finds the likeliest path of states, and says its words (Viterbi 1967,
doi:10.1109/TIT.1967.1054010); `forward` sums up all paths (Baum et al. 1970). Both go through
sentence, state and time at once, for all sentences of a grammar: nothing is pruned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from mmbench.data.speech.grammar import Grammar
from mmbench.data.speech.lexicon import MOST, NONE
from mmbench.data.speech.timing import REST, SILENT, STATES, STAY

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Items that are gone through at once, so that a frame of them stays in the processor's cache.
_BLOCK = 128
# Words are kept as the digits of one number, in this base; 0 is no word.
_BASE = 64
_NEVER = -1e30


@dataclass(frozen=True)
class Evidence:
    """What was seen and heard of N utterances.

    Attributes:
        frames: [N, T, 49] log-likelihood of each state in each frame.
        lengths: [N] frames, rest included.
        nodes: [N, Q] log-likelihood of what is known of each node otherwise, or None.
    """

    frames: Floats
    lengths: Ints
    nodes: Floats | None = None

    def blocks(self) -> Iterator[tuple[slice, Evidence]]:
        """Yield parts of the items, as long as their longest."""
        for begin in range(0, len(self.lengths), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            lengths = self.lengths[rows]
            part = self.frames[rows, : int(lengths.max())]
            yield rows, Evidence(part, lengths, None if self.nodes is None else self.nodes[rows])


def viterbi(evidence: Evidence, grammar: Grammar) -> tuple[Ints, Floats]:
    """Return the words of the likeliest path, [N, 6], and its log-probability [N].

    NONE stands behind the last word. Ties go to the node that comes first.
    """
    found = [_viterbi(part, grammar) for _, part in evidence.blocks()]
    words, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    return words, scores


def forward(evidence: Evidence, grammar: Grammar) -> Floats:
    """Return the log-probability of the evidence, all sentences and paths summed up, [N]."""
    return np.concatenate([_forward(part, grammar) for _, part in evidence.blocks()])


def _viterbi(evidence: Evidence, grammar: Grammar) -> tuple[Ints, Floats]:
    frames, lengths = evidence.frames, evidence.lengths
    items, length = frames.shape[:2]
    states = _states(grammar)
    before, chance = _predecessors(grammar)
    begin, end = _log(grammar.start), _log(grammar.stop)
    own = np.zeros(len(grammar.words)) if evidence.nodes is None else evidence.nodes
    shape = (items, len(grammar.words), STATES)
    score, said = np.full(shape, _NEVER), np.zeros(shape, dtype=np.int64)
    best, best_said = np.full(items, _NEVER), np.zeros(items, dtype=np.int64)
    rows, nodes = np.arange(items)[:, None], np.arange(shape[1])
    rest = frames[:, :REST, SILENT].sum(axis=1)
    for time in range(REST, length - REST):
        leave = score[..., -1] + log(1.0 - STAY)
        ways = leave[:, before] + chance  # [N, Q, P]
        chosen = ways.argmax(axis=2)
        enter = np.take_along_axis(ways, chosen[..., None], axis=2)[..., 0]
        history = said[rows, before[nodes, chosen], -1]
        if time == REST:
            enter, history = np.broadcast_to(begin, enter.shape), np.zeros_like(history)
        come = np.concatenate([(enter + own)[..., None], score[..., :-1] + log(1.0 - STAY)], axis=2)
        from_said = np.concatenate(
            [(history * _BASE + grammar.words + 1)[..., None], said[..., :-1]], axis=2
        )
        stay = score + log(STAY)
        moves = come > stay
        score = np.where(moves, come, stay) + frames[:, time][:, states]
        said = np.where(moves, from_said, said)
        last = np.flatnonzero(lengths - REST - 1 == time)
        if len(last):
            closed = score[last, :, -1] + log(1.0 - STAY) + end
            choice = closed.argmax(axis=1)
            best[last] = closed[np.arange(len(last)), choice]
            best_said[last] = said[last, choice, -1]
    return _digits(best_said), best + rest + _tail(frames, lengths)


def _forward(evidence: Evidence, grammar: Grammar) -> Floats:
    frames, lengths = evidence.frames, evidence.lengths
    items, length = frames.shape[:2]
    states = _states(grammar)
    top = frames.max(axis=2)  # taken out of every frame, so that nothing underflows at once
    own = 1.0 if evidence.nodes is None else np.exp(evidence.nodes)
    weight = np.zeros((items, len(grammar.words), STATES))
    scale, found = np.zeros(items), np.full(items, -np.inf)
    rest = frames[:, :REST, SILENT].sum(axis=1)
    for time in range(REST, length - REST):
        enter = grammar.start if time == REST else (1.0 - STAY) * (weight[..., -1] @ grammar.step)
        likely = np.exp(frames[:, time] - top[:, time, None])[:, states]
        moved = np.concatenate(
            [np.broadcast_to(enter * own, weight.shape[:2])[..., None],
             (1.0 - STAY) * weight[..., :-1]], axis=2
        )  # fmt: skip
        weight = (STAY * weight + moved) * likely
        total = np.maximum(weight.sum(axis=(1, 2)), 1e-300)
        weight /= total[:, None, None]
        scale += np.log(total) + top[:, time]
        last = np.flatnonzero(lengths - REST - 1 == time)
        if len(last):
            ended = (1.0 - STAY) * (weight[last, :, -1] @ grammar.stop)
            with np.errstate(divide="ignore"):
                found[last] = np.log(ended) + scale[last]
    return np.asarray(found + rest + _tail(frames, lengths))


def _states(grammar: Grammar) -> Ints:
    return np.asarray(1 + STATES * grammar.words[:, None] + np.arange(STATES))


def _predecessors(grammar: Grammar) -> tuple[Ints, Floats]:
    """Return who may come before each node, [Q, P], and with which log-chance."""
    most = max(1, int((grammar.step > 0).sum(axis=0).max()))
    before = np.argsort(grammar.step == 0, axis=0, kind="stable")[:most].T
    nodes = np.arange(len(before))[:, None]
    return before, _log(grammar.step[before, nodes])


def _log(chances: Floats) -> Floats:
    return np.where(chances > 0, np.log(np.maximum(chances, 1e-300)), _NEVER)


def _tail(frames: Floats, lengths: Ints) -> Floats:
    """Return the log-likelihood of rest in the last frames, [N]."""
    time = lengths[:, None] - 1 - np.arange(REST)
    return np.asarray(np.take_along_axis(frames[..., SILENT], time, axis=1).sum(axis=1))


def _digits(said: Ints) -> Ints:
    """Return the words of numbers in base 64, [N, 6]."""
    words = np.full((len(said), MOST), NONE, dtype=np.int64)
    count = sum((said >= _BASE**k).astype(np.int64) for k in range(MOST))
    for place in range(MOST):
        shift = np.maximum(count - 1 - place, 0)
        digit = said // _BASE**shift % _BASE
        words[:, place] = np.where(place < count, digit - 1, NONE)
    return words
