"""The exact probabilities of the answers, for every set of modalities, from the arrays alone.

Both graphs and the question leave one answer (`solver`). For less, what is not seen is summed out:

* *One graph and the question.* Arrows to levels that follow one another are told by two halves, so
  a graph shows arrows that have no thing in common. Everything that is asked of two hops or more
  takes arrows of both. A relation that follows from several is even, since one of them is not seen.
  Of ``dialogue``, either *it* is seen, and the second relation is even; or the second arrow is one
  of those that do not touch S, each as likely. For ``path`` and ``match`` all laws of scene and
  question are gone through that could be behind the view (`_closed`): two views are alike if they
  differ in names only, and given the law all that are alike are equally likely.
* *No question.* The kinds are as often as each other, and yes and no are even whatever the scene.
  The others are summed over the questions that may be asked of the scene, or of all scenes that a
  graph may be half of.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmbench.data.reasoning import seen, solver
from mmbench.data.reasoning.laws import Law, laws
from mmbench.data.reasoning.params import QUESTIONS, Params, Question
from mmbench.data.reasoning.questions import ANSWERS, classes_of
from mmbench.data.reasoning.references import params_of
from mmbench.data.reasoning.scenes import HALVES, RELATIONS
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.types import Floats, Split

#: What can be heard.
MODALITIES = (*HALVES, "question")
_R = len(RELATIONS)


def posterior(split: Split, heard: frozenset[str]) -> Floats:
    """Return [N, C], p(answer | what is heard).

    Args:
        split: Any split of this dataset, or a part of one.
        heard: The modalities to look at, any subset.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    for name in sorted(heard - set(MODALITIES)):
        raise UsageError(f"unknown modality {name!r}: the data have {', '.join(MODALITIES)}")
    params = params_of(split)
    graphs = [np.asarray(split.inputs[half]) for half in HALVES if half in heard]
    arrows = seen.arrows(*graphs) if graphs else None
    kinds: dict[Question, Floats] = {}
    asked = seen.questions(split.inputs["question"]) if "question" in heard else None
    size = len(split)
    if asked is None:
        for kind in params.questions:
            kinds[kind] = _unasked(kind, params, size, arrows, graphs)
        shares = np.full((size, len(QUESTIONS)), 0.0)
        shares[:, [QUESTIONS.index(kind) for kind in params.questions]] = 1 / len(kinds)
    else:
        shares = (asked.kind[:, None] == np.arange(len(QUESTIONS))).astype(np.float64)
        answer = solver.solve(arrows, asked) if len(graphs) == len(HALVES) else None  # type: ignore[arg-type]
        for kind in params.questions:
            count = len(ANSWERS[kind])
            if answer is not None:
                kinds[kind] = (answer[:, None] == np.arange(count)).astype(np.float64)
            elif arrows is None or kind == "relation":
                kinds[kind] = np.full((size, count), 1 / count)
            elif kind == "dialogue":
                kinds[kind] = _of_it(arrows, asked)
            else:
                kinds[kind] = _closed_of(kind, params, arrows, graphs[0], asked)
    classes = classes_of(params.questions)
    found = np.zeros((size, len(classes)))
    for kind, chances in kinds.items():
        places = [classes.index(answer) for answer in ANSWERS[kind]]
        found[:, places] += shares[:, QUESTIONS.index(kind)][:, None] * chances
    return found


# --- one graph and the question ------------------------------------------------------------------


def _histogram(arrows: NDArray[np.int8], counted: NDArray[np.bool_]) -> Floats:
    """Return [N, 3], the shares of the relations of those arrows that are counted; even if none."""
    found = np.stack([((arrows == r) & counted).sum(axis=(1, 2)) for r in range(_R)], axis=1)
    total = found.sum(axis=1, keepdims=True)
    return np.where(total > 0, found / np.maximum(total, 1), 1 / _R)


def _of_it(arrows: NDArray[np.int8], asked: seen.Questions) -> Floats:
    """Return [N, 3] for the second turn of a dialogue, from one graph."""
    rows, start = np.arange(len(arrows)), asked.things[:, 0]
    others = np.ones(arrows.shape, dtype=bool)
    others[rows, start] = others[rows, :, start] = False
    first = (arrows[rows, start] >= 0).any(axis=1, keepdims=True)
    return np.where(first, 1 / _R, _histogram(arrows, others))


#: What of S and of T a graph shows.
_ALONE, _TAIL, _HEAD = range(3)
#: Whether a relation that the question names is seen, and which it is.
_UNSEEN, _EQUAL, _OTHER = range(3)


def _closed_of(
    kind: Question,
    params: Params,
    arrows: NDArray[np.int8],
    graph: NDArray[np.uint8],
    asked: seen.Questions,
) -> Floats:
    """Return [N, 2], no and yes, from one graph and the question."""
    rows = np.arange(len(arrows))
    one, two = asked.things[:, 0], asked.things[:, 1]
    role = [
        np.select(
            [(arrows[rows, at] >= 0).any(axis=1), (arrows[rows, :, at] >= 0).any(axis=1)],
            [_TAIL, _HEAD],
            _ALONE,
        )
        for at in (one, two)
    ]
    leaves, enters = arrows[rows, one].max(axis=1), arrows[rows, :, two].max(axis=1)
    named = [
        np.where(told < 0, _UNSEEN, np.where(told == asked.relations[:, end], _EQUAL, _OTHER))
        if kind == "match"
        else np.full(len(rows), _UNSEEN)
        for end, told in enumerate((leaves, enters))
    ]
    edges = (arrows >= 0).sum(axis=(1, 2))
    views = np.stack(
        [seen.things(graph), edges, *role, arrows[rows, one, two] >= 0, *named], axis=1
    ).astype(np.int64)
    table = _closed(kind, params)
    different, which = np.unique(views, axis=0, return_inverse=True)
    # Of another kind's questions, or of none that is ever asked: nothing is known.
    chances = [table.get(tuple(view.tolist()), (0.5, 0.5)) for view in different]
    return np.array(chances)[which.reshape(-1)]


@cache
def _closed(kind: Question, params: Params) -> dict[tuple[int, ...], tuple[float, float]]:
    """Return how likely no and yes are for each view of one graph, whichever half it is."""
    weights: dict[tuple[int, ...], list[float]] = {}
    for law in laws(kind, params):
        for half in range(len(HALVES)):
            weights.setdefault(_view(kind, law, half), [0.0, 0.0])[law.answer] += law.chance
    return {view: (no / (no + yes), yes / (no + yes)) for view, (no, yes) in weights.items()}


def _view(kind: Question, law: Law, half: int) -> tuple[int, ...]:
    """Return what a half shows of a law of scene and question, as `_closed_of` reads it."""
    role = [
        _TAIL if law.told(chain, level + 1, half) else
        _HEAD if law.told(chain, level, half) else _ALONE
        for chain, level in law.ends
    ]  # fmt: skip
    (s_chain, s_level), (t_chain, t_level) = law.ends
    joined = s_chain == t_chain and t_level == s_level + 1 and role[0] == _TAIL
    named = [_UNSEEN, _UNSEEN]
    if kind == "match":
        shown = (law.told(s_chain, s_level + 1, half), law.told(t_chain, t_level, half))
        for end in np.flatnonzero(shown).tolist():
            named[end] = _OTHER if law.turned == end else _EQUAL
    return (law.things, law.edges(half), *role, int(joined), *named)


# --- no question ---------------------------------------------------------------------------------


def _unasked(
    kind: Question,
    params: Params,
    size: int,
    arrows: NDArray[np.int8] | None,
    graphs: list[NDArray[np.uint8]],
) -> Floats:
    """Return [N, answers] of a kind of question, without the question."""
    count = len(ANSWERS[kind])
    even = np.full((size, count), 1 / count)
    if count == 2 or arrows is None:
        return even
    if len(graphs) == len(HALVES):
        return _of_scene(kind, params, arrows)
    if kind == "relation":
        return even
    edges, things = (arrows >= 0).sum(axis=(1, 2)), seen.things(graphs[0])
    table = _second_is_seen(params)
    shown = np.array(
        [table.get(key, 0.0) for key in zip(things.tolist(), edges.tolist(), strict=True)]
    )
    chances = _histogram(arrows, np.ones(arrows.shape, dtype=bool))
    return shown[:, None] * chances + (1 - shown)[:, None] / _R


@cache
def _second_is_seen(params: Params) -> dict[tuple[int, int], float]:
    """Return how likely one graph shows the arrow that a dialogue ends with: (N, edges) -> p."""
    weights: dict[tuple[int, int], list[float]] = {}
    for law in laws("dialogue", params):
        for half in range(len(HALVES)):
            key = (law.things, law.edges(half))
            shown = law.told(*law.ends[1], half)
            weights.setdefault(key, [0.0, 0.0])[int(shown)] += law.chance
    return {key: yes / (no + yes) for key, (no, yes) in weights.items()}


def _of_scene(kind: Question, params: Params, arrows: NDArray[np.int8]) -> Floats:
    """Return [N, 3] from both graphs: over all questions of a kind that may be asked of a scene."""
    told = np.asarray(arrows >= 0)
    # The first things of the two chains: they point, and nothing points at them.
    heads = np.asarray(told.any(axis=2) & ~told.any(axis=1))
    ends = np.stack([heads.argmax(axis=1), 11 - heads[:, ::-1].argmax(axis=1)], axis=1)
    ways = [solver.follow(arrows, ends[:, chain])[1] for chain in (0, 1)]
    lengths = np.stack([(way >= 0).sum(axis=1) for way in ways], axis=1)
    longer = lengths.argmax(axis=1)
    rows = np.arange(len(arrows))
    relations = np.stack(ways, axis=1)
    relations = np.stack([relations[rows, longer], relations[rows, 1 - longer]], axis=1)
    shape = np.sort(lengths, axis=1)
    found = np.zeros((len(arrows), _R))
    for law in laws(kind, params):
        here = (shape[:, 1] == law.depth) & (shape[:, 0] == law.pairs)
        (chain, start), (_, end) = law.ends
        way = relations[here, chain, start:end]
        answer = way.sum(axis=1) % _R if kind == "relation" else way[:, -1]
        found[np.flatnonzero(here), answer] += law.chance
    return np.asarray(found / found.sum(axis=1, keepdims=True))
