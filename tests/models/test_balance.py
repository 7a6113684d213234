"""Recipe options that keep one modality from learning at the others' expense."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny
import torch

from mmbench.models.balance import coefficients, confidence, drop_modalities, modulate
from mmbench.models.model import Model
from mmbench.models.objectives.gradient_blending import GradientBlending
from mmbench.models.objectives.supervised import Supervised
from mmbench.spec import BudgetSpec, ObjectiveSpec, StageSpec
from mmbench.train import train


class Silent:
    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        pass


def model_of(name: str = "late") -> Model:
    return tiny.ANSWERS.make(tiny.ANSWERS.spec(name))


def test_each_modality_goes_as_often_as_it_should_and_one_always_stays() -> None:
    model = model_of()
    items = tiny.batch(tiny.ANSWERS.split(2000, whole=True), model)
    left = drop_modalities(items, 0.3, 0, "test")
    present = torch.stack(list(left.present.values()), dim=1)
    assert present.any(dim=1).all()
    # All three would go with probability .027; the one with the highest draw then stays.
    expected = 0.7 + 0.3**3 / 3
    error = math.sqrt(expected * (1 - expected) / 2000)
    assert torch.allclose(
        present.double().mean(dim=0), torch.tensor(expected).double(), atol=4 * error
    )
    again = drop_modalities(items, 0.3, 0, "test")
    assert all(torch.equal(left.present[m], again.present[m]) for m in left.present)
    other = drop_modalities(items, 0.3, 1, "test")
    assert any(not torch.equal(left.present[m], other.present[m]) for m in left.present)


def test_what_an_item_lacks_stays_away() -> None:
    model = model_of()
    items = tiny.batch(tiny.ANSWERS.split(7), model)
    left = drop_modalities(items, 0.9, 0, "test")
    for name, there in items.present.items():
        assert not (left.present[name] & ~there).any()
    some = torch.stack(list(items.present.values()), dim=1).any(dim=1)
    kept = torch.stack(list(left.present.values()), dim=1).any(dim=1)
    assert torch.equal(some, kept)


def test_confidence_is_the_likelihood_of_what_is_right_from_one_modality_alone() -> None:
    model = model_of()
    items = tiny.batch(tiny.ANSWERS.split(6, whole=True), model)
    found = confidence(model, items)
    branches = model.fuse(items).branches
    for k, branch in enumerate(branches):
        head: Any = model.head_of("animal", k)
        said = head(branch, items.targets["animal"]).answer
        right = said.gather(1, items.targets["animal"][:, None]).mean()
        # With equal weights of one, the product of one branch is that branch.
        assert found[branch.name] == pytest.approx(float(right.detach().exp()), rel=1e-5)


def test_the_one_that_leads_is_slowed_by_the_formula() -> None:
    found = coefficients({"a": 0.8, "b": 0.2}, 0.3)
    assert found == {"a": pytest.approx(1 - math.tanh(0.3 * 4)), "b": 1.0}
    three = coefficients({"a": 0.6, "b": 0.3, "c": 0.1}, 1.0)
    assert three["a"] == pytest.approx(1 - math.tanh(0.6 / 0.2))
    assert three["b"] == three["c"] == 1.0
    assert coefficients({"a": 0.5, "b": 0.5}, 1.0) == {"a": 1.0, "b": 1.0}


def test_gradients_are_multiplied_and_as_much_noise_is_added(monkeypatch: Any) -> None:
    model = model_of()
    items = tiny.batch(tiny.ANSWERS.split(6, whole=True), model)
    Supervised().loss(model, items).backward()
    before = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.zeros(shape))
    found = modulate(model, items, 0.5, 0, "test")
    assert min(found.values()) < 1.0
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        of = name.split(".")[1] if name.startswith("encoders.") else ""
        assert torch.allclose(parameter.grad, before[name] * found.get(of, 1.0)), name


def test_blending_weighs_by_gain_over_squared_overfitting() -> None:
    blend = GradientBlending(least=0.0, tiny=1e-6).blend
    before = (torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.0]))  # losses on seen, on unseen
    now = (torch.tensor([0.5, 0.2]), torch.tensor([0.6, 0.6]))
    # Gains .4 and .4; overfitting .1 and .4: 40 to 2.5.
    expected = torch.tensor([40.0, 2.5]) / 42.5 * 2
    assert torch.allclose(blend(before, now), expected, rtol=1e-4)
    worse = (torch.tensor([0.5, 0.2]), torch.tensor([1.1, 1.2]))
    assert torch.equal(blend(before, worse), torch.ones(2)), "where nothing gains, all count alike"
    assert float(GradientBlending().blend(before, now).min()) > 0.0


@pytest.mark.parametrize(
    "changes",
    [{"modality_dropout": 0.5}, {"ogm_ge": 0.3}, {"blending": True}],
    ids=["dropout", "ogm_ge", "gradient_blending"],
)
def test_a_recipe_with_it_trains_to_the_same_bits_and_not_to_those_without(changes: Any) -> None:
    def weights(**options: Any) -> dict[str, torch.Tensor]:
        blending = options.pop("blending", False)
        spec = tiny.ANSWERS.spec("hybrid")
        recipe = msgspec.structs.replace(spec.recipe, batch_size=8, **options)
        if blending:
            stage = StageSpec(objectives=(ObjectiveSpec(name="gradient_blending"),))
            recipe = msgspec.structs.replace(recipe, stages=(stage,))
        model = tiny.ANSWERS.make(spec)
        splits = {n: tiny.ANSWERS.split(24, s, whole=True) for n, s in (("train", 0), ("val", 1))}
        budget = BudgetSpec(24, 12, 4, 8)
        # A score that rises, so that the last weights are kept.
        rising = iter(np.arange(10.0))
        train(model, splits, recipe, budget, 0, lambda _: float(next(rising)), Silent())
        return model.state_dict()

    one, again, without = weights(**changes), weights(**changes), weights()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], without[name]) for name in one)
    assert all(torch.isfinite(value).all() for value in one.values())
