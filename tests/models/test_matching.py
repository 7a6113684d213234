"""Retrieval: two sides that are fused apart and meet in a sum of inner products."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from mmbench import catalog, devices, registry
from mmbench.checkpoint import Checkpoints
from mmbench.errors import IncompatibleError, SpecError
from mmbench.models import whole
from mmbench.models.balance import drop_modalities
from mmbench.models.build import build
from mmbench.models.combiners.score_sum import ScoreSum
from mmbench.models.feed import streaming
from mmbench.models.feed.gather import Gather
from mmbench.models.heads.match import Match, right_ones
from mmbench.models.model import Model
from mmbench.models.objectives.supervised import Supervised
from mmbench.models.pairs import Pairs, feed_for
from mmbench.predict import NAMED, flops_per_item, predict
from mmbench.references import MatchReferences
from mmbench.room import Allowance
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
from mmbench.train import Engine, check_recipe, train
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
        and "match" in spec.heads
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


def test_parts_of_a_batch_drop_what_the_batch_drops() -> None:
    modalities = {**ITEMS, "steps": THREE["steps"]}  # two of each side
    feed = feed_for(draw_split(modalities, 9), CPU, list(modalities))
    index = np.arange(9)
    sides = [["user", "steps"], ["picture", "words"]]
    expected = drop_modalities(feed.batch(index), 0.5, 0, "names", sides=sides)
    assert not all(there.all() for there in expected.present.values())
    for begin, end in ((0, 4), (4, 9)):
        part = feed.batch(index[begin:end])
        found = drop_modalities(part, 0.5, 0, "names", sides=sides, start=begin, whole=9)
        for name, there in expected.present.items():
            assert torch.equal(found.present[name], there[begin:end])


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


# --- batches in parts, and data beyond memory ----------------------------------------------------


class Half(whole.Part):
    """One of two processes' parts: first it notes what it would send, then it has the other's."""

    def __init__(self, start: int, items: int, batch: int, sent: list[Tensor]) -> None:
        self.start, self.items, self.batch = start, items, batch
        self.sent = sent
        self.other: list[Tensor] | None = None

    def share(self, count: Tensor) -> Tensor:
        raise AssertionError("a loss of retrieval is of the whole batch")

    def together(self, x: Tensor) -> Tensor:
        if self.other is None:
            self.sent.append(x.detach())
            return x
        there = self.other.pop(0)
        return torch.cat([x, there] if self.start == 0 else [there, x])

    def generator(self) -> None:
        return None


@pytest.mark.parametrize("loss", ["contrast", "hardest"])
@pytest.mark.parametrize("shape", ["three", "items"])
def test_parts_of_a_batch_have_its_loss_and_gradients(loss: str, shape: str) -> None:
    heads = {"match": ComponentSpec("match", {"loss": loss})}
    spec = spec_of("hybrid", SHAPES[shape], heads=heads)
    model = shuffle_weights(make(spec, SHAPES[shape]))
    split = draw_split(SHAPES[shape], 7, lacking=True)
    split.targets["match"][:2] = split.targets["match"].max()  # one entry, items of both parts
    split.targets["match"][:2, 1:] = -1
    index = np.array([0, 3, 5, 6, 1, 2, 4])
    objective = Supervised(branch_weight=0.5)
    with feed_for(split, CPU, list(model.encoders)) as feed:
        batch = feed.batch(index, 1, 2)
        parts = [feed.batch(part, 1, 2) for part in (index[:4], index[4:])]
    expected = objective.loss(model, batch)
    expected.backward()  # type: ignore[no-untyped-call]
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    halves = [Half(0, 4, 7, []), Half(4, 3, 7, [])]
    for half, part in zip(halves, parts, strict=True):
        with whole.part(half), torch.no_grad():
            objective.loss(model, part)
    sent = [list(half.sent) for half in halves]
    for half, other, part in zip(halves, sent[::-1], parts, strict=True):
        half.other = list(other)
        with whole.part(half):
            found = objective.loss(model, part)
        torch.testing.assert_close(found, expected)
        found.backward()  # type: ignore[no-untyped-call]
    # What each part sent gets its gradient from its own process here, so the sum is the whole's;
    # what stands behind the exchange, scales and weights, has it from both.
    for name, parameter in model.named_parameters():
        if name in gradients:
            assert parameter.grad is not None
            times = 2 if "log_scale" in name or "combiners" in name else 1
            torch.testing.assert_close(
                parameter.grad / times, gradients[name], atol=1e-5, rtol=1e-4
            )


def test_a_batch_of_pairs_cannot_be_cut_to_fit_the_memory() -> None:
    model = make(spec_of("late", THREE), THREE)
    batch = feed_for(draw_split(THREE, 6), CPU, list(model.encoders)).batch(np.arange(6))
    with (
        whole.part(whole.Piece(0, 3, 6, [], True)),
        pytest.raises(IncompatibleError, match=r"set a smaller recipe.batch_size"),
    ):
        Supervised().loss(model, batch.cut(0, 3))


def laid_in_files(split: Split, folder: Path) -> Split:
    def lay(name: str, values: Any) -> Any:
        if isinstance(values, Ragged):
            return Ragged(lay(name, values.values), lay(f"{name}_lengths", values.lengths))
        np.save(folder / f"{name}.npy", values)
        return np.load(folder / f"{name}.npy", mmap_mode="r")

    assert split.gallery is not None
    sides = [
        replace(side, inputs={name: lay(name, values) for name, values in side.inputs.items()})
        for side in (split, split.gallery)
    ]
    return replace(sides[0], gallery=sides[1])


def test_pairs_and_predictions_are_the_same_bits_where_both_sides_lie_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = draw_split(ITEMS, 40)
    there, little = laid_in_files(split, tmp_path), Allowance(size=1)
    draw = np.random.default_rng(1)
    order = [(e, row) for e in range(3) for row in draw.permutation(40).reshape(5, 8)]
    own: list[Any] = []
    fresh = Gather.__call__

    def noted(self: Gather, index: Any) -> Any:
        own.append(threading.current_thread() is threading.main_thread())
        return fresh(self, index)

    monkeypatch.setattr(Gather, "__call__", noted)
    names = list(ITEMS)
    with feed_for(split, CPU, names) as plain, feed_for(there, CPU, names, None, little) as feed:
        assert isinstance(feed, Pairs)
        assert feed.items.places.disk
        assert feed.entries.places.disk
        feed.expect(iter(order), 5)
        for epoch, index in order:
            one, other = plain.batch(index, 5, epoch), feed.batch(index, 5, epoch)
            for table in ("inputs", "lengths", "present", "targets"):
                for name, x in getattr(one, table).items():
                    assert torch.equal(x, getattr(other, table)[name]), (table, name)
    assert own
    assert not any(own), "batches of both sides were made ahead, those of later epochs too"
    model = make(spec_of("late", ITEMS), ITEMS)
    told = predict(model, split, DecodingSpec(beams=1))
    streamed = predict(model, there, DecodingSpec(beams=1), memory=little)
    for column in ("match.embedding", "match.gallery"):
        np.testing.assert_array_equal(told.columns[column], streamed.columns[column])


def test_what_streams_of_a_gallery_is_said(tmp_path: Path) -> None:
    there = laid_in_files(draw_split(ITEMS, 9), tmp_path)
    assert there.gallery is not None
    splits = {"test": (there, 9, True), "the gallery of test": (there.gallery, 9, False)}
    lines = streaming(splits, list(ITEMS), CPU, Allowance(size=1))
    assert [line.partition(" is read")[0] for line in lines] == list(splits)


def test_each_batch_of_the_gallery_is_read_by_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmbench.predict.BATCH", 4)
    split = draw_split(THREE, 11)
    assert split.gallery is not None
    model = make(spec_of("late", THREE), THREE)
    expected = said(model, split)
    sent: dict[int, list[Any]] = {0: [], 1: []}

    class Halves(devices.Group):
        count = 2

        def __init__(self, rank: int) -> None:
            self.rank = rank

        def gathered(self, values: Sequence[Any]) -> list[Any]:
            sent[self.rank].append(list(values))
            return list(values)

    for rank in (0, 1):
        monkeypatch.setattr(devices, "_group", Halves(rank))
        said(model, split)
    for at, column in enumerate(("match.embedding", "match.gallery")):
        one, other = sent[0][at], sent[1][at]
        turns = [(one, other)[k % 2][k // 2] for k in range(len(one) + len(other))]
        rows = [row for _, columns in turns for row in columns["match.embedding"]]
        np.testing.assert_array_equal(np.stack(rows), expected.columns[column])


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


@pytest.mark.parametrize("name", ["hybrid", "late"])
def test_what_was_interrupted_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    """With other entries beside each item in every epoch, and modalities that are dropped."""
    spec = spec_of(name, THREE)
    recipe = msgspec.structs.replace(spec.recipe, modality_dropout=0.3, batch_size=5)
    splits = {"train": draw_split(THREE, 12), "val": draw_split(THREE, 6, seed=1)}

    class Stop(Silent):
        def __init__(self, at: int) -> None:
            self.at = at

        def step(self, done: int, *_: Any) -> None:
            if done == self.at:
                raise KeyboardInterrupt

        def note(self, text: str) -> None: ...

    def go(stop: int, folder: Path | None) -> tuple[dict[str, Tensor], Any]:
        model = make(spec, THREE)
        kept = Checkpoints(folder, "run", {}, 0.0, str) if folder else None
        done = train(model, splits, recipe, BudgetSpec(12, 9, 3, 6), 3, lambda m: float(
            sum(x.double().sum() for x in m.state_dict().values()).sin()), Stop(stop),
            Engine(checkpoints=kept))  # fmt: skip
        return model.state_dict(), done

    expected, trained = go(0, None)
    for stop in (2, 5, 8):
        with pytest.raises(KeyboardInterrupt):
            go(stop, tmp_path)
    found, again = go(0, tmp_path)
    assert again.resumed == [1, 4, 7]
    assert again.curve == trained.curve
    assert all(torch.equal(x, found[n]) for n, x in expected.items())


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
