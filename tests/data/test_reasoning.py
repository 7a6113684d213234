"""The reasoning data: what is told where, how often what is asked, no doubles, pinned bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import _load, reasoning
from mmbench.data._contract import Request
from mmbench.data.reasoning import draws, seen
from mmbench.data.reasoning.arrays import hashes
from mmbench.data.reasoning.params import QUESTIONS, Params
from mmbench.data.reasoning.questions import ANSWERS, WORDS, starts
from mmbench.data.reasoning.scenes import HALVES, Scenes, half_of
from mmbench.errors import SpecError
from mmbench.types import Dataset, Ragged, Split

Make: TypeAlias = Callable[..., Dataset]
SPLITS = {"train": 400, "val": 60, "test": 200}
TASKS = ("reasoning", *(f"reasoning_{kind}" for kind in QUESTIONS))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Build a dataset: sizes of splits, parameters."""

    def made(sizes: dict[str, int] | None = None, **params: Any) -> Dataset:
        request = Request("task", reasoning.VERSION, 7, params, sizes or SPLITS, None, tmp_path)
        return reasoning.build(request)

    return made


@cache
def drawn(count: int = 6000) -> draws.Items:
    return draws.draw(3, "test", Params(), count, 0, 1)


def spoken(split: Split, row: int) -> list[str]:
    told = split.inputs["question"]
    assert isinstance(told, Ragged)
    return [WORDS[token] for token in told.values[row, : told.lengths[row]]]


# --- the dataset as the contract wants it --------------------------------------------------------


@pytest.mark.parametrize("kind", [None, *QUESTIONS])
def test_shapes_and_answers_are_those_that_were_promised(make: Make, kind: str | None) -> None:
    assert registry.load("dataset", "reasoning") is reasoning.build
    dataset = make(**({"questions": [kind]} if kind else {}))
    signature = dataset.signature
    assert [m.kind for m in signature.modalities.values()] == ["graph", "graph", "text"]
    assert signature.modalities["image"].relations == 3
    classes = signature.outputs["answer"].vocabulary
    assert classes == (ANSWERS[kind] if kind else ("no", "yes", "same", "right", "left"))  # type: ignore[index]
    for name, size in SPLITS.items():
        split = dataset.splits[name]
        assert len(split) == len(set(split.ids)) == size
        for half in HALVES:
            graph = np.asarray(split.inputs[half])
            assert graph.shape == (size, *signature.modalities[half].shape)
            assert graph.dtype == np.uint8
        references = split.references["answer"]
        assert references.classes == classes  # type: ignore[attr-defined]
        np.testing.assert_array_equal(references.labels, split.targets["answer"])  # type: ignore[attr-defined]
        assert set(split.groups["question"]) == ({kind} if kind else set(QUESTIONS))
        assert set(split.groups) == {"question", "hops", "question_hops", "isomorphic"}
        assert split.groups["question_hops"][0] == (
            f"{split.groups['question'][0]} {split.groups['hops'][0]}"
        )
        for row in range(20):
            words = spoken(split, row)
            assert words[0] == dict(
                zip(QUESTIONS, ("reach", "relate", "match", "ask"), strict=True)
            )[split.groups["question"][row]]  # fmt: skip


#: SHA-256 over all arrays of the splits above; a change here needs a new VERSION.
BYTES = {
    "": "0957274e2a909326c01e979f80908e9d05d7a5d9175df58ef6e6915b36664327",
    "path": "4e7526ee76288b12c174f83d0a8d510ced8601a86f1724029c09fb3783eeae4c",
    "relation": "82d9c69edda7037fbb77284c2b8014520b660a1dcb741f99f70e3f3e9b00859f",
    "match": "18cccdb676ae23f551f02fa3a78fe2a1fa5db09ac0d301c15ddf22e88c14dff1",
    "dialogue": "f6f1ee5b471c73739f3a296c0a3b013d9e417101cf34fd928b44dfcdb22d9f92",
}


@pytest.mark.parametrize("kind", BYTES)
def test_bytes_are_pinned(make: Make, kind: str) -> None:
    total = hashlib.sha256()
    for split in make(**({"questions": [kind]} if kind else {})).splits.values():
        told = split.inputs["question"]
        assert isinstance(told, Ragged)
        held = (split.inputs["image"], split.inputs["text"], told.values, told.lengths)
        for array in (*held, *split.targets.values(), split.groups["isomorphic"]):
            total.update(np.ascontiguousarray(array).tobytes())
    assert total.hexdigest() == BYTES[kind]


def test_the_first_items_do_not_depend_on_sizes(make: Make) -> None:
    small = make().splits["train"]
    large = make({"train": 9000, "val": 5, "test": 7}).splits["train"].take(np.arange(len(small)))
    for half in HALVES:
        np.testing.assert_array_equal(large.inputs[half], small.inputs[half])
    assert [spoken(large, row) for row in range(50)] == [spoken(small, row) for row in range(50)]
    np.testing.assert_array_equal(large.targets["answer"], small.targets["answer"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hops": 1}, r"tasks/task.toml: dataset.params: hops: expected `int` >= 2"),
        ({"hops": 5}, r"dataset.params: hops: expected `int` <= 4"),
        ({"questions": []}, r"params.questions = \[\]: expected one or more of path, relation"),
        ({"questions": ["path", "path"]}, r"expected one or more of path, .* each once"),
        ({"questions": ["paths"]}, r"'paths' is none of its values: did you mean 'path'"),
        ({"noise": 1}, r"dataset.params: unknown key 'noise'"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)
def test_bad_parameters_are_one_line(make: Make, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as error:
        make(**change)
    assert "\n" not in str(error.value)


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"version = 9: this mmbench makes reasoning 1; write"):
        reasoning.build(Request("task", 9, 7, {}, SPLITS, None, tmp_path))


def test_more_items_than_there_are_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "hashes", lambda *columns: columns[0].astype(np.uint64))
    with pytest.raises(SpecError, match=r"splits.val = 9: there are no more than 3 different"):
        draws.draw(0, "val", Params(), 9, 0, 1)


# --- no doubles ----------------------------------------------------------------------------------


def content(split: Split, row: int, names: bool = True) -> tuple[Any, ...]:
    """Return what an item says, whatever the order of its nodes; without names up to isomorphism.

    Written without what draws the items: without names, things are numbered as arrows from the
    start of either chain come to them, whichever of the two goes first.
    """
    graphs = [seen.arrows(np.asarray(split.inputs[half])[row : row + 1])[0] for half in HALVES]
    arrows = {(int(a), int(b)): (half, int(graph[a, b]))
              for half, graph in enumerate(graphs) for a, b in np.argwhere(graph >= 0)}  # fmt: skip
    words = spoken(split, row)
    things = {t for edge in arrows for t in edge}
    if names:
        return tuple(words), tuple(sorted((*edge, *what) for edge, what in arrows.items()))
    heads = sorted(things - {b for _, b in arrows})
    after = dict(arrows)
    found = []
    for order in (heads, heads[::-1]):
        number: dict[int, int] = {}
        for at in order:
            place: int | None = at
            while place is not None:
                number[place] = len(number)
                place = next((b for a, b in after if a == place), None)
        called = {WORDS[-12 + thing]: str(n) for thing, n in number.items()}
        edges = sorted((number[a], number[b], *what) for (a, b), what in arrows.items())
        found.append((tuple(called.get(w, w) for w in words), tuple(edges)))
    return min(found)


def test_no_item_is_there_twice_and_isomorphic_ones_are_told(make: Make) -> None:
    dataset = make({"train": 1500, "val": 300, "test": 400})
    every = [content(s, row) for s in dataset.splits.values() for row in range(len(s))]
    assert len(set(every)) == len(every)
    train = dataset.splits["train"]
    known = {content(train, row, names=False) for row in range(len(train))}
    for name in ("val", "test"):
        split = dataset.splits[name]
        told = [bool(value) for value in split.groups["isomorphic"]]
        assert told == [content(split, row, names=False) in known for row in range(len(split))]
        assert 0.05 < np.mean(told) < 0.9
    assert train.groups["isomorphic"].all()


def test_a_double_is_found_though_chains_of_one_length_change_places() -> None:
    items = drawn()
    even = np.flatnonzero(items.scenes.depth == items.scenes.pairs)[:50]
    one = items.take(even)
    s, q = one.scenes, one.asked
    turned = (
        Scenes(s.depth, s.pairs, s.first, s.names[:, ::-1], s.relations[:, ::-1]),
        type(q)(q.kind, q.hops, q.start, 1 - q.chains, q.words, q.answer),
    )
    columns = (
        (
            a.depth,
            a.pairs,
            a.first,
            a.relations,
            b.kind,
            b.hops,
            b.start,
            b.chains,
            b.words,
            a.names,
        )
        for a, b in ((s, q), turned)
    )
    there, back = (hashes(*each) for each in columns)
    np.testing.assert_array_equal(np.minimum(there, back), one.own)
    assert len(set(hashes(np.arange(9999)).tolist())) == 9999


# --- what is planted -----------------------------------------------------------------------------


def test_scenes_have_five_to_eight_things_and_two_chains() -> None:
    items = drawn()
    count = (items.scenes.names >= 0).sum(axis=(1, 2))
    assert set(count.tolist()) == {5, 6, 7, 8}
    for row in range(300):
        names = items.scenes.names[row]
        assert len(set(names[names >= 0].tolist())) == count[row]
    links = (items.scenes.relations >= 0).sum(axis=(1, 2))
    np.testing.assert_array_equal(links, count - 2)


def test_each_edge_is_in_one_half_and_no_way_of_two_is(make: Make) -> None:
    split = make().splits["train"]
    one, other = (seen.arrows(np.asarray(split.inputs[half])) >= 0 for half in HALVES)
    assert not (one & other).any()
    for half in (one, other):
        through = half.any(axis=1) & half.any(axis=2)  # what is pointed at, and points
        assert not through.any()
    told, whole = one.sum(), (one | other).sum()
    assert abs(told / whole - 0.5) < 0.03, "half the edges in either"
    image, text = (seen.things(np.asarray(split.inputs[half])) for half in HALVES)
    np.testing.assert_array_equal(image, text)


def test_the_order_of_nodes_is_drawn_for_each_half(make: Make) -> None:
    split = make().splits["train"]
    orders = [np.asarray(split.inputs[half])[:, 0, :5, 0] for half in HALVES]
    assert (orders[0] == orders[1]).mean() < 0.3
    features = np.asarray(split.inputs["image"])[:, 0]
    one_hot = features[..., 1:].argmax(axis=-1) + WORDS.index("apple")
    real = features[..., 0] > 0
    np.testing.assert_array_equal(one_hot[real], features[..., 0][real])
    assert (features[..., 1:].sum(axis=-1) == real).all()


def test_yes_and_no_are_even_and_every_question_has_its_hops() -> None:
    items = drawn()
    q, s = items.asked, items.scenes
    for kind in (0, 2):
        here = q.kind == kind
        for shape in {(int(d), int(p)) for d, p in zip(s.depth, s.pairs, strict=True)}:
            some = here & (s.depth == shape[0]) & (s.pairs == shape[1])
            assert abs(q.answer[some].mean() - 0.5) < 4 * (0.25 / some.sum()) ** 0.5
    found = {kind: set(q.hops[q.kind == at].tolist()) for at, kind in enumerate(QUESTIONS)}
    assert found == {"path": {1, 2, 3, 4}, "relation": {2, 3}, "match": {2}, "dialogue": {2}}
    assert (q.start < starts(s.depth, s.pairs, q.hops)).all()
    for kind in (1, 3):
        share = np.bincount(q.answer[q.kind == kind]) / (q.kind == kind).sum()
        assert np.abs(share - 1 / 3).max() < 0.05
    assert (np.bincount(q.kind) / len(items)).min() > 0.22
    # What takes two hops or more takes a layer that either half tells.
    more = q.hops > 1
    assert (q.start[more] + 1 <= s.pairs[more]).all()
    assert set(half_of(s.first, 1).tolist()) == {0, 1}


def test_a_limit_on_hops_holds(make: Make) -> None:
    split = make(hops=2, questions=["path", "relation"]).splits["train"]
    assert set(split.groups["hops"].tolist()) == {1, 2}
    assert (seen.things(np.asarray(split.inputs["image"])) <= 6).all()


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_what_they_promise(name: str) -> None:
    task = catalog.task(name)
    asked = task.dataset.params.get("questions", list(QUESTIONS))
    assert asked == ([name.removeprefix("reasoning_")] if "_" in name else list(QUESTIONS))
    assert set(task.budgets) == {"smoke", "small", "full"}
    _load.check_params(task)
    promised = reasoning.signature(Params(questions=tuple(asked)))
    for modality, told in task.modalities.items():
        assert tuple(told.shape) == promised.modalities[modality].shape
    assert task.outputs["answer"].classes == promised.outputs["answer"].vocabulary
    assert task.levels["accuracy"].ceiling == 1.0
    assert task.levels["bits"].late is not None
