"""Retrieval: two sides that are fused apart and meet in a sum of inner products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from mmbench import catalog, registry
from mmbench.errors import IncompatibleError, SpecError
from mmbench.models.balance import drop_modalities
from mmbench.models.build import build
from mmbench.models.combiners.score_sum import ScoreSum
from mmbench.models.heads.match import Match, right_ones
from mmbench.models.model import Model
from mmbench.models.objectives.supervised import Supervised
from mmbench.models.pairs import Pairs, feed_for
from mmbench.predict import NAMED, flops_per_item, predict
from mmbench.references import MatchReferences
from mmbench.run import Run, check, promised
from mmbench.scoring import score
from mmbench.spec import (
    BudgetSpec,
    ComponentSpec,
    DecodingSpec,
    ModelSpec,
    TaskSpec,
    essential,
    parse_task,
)
from mmbench.train import check_recipe, train
from mmbench.types import (
    GALLERY,
    QUERY,
    Batch,
    Modality,
    Output,
    Predictions,
    Ragged,
    Signature,
    Split,
)
from mmbench.wiring import trace

CPU = torch.device("cpu")
WIDTH = 16
TEXT = Modality("text", (5,), tiny.WORDS, GALLERY)
#: Two modalities of the query and one of the gallery, as the planted task will have.
THREE = {
    "picture": Modality("image", (3, 16, 16)),
    "steps": Modality("sequence", (4, 3)),
    "words": TEXT,
}
#: One of each side, as photographs and captions are.
TWO = {"picture": THREE["picture"], "words": TEXT}
#: Two of the gallery, as what is recommended has.
ITEMS = {
    "user": Modality("vector", (4,)),
    "picture": replace(THREE["picture"], role=GALLERY),
    "words": TEXT,
}
SHAPES = {"three": THREE, "two": TWO, "items": ITEMS}


def task_of(shape: Mapping[str, Modality], **more: Any) -> TaskSpec:
    return parse_task(
        {
            "schema": 1,
            "name": "found",
            "version": 1,
            "summary": "for tests",
            "dataset": {"name": "scenecap", "version": 1},
            "modalities": {
                n: {"kind": m.kind, "shape": list(m.shape), "role": m.role}
                for n, m in shape.items()
            },
            "outputs": {"match": {"kind": "match"}},
            "splits": {"train": 8, "val": 4, "test": 4},
            "metrics": {"main": "rsum"},
            "budgets": {"small": {"items": 8, "steps": 4}},
            **more,
        },
        "found.toml",
    )


def signature_of(modalities: Mapping[str, Modality]) -> Signature:
    return Signature(modalities, {"match": Output("match", 1)})


def content(
    modalities: Mapping[str, Modality], role: str, count: int, draw: np.random.Generator
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, m in modalities.items():
        if m.role != role:
            continue
        if m.kind == "image":
            found[name] = draw.integers(0, 256, (count, *m.shape), dtype=np.uint8)
        elif m.kind == "text":
            lengths = draw.integers(1, m.shape[0] + 1, count)
            words = draw.integers(3, len(tiny.WORDS), (count, *m.shape))
            words[np.arange(m.shape[0]) >= lengths[:, None]] = 0
            found[name] = Ragged(words, lengths)
        else:
            found[name] = draw.normal(size=(count, *m.shape)).astype(np.float32)
    return found


def draw_split(
    modalities: Mapping[str, Modality], count: int, seed: int = 0, lacking: bool = False
) -> Split:
    """Draw items with one to three entries each; the last entry is right for the first two items.

    With `lacking`, item 1 lacks the first modality of the query, item 2 all, entry 3 all.
    """
    draw = np.random.default_rng(seed)
    counts = [1 + k % 3 for k in range(count)]
    begin = np.cumsum([0, *counts]).tolist()
    size = begin[-1] + 1
    right = np.full((count, 4), -1)
    for k in range(count):
        own = [*range(begin[k], begin[k + 1]), *([size - 1] if k < 2 else [])]
        right[k, : len(own)] = own
    present: dict[str, Any] = {}
    entries_present: dict[str, Any] = {}
    if lacking:
        queries = [name for name, m in modalities.items() if m.role == QUERY]
        for k, name in enumerate(queries):
            present[name] = np.ones(count, dtype=bool)
            present[name][2] = False
            present[name][1] = bool(k)
        for name in (n for n, m in modalities.items() if m.role == GALLERY):
            entries_present[name] = np.arange(size) != 3
    relevant = [tuple(row[row >= 0].tolist()) for row in right]
    return Split(
        ids=[f"item{k}" for k in range(count)],
        inputs=content(modalities, QUERY, count, draw),
        targets={"match": right},
        references={"match": MatchReferences(relevant, size)},
        present=present,
        gallery=Split(
            [f"entry{k}" for k in range(size)],
            content(modalities, GALLERY, size, draw),
            {},
            {},
            entries_present,
        ),
    )


def spec_of(name: str, modalities: Mapping[str, Modality], **changes: Any) -> ModelSpec:
    found = catalog.model(name, (), task_of(modalities))
    return msgspec.structs.replace(found, **{"width": WIDTH, **changes})


def make(spec: ModelSpec, modalities: Mapping[str, Modality], seed: int = 0) -> Model:
    return tiny.make(spec, seed, signature_of(modalities))


def said(model: Model, split: Split) -> Predictions:
    return predict(model, split, DecodingSpec(beams=1))


def similarities(found: Predictions) -> np.ndarray[Any, Any]:
    queries, entries = (np.asarray(found.columns[f"match.{n}"]) for n in ("embedding", "gallery"))
    return np.asarray(queries.astype(np.float64) @ entries.astype(np.float64).T)


def shuffle_weights(model: Model) -> Model:
    """Move weights and temperatures from where they start."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "logits" in name or "log_scale" in name:
                value.add_(torch.linspace(-0.5, 0.7, max(1, value.numel())).view_as(value))
    return model


# --- what is said is what is trained -------------------------------------------------------------

SERVED = [
    (name, shape)
    for shape in ("three", "items")
    for name in registry.names("fusion")
    if registry.load("fusion", name).refuses.get("match") is None
]


def model_with(fusion: str, shape: str) -> ModelSpec:
    """Return a shipped model with a fusion, or that fusion on the shared recipe."""
    own = [
        spec
        for name in catalog.model_names(task_of(SHAPES[shape]), shipped=True)
        if "only" not in name
        and (spec := spec_of(name, SHAPES[shape])).fusion.name == fusion
        and spec.modalities is None
    ]
    return own[0] if own else spec_of("late", SHAPES[shape], fusion=ComponentSpec(fusion))


@pytest.mark.parametrize(("fusion", "shape"), SERVED)
def test_every_fusion_fuses_a_side_and_its_scores_are_inner_products(
    fusion: str, shape: str
) -> None:
    spec = model_with(fusion, shape)
    model = shuffle_weights(make(spec, SHAPES[shape]))
    split = draw_split(SHAPES[shape], 5, lacking=True)
    feed = feed_for(split, CPU, list(model.encoders))
    index = np.arange(5)
    batch = feed.batch(index)
    assert model.gallery is not None
    branches = model.fuse(batch).branches
    assert [branch.name for branch in branches] == model.branches
    answer = model.verdict("match", branches, batch.targets["match"]).combined.answer
    assert answer.shape == (5, 5)
    found = said(model, split)
    assert isinstance(feed, Pairs)
    chosen = entries_of(feed, index)
    told = similarities(found)[:, chosen]
    # The one is the other times the most that a similarity can be.
    most = scale_of(model)
    np.testing.assert_allclose(answer.detach().numpy() / most, told, atol=2e-5)
    for column in ("embedding", "gallery"):
        lengths = np.linalg.norm(np.asarray(found.columns[f"match.{column}"]), axis=1)
        np.testing.assert_allclose(lengths, 1.0, atol=1e-5)


def entries_of(feed: Pairs, index: Any, seed: int = 0, epoch: int = 0) -> list[int]:
    """Return the entries that stand beside items, found by what is right for them."""
    words = feed.batch(index, seed, epoch)
    every = feed.entries.batch(np.arange(len(feed.entries)))
    name = next(iter(every.inputs))
    found = []
    for row in words.inputs[name]:
        (same,) = torch.nonzero(
            (every.inputs[name] == row).flatten(1).all(dim=1)
        ).T  # drawn contents differ
        found.append(int(same[0]))
    return found


def scale_of(model: Model) -> float:
    heads = [model.head_of("match", k) for k in range(len(model.branches))]
    combiner = model.combiners["match"]
    assert isinstance(combiner, ScoreSum)
    scales = torch.stack([head.scale for head in heads if isinstance(head, Match)])
    return float((combiner.weights() * scales).sum().detach())


def test_late_fusion_is_the_sum_of_what_each_modality_scores() -> None:
    model = shuffle_weights(make(spec_of("late", THREE), THREE))
    assert model.branches == ["picture", "steps"]
    assert model.decision_level
    batch = feed_for(draw_split(THREE, 6), CPU, list(model.encoders)).batch(np.arange(6))
    verdict = model.verdict("match", model.fuse(batch).branches, batch.targets["match"])
    weights = model.combiners["match"].weights()  # type: ignore[operator]
    each = torch.stack([out.answer for out in verdict.outs])
    torch.testing.assert_close(verdict.combined.answer, (weights[:, None, None] * each).sum(dim=0))


def test_an_absent_modality_scores_nothing_with_anybody() -> None:
    model = shuffle_weights(make(spec_of("late", THREE), THREE))
    split = draw_split(THREE, 5, lacking=True)
    told = similarities(said(model, split))
    assert np.abs(told[2]).max() < 1e-6  # nothing was heard of the query
    assert np.abs(told[:, 3]).max() < 1e-6  # nothing is there of the entry
    alone = replace(split, present={**split.present, "picture": np.zeros(5, dtype=bool)})
    np.testing.assert_allclose(told[1], similarities(said(model, alone))[1], atol=1e-6)
    assert np.abs(told[0] - similarities(said(model, alone))[0]).max() > 1e-3


def test_an_item_and_an_entry_say_the_same_whatever_stands_beside_them() -> None:
    model = make(spec_of("hybrid", THREE), THREE)
    assert model.branches == ["joint", "picture", "steps"]
    assert not model.decision_level
    split = draw_split(THREE, 6)
    whole, few = said(model, split), said(model, split.take(np.array([4, 1])))
    np.testing.assert_allclose(
        np.asarray(whole.columns["match.embedding"])[[4, 1]],
        np.asarray(few.columns["match.embedding"]),
        atol=1e-5,
    )
    np.testing.assert_array_equal(whole.columns["match.gallery"], few.columns["match.gallery"])


def test_what_is_named_first_is_what_is_most_alike() -> None:
    model = make(spec_of("late", TWO), TWO)
    found = said(model, draw_split(TWO, 12))
    told = similarities(found)
    for row, named in zip(told, found.outputs["match"], strict=True):
        assert len(named) == len(set(named)) == min(NAMED, len(row))
        np.testing.assert_allclose(row[named], np.sort(row)[::-1][: len(named)], atol=1e-6)


# --- what is refused, and what is heard ----------------------------------------------------------


def test_where_neither_side_has_two_modalities_only_late_fusion_is_one() -> None:
    for name in registry.names("fusion"):
        spec = spec_of("late", TWO, fusion=ComponentSpec(name))
        spec = msgspec.structs.replace(spec, name=name)
        if name == "late":
            assert make(spec, TWO).branches == ["picture"]
            continue
        with pytest.raises(IncompatibleError) as caught:
            make(spec, TWO)
        message = str(caught.value)
        assert "\n" not in message
        assert f"model {name!r}" in message
        for part in ("a query has picture", "the gallery words", "run late"):
            assert part in message


def test_the_refusal_comes_before_any_data() -> None:
    task = task_of(TWO)
    with pytest.raises(IncompatibleError, match="run late"):
        check(Run(task, catalog.model("hybrid", (), task), "small", 0))
    assert check(Run(task, catalog.model("late", (), task), "small", 0)) == ""


def test_a_model_of_one_modality_of_the_query_hears_the_gallery() -> None:
    model = make(spec_of("steps_only", THREE), THREE)
    assert list(model.encoders) == ["steps", "words"]
    told = similarities(said(model, draw_split(THREE, 4)))
    assert np.ptp(told, axis=0).min() > 1e-4


def test_a_model_that_looks_at_nothing_finds_the_same_for_everybody() -> None:
    model = make(spec_of("constant", THREE), THREE)
    assert list(model.encoders) == ["words"]
    told = similarities(said(model, draw_split(THREE, 4)))
    assert np.ptp(told, axis=0).max() < 1e-6


def test_a_model_that_hears_the_gallery_alone_is_refused() -> None:
    with pytest.raises(IncompatibleError, match=r"looks at nothing of a query.*picture_only"):
        make(spec_of("words_only", THREE), THREE)


@pytest.mark.parametrize("gate", ["own", "joint"])
def test_weights_that_see_an_item_are_refused(gate: str) -> None:
    combiners = {"match": ComponentSpec("score_sum", {"gate": gate})}
    with pytest.raises(IncompatibleError, match=r"see no item: expected one of static, equal"):
        make(spec_of("hybrid", THREE, combiners=combiners), THREE)


def test_a_combiner_of_another_kind_is_refused() -> None:
    combiners = {"match": ComponentSpec("mixture")}
    with pytest.raises(IncompatibleError, match=r"'match': name another in \[combiners.match\]"):
        make(spec_of("late", THREE, combiners=combiners), THREE)


def test_what_needs_answers_of_single_modalities_is_refused() -> None:
    spec = spec_of("late", THREE)
    recipe = msgspec.structs.replace(spec.recipe, ogm_ge=0.5)
    with pytest.raises(SpecError, match=r"recipe.ogm_ge.*retrieval"):
        check_recipe(recipe, make(spec, THREE), ("train", "val"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"modalities": {"picture": {"kind": "image", "shape": [3, 8, 8]}}}, "role 'gallery'"),
        (
            {"modalities": {"words": {"kind": "text", "shape": [5], "role": "gallery"}}},
            "role 'query'",
        ),
        (
            {"outputs": {"class": {"kind": "label", "classes": ["a", "b"]}}},
            "no output is of the kind 'match'",
        ),
        (
            {
                "outputs": {
                    "match": {"kind": "match", "main": True},
                    "number": {"kind": "scalar"},
                }
            },
            "stands alone",
        ),
        (
            {"modalities": {"words": {"kind": "text", "shape": [5], "role": "galery"}}},
            "'galery' is none of its values: did you mean 'gallery'?",
        ),
    ],
)
def test_roles_that_make_no_retrieval_are_one_line(changes: Any, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        task_of(THREE, **changes)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("found.toml: ")
    assert "\n" not in str(caught.value)


def test_roles_are_promised_and_leave_other_digests_alone() -> None:
    assert promised(task_of(THREE)).of_role(GALLERY) == ["words"]
    # What says no role is what it was before there were any.
    assert essential(catalog.task("captioning").modalities["image"]).keys() == {"kind", "shape"}
    assert essential(task_of(THREE).modalities["words"])["role"] == GALLERY


# --- batches -------------------------------------------------------------------------------------


def test_each_item_stands_beside_an_entry_of_its_own_that_changes_with_epoch_and_seed() -> None:
    split = draw_split(THREE, 9)
    feed = feed_for(split, CPU, list(THREE))
    assert isinstance(feed, Pairs)
    index = np.array([8, 0, 5, 2])
    drawn = {}
    for seed, epoch in ((0, 0), (0, 1), (0, 2), (1, 0), (0, 0)):
        entries = entries_of(feed, index, seed, epoch)
        right = split.targets["match"][index]
        assert all(entry in own for entry, own in zip(entries, right.tolist(), strict=True))
        assert drawn.setdefault((seed, epoch), entries) == entries
    assert len({tuple(entries) for entries in drawn.values()}) > 1
    every = {entry for epoch in range(60) for entry in entries_of(feed, np.arange(9), 0, epoch)}
    assert every == set(range(split.targets["match"].max() + 1))


def test_a_batch_knows_which_entries_are_right_for_several() -> None:
    split = draw_split(TWO, 2)
    split.targets["match"][:, :] = -1
    split.targets["match"][:, 0] = [3, 3]
    batch = feed_for(split, CPU, list(TWO)).batch(np.arange(2))
    assert right_ones(batch.targets["match"]).tolist() == [[True, True], [True, True]]


def test_a_limit_is_on_items_and_leaves_the_gallery_whole() -> None:
    split = draw_split(TWO, 9)
    feed = feed_for(split, CPU, list(TWO), 4)
    assert len(feed) == 4
    model = make(spec_of("late", TWO), TWO)
    found = predict(model, split, DecodingSpec(beams=1), limit=4)
    assert len(found.ids) == 4
    assert split.gallery is not None
    assert len(found.columns["match.gallery"]) == len(split.gallery)


def test_dropped_modalities_leave_each_side_one() -> None:
    batch = feed_for(draw_split(ITEMS, 9), CPU, list(ITEMS)).batch(np.arange(9))
    sides = [["user"], ["picture", "words"]]
    dropped = drop_modalities(batch, 0.9, 0, "names", sides=sides)
    assert dropped.present["user"].all()
    assert (dropped.present["picture"] | dropped.present["words"]).all()
    assert not (dropped.present["picture"] & dropped.present["words"]).all()


# --- losses --------------------------------------------------------------------------------------


def head(**params: Any) -> Match:
    return Match(Output("match", 1), WIDTH, **params)


def said_right(right: Tensor) -> Tensor:
    """Return targets that say, of entries 0 to B - 1 beside B items, which are right [B, B]."""
    numbers = torch.arange(len(right))
    target = torch.cat([numbers[:, None], torch.where(right.bool(), numbers, -1)], dim=1)
    assert torch.equal(right_ones(target), right.bool())
    return target


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_contrast_is_cross_entropy_in_both_directions() -> None:
    answer, own = 3 * drawn(7, 7), torch.arange(7)
    expected = 0.5 * (F.cross_entropy(answer, own) + F.cross_entropy(answer.T, own))
    torch.testing.assert_close(head().nll(answer, said_right(torch.eye(7))), expected)


def test_what_is_right_for_several_is_wrong_for_none() -> None:
    answer = 3 * drawn(5, 5)
    right = torch.eye(5, dtype=torch.bool)
    right[0, 3] = right[2, 4] = True
    forth = back = 0.0
    for k in range(5):
        row = [answer[k, j] for j in range(5) if j == k or not right[k, j]]
        column = [answer[j, k] for j in range(5) if j == k or not right[j, k]]
        forth = forth + torch.stack(row).logsumexp(0) - answer[k, k]
        back = back + torch.stack(column).logsumexp(0) - answer[k, k]
    torch.testing.assert_close(head().nll(answer, said_right(right)), (forth + back) / 10)
    hard = head(loss="hardest").nll(answer, said_right(right))
    expected = 0.0
    for k in range(5):
        row = max(answer[k, j] for j in range(5) if not right[k, j])
        column = max(answer[j, k] for j in range(5) if not right[j, k])
        expected += sum(max(0.0, 0.2 + float(x - answer[k, k])) for x in (row, column))
    torch.testing.assert_close(float(hard), expected / 10)


def test_a_batch_of_equals_has_no_loss_and_no_wrong_gradient() -> None:
    for loss in ("contrast", "hardest"):
        answer = drawn(3, 3).requires_grad_()
        value = head(loss=loss).nll(answer, said_right(torch.ones(3, 3)))
        value.backward()  # type: ignore[no-untyped-call]
        assert abs(float(value.detach())) < 1e-5
        assert answer.grad is not None
        assert answer.grad.abs().max() < 1e-6


def test_a_similarity_is_a_cosine_times_a_scale_of_at_most_a_hundred() -> None:
    part = head(temperature=1e-9)
    assert float(part.scale.detach()) == 100.0
    assert float(head(temperature=0.1).scale.detach()) == pytest.approx(10.0)
    assert not [n for n, _ in head(loss="hardest").named_parameters() if "scale" in n]


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(SpecError, match="expected one of contrast, hardest"):
        make(spec_of("late", TWO, heads={"match": ComponentSpec("match", {"loss": "x"})}), TWO)


# --- training ------------------------------------------------------------------------------------


class Silent:
    def step(self, *_: Any) -> None: ...


def planted(count: int, seed: int, xor: bool) -> Split:
    """Two signs are seen apart, and an entry tells their product (xor), or the two themselves."""
    draw = np.random.default_rng(seed)
    signs = draw.choice([-1, 1], (count, 2))
    told = signs.prod(axis=1, keepdims=True).repeat(2, axis=1) if xor else signs
    noisy = signs + 0.1 * draw.normal(size=signs.shape)
    entries = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]][: 2 if xor else 4])
    right = [int(np.flatnonzero((entries == row).all(axis=1))[0]) for row in told]
    return Split(
        ids=[f"item{k}" for k in range(count)],
        inputs={n: noisy[:, [k]].astype(np.float32) for k, n in enumerate(("one", "two"))},
        targets={"match": np.array(right)[:, None]},
        references={"match": MatchReferences([(k,) for k in right], len(entries))},
        gallery=Split(
            [f"entry{k}" for k in range(len(entries))],
            {"told": entries.astype(np.float32)},
            {},
            {},
        ),
    )


PLANTED = {
    "one": Modality("vector", (1,)),
    "two": Modality("vector", (1,)),
    "told": Modality("vector", (2,), role=GALLERY),
}


def trained_recall(name: str, xor: bool, steps: int = 150) -> float:
    spec = spec_of(name, PLANTED, width=32)
    model = make(spec, PLANTED)
    recipe = msgspec.structs.replace(spec.recipe, batch_size=64)
    splits = {"train": planted(512, 0, xor), "val": planted(64, 1, xor)}
    budget = BudgetSpec(512, steps, validations=1, validation_items=64)
    train(model, splits, recipe, budget, 0, lambda _: 0.0, Silent())
    test = planted(400, 2, xor)
    found = score(said(model, test), test.references, "match", ["recall_at_1"], None, test.ids)
    return found.scores["recall_at_1"].value


def test_a_sum_of_scores_finds_what_each_modality_tells_and_no_exclusive_or() -> None:
    assert trained_recall("late", xor=False) > 0.95
    assert trained_recall("early", xor=False) > 0.95
    assert trained_recall("late", xor=True) < 0.62
    assert trained_recall("early", xor=True) > 0.95


def test_training_is_the_same_bits_with_the_same_seed() -> None:
    def weights() -> dict[str, Tensor]:
        spec = spec_of("hybrid", THREE)
        model = make(spec, THREE)
        split = draw_split(THREE, 12)
        train(model, {"train": split, "val": split}, spec.recipe, BudgetSpec(12, 3, 1, 12), 3,
              lambda _: 0.0, Silent())  # fmt: skip
        return model.state_dict()

    one, two = weights(), weights()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_branches_have_losses_of_their_own_and_all_parameters_learn() -> None:
    spec = spec_of("hybrid", THREE)
    model = make(spec, THREE).train()
    batch = feed_for(draw_split(THREE, 6), CPU, list(model.encoders)).batch(np.arange(6))
    Supervised(branch_weight=1.0).loss(model, batch).backward()  # type: ignore[no-untyped-call]
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    # The null tokens of what is never absent, and nothing else.
    assert [name for name in silent if not name.startswith("null.")] == []


def test_bfloat16_says_about_the_same() -> None:
    model = make(spec_of("late", THREE), THREE)
    batch = feed_for(draw_split(THREE, 6), CPU, list(model.encoders)).batch(np.arange(6))
    plain = answer_of(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert (answer_of(model, batch) - plain).abs().max() < 0.05 * scale_of(model)


def answer_of(model: Model, batch: Batch) -> Tensor:
    with torch.no_grad():
        branches = model.fuse(batch).branches
        return model.verdict("match", branches, batch.targets["match"]).combined.answer


def test_operations_are_counted_and_the_wiring_shows_both_sides() -> None:
    task = task_of(THREE)
    spec = spec_of("late", THREE)
    assert flops_per_item(make(spec, THREE), draw_split(THREE, 8)) > 0
    wiring = trace(spec, task)
    names = [part.name for part in wiring.parts]
    assert any(name.startswith("gallery.") for name in names)
    branches = {part.name: part.sees for part in wiring.parts if part.stage == "branch"}
    assert branches == {"picture": ("picture", "words"), "steps": ("steps", "words")}


def test_matched_models_of_retrieval_have_the_size_that_is_wanted() -> None:
    from mmbench.run import sized

    task = msgspec.structs.replace(task_of(THREE), parameters=60_000)
    sizes: list[int] = []
    names: Sequence[str] = ("late", "early", "hybrid", "concat")
    for name in names:
        spec = sized(catalog.model(name, (), task), task)
        with torch.random.fork_rng(devices=[]):
            built = build(spec, promised(task))
        sizes.append(sum(p.numel() for p in built.parameters()))
    assert all(abs(size / 60_000 - 1) < 0.2 for size in sizes)
