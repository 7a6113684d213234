"""Questions about scenes, and their right answers.

* ``path``: ``reach S T``. Do arrows lead from S to T, over one to four hops? Yes: T is that many
  levels behind S on its chain. No: T is on the other chain.
* ``relation``: ``relate S T``. Which relation follows from those along the way, two or three hops?
* ``match``: ``match S r some q T``. Is there something that S has the relation r to and that has q
  to T? No: one edge is missing, either because T is on the other chain (half of the time), or
  because one of the relations that stand on the way is another.
* ``dialogue``: ``ask S r what then it how``. Two turns: to what has S the relation r? And *it*,
  which has it to what comes next? The answer is that of the second turn.

Yes and no are even whatever the scene is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from mmbench import rng
from mmbench.data.reasoning.params import QUESTIONS, Question
from mmbench.data.reasoning.scenes import RELATIONS, THINGS, Ints, Scenes
from mmbench.text import SPECIALS

#: All that a question can be made of.
_SAID = ("reach", "relate", "match", "some", "ask", "what", "then", "it", "how")
WORDS = (*SPECIALS, *_SAID, *RELATIONS, *THINGS)
_AT = {word: place for place, word in enumerate(WORDS)}
#: The token of relation 0, and of thing 0.
RELATION, THING = _AT[RELATIONS[0]], _AT[THINGS[0]]
#: The token that a kind of question begins with.
OPENING = {kind: _AT[word] for kind, word in zip(QUESTIONS, ("reach", "relate", "match", "ask"),
                                                 strict=True)}  # fmt: skip
#: The most tokens of a question.
LENGTH = 7
#: All answers: what each kind of question has.
ANSWERS: dict[Question, tuple[str, ...]] = {
    "path": ("no", "yes"),
    "relation": RELATIONS,
    "match": ("no", "yes"),
    "dialogue": RELATIONS,
}


@dataclass(frozen=True)
class Asked:
    """A question for each of N scenes.

    Attributes:
        kind: [N] its number in `QUESTIONS`.
        hops: [N] h.
        start: [N] i, the level of S; T, if there is one, is on level i + h.
        chains: [N, 2] the chain of S, and that of T.
        words: [N, 2] the relations that are named; -1 where there is none.
        answer: [N] number of the right answer in the `ANSWERS` of its kind.
    """

    kind: Ints
    hops: Ints
    start: Ints
    chains: Ints
    words: Ints
    answer: Ints

    def take(self, rows: Ints) -> Asked:
        """Return some of them."""
        return Asked(*(getattr(self, field.name)[rows] for field in fields(self)))


def classes_of(questions: tuple[Question, ...]) -> tuple[str, ...]:
    """Return the answers that questions have, each once.

    >>> classes_of(("path",)), classes_of(("dialogue", "match"))
    (('no', 'yes'), ('no', 'yes', 'same', 'right', 'left'))
    """
    said = {answer for kind in questions for answer in ANSWERS[kind]}
    return tuple(answer for answer in ("no", "yes", *RELATIONS) if answer in said)


def starts(depth: Ints, pairs: Ints, hops: Ints) -> Ints:
    """Return on how many levels, from 0 on, a question over so many hops can start.

    A pair has to be there, and behind it another one, or one hop would do.
    """
    return np.asarray(np.minimum(np.where(hops > 1, pairs - 1, pairs), depth - hops) + 1)


def draw(seed: int, *names: object, scenes: Scenes, questions: tuple[Question, ...]) -> Asked:
    """Ask something of every scene; the kinds are even, whatever the scene is.

    ``path`` leads over all of H hops half of the time, else over fewer, evenly; ``relation`` over
    two or three (two, where H = 2), evenly; the others over two. Starts are even.
    """
    count = len(scenes)

    def even(what: str, below: int) -> Ints:
        return rng.integers(seed, *names, what, count=count, below=below)

    known = np.array([QUESTIONS.index(kind) for kind in questions])
    kind = known[even("kind", len(questions))]
    few = 1 + even("few", 6) % (scenes.depth - 1)
    far = np.where(even("far", 2) == 1, scenes.depth, few)
    two = np.where(scenes.depth > 2, 2 + even("three", 2), 2)
    hops = np.select([kind == 0, kind == 1], [far, two], 2)
    start = even("start", 12) % starts(scenes.depth, scenes.pairs, hops)
    behind = np.where(start + hops <= scenes.pairs, even("chain", 2), 0)
    closed = (kind == 0) | (kind == 2)  # yes or no
    yes = np.where(closed, even("yes", 2), 1)
    # One of four wrong matches has another first relation, one another second.
    wrong = np.where((kind == 2) & (yes == 0), even("wrong", 4), 0)
    other = closed & (yes == 0) & (wrong < 2)
    chains = np.stack([np.where(other, 1 - behind, behind), behind], axis=1)
    rows = np.arange(count)
    first = scenes.relations[rows, chains[:, 0], start + 1]
    last = scenes.relations[rows, chains[:, 1], np.minimum(start + hops, 4)]
    turned = 1 + even("turned", 2)
    named = np.stack([(first + (wrong == 2) * turned) % 3, (last + (wrong == 3) * turned) % 3], 1)
    spoken = np.stack([kind >= 2, kind == 2], axis=1)
    level = np.arange(scenes.relations.shape[2])
    way = (level > start[:, None]) & (level <= (start + hops)[:, None])
    summed = (scenes.relations[rows, behind] * way).sum(axis=1) % 3
    return Asked(
        kind=kind,
        hops=hops,
        start=start,
        chains=chains,
        words=np.where(spoken, named, -1),
        answer=np.select([closed, kind == 1], [yes, summed], last),
    )


def tokens_of(scenes: Scenes, asked: Asked) -> tuple[Ints, Ints]:
    """Return questions as tokens [N, 7], zeros behind the last, and how many each has [N]."""
    rows = np.arange(len(scenes))
    from_, to = (
        THING + scenes.names[rows, asked.chains[:, end], asked.start + end * asked.hops]
        for end in (0, 1)
    )
    one, two = (RELATION + asked.words[:, at] for at in (0, 1))
    found = np.zeros((len(scenes), LENGTH), dtype=np.int64)
    said: dict[Question, list[Ints | str]] = {
        "path": ["reach", from_, to],
        "relation": ["relate", from_, to],
        "match": ["match", from_, one, "some", two, to],
        "dialogue": ["ask", from_, one, "what", "then", "it", "how"],
    }
    lengths = np.zeros(len(scenes), dtype=np.int64)
    for number, kind in enumerate(QUESTIONS):
        here = asked.kind == number
        for place, word in enumerate(said[kind]):
            found[here, place] = _AT[word] if isinstance(word, str) else word[here]
        lengths[here] = len(said[kind])
    return found, lengths
