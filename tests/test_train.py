"""The training loop: who trains what and when, which weights are kept, what it refuses."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from mmbench import registry, rng, store
from mmbench.errors import DataError, SpecError, StoreError
from mmbench.models.feed import Feed
from mmbench.models.model import Model
from mmbench.models.objectives.supervised import Supervised
from mmbench.optimise import factor
from mmbench.predict import predict
from mmbench.run import Run, Settings, execute, load_model, make_model
from mmbench.spec import (
    BudgetSpec,
    ComponentSpec,
    DecodingSpec,
    ObjectiveSpec,
    OptimizerSpec,
    RecipeSpec,
    StageSpec,
)
from mmbench.train import Trained, train
from mmbench.types import Dataset, Split

#: Constant rate, no decay, no clipping: a constant gradient then moves a weight by `lr` a step.
PLAIN = OptimizerSpec(lr=0.01, weight_decay=0.0, schedule="constant", clip=0.0)

PUSH = '''
"""Pushes every weight, down or up; remembers when it was called and what it saw."""

import torch

from mmbench.models import Objective


class Push(Objective):
    """Add up all weights, times `slope`."""

    calls = []

    def __init__(self, slope: float = 1.0, name: str = "push", broken_at: int = 0) -> None:
        self.slope = slope
        self.name = name
        self.broken_at = broken_at

    def loss(self, model, batch):
        """Return slope times the sum of all weights."""
        Push.calls.append((self.name, batch))
        total = self.slope * sum(p.double().sum() for p in model.parameters())
        if self.broken_at and len(Push.calls) >= self.broken_at:
            total = total * float("nan")
        return total.float()
'''


class Watch:
    """Remembers what training tells about itself."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, float, float | None]] = []

    def step(self, done: int, total: int, loss: float, score: float | None) -> None:
        self.steps.append((done, total, loss, score))

    def note(self, text: str) -> None:
        self.notes = [*getattr(self, "notes", []), text]


@pytest.fixture
def calls(tmp_path: Path, own_components: None) -> list[tuple[str, Any]]:
    """Register the objective ``push``; the calls of all its objects."""
    path = tmp_path / "push.py"
    path.write_text(PUSH)
    assert registry.include(path) == [("objective", "push")]
    found: list[tuple[str, Any]] = registry.load("objective", "push").calls
    return found


def push(
    slope: float = 1.0,
    parameters: Sequence[str] = ("*",),
    optimizer: OptimizerSpec = PLAIN,
    period: int = 1,
    offset: int = 0,
    **params: Any,
) -> ObjectiveSpec:
    params = {"slope": slope, **params}
    return ObjectiveSpec("push", params, tuple(parameters), period, offset, optimizer)


def recipe(*objectives: ObjectiveSpec, batch_size: int = 4, patience: int = 0) -> RecipeSpec:
    stage = StageSpec(objectives=objectives)
    return RecipeSpec(batch_size=batch_size, patience=patience, stages=(stage,))


def go(
    model: Model,
    how: RecipeSpec,
    steps: int,
    seed: int = 0,
    validate: Callable[[Model], float] = lambda _: 0.0,
    items: Split | None = None,
    validations: int = 1,
    watch: Watch | None = None,
    budget: int = 100,
) -> Trained:
    splits = {"train": tiny.split(8) if items is None else items}
    limits = BudgetSpec(budget, steps, validations)
    return train(model, splits, how, limits, seed, validate, watch or Watch())


def weights(model: Model) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


# --- objectives ---------------------------------------------------------------------------------


def test_alternating_objectives_train_only_what_they_name(calls: list[tuple[str, Any]]) -> None:
    down = push(1.0, ["encoders.*", "null.*"], period=2, name="down")
    up = push(-1.0, ["fusion.towers.image.*", "combiners.*"], period=2, offset=1, name="up")
    model = tiny.make(tiny.spec("late"))
    before = weights(model)
    go(model, recipe(down, up), steps=5)
    assert [name for name, _ in calls] == ["down", "up", "down", "up", "down"]
    moved = 0
    for name, value in model.state_dict().items():
        turns = 0
        if any(fnmatch.fnmatch(name, p) for p in down.parameters):
            turns = -3
        if any(fnmatch.fnmatch(name, p) for p in up.parameters):
            turns = 2
        moved += turns != 0
        assert torch.allclose(value, before[name] + 0.01 * turns, atol=1e-5), name
        if not turns:
            assert torch.equal(value, before[name]), name
    assert 0 < moved < len(before)


def test_two_objectives_on_the_same_weights_keep_their_own_gradients(
    calls: list[tuple[str, Any]],
) -> None:
    model = tiny.make(tiny.spec("early"))
    before = weights(model)
    slow = msgspec.structs.replace(PLAIN, lr=0.001)
    go(model, recipe(push(1.0), push(-5.0, optimizer=slow)), steps=4)
    assert len(calls) == 8
    for name, value in model.state_dict().items():
        assert torch.allclose(value, before[name] - 4 * 0.01 + 4 * 0.001, atol=1e-5), name


def test_an_objective_begins_at_its_offset_and_acts_every_period(
    calls: list[tuple[str, Any]],
) -> None:
    always, seldom = push(name="always"), push(name="seldom", period=3, offset=2)
    go(tiny.make(tiny.spec("early")), recipe(always, seldom), steps=9)
    order = "".join(name[0] for name, _ in calls)
    assert order == "aaasaaasaaas"


def test_stages_follow_each_other_and_share_the_steps(calls: list[tuple[str, Any]]) -> None:
    stages = (
        StageSpec(name="first", share=0.3, objectives=(push(1.0, ["encoders.*"], name="one"),)),
        StageSpec(name="second", share=0.5, objectives=(push(1.0, ["heads.*"], name="two"),)),
    )
    model = tiny.make(tiny.spec("early"))
    before = weights(model)
    validated: list[int] = []
    watch = Watch()
    trained = go(
        model,
        RecipeSpec(batch_size=4, stages=stages),
        steps=10,
        validate=lambda _: float(validated.append(len(calls)) or len(validated)),
        validations=2,
        watch=watch,
    )
    assert [name for name, _ in calls] == ["one"] * 3 + ["two"] * 5
    assert (trained.steps, trained.items) == (8, 32)
    assert validated == [3, 5, 8]  # at the end of each stage, and as often as the budget says
    assert [point.step for point in trained.curve] == [3, 5, 8]
    assert [point.score for point in trained.curve] == [1.0, 2.0, 3.0]
    assert [done for done, *_ in watch.steps if done] == [1, 2, 3, 3, 4, 5, 5, 6, 7, 8, 8]
    assert {total for _, total, *_ in watch.steps} == {10}
    for name, value in model.state_dict().items():
        turns = 3 * name.startswith("encoders.") + 5 * name.startswith("heads.")
        assert torch.allclose(value, before[name] - 0.01 * turns, atol=1e-5), name


def test_an_objective_may_train_weights_of_one_kind_only(calls: list[tuple[str, Any]]) -> None:
    for pattern in ("*.bias", "*embed*", "fusion.tower.blocks.0.attention.query.weight"):
        model = tiny.make(tiny.spec("early"))
        before = weights(model)
        go(model, recipe(push(parameters=[pattern])), steps=1)
        changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
        assert changed == {n for n in before if fnmatch.fnmatch(n, pattern)}
        assert changed


def test_a_pattern_with_an_exclamation_mark_leaves_weights_out(
    calls: list[tuple[str, Any]],
) -> None:
    model = tiny.make(tiny.spec("early"))
    before = weights(model)
    go(model, recipe(push(parameters=["!fusion.tower.*", "*", "!*.bias"])), steps=1)
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {n for n in before if not n.startswith("fusion.tower.") and "bias" not in n}
    with pytest.raises(SpecError, match="trains nothing"):
        go(model, recipe(push(parameters=["heads.*", "!heads.*"])), steps=1)


# --- the optimiser ------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [1, 2, 7, 100])
@pytest.mark.parametrize(("warmup", "hold"), [(0, 0), (0.1, 0), (0.5, 0.5), (1, 0), (0.1, 0.6)])
def test_one_cycle_warms_up_in_a_line_holds_and_falls_as_a_cosine(
    turns: int, warmup: float, hold: float
) -> None:
    settings = OptimizerSpec(warmup=warmup, hold=hold)
    found = [factor(at, turns, settings) for at in range(turns)]
    warm = max(1, round(turns * warmup))
    fall = warm + round(turns * hold)
    expected = [(at + 1) / warm for at in range(warm)] + [1.0] * (fall - warm)
    expected += [
        (1 + math.cos(math.pi * (at - fall) / (turns - fall))) / 2 for at in range(fall, turns)
    ]
    expected = expected[:turns]
    assert found == pytest.approx(expected)
    assert all(0.0 < value <= 1.0 for value in found)
    assert max(found) == 1.0
    constant = OptimizerSpec(schedule="constant", warmup=warmup)
    assert {factor(at, turns, constant) for at in range(turns)} == {1.0}


@pytest.mark.parametrize(("period", "offset"), [(1, 0), (2, 1), (3, 0)])
def test_the_schedule_counts_the_objectives_own_turns(
    calls: list[tuple[str, Any]], period: int, offset: int
) -> None:
    cycle = msgspec.structs.replace(PLAIN, schedule="one_cycle", warmup=0.25)
    model = tiny.make(tiny.spec("early"))
    before = weights(model)
    go(model, recipe(push(optimizer=cycle, period=period, offset=offset)), steps=12)
    turns = len(calls)
    assert turns == len(range(offset, 12, period))
    way = 0.01 * sum(factor(at, turns, cycle) for at in range(turns))
    for name, value in model.state_dict().items():
        assert torch.allclose(value, before[name] - way, atol=1e-5), name


def test_training_is_adamw_on_the_drawn_batches_by_the_book() -> None:
    items = tiny.split(8)
    settings = OptimizerSpec(lr=0.01, weight_decay=0.3, warmup=0.3, clip=0.5)
    how = recipe(ObjectiveSpec("supervised", optimizer=settings), batch_size=3)
    model, book = tiny.make(tiny.spec("late")), tiny.make(tiny.spec("late"))
    seen: list[Tensor] = []
    trained = go(model, how, steps=5, seed=4, items=items)

    decayed = [p for n, p in book.named_parameters() if p.dim() > 1 and "embed" not in n]
    spared = [p for n, p in book.named_parameters() if p.dim() <= 1 or "embed" in n]
    groups = [{"params": decayed, "weight_decay": 0.3}, {"params": spared, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, betas=settings.betas, foreach=False)
    feed = Feed(items, torch.device("cpu"), list(book.encoders), targets=True)
    book.train()
    orders = [rng.permutation(4, "order", "fit", epoch, count=8) for epoch in range(3)]
    batches = [(e, order[at : at + 3]) for e, order in enumerate(orders) for at in (0, 3)]
    for at in range(5):
        for group in adam.param_groups:
            group["lr"] = 0.01 * factor(at, 5, settings)
        epoch, index = batches[at]
        loss = Supervised().loss(book, feed.batch(index, 4, epoch))
        seen.append(loss.detach())
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(book.parameters(), 0.5)
        adam.step()
    for name, value in model.state_dict().items():
        # The bias of keys has no effect, so its gradient is rounding, which Adam blows up.
        real = slice(tiny.WIDTH if name.endswith("key_value.bias") else 0, None)
        assert torch.allclose(value[real], book.state_dict()[name][real], atol=2e-5), name
    assert [point.loss for point in trained.curve] == [
        pytest.approx(float(sum(seen)) / 5, abs=1e-4)
    ]


# --- batches ------------------------------------------------------------------------------------


def marked(count: int) -> Split:
    """Draw items whose first pixel is their number."""
    items = tiny.split(count, whole=True)
    items.inputs["image"][:, 0, 0, 0] = np.arange(count)  # type: ignore[index]
    return items


def seen(calls: list[tuple[str, Any]]) -> list[list[int]]:
    return [batch.inputs["image"][:, 0, 0, 0].tolist() for _, batch in calls]


def test_an_epoch_shows_each_item_once_in_an_order_of_its_own(
    calls: list[tuple[str, Any]],
) -> None:
    go(tiny.make(tiny.spec("early")), recipe(push()), steps=6, items=marked(8))
    epochs = [[*one, *two] for one, two in zip(*[iter(seen(calls))] * 2, strict=True)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(8))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_last_batch_that_is_too_small_is_left_out_and_a_small_split_is_one_batch(
    calls: list[tuple[str, Any]],
) -> None:
    go(tiny.make(tiny.spec("early")), recipe(push(), batch_size=3), steps=9, items=marked(8))
    assert [len(batch) for batch in seen(calls)] == [3] * 9
    assert len({item for batch in seen(calls) for item in batch}) == 8
    calls.clear()
    trained = go(
        tiny.make(tiny.spec("early")), recipe(push(), batch_size=64), steps=2, items=marked(5)
    )
    assert [sorted(batch) for batch in seen(calls)] == [list(range(5))] * 2
    assert trained.items == 10


def test_the_budget_takes_the_first_items_and_sees_no_other(calls: list[tuple[str, Any]]) -> None:
    how = recipe(ObjectiveSpec("supervised"), push())
    few, cut = tiny.make(tiny.spec("late")), tiny.make(tiny.spec("late"))
    go(few, how, steps=3, items=marked(8), budget=5)
    assert {item for batch in seen(calls) for item in batch} <= set(range(5))
    go(cut, how, steps=3, items=marked(8).take(np.arange(5)), budget=8)
    assert same(weights(few), weights(cut))


def test_of_several_texts_each_is_taught_and_the_draw_hangs_on_seed_and_epoch_alone() -> None:
    items = tiny.split(8, whole=True)  # odd items have two texts
    feed = Feed(items, torch.device("cpu"), ["image"], targets=True)
    index = np.array([0, 1, 3, 5])
    taught: list[set[tuple[int, ...]]] = [set() for _ in index]
    for epoch in range(20):
        target = feed.batch(index, 7, epoch).targets["caption"]
        assert (target != 0).any(dim=0).all(), "a column of padding alone costs a step for nothing"
        for place, row in enumerate(target.tolist()):
            taught[place].add(tuple(token for token in row if token))
        alone = feed.batch(index[2:3], 7, epoch).targets["caption"]
        assert torch.equal(alone[0], target[2, : alone.shape[1]])
    texts = [
        {tuple(t for t in row if t) for row in items.targets["caption"][i].tolist()} - {()}
        for i in index
    ]
    assert taught == texts
    assert [len(found) for found in taught] == [1, 2, 2, 2]


# --- which weights are kept ---------------------------------------------------------------------


class Script:
    """Gives scores out one by one and keeps what the weights were."""

    def __init__(self, *scores: float) -> None:
        self.scores = list(scores)
        self.kept: list[dict[str, Tensor]] = []

    def __call__(self, model: Model) -> float:
        self.kept.append(weights(model))
        model.eval()
        return self.scores[len(self.kept) - 1]


@pytest.mark.parametrize(
    ("patience", "scores", "best", "steps"),
    [
        (2, [1.0, 3.0, 2.0, 2.5, 9.0, 9.9], 1, 4),
        (2, [1.0, 3.0, 2.0, 3.5, 3.0, 4.0], 5, 6),
        (1, [1.0, 1.0, 5.0, 5.0, 5.0, 5.0], 0, 2),  # no better is not better
        (0, [1.0, 3.0, 2.0, 2.5, 2.0, 0.0], 1, 6),
        (0, [-5.0, -7.0, -4.0, -4.5, -9.0, -6.0], 2, 6),
        (3, [2.0, math.nan, math.nan, math.nan, 9.0, 9.0], 0, 4),
    ],
)
def test_patience_stops_and_the_best_weights_stay(
    patience: int, scores: list[float], best: int, steps: int, calls: list[tuple[str, Any]]
) -> None:
    model = tiny.make(tiny.spec("early"))
    script = Script(*scores)
    how = recipe(push(), patience=patience)
    trained = go(model, how, steps=6, validate=script, validations=6)
    assert trained.steps == len(calls) == len(script.kept) == steps
    assert trained.stopped_early is (steps < 6)
    assert (trained.best_step, trained.best_score) == (best + 1, scores[best])
    assert same(weights(model), script.kept[best])
    assert sum(same(weights(model), kept) for kept in script.kept) == 1
    told = [point.score for point in trained.curve]
    assert told == pytest.approx(scores[:steps], nan_ok=True)


def test_each_stage_has_its_own_patience_and_starts_from_the_best_of_the_one_before(
    calls: list[tuple[str, Any]],
) -> None:
    stages = tuple(StageSpec(name=n, share=0.5, objectives=(push(name=n),)) for n in ("a", "b"))
    model = tiny.make(tiny.spec("early"))
    script = Script(5.0, 4.0, 1.0, 3.0, 2.0)
    how = RecipeSpec(batch_size=4, patience=1, stages=stages)
    trained = go(model, how, steps=8, validate=script, validations=8)
    assert [name for name, _ in calls] == ["a", "a", "b", "b", "b"]
    assert (trained.best_step, trained.best_score, trained.stopped_early) == (4, 3.0, True)
    for name, value in script.kept[2].items():  # a step from the first stage's best
        assert torch.allclose(value, script.kept[0][name] - 0.01, atol=1e-5), name
    assert same(weights(model), script.kept[3])


def test_the_model_trains_on_in_training_mode_after_a_validation(
    calls: list[tuple[str, Any]],
) -> None:
    model = tiny.make(tiny.spec("late", fusion=ComponentSpec("late", {"dropout": 0.5})))
    modes: list[bool] = []

    def validate(found: Model) -> float:
        modes.append(found.training)
        predict(found, tiny.split(5), DecodingSpec(beams=1), 2)  # switches to eval
        return 0.0

    go(model, recipe(push()), steps=4, validate=validate, validations=4)
    assert modes == [True] * 4


def test_the_budget_says_how_often_is_validated(calls: list[tuple[str, Any]]) -> None:
    for validations, expected in ((1, [10]), (3, [4, 8, 10]), (10, list(range(1, 11))), (99, 10)):
        trained = go(tiny.make(tiny.spec("early")), recipe(push()), 10, validations=validations)
        scored = [point.step for point in trained.curve if point.score is not None]
        assert scored == (expected if isinstance(expected, list) else list(range(1, 11)))


# --- repeatability ------------------------------------------------------------------------------


def learn(seed: int, dropout: float, disturb: bool = False, validations: int = 2) -> Any:
    how = recipe(ObjectiveSpec("supervised", optimizer=OptimizerSpec(lr=0.01)))
    fusion = ComponentSpec("late", {"dropout": dropout})
    model = tiny.make(tiny.spec("late", fusion=fusion))
    times = iter(range(100))

    def validate(found: Model) -> float:
        if disturb:
            np.random.rand()
        predict(found, tiny.split(5), DecodingSpec(beams=2))
        return float(next(times))

    if disturb:
        torch.rand(3)
    trained = go(model, how, steps=6, seed=seed, validate=validate, validations=validations)
    return weights(model), [point.loss for point in trained.curve]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_seed_gives_the_same_bits_again_and_another_seed_others(dropout: float) -> None:
    state = torch.get_rng_state()
    one, curve = learn(0, dropout)
    again, same_curve = learn(0, dropout, disturb=True)
    other, other_curve = learn(1, dropout)
    torch.set_rng_state(state)
    assert curve == same_curve
    assert same(one, again)
    assert curve != other_curve
    assert not same(one, other)


def test_how_often_is_validated_changes_no_weight() -> None:
    assert same(learn(0, 0.3, validations=1)[0], learn(0, 0.3, validations=6)[0])


def test_dropout_has_a_stream_of_its_own() -> None:
    items = tiny.split(8, whole=True).take(np.array([0]))  # one text: there is no other draw
    losses = {}
    for dropout in (0.0, 0.5):
        for seed in (0, 1):
            fusion = ComponentSpec("late", {"dropout": dropout})
            model = tiny.make(tiny.spec("late", fusion=fusion))
            how = recipe(ObjectiveSpec("supervised"))
            losses[dropout, seed] = go(model, how, 1, seed, items=items).curve[0].loss
    assert losses[0.0, 0] == losses[0.0, 1]
    assert len({losses[0.0, 0], losses[0.5, 0], losses[0.5, 1]}) == 3


def test_work_on_the_cpu_leaves_the_state_of_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seed: int) -> None:
        raise AssertionError("a GPU's random state was set")

    monkeypatch.setattr(torch.cuda, "manual_seed", refuse)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    dataset = Dataset(tiny.SIGNATURE, {"train": tiny.split(8)}, "")
    run = Run(tiny.TASK, tiny.spec("early"), "small", 0, Settings(device="cpu"))
    model = make_model(run, dataset)
    assert go(model, recipe(ObjectiveSpec("supervised")), steps=1).steps == 1


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_loss_that_is_no_number_ends_training_with_the_best_weights_so_far(
    calls: list[tuple[str, Any]], at: int
) -> None:
    script = Script(1.0, 5.0, 4.0)
    model = tiny.make(tiny.spec("early"))
    trained = go(model, recipe(push(broken_at=at)), steps=30, validate=script, validations=10)
    assert trained.diverged.startswith("the loss became nan by step")
    assert trained.steps - at < 10  # it is noticed within ten steps
    assert not trained.stopped_early
    assert math.isnan(trained.curve[-1].loss)
    assert trained.curve[-1].score is None
    if script.kept:
        best = min(len(script.kept), 2) - 1
        assert same(weights(model), script.kept[best])
        assert all(torch.isfinite(value).all() for value in weights(model).values())


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_stage_on_an_unknown_split_is_refused() -> None:
    stage = StageSpec(
        name="pretrain", split="unlabelled", objectives=(ObjectiveSpec("supervised"),)
    )
    with pytest.raises(SpecError) as error:
        go(tiny.make(tiny.spec("early")), RecipeSpec(stages=(stage,)), 2)
    message = one_line(error)
    assert "the stage 'pretrain' trains on the split 'unlabelled'" in message
    assert "expected one of train" in message
    test = RecipeSpec(stages=(StageSpec(split="test", objectives=(ObjectiveSpec("supervised"),)),))
    splits = {"train": tiny.split(8), "val": tiny.split(8), "test": tiny.split(8)}
    model, budget = tiny.make(tiny.spec("early")), BudgetSpec(8, 2, 1)
    with pytest.raises(SpecError) as error:
        train(model, splits, test, budget, 0, lambda _: 0.0, Watch())
    assert "'test': expected one of train, val" in one_line(error)


def test_an_objective_that_trains_nothing_is_refused() -> None:
    how = recipe(ObjectiveSpec("supervised", parameters=("encoder.*", "head.*")))
    with pytest.raises(SpecError) as error:
        go(tiny.make(tiny.spec("early")), how, 2)
    message = one_line(error)
    assert "'supervised' trains nothing: no parameter matches encoder.*, head.*" in message


def test_an_empty_split_is_refused() -> None:
    nothing = tiny.split(5).take(np.arange(0))
    with pytest.raises(DataError) as error:
        go(tiny.make(tiny.spec("early")), recipe(ObjectiveSpec("supervised")), 2, items=nothing)
    assert "the split 'train' is empty: nothing to train on" in one_line(error)
    with pytest.raises(DataError) as error:
        predict(tiny.make(tiny.spec("early")), nothing, DecodingSpec())
    assert "empty" in one_line(error)


def test_an_error_leaves_torchs_random_state_alone() -> None:
    state = torch.get_rng_state()
    with pytest.raises(SpecError):
        go(tiny.make(tiny.spec("early")), recipe(ObjectiveSpec("supervised", parameters=("x",))), 2)
    assert torch.equal(torch.get_rng_state(), state)


# --- whole runs ---------------------------------------------------------------------------------


def test_a_run_that_diverges_is_kept_as_such_and_fails_the_command(
    cli: Callable[..., Any],
    task: Callable[..., str],
    workplace: Path,
    calls: list[tuple[str, Any]],
) -> None:
    setting = 'recipe.stages.0.objectives.0={name = "push", params = {broken_at = 3}}'
    done = cli("run", "-t", task(), "-m", "image_only", "--set", setting, "--device", "cpu")
    assert done.code == 1
    assert "diverged: the loss became" in done.error
    found, problems = store.scan(workplace / "results")
    assert not problems
    record = found[0].record
    assert record.status == "diverged"
    assert record.reason.startswith("the loss became")
    assert record.scores == {}
    assert record.curve[-1]["loss"] is None  # JSON has no NaN
    assert json.loads((found[0].folder / store.RECORD).read_text())["curve"][-1]["score"] is None
    assert set(record.files) == {store.WEIGHTS}


def test_a_run_given_twice_writes_the_same_weights_and_scores(
    task: Callable[..., str], workplace: Path
) -> None:
    from mmbench import catalog

    spec = catalog.task(task())
    records = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        settings = Settings(results=workplace / name, device="cpu")
        model = tiny.spec("late")
        records.append(execute(Run(spec, model, "brief", seed, settings), Watcher()).record)
    one, two, three = records
    assert one.identity == two.identity != three.identity
    assert one.files == two.files  # checksums of weights, predictions and statistics
    assert (one.curve, one.scores) == (two.curve, two.scores)
    assert one.files[store.WEIGHTS] != three.files[store.WEIGHTS]
    assert one.curve != three.curve


def test_a_records_weights_say_again_what_it_said(
    task: Callable[..., str], workplace: Path
) -> None:
    from mmbench import catalog
    from mmbench.data import _load

    spec = catalog.task(task())
    run = Run(spec, tiny.spec("hybrid"), "brief", 0, Settings(workplace / "results", device="cpu"))
    stored = execute(run, Watcher())
    dataset = _load.load(spec)
    model = load_model(stored, run, dataset)
    for split in ("test", "ood"):
        again = predict(model, dataset.splits[split], run.model.recipe.decoding)
        told = store.read_predictions(stored, split)
        assert told["id"] == again.ids
        assert told["caption"] == again.outputs["caption"]
        assert told["branches"] == again.columns["branches"]
        assert told["branches"][0] == ["joint", "image", "audio"]
    other = replace(run, model=tiny.spec("hybrid", width=32))
    with pytest.raises(StoreError, match="are not the weights of 'hybrid' as built now"):
        load_model(stored, other, dataset)
    path = stored.folder / store.WEIGHTS
    path.write_bytes(path.read_bytes()[:-4] + b"0000")
    with pytest.raises(StoreError, match="does not match the record's checksum"):
        load_model(stored, run, dataset)


class Watcher(Watch):
    def phase(self, name: str) -> None:
        pass

    def items(self, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass
