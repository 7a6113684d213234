"""Interrupted at any step, or killed at any moment, a run goes on and ends with the same bits."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny
import torch
from torch import Tensor

from mmbench import checkpoint, registry, store
from mmbench.checkpoint import Checkpoints, Place
from mmbench.errors import NewerError, StoreError
from mmbench.keeper import Average
from mmbench.models.model import Model
from mmbench.spec import BudgetSpec, ModelSpec, ObjectiveSpec, StageSpec
from mmbench.train import Engine, Trained, train

MAKER = {"torch": "1", "threads": "1"}


class StoppedError(Exception):
    pass


class Watch:
    """Stops training at a step; remembers what it was told."""

    def __init__(self, stop: int = 0) -> None:
        self.stop = stop
        self.notes: list[str] = []

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        # At the call before a validation: what was written down is the step before.
        if self.stop and done == self.stop and score is None:
            raise StoppedError

    def note(self, text: str) -> None:
        self.notes.append(text)


def go(
    spec: ModelSpec,
    folder: Path | None,
    world: tiny.World = tiny.ANSWERS,
    stop: int = 0,
    steps: int = 8,
    watch: Watch | None = None,
) -> tuple[Model, Trained]:
    """Train a small model, writing down every step; validations say something else every time."""
    model = world.make(spec)
    splits = {"train": world.split(8, 1, False), "val": world.split(6, 2, False)}
    watch = watch or Watch(stop)
    kept = None
    if folder is not None:
        kept = Checkpoints(folder, "run", MAKER, 0.0, watch.note)

    def validate(model: Model) -> float:
        weights = [x.double().sum() for x in model.state_dict().values()]
        return float(torch.stack(weights).sum().sin())

    budget = BudgetSpec(8, steps, 4)
    trained = train(
        model, splits, spec.recipe, budget, 3, validate, watch, Engine(checkpoints=kept)
    )
    return model, trained


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(x, other[n]) for n, x in one.items())


def same(one: tuple[Model, Trained], other: tuple[Model, Trained]) -> bool:
    """Whether two trainings left the same, but for how long they took."""
    plain = [
        {k: v for k, v in vars(trained).items() if k not in ("seconds", "resumed")}
        for _, trained in (one, other)
    ]
    return plain[0] == plain[1] and same_weights(one[0].state_dict(), other[0].state_dict())


def interrupted_everywhere(spec: ModelSpec, folder: Path, world: tiny.World) -> None:
    """Stop after every second step, go on, and hold what comes of it against the whole."""
    steps = 8
    whole = go(spec, None, world, steps=steps)
    for stop in range(2, steps + 1, 2):
        with pytest.raises(StoppedError):
            go(spec, folder, world, stop=stop, steps=steps)
    found = go(spec, folder, world, steps=steps)
    assert found[1].resumed[-1] == steps - 1
    assert len(found[1].resumed) == steps // 2
    assert same(whole, found)
    # And once more, when training was over and testing was not.
    again = go(spec, folder, world, steps=steps)
    assert again[1].resumed[-1] == steps
    assert same(whole, again)


def change(spec: ModelSpec, **recipe: Any) -> ModelSpec:
    return msgspec.structs.replace(spec, recipe=msgspec.structs.replace(spec.recipe, **recipe))


#: One of every way in which training remembers something from one step to the next.
MODELS = ["early", "hybrid", "late", "argf", "mvae", "mmvae", "mfm", "contrastive_pretrained"]


@pytest.mark.parametrize("name", MODELS)
def test_goes_on_to_the_same_bits_with_classes_and_numbers(name: str, tmp_path: Path) -> None:
    spec = tiny.ANSWERS.spec(name)
    interrupted_everywhere(change(spec, batch_size=3), tmp_path, tiny.ANSWERS)


@pytest.mark.parametrize("name", ["hybrid", "late"])
def test_goes_on_to_the_same_bits_with_texts(name: str, tmp_path: Path) -> None:
    spec = change(tiny.CAPTIONS.spec(name), batch_size=3)
    interrupted_everywhere(spec, tmp_path, tiny.CAPTIONS)


@pytest.mark.parametrize(
    "recipe",
    [
        {"ema": 0.9},
        {"ogm_ge": 0.5},
        {"modality_dropout": 0.4},
        {"patience": 2},
        {"batch_size": 5, "ema": 0.5, "ogm_ge": 0.3, "modality_dropout": 0.2},
    ],
)
def test_goes_on_with_what_a_recipe_remembers(recipe: dict[str, Any], tmp_path: Path) -> None:
    spec = change(tiny.ANSWERS.spec("early"), **{"batch_size": 3, **recipe})
    world = tiny.ANSWERS
    whole = go(spec, None, world)
    for stop in (2, 3, 5, 6):
        try:
            go(spec, tmp_path, world, stop=stop)
        except StoppedError:
            continue
        break  # patience ended it
    assert same(whole, go(spec, tmp_path, world))


def test_goes_on_in_the_second_of_two_stages_with_objectives_that_remember(
    tmp_path: Path,
) -> None:
    spec = tiny.ANSWERS.spec("hybrid")
    blending = ObjectiveSpec("gradient_blending")
    stages = (
        StageSpec(name="first", share=0.5, objectives=(ObjectiveSpec("supervised"),)),
        StageSpec(name="second", share=0.5, objectives=(blending,), keep="last"),
    )
    spec = change(spec, stages=stages, batch_size=3)
    interrupted_everywhere(spec, tmp_path, tiny.ANSWERS)


def test_dropout_goes_on_in_its_stream(tmp_path: Path) -> None:
    spec = tiny.ANSWERS.spec("early")
    fusion = msgspec.structs.replace(spec.fusion, params={**spec.fusion.params, "dropout": 0.3})
    interrupted_everywhere(
        change(msgspec.structs.replace(spec, fusion=fusion), batch_size=3), tmp_path, tiny.ANSWERS
    )


PLAYER = '''
"""Forgets to say what it remembers."""

from mmbench.models.objectives.supervised import Supervised


class Counting(Supervised):
    """The supervised loss, smaller at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def loss(self, model, batch):
        """Return it."""
        self.calls += 1
        return super().loss(model, batch) / self.calls
'''


def test_an_objective_that_keeps_its_memory_to_itself_is_noticed_by_these_tests(
    tmp_path: Path, own_components: None
) -> None:
    path = tmp_path / "counting.py"
    path.write_text(PLAYER)
    registry.include(path)
    spec = tiny.ANSWERS.spec("early")
    stage = StageSpec(objectives=(ObjectiveSpec("counting"),))
    with pytest.raises(AssertionError):
        interrupted_everywhere(change(spec, stages=(stage,)), tmp_path / "kept", tiny.ANSWERS)


# --- averages -----------------------------------------------------------------------------------


def test_the_average_is_what_is_validated_and_kept() -> None:
    model = tiny.ANSWERS.make(tiny.ANSWERS.spec("early"))
    average = Average(model, 0.5)
    start = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        for p in model.parameters():
            p += 1.0
    average.update()  # moves by 1 - min(.5, 2/11)
    with average.applied():
        for p, before in zip(model.parameters(), start, strict=True):
            assert torch.allclose(p, before + 9 / 11, atol=1e-5)
    for p, before in zip(model.parameters(), start, strict=True):
        assert torch.allclose(p, before + 1.0)


def test_a_recipe_with_an_average_keeps_other_weights_and_says_so_in_its_digest() -> None:
    spec = tiny.ANSWERS.spec("early")
    averaged = change(spec, ema=0.99)
    assert spec.digest() == change(spec, ema=0.0).digest() != averaged.digest()
    one, other = go(spec, None), go(averaged, None)
    assert not same_weights(one[0].state_dict(), other[0].state_dict())
    assert [p.loss for p in one[1].curve] == [p.loss for p in other[1].curve], "trained alike"


# --- what is on disk ----------------------------------------------------------------------------


def kept(folder: Path, **changes: Any) -> tuple[Checkpoints, list[str]]:
    notes: list[str] = []
    settings: dict[str, Any] = {"identity": "run", "made_by": MAKER, **changes}
    return Checkpoints(folder, every=0.0, note=notes.append, **settings), notes


CURVE = [(1, 0.1, None, True), (2, None, None, False)]


def two(folder: Path) -> None:
    """Write two checkpoints, of step 1 and step 2."""
    store, _ = kept(folder)
    for step in (1, 2):
        store.save(Place(stage=0, done=step, curve=CURVE), {"x": torch.arange(step)})


def test_the_newest_is_taken_and_says_all_again(tmp_path: Path) -> None:
    two(tmp_path)
    found = kept(tmp_path)[0].load()
    assert found is not None
    assert found[0] == Place(stage=0, done=2, curve=CURVE)
    assert found[1]["x"].tolist() == [0, 1]


@pytest.mark.parametrize("name", [checkpoint.STATE, checkpoint.TENSORS])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[::-1]])
def test_of_a_damaged_one_the_one_before_is_taken_and_that_is_said(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    two(tmp_path)
    path = tmp_path / "current" / name
    path.write_bytes(damage(path.read_bytes()))
    store, notes = kept(tmp_path)
    found = store.load()
    assert found is not None
    assert found[0].done == 1
    assert len(notes) == 1
    assert "\n" not in notes[0]
    assert str(tmp_path / "current") in notes[0]
    assert notes[0].endswith("the one before is taken")
    (tmp_path / "previous" / name).write_bytes(b"")
    store, notes = kept(tmp_path)
    assert store.load() is None
    assert [n.rpartition("; ")[2] for n in notes] == ["the run begins anew"]


def test_one_of_another_run_or_made_otherwise_is_not_gone_on_from(tmp_path: Path) -> None:
    two(tmp_path)
    store, notes = kept(tmp_path, identity="other")
    assert store.load() is None
    assert "is a checkpoint of another run" in notes[0]
    store, notes = kept(tmp_path, made_by={**MAKER, "torch": "2"})
    assert store.load() is None
    assert "going on from it would not give the same bits: torch 1 -> 2" in notes[0]
    assert notes[-1].endswith("the run begins anew")


def test_one_of_a_newer_mmbench_is_not_written_over(tmp_path: Path) -> None:
    two(tmp_path)
    path = tmp_path / "current" / checkpoint.STATE
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    store, notes = kept(tmp_path)
    with pytest.raises(NewerError, match=f"newer than this mmbench reads.*, or remove {tmp_path}"):
        store.load()
    assert notes == []


def test_a_writer_killed_between_two_renames_leaves_one_that_is_whole(tmp_path: Path) -> None:
    two(tmp_path)
    os.rename(tmp_path / "current", tmp_path / ".writing-half")
    store, notes = kept(tmp_path)
    found = store.load()
    assert found is not None
    assert (found[0].done, notes) == (1, [])
    store.save(Place(stage=0, done=3), {})
    assert not (tmp_path / ".writing-half").exists()
    store.clear()
    assert not tmp_path.exists()


def test_what_cannot_be_written_is_one_line_and_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two(tmp_path)
    store, _ = kept(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="the disk is full") as told:
        store.save(Place(stage=0, done=3), {})
    assert "\n" not in str(told.value)
    monkeypatch.undo()
    found = store.load()
    assert found is not None
    assert found[0].done == 2
    assert not list(tmp_path.glob(".writing-*"))
    assert "give the same command again" in str(told.value)


# --- whole runs, killed -------------------------------------------------------------------------


def command(task: str, model: str, results: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "mmbench", "run", "-t", task, "-m", model, "--results"]
    return [*start, str(results), "--checkpoint-every", "0", "-q", *more]


def left(results: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the bytes of a record's files, and its JSON without what time decides."""
    (path,) = results.glob("*/*/*/record.json")
    files = {p.name: p.read_bytes() for p in path.parent.iterdir() if p != path}
    record = json.loads(path.read_text())
    for name in ("checksum", "cost"):
        del record[name]
    for name in ("started", "measured"):
        del record["provenance"][name]
    assert not list(results.rglob(".*")), "nothing is left behind"
    return files, record


def killed_and_done(run: list[str], draw: random.Random, lasts: float) -> int:
    """Kill a run at random moments until it is done; return how often it was killed."""
    kills = 0
    while True:
        process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            # Later kills come later, or a slow machine would never be done.
            told = process.communicate(timeout=draw.uniform(0.2, 0.9) * lasts * (1 + 0.3 * kills))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, told[1].decode()
        return kills


def killed_when_it_has_written(run: list[str], results: Path) -> None:
    """Kill a run that has a checkpoint: moments of a busy machine may all come before the first."""
    process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(results.rglob("current")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def kill_often(task: str, model: str, folder: Path, runs: int, *more: str) -> None:
    begun = time.monotonic()
    subprocess.run(command(task, model, folder / "whole", *more), check=True, capture_output=True)
    lasts = time.monotonic() - begun
    whole = left(folder / "whole")
    draw = random.Random(0)
    resumed = 0
    for number in range(runs):
        results = folder / str(number)
        if number == 0:
            killed_when_it_has_written(command(task, model, results, *more), results)
        while not killed_and_done(command(task, model, results, *more), draw, lasts):
            assert left(results) == whole
            shutil.rmtree(results)
            lasts *= 0.7  # the machine is faster than it was
        assert left(results) == whole
        (record,) = results.glob("*/*/*/record.json")
        resumed += json.loads(record.read_text())["cost"].get("resumed", 0)
    assert resumed, "every run began anew"


def test_killed_runs_end_with_the_same_bytes(task: Callable[..., str], workplace: Path) -> None:
    kill_often(task(), "hybrid", workplace / "kills", 2, "--set", "width=16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model", "runs"), [("sentiment", "hybrid", 8), ("synergy", "argf", 6)]
)
def test_twenty_killed_runs_end_with_the_same_bytes(
    name: str, model: str, runs: int, workplace: Path
) -> None:
    kill_often(name, model, workplace / "kills", runs, "--budget", "smoke")


@pytest.mark.slow
def test_six_killed_captioning_runs_end_with_the_same_bytes(
    task: Callable[..., str], workplace: Path
) -> None:
    longer = ("steps = 6", "steps = 60")
    kill_often(task("mini", longer), "early", workplace / "kills", 6, "--set", "width=16")


def test_a_run_that_goes_on_says_so_and_the_record_counts_it(
    cli: Any, task: Callable[..., str], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench import run as flow

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    options = ["run", "-t", task(), "-m", "early", "--set", "width=16", "--checkpoint-every", "0"]
    with monkeypatch.context() as patched:
        patched.setattr(flow, "score_tests", stop)
        assert cli(*options).code == 130
    done = cli(*options)
    assert done.code == 0
    assert "early seed 0: goes on after training, where it was interrupted" in done.err
    (found,) = store.scan(workplace / "results")[0]
    assert found.record.cost["resumed"] == 1
    assert 0 < found.record.cost["train_seconds"] < 600, "of this run's steps alone"
    assert "resumed" not in json.dumps(found.record.definition)
