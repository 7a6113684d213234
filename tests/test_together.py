"""Seeds trained as a batch: each as it is trained alone, whatever stands beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny
import torch
from conftest import Command as Cli

from mmbench import catalog, store
from mmbench.models.model import Model
from mmbench.run import Run, Settings
from mmbench.spec import (
    BudgetSpec,
    ComponentSpec,
    ModelSpec,
    ObjectiveSpec,
    OptimizerSpec,
    RecipeSpec,
    StageSpec,
)
from mmbench.together import batchable, train_together, tried
from mmbench.train import Trained, train
from mmbench.types import Split

SEEDS = (0, 1, 2)
#: Shipped models that differ in what has to be done for several at once. Two epochs of each on a
#: class, a set of classes and a number,
ANSWERING = (
    "argf", "concat", "constant", "contrastive", "contrastive_pretrained", "cross_attention",
    "early", "early_features", "gat", "gatv2", "gcn", "gmu", "graph_plain", "hybrid", "late",
    "late_precision", "lmf", "mbt", "mfm", "mmsa", "mopoe", "mult", "multiplicative", "mvae",
    "parallel", "rgcn", "seed_cross_transformer", "seed_encoder_decoder", "seed_linear_concat",
    "sequential", "sequential_time", "sum", "tfn", "weighted_average_dynamic",
)  # fmt: skip
#: and on captions of pictures, sounds and words.
SPEAKING = ("early", "hybrid", "late", "mopoe", "seed_lstm_cnn", "seed_encoder_decoder")


class Nobody:
    """Watches nothing."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Take note of nothing."""


def nought(model: Model) -> float:
    return 0.0


def recipe(**changes: Any) -> RecipeSpec:
    optimizer = OptimizerSpec(lr=2e-3)
    stage = StageSpec(objectives=(ObjectiveSpec("supervised", optimizer=optimizer),))
    return RecipeSpec(**{"batch_size": 16, "stages": (stage,), **changes})


def both(
    world: tiny.World,
    spec: ModelSpec,
    how: RecipeSpec | None = None,
    budget: BudgetSpec | None = None,
    validate: Callable[[Model], float] = nought,
    seeds: Sequence[int] = SEEDS,
    before: Callable[[list[Model]], None] = lambda models: None,
) -> tuple[list[Model], list[Trained], list[Model], list[Trained]]:
    """Train seeds one after the other, and together: models and what training left of each."""
    items = world.split(68, 1)
    splits = {"train": items, "val": world.split(16, 2)}
    how = how or recipe(batch_size=16, stages=spec.recipe.stages)
    budget = budget or BudgetSpec(68, 8)  # 4 batches an epoch
    alone = [world.make(spec, seed) for seed in seeds]
    before(alone)
    each = [
        train(model, splits, how, budget, seed, validate, Nobody())
        for model, seed in zip(alone, seeds, strict=True)
    ]
    beside = [world.make(spec, seed) for seed in seeds]
    before(beside)
    together = train_together(beside, splits, how, budget, seeds, validate, Nobody())
    return alone, each, beside, together


def apart(one: Model, other: Model) -> float:
    """Return the largest difference of parameters, as a share of the largest of its tensor."""
    theirs = dict(other.named_parameters())
    return max(
        float((p - theirs[n]).detach().abs().max() / p.detach().abs().max().clamp(min=1.0))
        for n, p in one.named_parameters()
    )


def same(one: Trained, other: Trained) -> None:
    """Hold all that training leaves against one another, but the time it took."""
    assert [(p.step, p.score) for p in one.curve] == [(p.step, p.score) for p in other.curve]
    assert [p.loss for p in one.curve] == pytest.approx(
        [p.loss for p in other.curve], rel=1e-5, nan_ok=True
    )
    for name in ("steps", "best_step", "best_score", "items", "diverged", "stopped_early"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("name", ANSWERING)
def test_each_seed_becomes_what_it_becomes_alone(name: str) -> None:
    alone, each, beside, together = both(tiny.ANSWERS, tiny.ANSWERS.spec(name))
    for seed in range(len(SEEDS)):
        assert apart(alone[seed], beside[seed]) <= 1e-6
        same(each[seed], together[seed])
    assert apart(alone[0], alone[1]) > 1e-2


@pytest.mark.parametrize("name", SPEAKING)
def test_so_it_is_with_texts_of_which_each_seed_chooses_its_own(name: str) -> None:
    alone, each, beside, together = both(tiny.CAPTIONS, tiny.CAPTIONS.spec(name))
    for seed in range(len(SEEDS)):
        assert apart(alone[seed], beside[seed]) <= 1e-6
        same(each[seed], together[seed])


def test_so_it_is_with_dropout_of_numbers_and_of_modalities() -> None:
    fusion = ComponentSpec("hybrid", {"dropout": 0.2, "own_depth": 1})
    spec = tiny.ANSWERS.spec("hybrid", fusion=fusion)
    how = recipe(modality_dropout=0.3)
    alone, _, beside, _ = both(tiny.ANSWERS, spec, how)
    assert max(map(apart, alone, beside)) <= 1e-6
    without, _, _, _ = both(tiny.ANSWERS, tiny.ANSWERS.spec("hybrid"), recipe())
    assert apart(alone[0], without[0]) > 1e-3  # both were at work


def test_an_objective_that_looks_at_validations_does_so_for_each_seed() -> None:
    stage = StageSpec(objectives=(ObjectiveSpec("gradient_blending"),))
    budget = BudgetSpec(68, 8, validations=4)
    alone, each, beside, together = both(
        tiny.ANSWERS, tiny.ANSWERS.spec("late"), recipe(stages=(stage,)), budget
    )
    assert max(map(apart, alone, beside)) <= 1e-6
    for one, other in zip(each, together, strict=True):
        same(one, other)


def test_what_a_seed_becomes_does_not_depend_on_what_stands_beside_it() -> None:
    spec = tiny.ANSWERS.spec("mopoe")
    _, _, three, _ = both(tiny.ANSWERS, spec)
    _, _, (one,), _ = both(tiny.ANSWERS, spec, seeds=(1,))
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, dict(three[1].named_parameters())[name]), name


def test_a_seed_without_patience_leaves_and_keeps_its_best_weights() -> None:
    calls: dict[int, list[float]] = {}

    def scripted(model: Model) -> float:
        """Fall from the first validation on for models that begin with a negative number."""
        first = next(model.parameters()).flatten()[0].item()
        told = calls.setdefault(id(model), [])
        told.append(first)
        return -float(len(told)) if told[0] < 0 else float(len(told))

    how = recipe(patience=2, stages=tuple(StageSpec(name=n, share=0.5, objectives=(ObjectiveSpec("supervised"),)) for n in "ab"))  # fmt: skip # noqa: E501
    budget = BudgetSpec(68, 24, validations=8)
    seeds = tuple(range(5))
    alone, each, beside, together = both(
        tiny.ANSWERS, tiny.ANSWERS.spec("late"), how, budget, scripted, seeds
    )
    assert {one.stopped_early for one in each} == {True, False}
    assert len({one.steps for one in each}) > 1
    for seed in seeds:
        same(each[seed], together[seed])
    assert max(map(apart, alone, beside)) <= 1e-6


def test_a_seed_that_diverges_takes_no_other_with_it() -> None:
    def spoil(models: list[Model]) -> None:
        with torch.no_grad():
            next(models[1].parameters()).fill_(math.nan)

    alone, each, beside, together = both(
        tiny.ANSWERS, tiny.ANSWERS.spec("concat"), budget=BudgetSpec(68, 24), before=spoil
    )
    assert [bool(one.diverged) for one in together] == [False, True, False]
    assert together[1].steps == 3  # the first validation
    for seed in SEEDS:
        same(each[seed], together[seed])
    assert max(apart(alone[seed], beside[seed]) for seed in (0, 2)) <= 1e-6


def test_the_trial_leaves_models_as_they_were_and_finds_nothing_wrong_with_good_ones() -> None:
    world = tiny.ANSWERS
    spec = world.spec("mvae")
    models = [world.make(spec, seed) for seed in SEEDS]
    before = [{n: p.clone() for n, p in m.state_dict().items()} for m in models]
    state = torch.random.get_rng_state()
    splits: dict[str, Split] = {"train": world.split(68, 1)}
    assert tried(models, splits, spec.recipe, BudgetSpec(68, 8), SEEDS) == ""
    assert torch.equal(torch.random.get_rng_state(), state)
    for model, weights in zip(models, before, strict=True):
        assert all(torch.equal(p, weights[n]) for n, p in model.state_dict().items())


BRANCHING = '''
"""Asks a number of the batch which way to go."""

import torch

from mmbench.models import Branch, Fused, Fusion


class Asking(Fusion):
    """The mean of everything, turned round where it is negative."""

    def __init__(self, modalities, width):
        super().__init__()
        self.merge = torch.nn.Linear(width, width)

    @property
    def branches(self):
        return ("joint",)

    def forward(self, streams, clock="pool"):
        means = [s.x.mean(dim=1) for s in streams.values()]
        joint = self.merge(torch.stack(means).mean(dim=0))
        if joint.detach().sum().item() < 0:
            joint = -joint
        one = torch.ones(len(joint), 1, dtype=torch.bool, device=joint.device)
        there = torch.stack([s.present for s in streams.values()]).any(dim=0)
        return Fused([Branch("joint", joint[:, None], one, joint, there)])
'''


def everything(results: str = "results") -> dict[tuple[str, int], store.Stored]:
    found, problems = store.scan(Path(results))
    assert not problems
    return {(one.record.model, one.record.seed): one for one in found}


def test_the_command_trains_seeds_together_and_says_so_in_their_records(
    cli: Cli, task: Callable[..., str]
) -> None:
    options = ("-t", task(), "-m", "concat", "--seeds", "3", "--set", "width=16")
    done = cli("run", *options, "--batch-seeds")
    assert done.code == 0, done.err
    assert "one after the other" not in done.err
    found = everything()
    assert len(found) == 3
    for (_, seed), stored in found.items():
        record = stored.record
        assert record.definition["execution"] == "batched seeds"
        assert record.provenance["batched_seeds"] == [0, 1, 2]
        assert f"--seeds {seed}-{seed}" in record.reproduce
        assert "--batch-seeds" in record.reproduce
    again = cli("run", *options, "--batch-seeds")
    assert again.out.count("finished before") + again.err.count("finished before") == 3
    # Alone they are other records, of the same scores.
    assert cli("run", *options, "--results", "alone").code == 0
    for key, single in everything("alone").items():
        beside = found[key].record
        assert "execution" not in single.record.definition
        assert single.record.identity != beside.identity
        for name, got in single.record.scores["test"].items():
            assert beside.scores["test"][name].value == pytest.approx(got.value, abs=1e-5)
    # And a seed that was trained alone is finished.
    finished = cli("run", *options, "--batch-seeds", "--results", "alone")
    assert finished.out.count("finished before") + finished.err.count("finished before") == 3


def test_verify_trains_such_a_record_again_in_the_same_way(
    cli: Cli, task: Callable[..., str]
) -> None:
    options = ("-t", task(), "-m", "image_only", "--set", "width=16", "--batch-seeds")
    # Texts are as long as the longest of the batch, which is in the last digits: scores agree.
    assert cli("run", *options, "--seeds", "2", "--results", "two").code == 0
    done = cli("verify", "two", "--rerun")
    assert done.code == 0, done.err
    assert done.out.count("brief-s") == 2
    assert done.out.count("reproduced: ") == 2
    # A batch of one is trained again to the bit.
    assert cli("run", *options, "--seeds", "1", "--results", "one").code == 0
    done = cli("verify", "one", "--rerun")
    assert done.out.count("the same bits") == 1, done.out


def test_what_cannot_be_done_together_is_done_in_turn_and_said(
    cli: Cli, task: Callable[..., str]
) -> None:
    Path("asking.py").write_text(BRANCHING)
    options = ("-t", task(), "-m", "./asking.py", "--seeds", "2", "--set", "width=16")
    done = cli("run", *options, "--batch-seeds")
    assert done.code == 0, done.err
    (note,) = [line for line in done.err.splitlines() if "one after the other" in line]
    assert "supervised" in note
    # They are the records that nobody's asking for it would have made.
    together = everything()
    assert cli("run", *options, "--results", "alone").code == 0
    alone = everything("alone")
    for key, one in together.items():
        assert one.record.identity == alone[key].record.identity
        assert one.record.files == alone[key].record.files
        assert "--batch-seeds" not in one.record.reproduce


def test_gradients_that_are_looked_at_seed_by_seed_are_a_reason_not_to(
    task: Callable[..., str],
) -> None:
    of = catalog.task(task())
    spec = catalog.model("concat", ("recipe.ogm_ge=0.5",), of)
    settings = Settings(batch_seeds=True)
    assert "recipe.ogm_ge" in batchable(Run(of, spec, "brief", 0, settings))
    plain = msgspec.structs.replace(spec, recipe=msgspec.structs.replace(spec.recipe, ogm_ge=0.0))
    assert batchable(Run(of, plain, "brief", 0, settings)) == ""
