"""Right answers and exact probabilities of the reasoning data, each by a way of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _load, reasoning
from mmbench.data._contract import Request
from mmbench.data.interactions.late import of_table
from mmbench.data.reasoning import proven
from mmbench.data.reasoning.laws import laws
from mmbench.data.reasoning.params import QUESTIONS, Params
from mmbench.data.reasoning.posterior import MODALITIES, posterior
from mmbench.data.reasoning.questions import WORDS
from mmbench.data.reasoning.scenes import HALVES, RELATIONS, THINGS
from mmbench.errors import UsageError
from mmbench.scoring import score
from mmbench.types import Ragged, Split

Make: TypeAlias = Callable[..., Split]
SETS = [frozenset(heard) for size in range(4) for heard in combinations(MODALITIES, size)]
NAMES = [f"{'+'.join(m for m in MODALITIES if m in heard) or 'nothing'}" for heard in SETS]
ALL = frozenset(MODALITIES)
CLASSES = ("no", "yes", *RELATIONS)
Edge = tuple[str, str, str]  # from, to, relation


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Build a test split: size, parameters."""

    def made(items: int, **params: Any) -> Split:
        request = Request("task", 1, 11, params, {"test": items}, None, tmp_path)
        return reasoning.build(request).splits["test"]

    return made


def labels(split: Split) -> np.ndarray:
    return np.asarray(split.targets["answer"])


def edges_of(split: Split, half: str, row: int) -> list[Edge]:
    """Read the arrows of one graph, one cell after the other."""
    graph = np.asarray(split.inputs[half])[row]
    who = [WORDS[int(number)] for number in graph[0, :, 0]]
    return [
        (who[tail], who[head], RELATIONS[relation])
        for relation, tail, head in np.argwhere(graph[1:, :, : graph.shape[1]]).tolist()
    ]


def words_of(split: Split, row: int) -> list[str]:
    told = split.inputs["question"]
    assert isinstance(told, Ragged)
    return [WORDS[token] for token in told.values[row, : told.lengths[row]]]


def worked_out(edges: list[Edge], words: list[str]) -> str:
    """Answer a question as it is read: search, one arrow at a time."""
    out: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for tail, head, relation in edges:
        out[tail].append((head, relation))

    def ways(start: str) -> Iterator[tuple[str, list[str]]]:
        front: list[tuple[str, list[str]]] = [(start, [])]
        while front:
            place, past = front.pop()
            if past:
                yield place, past
            front += [(head, [*past, relation]) for head, relation in out[place]]

    if words[0] == "reach":
        return "yes" if any(end == words[2] for end, _ in ways(words[1])) else "no"
    if words[0] == "relate":
        (way,) = [past for end, past in ways(words[1]) if end == words[2]]
        return RELATIONS[sum(RELATIONS.index(r) for r in way) % 3]
    if words[0] == "match":
        wanted = (words[5], [words[2], words[4]])
        return "yes" if wanted in list(ways(words[1])) else "no"
    (it,) = [head for head, relation in out[words[1]] if relation == words[2]]
    ((_, relation),) = out[it]
    return relation


# --- the right answer ----------------------------------------------------------------------------


def test_the_solver_the_search_and_the_draw_give_one_answer(make: Make) -> None:
    split = make(600)
    said = reasoning.oracle(split, ALL).outputs["answer"]
    drawn = [CLASSES[label] for label in labels(split)]
    searched = [
        worked_out([e for half in HALVES for e in edges_of(split, half, row)], words_of(split, row))
        for row in range(len(split))
    ]
    assert said == drawn == searched
    np.testing.assert_array_equal(posterior(split, ALL).max(axis=1), 1.0)


def test_the_oracle_needs_nothing_but_the_arrays(make: Make) -> None:
    split = make(200)
    blind = split.take(np.arange(200)[::-1])
    for heard in SETS:
        np.testing.assert_allclose(
            posterior(blind, heard), posterior(split, heard)[::-1], atol=1e-12
        )


def test_with_permuted_answers_the_oracle_falls_to_chance(make: Make) -> None:
    split = make(3000)
    said = np.array([CLASSES.index(a) for a in reasoning.oracle(split, ALL).outputs["answer"]])
    order = np.random.default_rng(0).permutation(len(split))
    share = np.bincount(labels(split), minlength=5) / len(split)
    chance = float((share**2).sum())
    assert abs((said == labels(split)[order]).mean() - chance) < 4 * (chance / len(split)) ** 0.5


# --- probabilities, against brute force ----------------------------------------------------------


def asked_of(
    chains: tuple[tuple[str, ...], ...], bears: dict[tuple[str, str], int]
) -> Iterator[tuple[float, tuple[str, ...], str]]:
    """Yield all questions of a scene, as the law is told: chance, words, answer."""
    depth, pairs = len(chains[0]) - 1, len(chains[1]) - 1

    def relation(chain: int, level: int) -> int:
        return bears[chains[chain][level - 1], chains[chain][level]]

    for kind in QUESTIONS:
        hops: list[tuple[int, float]] = [(2, 1.0)]
        if kind == "path":
            hops = [(depth, 0.5), *((n, 0.5 / (depth - 1)) for n in range(1, depth))]
        if kind == "relation" and depth > 2:
            hops = [(2, 0.5), (3, 0.5)]
        for many, share in hops:
            last = min(pairs if many == 1 else pairs - 1, depth - many)
            for start in range(last + 1):
                end = start + many
                behind = [0, 1] if end <= pairs else [0]
                for chain in behind:
                    p = 0.25 * share / (last + 1) / len(behind)
                    s, t = chains[chain][start], chains[chain][end]
                    other = chains[1 - chain][start]
                    way = [relation(chain, level) for level in range(start + 1, end + 1)]
                    if kind == "path":
                        yield p / 2, ("reach", s, t), "yes"
                        yield p / 2, ("reach", other, t), "no"
                    elif kind == "relation":
                        yield p, ("relate", s, t), RELATIONS[sum(way) % 3]
                    elif kind == "dialogue":
                        words = ("ask", s, RELATIONS[way[0]], "what", "then", "it", "how")
                        yield p, words, RELATIONS[way[1]]
                    else:
                        one, two = (RELATIONS[r] for r in way)
                        far = RELATIONS[relation(1 - chain, start + 1)]
                        yield p / 2, ("match", s, one, "some", two, t), "yes"
                        yield p / 4, ("match", other, far, "some", two, t), "no"
                        for turn in (1, 2):
                            wrong = RELATIONS[(way[0] + turn) % 3]
                            yield p / 16, ("match", s, wrong, "some", two, t), "no"
                            wrong = RELATIONS[(way[1] + turn) % 3]
                            yield p / 16, ("match", s, one, "some", wrong, t), "no"


@cache
def everything(things: int) -> dict[tuple[str, Any], np.ndarray]:
    """Go through all scenes of so many things, five or six, whose longer chain has two links.

    Returns:
        What is heard, and what it says -> how often each answer is right, by chance.
    """
    found: dict[tuple[str, Any], np.ndarray] = defaultdict(lambda: np.zeros(5))
    called = THINGS[:things]
    pairs = things - 4  # one chain has two links
    for order in permutations(called):
        chains = (order[:3], order[3:])
        links = [(c[at], c[at + 1]) for c in chains for at in range(len(c) - 1)]
        level = [at + 1 for c in chains for at in range(len(c) - 1)]
        assert len(links) == 2 + pairs
        for held in product(range(3), repeat=len(links)):
            bears = dict(zip(links, held, strict=True))
            questions = list(asked_of(chains, bears))
            for first in (0, 1):
                told: list[Any] = [
                    frozenset(
                        (*link, RELATIONS[bears[link]])
                        for link, at in zip(links, level, strict=True)
                        if (first + at - 1) % 2 == half
                    )
                    for half in (0, 1)
                ]
                for p, words, answer in questions:
                    place = CLASSES.index(answer)
                    for name in ("image", "text"):
                        own = told[HALVES.index(name)]
                        found[name, own][place] += p
                        found[f"{name}+question", (own, words)][place] += p
                    found["image+text", tuple(told)][place] += p
    return dict(found)


@pytest.mark.parametrize(
    "heard", ["image", "text", "image+text", "image+question", "text+question"]
)
def test_probabilities_are_those_of_brute_force(make: Make, heard: str) -> None:
    """All scenes of five things, all that may be asked of them."""
    split = make(400, hops=2)
    small = [row for row in range(400) if int((split.inputs["image"][row, 0, :, 0] > 0).sum()) == 5]  # type: ignore[index]
    assert len(small) > 100
    found = posterior(split, frozenset(heard.split("+")))
    seen_before = set()
    for row in small[:120]:
        told = {half: edges_of(split, half, row) for half in HALVES}
        words = words_of(split, row)
        names = sorted({w for w in (*words, *(x for h in HALVES for e in told[h] for x in e[:2]))
                        if w in THINGS})  # fmt: skip
        assert len(names) == 5
        alias = {**dict(zip(names, THINGS, strict=False))}
        halves = {h: frozenset((alias[a], alias[b], r) for a, b, r in told[h]) for h in HALVES}
        asked = tuple(alias.get(w, w) for w in words)
        key: Any = {
            "image": halves["image"],
            "text": halves["text"],
            "image+text": (halves["image"], halves["text"]),
            "image+question": (halves["image"], asked),
            "text+question": (halves["text"], asked),
        }[heard]
        weights = everything(5)[heard, key]
        np.testing.assert_allclose(found[row], weights / weights.sum(), atol=1e-12)
        seen_before.add(tuple(np.round(found[row], 6)))
    assert len(seen_before) > 2


@pytest.mark.parametrize("heard", SETS, ids=NAMES)
def test_what_is_promised_comes_true(make: Make, heard: frozenset[str]) -> None:
    """Of deeper scenes, too: hits and log loss are those that the probabilities promise."""
    split = make(6000)
    chances = posterior(split, heard)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, atol=1e-12)
    rows = np.arange(len(split))
    own = chances[rows, labels(split)]
    assert own.min() > 0
    hits = (chances.argmax(axis=1) == labels(split)) - chances.max(axis=1)
    logs = np.log2(np.where(chances > 0, chances, 1.0))
    loss = -np.log2(own) + (chances * logs).sum(axis=1)
    for gap in (hits, loss):
        assert abs(gap.mean()) <= 4.5 * gap.std() / len(gap) ** 0.5 + 1e-9
    # For each group, too: whoever is 60 % sure is right 60 % of the time.
    for group in np.unique(np.round(chances, 6).max(axis=1)):
        here = np.round(chances, 6).max(axis=1) == group
        if here.sum() > 200:
            right = (chances[here].argmax(axis=1) == labels(split)[here]).mean()
            assert abs(right - group) <= 4.5 * (group * (1 - group) / here.sum()) ** 0.5 + 1e-6


def test_one_graph_with_the_question_knows_single_hops_and_little_else(make: Make) -> None:
    split = make(6000, questions=["path", "relation"])
    chances = posterior(split, frozenset({"image", "question"}))
    right = chances.argmax(axis=1) == labels(split)
    by = {key: right[split.groups["question_hops"] == key].mean()
          for key in set(split.groups["question_hops"].tolist())}  # fmt: skip
    assert by["path 1"] > 0.65
    assert all(abs(by[f"path {hops}"] - 0.5) < 0.08 for hops in (2, 3, 4))
    assert all(abs(by[f"relation {hops}"] - 1 / 3) < 0.06 for hops in (2, 3))


def test_an_unknown_modality_and_a_strange_split_are_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="unknown modality 'audio': the data have image, text"):
        posterior(make(5), frozenset({"audio"}))
    split = make(5)
    strange = Split(split.ids, split.inputs, {}, {})
    with pytest.raises(UsageError, match="not of the dataset 'reasoning'"):
        posterior(strange, ALL)


# --- laws and bounds -----------------------------------------------------------------------------


@pytest.mark.parametrize("hops", [2, 3, 4])
@pytest.mark.parametrize("kind", QUESTIONS)
def test_chances_of_all_laws_add_up_to_one(kind: Any, hops: int) -> None:
    every = laws(kind, Params(hops=hops))
    assert sum(law.chance for law in every) == pytest.approx(1.0)
    assert {law.things for law in every} <= {5, 6, 7, 8}
    for law in every:
        assert law.edges(0) + law.edges(1) == law.things - 2


def parity(bits: int) -> np.ndarray:
    """Return p(y, bits): yes if their sum is even."""
    table = np.zeros((2, *[2] * bits))
    for held in product((0, 1), repeat=bits):
        table[(1 - sum(held) % 2, *held)] = 0.5**bits
    return table


def matching() -> np.ndarray:
    """Return p(y, image, text, question) of a match in one context, written out.

    Image: whether its arrows cross, and the relation of S's (3); text: the same of T's; question:
    one bit of whom it calls S and T, and the two relations that it names.
    """
    table = np.zeros((2, 6, 6, 18))
    for cross, far, bit, one, two in product(range(2), range(2), range(2), range(3), range(3)):
        even = (cross + far + bit) % 2 == 0
        wrongs = [(0, 0, 0.5)] if even else [(0, 0, 0.25)]
        if even:
            wrongs += [(d, 0, 0.0625) for d in (1, 2)] + [(0, d, 0.0625) for d in (1, 2)]
        for first, second, p in wrongs:
            yes = even and first == second == 0
            asked = bit * 9 + (one + first) % 3 * 3 + (two + second) % 3
            table[int(yes), cross * 3 + one, far * 3 + two, asked] += p
    return np.asarray(table / table.sum())


def test_late_fusion_is_bounded_as_the_convex_programme_has_it() -> None:
    """The proofs, held against the best late fusion that optimisation finds, in a context each."""
    for bits in (2, 3):
        assert of_table(parity(bits)).bits < 1e-4
    table = matching()
    np.testing.assert_allclose(table.sum(axis=(1, 2, 3)), 0.5)
    assert of_table(table).additive < 1e-4
    total = np.zeros((3, 3, 3))
    for a, b in product(range(3), repeat=2):
        total[(a + b) % 3, a, b] = 1 / 9
    assert of_table(total).bits < 1e-4


def test_bounds_of_late_fusion_are_means_over_the_kinds_of_question() -> None:
    found = {kind: proven.late_bits(Params(questions=(kind,))) for kind in QUESTIONS}
    assert (found["path"], found["match"]) == (1.0, 1.0)
    assert found["relation"] == pytest.approx(np.log2(3))
    # Of all that a dialogue is asked on, the share that has a second arrow of its own.
    assert 0.2 < found["dialogue"] < 2 / 3
    assert proven.late_bits(Params()) == pytest.approx(np.mean(list(found.values())))


def test_levels_are_the_scores_of_the_oracle_and_keep_to_the_bounds() -> None:
    task = catalog.task("reasoning_match")
    split = _load.load(task).splits["test"]
    assert set(task.levels) == set(task.metric_names)
    for heard in [frozenset(), ALL, *(frozenset({m}) for m in MODALITIES)]:
        said = reasoning.oracle(split, heard)
        scored = score(said, split.references, "answer", task.metrics.names, ids=split.ids).scores
        for metric, level in task.levels.items():
            told = level.floor if not heard else level.ceiling
            told = level.alone[next(iter(heard))] if len(heard) == 1 else told
            assert told == pytest.approx(scored[metric].value, abs=1e-4)
    few = reasoning.bounds(split, 4000)
    for metric, table in few.items():
        if metric in task.levels:
            for names, bound in table.items():
                assert task.levels[metric].bound[names] == pytest.approx(bound, abs=0.05)
    accuracy = task.levels["accuracy"]
    assert accuracy.bound["image+text+question"] == accuracy.ceiling == 1.0
    assert accuracy.bound["question"] == pytest.approx(0.5, abs=1e-3)
    assert accuracy.bound["image+question"] < 0.65
