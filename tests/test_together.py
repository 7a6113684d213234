"""Seeds trained as a batch: each as it is trained alone, whatever stands beside it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny
import torch

from mmbench import catalog, rerun, store
from mmbench.checkpoint import Checkpoints
from mmbench.errors import DataError
from mmbench.executors import work
from mmbench.models.feed import placing
from mmbench.models.feed.ahead import Ahead
from mmbench.models.model import Model
from mmbench.models.stacked import NotTogetherError, Stack
from mmbench.room import Allowance
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
from mmbench.together import batchable, flow, train_together, tried
from mmbench.train import Trained, train
from mmbench.types import Array, Ragged, Split

#: Runs a command line; see conftest.py.
Cli = Callable[..., Any]

SEEDS = (0, 1, 2)
#: Shipped models that differ in what has to be done for several at once. Two epochs of each on a
#: class, a set of classes and a number,
ANSWERING = (
    "argf", "concat", "constant", "contrastive", "contrastive_pretrained", "cross_attention",
    "early", "early_features", "gat", "gatv2", "gcn", "gmu", "graph_plain", "hybrid", "late",
    "late_precision", "lmf", "mbt", "mfm", "mopoe", "mult", "multimodal_self_attention",
    "multiplicative", "mvae", "parallel", "rgcn", "seed_cross_transformer", "seed_encoder_decoder",
    "seed_linear_concat", "sequential", "sequential_time", "sum", "tfn", "weighted_average_dynamic",
)  # fmt: skip
#: and on captions of pictures, sounds and words.
SPEAKING = ("early", "hybrid", "late", "mopoe", "seed_lstm_cnn", "seed_encoder_decoder")


class Nobody:
    """Watches nothing."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Take note of nothing."""

    def note(self, text: str) -> None:
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
        how = record.provenance["measured"]
        assert how["train_seconds"] == "its share of the steps of 3 seeds together"
        assert how["peak_host_bytes"].endswith("; in training of 3 seeds together")
    # What training took of memory all had, none less than the others for being tested later.
    assert len({one.record.cost["train_seconds"] for one in found.values()}) == 1
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


# --- how training is carried out ----------------------------------------------------------------


def test_a_gpu_is_kept_to_deterministic_kernels_from_building_to_testing(
    cli: Cli, task: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    within: list[bool] = []
    inside = False

    @contextmanager
    def watched(run: Run) -> Iterator[None]:
        nonlocal inside
        inside = True
        yield
        inside = False

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            within.append(inside)
            return call(*args, **kwargs)

        return noted

    monkeypatch.setattr(flow, "deterministic", watched)
    for name in ("make_model", "tried", "train_together", "examine"):
        monkeypatch.setattr(flow, name, noting(getattr(flow, name)))
    options = ("-t", task(), "-m", "image_only", "--seeds", "2", "--set", "width=16")
    assert cli("run", *options, "--batch-seeds", "--deterministic").code == 0
    assert within == [True] * 6


def test_what_is_run_again_is_run_in_all_modes_of_the_record(
    cli: Cli, task: Callable[..., str]
) -> None:
    options = ("-t", task(), "-m", "image_only", "--set", "width=16", "--batch-seeds")
    assert cli("run", *options).code == 0
    (stored,) = everything().values()
    stored.record.definition["execution"] = "deterministic, batched seeds"
    settings = rerun.run_of(stored).settings
    assert (settings.deterministic, settings.batch_seeds) == (True, True)


def mapped(split: Split, folder: Path) -> Split:
    """Return the split with its arrays in files, mapped as the cache maps them."""
    folder.mkdir(exist_ok=True)

    def lay(name: str, array: Array) -> Array:
        np.save(folder / f"{name}.npy", array)
        return np.load(folder / f"{name}.npy", mmap_mode="r")  # type: ignore[no-any-return]

    inputs: dict[str, Array | Ragged] = {}
    for name, x in split.inputs.items():
        if isinstance(x, Ragged):
            inputs[name] = Ragged(lay(f"in {name}", x.values), lay(f"long {name}", x.lengths))
        else:
            inputs[name] = lay(f"in {name}", x)
    targets = {name: lay(f"target {name}", array) for name, array in split.targets.items()}
    return replace(split, inputs=inputs, targets=targets)


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("mmbench-feed")]


@pytest.mark.parametrize("world", [tiny.ANSWERS, tiny.CAPTIONS], ids=["answers", "captions"])
def test_bits_are_the_same_however_little_memory_there_is(
    world: tiny.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds leave at different steps, so that what was made ahead for them is dropped."""
    take, on_the_spot, planned = Ahead.take, 0, 0

    def watched(self: Ahead[Any], index: Any) -> Any:
        nonlocal on_the_spot, planned
        coming = bool(self._coming) and np.array_equal(self._coming[0][0], index)
        planned, on_the_spot = planned + coming, on_the_spot + (not coming)
        return take(self, index)

    monkeypatch.setattr(Ahead, "take", watched)
    spec = world.spec("early")
    stage = StageSpec(objectives=(ObjectiveSpec("supervised"),))
    how = recipe(batch_size=4, patience=1, modality_dropout=0.2, stages=(stage,))
    splits = {
        "train": mapped(world.split(18, 1), tmp_path),
        "val": mapped(world.split(6, 2), tmp_path / "val"),
    }

    calls: dict[int, int] = {}

    def validate(model: Model) -> float:
        """Get better up to some validation: the first seed's second, the next one's fifth, ..."""
        calls[id(model)] = calls.get(id(model), 0) + 1
        best = 2 + 3 * [*calls].index(id(model))
        return -float(abs(calls[id(model)] - best))

    before = dict(placing._held)
    found = []
    for memory in (Allowance(size=2**40), Allowance(size=1)):
        calls.clear()
        models = [world.make(spec, seed) for seed in SEEDS]
        budget = BudgetSpec(18, 12, validations=12)
        trained = train_together(
            models, splits, how, budget, SEEDS, validate, Nobody(), memory=memory
        )
        found.append((models, trained))
    (usual, its), (little, theirs) = found
    assert [one.steps for one in its] == [3, 6, 9]
    for one, other in zip(its, theirs, strict=True):
        same(one, other)
    for model, again in zip(usual, little, strict=True):
        assert apart(model, again) == 0.0
    assert planned >= 9
    assert not on_the_spot, "every batch was expected"
    assert not threads()
    assert all(placing._held[place] == held for place, held in before.items())


def test_what_is_read_from_the_disk_is_said_and_changes_no_record(
    cli: Cli, task: Callable[..., str]
) -> None:
    options = ("-t", task(), "-m", "image_only", "--seeds", "2", "--set", "width=16")
    assert cli("run", *options, "--batch-seeds", "--results", "usual").code == 0
    done = cli("run", *options, "--batch-seeds", "--results", "little", "--memory", "20KiB")
    assert done.code == 0, done.err
    for name in ("train", "val", "test", "ood"):
        assert f"{name} is read from the disk while it is used" in done.err
    usual, little = everything("usual"), everything("little")
    for key, one in usual.items():
        other = little[key].record
        assert (one.record.identity, one.record.files) == (other.identity, other.files)
        assert (one.record.curve, one.record.scores) == (other.curve, other.scores)
    assert not threads()


# --- what comes to light in training only --------------------------------------------------------


def fails(monkeypatch: pytest.MonkeyPatch, error: Exception, where: str = "late") -> None:
    """Let the batch fail: where models are made, in the trial, or in a step after it."""
    whole = Stack.losses
    calls = 0

    def losses(self: Stack, *args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > {"trial": 0, "late": 3}[where]:
            raise error
        return whole(self, *args, **kwargs)

    if where == "build":
        made = flow.make_model

        def make(*args: Any) -> Model:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise error
            return made(*args)

        monkeypatch.setattr(flow, "make_model", make)
    else:
        monkeypatch.setattr(Stack, "losses", losses)


LITTLE = "2 at once do not fit the memory (CUDA out of memory. Tried to allocate 2 GiB)"
OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore of it")


@pytest.mark.parametrize(
    ("where", "error", "told"),
    [
        ("build", OUT, LITTLE),
        ("trial", OUT, LITTLE),
        ("late", OUT, LITTLE),
        ("late", MemoryError(), "2 at once do not fit the memory (MemoryError)"),
        ("late", NotTogetherError("so it is"), "supervised: so it is"),
        ("late", RuntimeError("vmap: no. More"), "supervised: vmap: no"),
    ],
)
def test_a_batch_that_fails_is_made_one_seed_after_the_other(
    where: str,
    error: Exception,
    told: str,
    cli: Cli,
    task: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("-t", task(), "-m", "image_only", "--seeds", "2", "--set", "width=16")
    with monkeypatch.context() as patched:
        fails(patched, error, where)
        done = cli("run", *options, "--batch-seeds")
    assert done.code == 0, done.err
    (note,) = [line for line in done.err.splitlines() if "one after the other" in line]
    assert note.endswith(f"seeds are trained one after the other: {told}")
    found = everything()
    assert len(found) == 2
    assert all("execution" not in one.record.definition for one in found.values())


def test_of_seeds_that_are_no_batch_after_all_one_that_fails_is_one(
    cli: Cli, task: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What seed 0 raises is no reason why seed 1 should have none: it was never tried."""
    make = work.execute

    def execute(run: Any, watcher: Any) -> Any:
        if run.seed == 0:
            raise DataError("an odd one")
        return make(run, watcher)

    monkeypatch.setattr(work, "execute", execute)
    monkeypatch.setattr("mmbench.together.flow.batchable", lambda run: "they do not go together")
    options = ("-t", task(), "-m", "image_only", "--seeds", "3", "--set", "width=16")
    done = cli("run", *options, "--batch-seeds")
    assert done.code == 4
    assert done.error == "error: mini/image_only seed 0: an odd one"
    assert sorted(one.record.seed for one in everything().values()) == [1, 2]
    assert "image_only seed 2: " in done.err, "each is told of by its own name"


# --- interrupted ---------------------------------------------------------------------------------


class StoppedError(Exception):
    pass


class Stopping(Nobody):
    """Stops training at a step; remembers what it was told."""

    def __init__(self, stop: int = 0) -> None:
        self.stop = stop
        self.notes: list[str] = []

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Stop before a validation: what was written down is the step before."""
        if self.stop and done == self.stop and score is None:
            raise StoppedError

    def note(self, text: str) -> None:
        """Remember it."""
        self.notes.append(text)


def go(
    spec: ModelSpec,
    folder: Path | None,
    world: tiny.World = tiny.ANSWERS,
    stop: int = 0,
    before: Callable[[list[Model]], None] = lambda models: None,
    steps: int = 8,
) -> tuple[list[Model], list[Trained]]:
    """Train three seeds, writing down every step; validations say something else every time."""
    models = [world.make(spec, seed) for seed in SEEDS]
    before(models)
    splits = {"train": world.split(8, 1, False), "val": world.split(6, 2, False)}
    watch = Stopping(stop)
    kept = None
    if folder is not None:
        kept = Checkpoints(folder / "a/b/c", "batch", {"torch": "1"}, 0.0, watch.note)

    def validate(model: Model) -> float:
        weights = [x.double().sum() for x in model.state_dict().values()]
        return float((100 * torch.stack(weights).sum()).sin().nan_to_num())

    budget = BudgetSpec(8, steps, steps // 2)
    trained = train_together(models, splits, spec.recipe, budget, SEEDS, validate, watch, kept=kept)
    return models, trained


def exactly(one: tuple[list[Model], list[Trained]], other: Any) -> None:
    """Hold two trainings against one another to the bit, but for how long they took."""
    for model, again in zip(one[0], other[0], strict=True):
        theirs = again.state_dict()
        for name, x in model.state_dict().items():
            assert torch.equal(x.nan_to_num(), theirs[name].nan_to_num()), name
    for its, their in zip(one[1], other[1], strict=True):
        plain = [
            {k: str(v) for k, v in vars(trained).items() if k not in ("seconds", "resumed")}
            for trained in (its, their)
        ]
        assert plain[0] == plain[1]


def interrupted_everywhere(
    spec: ModelSpec, folder: Path, world: tiny.World = tiny.ANSWERS, **how: Any
) -> list[Trained]:
    """Stop after every second step, go on, and hold what comes of it against the whole."""
    whole = go(spec, None, world, **how)
    last = max(one.steps for one in whole[1])
    stops = range(2, last + 1, 2)
    for stop in stops:
        with pytest.raises(StoppedError):
            go(spec, folder, world, stop=stop, **how)
    found = go(spec, folder, world, **how)
    exactly(whole, found)
    assert [len(one.resumed) for one in found[1]] == [len(stops)] * len(SEEDS)
    # And once more, when training was over and testing was not.
    again = go(spec, folder, world, **how)
    exactly(whole, again)
    assert [len(one.resumed) for one in again[1]] == [len(stops) + 1] * len(SEEDS)
    return whole[1]


def change(spec: ModelSpec, **how: Any) -> ModelSpec:
    return msgspec.structs.replace(spec, recipe=msgspec.structs.replace(spec.recipe, **how))


@pytest.mark.parametrize(
    "name", ["early", "hybrid", "argf", "mvae", "mfm", "sequential", "contrastive_pretrained"]
)
def test_a_batch_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    interrupted_everywhere(change(tiny.ANSWERS.spec(name), batch_size=3), tmp_path)


def test_so_it_does_with_texts_and_dropout(tmp_path: Path) -> None:
    fusion = ComponentSpec("hybrid", {"dropout": 0.3, "own_depth": 1})
    spec = tiny.CAPTIONS.spec("hybrid", fusion=fusion)
    spec = change(spec, batch_size=3, modality_dropout=0.3)
    interrupted_everywhere(spec, tmp_path, tiny.CAPTIONS)


def test_so_it_does_in_the_second_of_two_stages_with_objectives_that_remember(
    tmp_path: Path,
) -> None:
    stages = (
        StageSpec(name="first", share=0.5, objectives=(ObjectiveSpec("supervised"),)),
        StageSpec(
            name="second", share=0.5, objectives=(ObjectiveSpec("gradient_blending"),), keep="last"
        ),
    )
    interrupted_everywhere(change(tiny.ANSWERS.spec("late"), stages=stages, batch_size=3), tmp_path)


def test_so_it_does_after_seeds_have_left_without_patience_or_diverged(tmp_path: Path) -> None:
    def spoil(models: list[Model]) -> None:
        with torch.no_grad():
            next(models[1].parameters()).fill_(math.nan)

    stages = tuple(
        StageSpec(name=name, share=0.5, objectives=(ObjectiveSpec("supervised"),))
        for name in ("first", "second")
    )
    spec = change(tiny.ANSWERS.spec("late"), stages=stages, batch_size=3, patience=2)
    trained = interrupted_everywhere(spec, tmp_path, before=spoil, steps=24)
    assert [bool(one.diverged) for one in trained] == [False, True, False]
    assert len({one.steps for one in trained}) == 3, "patience ended one before the other"


def of_batches(results: str) -> list[Path]:
    return sorted(Path(results).rglob(".*.checkpoint"))


@pytest.mark.parametrize("name", ["image_only", "hybrid"])
def test_interrupted_when_some_records_are_there_the_others_become_what_they_were(
    name: str, cli: Cli, task: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captions are padded to the longest of a batch: another batch would have other last digits."""
    options = ("-t", task(), "-m", name, "--seeds", "3", "--set", "width=16", "--batch-seeds")
    assert cli("run", *options, "--results", "whole").code == 0
    whole = everything("whole")
    assert not of_batches("whole")
    keep, examine, train_all = flow.keep, flow.examine, flow.train_together
    tested: list[int] = []

    def stop(run: Run, made: Any) -> store.Stored:
        if run.seed == 1:
            raise KeyboardInterrupt
        return keep(run, made)

    def noted(run: Run, *more: Any) -> None:
        tested.append(run.seed)
        examine(run, *more)

    def stepping(*given: Any) -> list[Trained]:
        """Stop in the midst of training."""
        watch = Stopping(3)
        try:
            return train_all(*given[:6], watch, *given[7:])
        except StoppedError:
            raise KeyboardInterrupt from None

    every = ("--checkpoint-every", "0")
    with monkeypatch.context() as patched:
        patched.setattr(flow, "train_together", stepping)
        assert cli("run", *options, *every).code == 130
    assert not everything()
    (folder,) = of_batches("results")
    assert folder.name.startswith(".brief-seeds-")
    with monkeypatch.context() as patched:
        patched.setattr(flow, "keep", stop)
        done = cli("run", *options, *every)
    assert done.code == 130
    assert "goes on at step 2 of 6, where it was interrupted" in done.err
    assert sorted(seed for _, seed in everything()) == [0]
    with monkeypatch.context() as patched:
        patched.setattr(flow, "examine", noted)
        done = cli("run", *options)
    assert done.code == 0, done.err
    assert "goes on after training, where it was interrupted" in done.err
    assert tested == [1, 2]
    found = everything()
    assert len(found) == 3
    for key, one in whole.items():
        other = found[key].record
        assert (one.record.identity, one.record.files) == (other.identity, other.files)
        assert (one.record.curve, one.record.scores) == (other.curve, other.scores)
        assert other.provenance["batched_seeds"] == [0, 1, 2]
        assert other.cost["resumed"] == (1 if key[1] == 0 else 2)
    assert not of_batches("results")


def test_a_batch_that_is_given_up_leaves_no_checkpoint(
    cli: Cli, task: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("-t", task(), "-m", "image_only", "--seeds", "2", "--set", "width=16")
    with monkeypatch.context() as patched:
        fails(patched, NotTogetherError("so it is"))
        done = cli("run", *options, "--batch-seeds", "--checkpoint-every", "0")
    assert done.code == 0, done.err
    assert "one after the other" in done.err
    assert not of_batches("results")


def test_a_batch_that_is_killed_ends_with_the_bytes_of_one_that_was_not(
    cli: Cli, task: Callable[..., str]
) -> None:
    """Killed as soon as there is a checkpoint, and again as soon as there is a record."""
    options = ["run", "-t", task("mini", ("steps = 6", "steps = 30")), "-m", "hybrid"]
    options += ["--seeds", "3", "--set", "width=16", "--batch-seeds", "-q"]
    assert cli(*options, "--results", "whole").code == 0
    command = [sys.executable, "-m", "mmbench", *options, "--checkpoint-every", "0"]
    for found in (".*.checkpoint/current", "[!.]*/record.json"):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(Path("results").glob(f"*/*/{found}")):
            time.sleep(0.005)
        process.kill()
        process.wait()
    done = cli(*options)
    assert done.code == 0, done.err
    whole, again = everything("whole"), everything()
    assert len(again) == 3
    for key, one in whole.items():
        other = again[key].record
        assert one.record.files == other.files
        assert (one.record.curve, one.record.scores) == (other.curve, other.scores)
        assert other.cost["resumed"] >= 1
    assert not of_batches("results")


def test_what_is_left_of_a_batch_whose_records_are_all_there_goes_with_the_next_command(
    cli: Cli, task: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("run", "-t", task(), "-m", "image_only", "--seeds", "2", "--set", "width=16")
    options += ("--batch-seeds", "--checkpoint-every", "0")

    def stopped(self: Checkpoints) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "clear", stopped)
        assert cli(*options).code == 130
    assert len(everything()) == 2
    (left,) = of_batches("results")
    os.utime(left, (time.time() + 60, time.time() + 60))
    assert cli(*options).code == 0
    assert of_batches("results") == [left], "one that is younger is of a batch that repeats them"
    os.utime(left, (time.time() - 60, time.time() - 60))
    assert cli(*options).code == 0
    assert not list(Path("results").rglob(".*"))
    assert len(everything()) == 2


def test_what_is_written_down_of_other_seeds_is_named_and_goes_when_nobody_needs_it(
    cli: Cli, task: Callable[..., str]
) -> None:
    options = ["run", "-t", task("mini", ("steps = 6", "steps = 60")), "-m", "hybrid"]
    options += ["--set", "width=16", "--batch-seeds"]
    command = [sys.executable, "-m", "mmbench", *options, "--seeds", "2"]
    process = subprocess.Popen([*command, "--checkpoint-every", "0"], stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(Path("results").glob("*/*/.*.checkpoint/current")):
        time.sleep(0.005)
    process.kill()
    process.wait()
    (left,) = of_batches("results")
    done = cli(*options, "--seeds", "3")
    assert done.code == 0, done.err
    told = (
        "what is written down of seeds 0-1 as a batch is of no use to seeds 0-2, which begin anew"
    )
    assert told in done.err
    assert str(left) in done.err
    assert not of_batches("results")
    shown = cli("show", "mini/hybrid", "--no-figures").out
    assert "its share of the steps of 3 seeds together" in shown
    assert "(of all 3 seeds together)" in shown
