"""Contrastive and adversarial alignment: formulas, who trains what, and that it aligns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F
from msgspec import structs
from torch import Tensor

from mmbench import registry
from mmbench.errors import IncompatibleError
from mmbench.models.build import objective
from mmbench.models.fusion.contrastive import LARGEST_SCALE, info_nce
from mmbench.models.objectives.alignment import Alignment
from mmbench.models.objectives.discriminator import Discriminator
from mmbench.models.objectives.supervised import Supervised
from mmbench.optimise import chosen as _chosen
from mmbench.spec import BudgetSpec
from mmbench.train import train
from mmbench.types import Stream

WIDTH, ITEMS = 8, 6
PRESENT = {
    "a": torch.tensor([1, 1, 1, 0, 1, 0], dtype=torch.bool),
    "b": torch.tensor([1, 1, 0, 1, 1, 0], dtype=torch.bool),
    "c": torch.tensor([0, 1, 1, 1, 1, 0], dtype=torch.bool),
}


def fusion_of(name: str, **params: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return registry.load("fusion", name)(list(PRESENT), WIDTH, **params)


def streams(seed: int = 0) -> dict[str, Stream]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: Stream(
            x=torch.randn(ITEMS, 3, WIDTH, generator=generator),
            mask=(torch.arange(3) == 0) | here[:, None],
            time=torch.zeros(ITEMS, 3),
            present=here,
        )
        for name, here in PRESENT.items()
    }


# --- contrast -----------------------------------------------------------------------------------


def loop(one: Tensor, other: Tensor, scale: float, both: Tensor) -> float:
    rows = both.nonzero().flatten().tolist()
    total = 0.0
    for x, y in ((one, other), (other, one)):
        for i in rows:
            logits = [scale * float(x[i] @ y[j]) for j in rows]
            right = scale * float(x[i] @ y[i])
            total += 0.5 * (math.log(sum(math.exp(v) for v in logits)) - right)
    return total / max(len(rows), 1)


def test_info_nce_is_its_formula_over_the_items_that_have_both() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (F.normalize(torch.randn(6, 5, generator=generator), dim=-1) for _ in range(2))
    for both in ([1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 0, 0], [0] * 6):
        there = torch.tensor(both, dtype=torch.bool)
        found = info_nce(one, other, torch.tensor(7.0), there)
        assert found.item() == pytest.approx(loop(one, other, 7.0, there), abs=1e-5)
    everyone = torch.ones(6, dtype=torch.bool)
    labels = torch.arange(6)
    S = 7.0 * one @ other.T
    expected = 0.5 * (F.cross_entropy(S, labels) + F.cross_entropy(S.T, labels))
    assert torch.allclose(info_nce(one, other, torch.tensor(7.0), everyone), expected, atol=1e-6)


def test_the_contrast_is_the_mean_over_pairs_of_modalities() -> None:
    fusion = fusion_of("contrastive", alignment=0.3)
    assert fusion.log_scale.exp().item() == pytest.approx(1 / 0.07)
    made = streams()
    generator = torch.Generator().manual_seed(4)
    summary = {m: torch.randn(ITEMS, WIDTH, generator=generator) for m in made}
    points = {m: F.normalize(fusion.project[m](x), dim=-1).detach() for m, x in summary.items()}
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    each = [loop(points[x], points[y], 1 / 0.07, PRESENT[x] & PRESENT[y]) for x, y in pairs]
    assert fusion.contrast(summary, made).item() == pytest.approx(sum(each) / 3, rel=1e-4)
    with torch.no_grad():
        fusion.log_scale.fill_(50.0)
    bounded = [loop(points[x], points[y], LARGEST_SCALE, PRESENT[x] & PRESENT[y]) for x, y in pairs]
    assert fusion.contrast(summary, made).item() == pytest.approx(sum(bounded) / 3, rel=1e-4)
    assert fusion.train()(made).losses.keys() == {"alignment"}
    assert not fusion.eval()(made).losses


def test_alignment_looks_at_no_target_and_pulls_modalities_together() -> None:
    model = tiny.make(tiny.spec("contrastive"))
    items = tiny.batch(tiny.split(8, whole=True), model)
    model.train()
    found = Alignment().loss(model, items)
    other = replace(items, targets={"caption": items.targets["caption"] * 0})
    assert torch.equal(Alignment().loss(model, other), found)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(20):
        optimizer.zero_grad()
        loss = Alignment().loss(model, items)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss < 0.5 * found
    plain = tiny.make(tiny.spec("concat")).train()
    with pytest.raises(IncompatibleError, match="this model's is Concat"):
        Alignment().loss(plain, items)


def test_pretraining_keeps_its_last_weights_and_leaves_the_head_alone() -> None:
    spec = tiny.spec("contrastive_pretrained")
    align, fit = spec.recipe.stages
    assert (align.keep, fit.keep) == ("last", "best")
    assert align.share + fit.share == pytest.approx(1.0)
    model = tiny.make(spec)
    parts = [set(_chosen(model, stage.objectives[0])) for stage in (align, fit)]
    assert not [n for n in parts[0] if n.startswith(("heads.", "combiners.", "fusion.m"))]
    assert set(dict(model.named_parameters())) == parts[0] | parts[1]
    assert parts[0] - parts[1] == {
        n for n, _ in model.named_parameters() if n.startswith(("fusion.project.", "fusion.log_"))
    }
    # Validation falls from the start: the best weights are the first, and still the last are kept.
    seen: list[Tensor] = []

    def validate(model: Any) -> float:
        seen.append(model.fusion.log_scale.detach().clone())
        return -float(len(seen))

    splits = {"train": tiny.split(8)}
    train(model, splits, spec.recipe, BudgetSpec(8, 10, 10), 0, validate, Silent())
    assert len({float(s) for s in seen[:3]}) == 3
    assert torch.equal(model.fusion.log_scale.detach(), seen[2])


class Silent:
    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        pass


# --- the game -----------------------------------------------------------------------------------


def test_confusion_is_how_far_the_guess_is_from_saying_nothing() -> None:
    fusion = fusion_of("adversarial", confusion=0.3)
    made = streams()
    features = fusion.features(made)
    guesses = fusion.discriminate(features)
    expected = []
    for name, guess in guesses.items():
        assert torch.allclose(guess.exp().sum(dim=1), torch.ones(ITEMS), atol=1e-6)
        for item in PRESENT[name].nonzero().flatten().tolist():
            expected.append(
                sum(math.log((1 / 3) / math.exp(float(v))) / 3 for v in guess[item].detach())
            )
    mean = sum(expected) / len(expected)
    assert fusion.fool(features, made).item() == pytest.approx(mean, abs=1e-6)
    assert fusion.train()(made).losses["confusion"].item() == pytest.approx(0.3 * mean, abs=1e-6)
    assert not fusion.eval()(made).losses
    with torch.no_grad():
        fusion.discriminator[-1].weight.zero_()
        fusion.discriminator[-1].bias.zero_()
    assert fusion.fool(features, made).item() == pytest.approx(0.0, abs=1e-6)


def test_the_discriminators_loss_is_that_of_the_right_guess_where_something_is_there() -> None:
    model = tiny.make(tiny.spec("argf"))
    items = tiny.batch(tiny.split(7), model)
    found = Discriminator().loss(model, items)
    streams = model.streams(items)
    guesses = model.fusion.discriminate(model.fusion.features(streams))
    each = [
        -guess[item, at]
        for at, (name, guess) in enumerate(guesses.items())
        for item in streams[name].present.nonzero().flatten().tolist()
    ]
    assert len(each) == 7 * 3 - 3 - 3  # three items lack one modality, one lacks all
    assert torch.allclose(found, torch.stack(each).mean(), atol=1e-6)
    with pytest.raises(IncompatibleError, match="this model's is Concat"):
        Discriminator().loss(tiny.make(tiny.spec("concat")), items)


def test_neither_player_trains_the_other() -> None:
    spec = tiny.spec("argf")
    model = tiny.make(spec).train()
    items = tiny.batch(tiny.split(7), model)
    first, second = spec.recipe.stages[0].objectives
    fit, judge = _chosen(model, first), _chosen(model, second)
    assert judge
    assert all(name.startswith("fusion.discriminator.") for name in judge)
    assert set(fit) | set(judge) == set(dict(model.named_parameters()))
    assert not set(fit) & set(judge)
    loss = objective(second, "").loss(model, items)
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    names = [name for name, _ in model.named_parameters()]
    reached = {n for n, g in zip(names, gradients, strict=True) if g is not None}
    assert reached == set(judge)


def test_the_game_takes_the_modality_out_of_the_features() -> None:
    spec = tiny.spec("argf")
    stage = spec.recipe.stages[0]
    quick = [
        structs.replace(o, optimizer=structs.replace(o.optimizer, lr=1e-2))
        for o in stage.objectives
    ]
    recipe = structs.replace(spec.recipe, stages=(structs.replace(stage, objectives=tuple(quick)),))

    def told_apart(confusion: float) -> float:
        model = tiny.make(spec)
        model.fusion.confusion = confusion
        splits = {"train": tiny.split(16, whole=True)}
        train(model, splits, recipe, BudgetSpec(16, 60, 1), 0, lambda _: 0.0, Silent())
        return Discriminator().loss(model, tiny.batch(splits["train"], model)).item()

    free, fooled = told_apart(0.0), told_apart(3.0)
    assert free < 0.5
    assert 0.9 < fooled < math.log(3) + 0.3  # log 3: nothing can be told


def test_supervised_training_hears_of_the_confusion() -> None:
    model = tiny.make(tiny.spec("argf")).train()
    items = tiny.batch(tiny.split(7), model)
    apart = Supervised().loss(model, items) - Supervised(auxiliary_weight=0.0).loss(model, items)
    assert torch.allclose(apart, model.fuse(items).losses["confusion"], atol=1e-4)
