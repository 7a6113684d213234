"""SceneCap's oracle says what can be known, and its bounds are bounds."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mmbench.data import scenecap
from mmbench.data._contract import Request
from mmbench.data.scenecap import grammar, oracle, world
from mmbench.data.scenecap.consensus import Consensus, best_wording
from mmbench.data.scenecap.grammar import Wording, caption
from mmbench.data.scenecap.oracle import best_f1
from mmbench.data.scenecap.parser import SLOTS
from mmbench.types import Dataset, Split

SUBSETS = [frozenset(s) for s in ((), ("image",), ("audio",), ("image", "audio"))]
BOTH = SUBSETS[-1]
SIZE = 2000
Answers = dict[tuple[str, frozenset[str]], list[str]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    splits = {"train": 200, "val": 200, "test": SIZE, "ood": SIZE}
    cache = tmp_path_factory.mktemp("cache")
    return scenecap.build(Request("captioning", 1, 20260, {}, splits, None, cache))


@pytest.fixture(scope="module")
def answers(dataset: Dataset) -> Answers:
    assert dataset.oracle is not None
    return {
        (name, seen): list(dataset.oracle(dataset.splits[name], seen).outputs["caption"])
        for name in ("test", "ood")
        for seen in SUBSETS
    }


def slot_f1(texts: list[str], split: Split, slot: str) -> float:
    refs = split.references["caption"]
    assert refs.parse is not None
    assert refs.slots is not None
    hits = said = true = 0
    for text, slots in zip(texts, refs.slots, strict=True):
        found = refs.parse(text)
        for kind in SLOTS if slot == "slot" else (slot,):
            hits += len(found[kind] & slots[kind])
            said += len(found[kind])
            true += len(slots[kind])
    return 2 * hits / (said + true)


def close(value: float, expected: float, spread: float = 0.5) -> bool:
    """Say whether a mean over the items is within 4 standard errors of its expectation."""
    return bool(abs(value - expected) < 4 * spread / SIZE**0.5)


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test", "ood"])
def test_with_both_modalities_every_slot_is_right(
    dataset: Dataset, answers: Answers, name: str
) -> None:
    for slot in SLOTS:
        assert slot_f1(answers[name, BOTH], dataset.splits[name], slot) == 1.0


@pytest.mark.parametrize("name", ["test", "ood"])
def test_with_the_image_alone_what_is_seen_is_right_and_the_emitter_is_a_guess(
    dataset: Dataset, answers: Answers, name: str
) -> None:
    split, texts = dataset.splits[name], answers[name, frozenset(["image"])]
    for slot in ("object", "attribute", "relation"):
        assert slot_f1(texts, split, slot) == 1.0
    assert close(slot_f1(texts, split, "emitter"), (1 / split.groups["visible"]).mean())
    assert close(slot_f1(texts, split, "sound"), 1 / 8)
    clear = np.flatnonzero(~split.groups["occluded"])
    assert slot_f1([texts[i] for i in clear], split.take(clear), "count") == 1.0
    behind = np.flatnonzero(split.groups["occluded"])
    assert close(slot_f1([texts[i] for i in behind], split.take(behind), "count"), 0.5, 0.8)


@pytest.mark.parametrize("name", ["test", "ood"])
def test_with_the_audio_alone_sound_and_count_are_right_and_the_rest_is_a_guess(
    dataset: Dataset, answers: Answers, name: str
) -> None:
    split, texts = dataset.splits[name], answers[name, frozenset(["audio"])]
    assert slot_f1(texts, split, "sound") == slot_f1(texts, split, "count") == 1.0
    assert close(slot_f1(texts, split, "object"), 1 / 3)
    assert close(slot_f1(texts, split, "emitter"), 0.0333 if name == "test" else 0.0602, 0.2)


def test_the_answer_depends_on_nothing_that_is_not_seen(dataset: Dataset, answers: Answers) -> None:
    slots = dataset.splits["test"].references["caption"].slots or ()
    said: dict[object, set[str]] = {}
    for text, planted in zip(answers["test", frozenset(["audio"])], slots, strict=True):
        said.setdefault((planted["sound"], planted["count"]), set()).add(text)
    assert len(said) == 32
    assert all(len(texts) == 1 for texts in said.values())
    assert len(set(answers["test", frozenset()])) == 1
    visible = dataset.splits["test"].groups["visible"]
    said = {}
    for text, planted, number in zip(
        answers["test", frozenset(["image"])], slots, visible, strict=True
    ):
        key = (planted["attribute"], planted["relation"], int(number))
        said.setdefault(key, set()).add(text)
    assert all(len(texts) == 1 for texts in said.values())


def test_knowing_more_agrees_better_with_the_references(dataset: Dataset, answers: Answers) -> None:
    part = dataset.splits["test"].take(np.arange(300))
    consensus = Consensus(part.references["caption"].texts)
    nothing, image, audio, both = (consensus.score(answers["test", s][:300]) for s in SUBSETS)
    assert nothing < audio < image < both


def test_the_answers_of_a_part_are_those_of_the_whole(dataset: Dataset, answers: Answers) -> None:
    assert dataset.oracle is not None
    index = np.array([17, 3, 99])
    part = dataset.oracle(dataset.splits["test"].take(index), frozenset(["image"]))
    assert list(part.ids) == ["test-0017", "test-0003", "test-0099"]
    assert part.outputs["caption"] == [answers["test", frozenset(["image"])][i] for i in index]


def test_no_count_makes_near_likelier_than_far() -> None:
    for occlusion in (0.0, 0.5, 1.0):
        scenes = world.draw(8, "test", 30_000, occlusion)
        for count in np.unique(scenes.count):
            far = scenes.distance[scenes.count == count]
            assert far.mean() > 0.5 - 4 * 0.5 / len(far) ** 0.5


# --- wording -------------------------------------------------------------------------------------


def test_the_wording_agrees_better_on_new_items_than_any_of_many_others(
    dataset: Dataset, answers: Answers
) -> None:
    split = dataset.splits["test"].take(np.arange(200))
    facts = oracle.decide(split, BOTH)
    consensus = Consensus(split.references["caption"].texts)
    chosen = consensus.score(answers["test", BOTH][:200])
    likeliest = Wording(*(w.index(max(w)) for w in grammar.CHOICES.values()))
    others = [
        likeliest,
        *(Wording(*row) for row in grammar.draw_wordings(9, "others", 1, 40)[0].tolist()),
    ]
    for other in others:
        assert consensus.score([caption(fact, other) for fact in facts]) <= chosen


def test_no_reference_agrees_better_with_the_others_than_the_oracle_does(
    dataset: Dataset, answers: Answers
) -> None:
    texts = dataset.splits["test"].references["caption"].texts[:400]
    others = Consensus([row[1:] for row in texts])
    assert others.score([row[0] for row in texts]) < others.score(answers["test", BOTH][:400])


def test_the_search_finds_the_best_of_a_language_that_prefers_one_wording() -> None:
    target = Wording(3, 2, 1, 3, 1, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1)
    scenes = world.draw(4, "train", 40, 0.5)
    facts = [grammar.Facts(*row) for row in grammar.facts_of(scenes).tolist()]
    references = [(caption(fact, target),) for fact in facts]
    found = best_wording(lambda n, way: [caption(fact, way) for fact in facts[:n]], references)
    assert [caption(fact, found) for fact in facts] == [text for (text,) in references]


def test_the_agreement_is_cider_d_as_published(dataset: Dataset) -> None:
    from pycocoevalcap.cider.cider import Cider

    rows = dataset.splits["test"].references["caption"].texts[:60]
    said = [row[0] for row in rows[1:]] + ["the unseen words of a caption that is shorter"]
    theirs, _ = Cider().compute_score(
        {i: list(row) for i, row in enumerate(rows)}, {i: [text] for i, text in enumerate(said)}
    )
    assert Consensus(rows).score(said) == pytest.approx(theirs, rel=1e-9)


# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test", "ood"])
def test_no_bound_is_broken_by_the_oracle_and_most_are_reached(
    dataset: Dataset, answers: Answers, name: str
) -> None:
    split = dataset.splits[name]
    bounds = scenecap.bounds(split)
    assert set(bounds) == {f"{slot}_f1" for slot in (*SLOTS, "slot")}
    for metric, levels in bounds.items():
        for seen, level in levels.items():
            reached = slot_f1(answers[name, frozenset(seen.split("+"))], split, metric[:-3])
            if metric == "slot_f1":  # the oracle leaves nothing out, although here that would pay
                assert reached < level < 1
                continue
            assert close(reached, level, 0.5 if level > 0.1 else 0.2), (metric, seen)


def test_the_bound_of_the_emitter_from_the_image_is_the_mean_of_one_in_so_many(
    dataset: Dataset,
) -> None:
    for name in ("test", "ood"):
        split = dataset.splits[name]
        expected = (1 / split.groups["visible"].astype(float)).mean()
        assert scenecap.bounds(split)["emitter_f1"]["image"] == pytest.approx(expected)
        assert abs(expected - 13 / 36) < 0.01


@pytest.mark.parametrize("truths", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_expected_f1_is_that_of_the_best_of_all_choices(truths: int, seed: int) -> None:
    from mmbench import rng

    chances = rng.uniform(seed, "chances", count=6) * 0.9
    every = [
        2 * chances[list(said)].sum() / (len(said) + truths)
        for chosen in product((False, True), repeat=6)
        if (said := [i for i, taken in enumerate(chosen) if taken])
    ]
    assert best_f1(chances, truths) == pytest.approx(max(every))


@pytest.mark.parametrize("name", ["test", "ood"])
def test_the_chances_behind_the_bounds_are_those_of_the_world(name: str) -> None:
    """Counted on scenes that all have an occluder, for which the audio's bounds are tight."""
    facts = grammar.facts_of(world.draw(11, name, 60_000, 1.0))
    column = dict(zip(grammar.Facts._fields, facts.T, strict=True))
    emitter = column["emitter_shape"] * 6 + column["emitter_colour"]
    for count, inverse in ((2, 1 / 2), (3, 5 / 12), (4, 7 / 24), (5, 1 / 4)):
        heard = emitter[column["number"] == count]
        best = np.bincount(heard, minlength=36).max() / len(heard)
        expected = inverse / 6 if name == "ood" else 1 / 30
        assert abs(best - expected) < 5 * (expected / len(heard)) ** 0.5
    pairs = [column[f"{role}_shape"] * 6 + column[f"{role}_colour"] for role in ("upper", "lower")]
    best = np.bincount(np.concatenate(pairs), minlength=36).max() / len(facts)
    assert abs(best - (1 / 6 if name == "ood" else 1 / 15)) < 0.006
    sized = [column[f"{role}_shape"] * 2 + column[f"{role}_size"] for role in ("upper", "lower")]
    best = np.bincount(np.concatenate(sized), minlength=12).max() / len(facts)
    assert abs(best - 1 / 6) < 0.006
