"""Several processes that share every batch learn what one alone learns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from mmbench import devices, failures, store
from mmbench.devices import Group
from mmbench.models import whole
from mmbench.models.feed import Feed
from mmbench.predict import BATCH, predict
from mmbench.spec import DecodingSpec

#: Losses that are means; a contrast of all items with all; latent variables that are drawn, once
#: with a mixture; a discrepancy between samples; two objectives that take turns.
MODELS = "early,hybrid,contrastive,mvae,mmvae,mfm,argf"


def mmbench(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mmbench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, **more)


def records(results: Path) -> dict[str, store.Stored]:
    return {stored.record.model: stored for stored in store.scan(results)[0]}


def apart(one: store.Stored, other: store.Stored, column: str) -> float:
    """Return the largest difference between what two records say of an item."""
    told = [store.read_predictions(stored, "test") for stored in (one, other)]
    assert told[0]["id"] == told[1]["id"]
    values = [np.asarray(t[column], dtype=float) for t in told]
    return float(np.abs(values[0] - values[1]).max())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    results = tmp_path_factory.mktemp("alone")
    done = mmbench("run", "-t", "sentiment", "-m", MODELS, *OPTIONS, "--results", results)
    assert done.returncode == 0, done.stderr
    return results


OPTIONS = ("--budget", "smoke", "-q", "--set", "recipe.modality_dropout=0.1")


def agree(one: Path, other: Path) -> None:
    here, there = records(one), records(other)
    assert here.keys() == there.keys() == set(MODELS.split(","))
    for name, stored in here.items():
        assert apart(stored, there[name], "label.scores") < 1e-5, name
        assert apart(stored, there[name], "intensity") < 1e-4, name
        for metric, got in stored.record.scores["test"].items():
            value = there[name].record.scores["test"][metric].value
            assert got.value is not None
            assert value is not None
            assert abs(value - got.value) < 1e-5, (name, metric)
        curves = [[p["loss"] for p in s.record.curve] for s in (stored, there[name])]
        assert np.allclose(curves[0], curves[1], atol=1e-4), name


def test_two_processes_agree_with_one(alone: Path, workplace: Path) -> None:
    shared = workplace / "shared"
    done = mmbench(
        *("run", "-t", "sentiment", "-m", MODELS, *OPTIONS, "--results", shared),
        *("--devices", 2, "--device", "cpu"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "the process that follows says nothing"
    agree(alone, shared)
    for stored in records(shared).values():
        assert stored.record.definition["execution"] == "2 devices"
        assert "--devices 2" in stored.record.reproduce
    assert mmbench("verify", shared).returncode == 0


@pytest.mark.slow
def test_torchrun_starts_the_processes_as_well(alone: Path, workplace: Path) -> None:
    shared = workplace / "shared"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    run = ["-m", "mmbench", "run", "-t", "sentiment", "-m", MODELS, *OPTIONS]
    command = [*launch, *run, "--results", str(shared), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved in") == 1, "one process speaks"
    agree(alone, shared)


def test_interrupted_processes_go_on_to_the_same_bits(workplace: Path) -> None:
    """With dropout, which every process draws for itself."""
    options = [
        *("run", "-t", "sentiment", "-m", "early", "--budget", "smoke", "-q"),
        *("--set", "fusion.params.dropout=0.2", "--devices", "2", "--device", "cpu"),
        *("--checkpoint-every", "0"),
    ]
    assert mmbench(*options, "--results", workplace / "whole").returncode == 0
    command = [sys.executable, "-m", "mmbench", *options, "--results", str(workplace / "cut")]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    stops = time.monotonic() + 300
    while not list((workplace / "cut").glob("*/*/.*.checkpoint/current")):
        assert time.monotonic() < stops
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert mmbench(*options, "--results", workplace / "cut").returncode == 0
    one, other = (records(workplace / name)["early"].record for name in ("whole", "cut"))
    assert other.cost["resumed"] == 1
    assert one.files == other.files
    assert one.curve == other.curve


def test_a_process_that_is_killed_ends_the_command_in_one_line(workplace: Path) -> None:
    """The other one is not waited for, and the same command goes on."""
    options = [
        *("run", "-t", "synergy", "-m", "early", "--set", "recipe.batch_size=8", "-q"),
        *("--devices", "2", "--device", "cpu", "--results", str(workplace / "results")),
        *("--checkpoint-every", "0"),
    ]
    command = [sys.executable, "-m", "mmbench", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    stops = time.monotonic() + 300
    while not list((workplace / "results").glob("*/*/.*.checkpoint/current")):
        assert time.monotonic() < stops
        assert process.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    told = process.communicate(timeout=300)[1].decode().strip().splitlines()
    assert process.returncode == 1
    assert len(told) == 1, told
    assert "--devices 2: a process ended or is not heard of" in told[0]
    assert told[0].endswith("the same command goes on")


BROKEN = '''
"""Breaks in one of several processes, in the third step."""

import os

from mmbench.models.fusion.concat import Concat


class Broken(Concat):
    """As concat, until it is not."""

    calls = 0

    def forward(self, streams, clock="pool"):
        """Fuse."""
        Broken.calls += 1
        if Broken.calls == 3 and os.environ["RANK"] == os.environ["BROKEN_RANK"]:
            raise {error}
        return super().forward(streams, clock)
'''


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("error", ["MemoryError('no room')", "ValueError('odd')"])
def test_a_process_that_fails_ends_the_command_and_says_why(
    rank: int, error: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither side waits for the other, and no further run is begun with half of the processes."""
    (workplace / "broken.py").write_text(BROKEN.replace("{error}", error))
    monkeypatch.setenv("BROKEN_RANK", str(rank))
    done = mmbench(
        *("run", "-t", "synergy", "-m", "./broken.py,early", "--budget", "smoke", "-q"),
        *("--devices", 2, "--device", "cpu"),
    )
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: synergy/broken seed 0: --devices 2: ")
    assert ("does not fit the memory" if "Memory" in error else "odd") in line
    (failure,) = failures.scan(workplace / "results")
    assert line == f"error: synergy/broken seed 0: {failure.reason}"


def test_a_run_that_ended_all_processes_keeps_no_other_from_being_made(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "broken.py").write_text(BROKEN.replace("{error}", "ValueError('odd')"))
    monkeypatch.setenv("BROKEN_RANK", "0")
    command = ("run", "-t", "synergy", "-m", "./broken.py,text_only", "--budget", "smoke", "-q")
    for made in (set(), {"text_only"}):
        done = mmbench(*command, "--devices", 2, "--device", "cpu")
        assert done.returncode != 0
        assert set(records(workplace / "results")) == made


def test_interrupted_it_ends_at_once_and_leaves_nobody_behind(workplace: Path) -> None:
    options = ("run", "-t", "synergy", "-m", "early", "--device", "cpu", "--devices", "2")
    command = [sys.executable, "-m", "mmbench", *options]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell has put into the background ignores interrupts, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "step" in line:
            break
    process.send_signal(signal.SIGINT)
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=300) == 130
    assert "interrupted: 0 of 1 runs are finished" in told
    assert "Traceback" not in told


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_more_devices_than_there_are(device: str, cli: Any) -> None:
    options = ("run", "-t", "synergy", "-m", "early", "--device", device, "--devices", 4)
    done = cli(*options)
    assert done.code == 2
    assert done.err.startswith("error: --devic")
    assert "--device cpu" in done.err
    assert done.err.count("\n") == 1


def test_fewer_items_than_devices(cli: Any) -> None:
    with pytest.raises(devices.UsageError, match="a batch has 2 items, fewer than devices"):
        several(0, 3).check_batch(2)


# --- parts --------------------------------------------------------------------------------------


def several(rank: int, count: int) -> Group:
    """A group of which no process is there."""
    group = devices.Several.__new__(devices.Several)
    group.rank, group.count = rank, count
    return group


def test_every_item_is_read_by_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    split = tiny.ANSWERS.split(2 * BATCH + 40)
    model = tiny.ANSWERS.make(tiny.ANSWERS.spec("early"))
    read: list[int] = []

    class Halves(Group):
        count = 2

        def __init__(self, rank: int) -> None:
            self.rank = rank

        def gathered(self, values: Sequence[Any]) -> list[Any]:
            held.append(list(values))
            return list(values)

    held: list[list[Any]] = []
    whole_batch = Feed.batch

    def batch(self: Feed, index: Any, *more: Any) -> Any:
        read.extend(index.tolist())
        return whole_batch(self, index, *more)

    expected = predict(model, split, DecodingSpec()).outputs["animal"]
    monkeypatch.setattr(Feed, "batch", batch)
    for rank in (0, 1):
        monkeypatch.setattr(devices, "_group", Halves(rank))
        with monkeypatch.context():
            predict(model, split, DecodingSpec())
    assert sorted(read) == list(range(len(split)))
    turns = [held[k % 2][k // 2] for k in range(sum(map(len, held)))]
    assert [x for said, _ in turns for x in said["animal"]] == expected


@pytest.mark.parametrize("pieces", [2, 3, 5])
@pytest.mark.parametrize("name", ["early", "hybrid", "mvae", "argf"])
def test_pieces_of_a_batch_have_its_loss_and_gradients(
    name: str, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some items lack a target, and captions differ in length: means of means would be wrong."""
    from mmbench.models.objectives.supervised import Supervised

    # Draws differ between a batch and its parts.
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    for world in (tiny.ANSWERS, tiny.CAPTIONS):
        if world is tiny.CAPTIONS and name != "hybrid":
            continue
        model = world.make(world.spec(name)).train()
        batch = tiny.batch(world.split(9), model)
        if "animal" in batch.targets:
            batch.targets["animal"][:4] = -1
            batch.targets["weight"][-3:] = float("nan")
        objective = Supervised()
        objective.loss(model, batch).backward()
        expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        loss = float(objective.loss(model, batch).detach())
        model.zero_grad()
        totals: list[torch.Tensor] = []
        bounds = [round(k * batch.size / pieces) for k in range(pieces + 1)]
        total = 0.0
        for first in (True, False):
            for start, stop in pairwise(bounds):
                piece = whole.Piece(start, stop - start, batch.size, totals, first)
                with whole.part(piece):
                    value = objective.loss(model, batch.cut(start, stop))
                if not first:
                    value.backward()
                    total += float(value.detach())
        assert total == pytest.approx(loss, rel=1e-5)
        for n, p in model.named_parameters():
            if n in expected:
                assert p.grad is not None
                assert torch.allclose(p.grad, expected[n], atol=1e-5), n


def test_a_batch_that_does_not_fit_is_computed_in_parts_and_that_is_kept(
    cli: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench.models.objectives.supervised import Supervised

    loss = Supervised.loss
    seen: list[int] = []

    def small(self: Supervised, model: Any, batch: Any) -> Any:
        if batch.size > 20:
            raise torch.OutOfMemoryError("out of memory")
        seen.append(batch.size)
        return loss(self, model, batch)

    options = ("run", "-t", "sentiment", "-m", "early", "--budget", "smoke", "--results")
    assert cli(*options, "whole", "-q").code == 0
    monkeypatch.setattr(Supervised, "loss", small)
    done = cli(*options, "parts")
    assert done.code == 0
    assert "does not fit the memory: it is computed in 8 parts" in done.err
    assert max(seen) <= 20
    one, other = (records(workplace / n)["early"] for n in ("whole", "parts"))
    assert other.record.cost["parts_of_a_batch"] == 8
    assert one.record.identity == other.record.identity
    assert apart(one, other, "label.scores") < 1e-4


def test_what_compares_all_items_of_a_batch_cannot_be_cut(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench.models.objectives.supervised import Supervised

    loss = Supervised.loss

    def small(self: Supervised, model: Any, batch: Any) -> Any:
        if batch.size > 20:
            raise torch.OutOfMemoryError("out of memory")
        return loss(self, model, batch)

    monkeypatch.setattr(Supervised, "loss", small)
    done = cli("run", "-t", "sentiment", "-m", "contrastive", "--budget", "smoke", "-q")
    assert done.code == 2
    assert "set a smaller recipe.batch_size" in done.err


def test_an_item_too_large_for_the_memory_is_one_line(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench.models.objectives.supervised import Supervised

    def never(self: Supervised, model: Any, batch: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(Supervised, "loss", never)
    done = cli("run", "-t", "sentiment", "-m", "early", "--budget", "smoke", "-q")
    assert done.code == 1
    (line,) = done.err.strip().splitlines()
    assert "does not fit the memory" in line
    assert "internal" not in line
    assert json.dumps(line)


# --- ways of training that change last digits only ------------------------------------------------


@pytest.mark.slow
def test_a_compiled_model_learns_the_same(workplace: Path) -> None:
    options = ("run", "-t", "synergy", "-m", "early", "--budget", "smoke", "-q", "--results")
    assert mmbench(*options, workplace / "whole").returncode == 0
    done = mmbench(*options, workplace / "compiled", "--compile")
    assert done.returncode == 0, done.stderr
    one, other = (records(workplace / name)["early"] for name in ("whole", "compiled"))
    assert other.record.definition["execution"] == "compiled"
    assert "--compile" in other.record.reproduce
    assert one.record.identity != other.record.identity
    assert apart(one, other, "label.scores") < 1e-3


def test_deterministic_kernels_are_asked_for_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmbench import catalog
    from mmbench.run import Run, Settings, deterministic

    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    task, model = catalog.task("synergy"), tiny.ANSWERS.spec("early")
    run = Run(task, model, "smoke", 0, Settings(device="cpu", deterministic=True))
    assert run.execution == "single", "a processor is deterministic anyway"
    with deterministic(run):
        assert not torch.are_deterministic_algorithms_enabled()
    on_gpu = Run(task, model, "smoke", 0, Settings(device="cuda", deterministic=True))
    vars(on_gpu)["device"] = "cuda"
    monkeypatch.setattr("mmbench.run.precision", lambda _: "fp32")
    assert on_gpu.execution == "deterministic"
    with deterministic(on_gpu):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")


def test_what_a_compiler_cannot_do_is_told_by_the_option(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(workplace / "compiled"))
    options = ("run", "-t", "synergy", "-m", "early", "--budget", "smoke", "-q", "--compile")
    done = mmbench(*options)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "--compile: torch.compile fails on this model here" in line
    assert "leave --compile out" in line
