"""What a GPU is used for: a whole sweep, one run beside a bare loop, and deterministic kernels.

    python tests/bench/bench_gpu.py [--jobs N] [--budget small] [--seeds 5] [--models a,b]

The sweep: all tasks of the interaction suite x 12 models x 5 seeds, in one command with ``--jobs``,
its minutes against a bar. One run: `mmbench.train` on a small model, in turn with the shortest loop
one can write by hand (items on the GPU, fused optimiser, clipping, bfloat16 where training has it).
Deterministic: what a run's record says of samples a second, with and without ``--deterministic``;
that one is told, and has no bar.

Needs a CUDA device; where there is none, it says so and is done.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import _whole
import numpy as np
import torch
from bench_training import BARE, BATCH, FEATURES, ITEMS, Work, made
from numpy.typing import NDArray

from mmbench import catalog, store
from mmbench.models.build import objective
from mmbench.models.feed import Feed
from mmbench.models.model import Model
from mmbench.optimise import factor

ROOT = Path(__file__).resolve().parents[2]
#: Minutes at most.
MINUTES = 10.0
MODELS = (
    *("early", "late", "hybrid", "concat", "sum", "gmu"),
    *("lmf", "mbt", "mult", "cross_attention", "sequential", "gatv2"),
)
STEPS, REPEATS = 500, 3


def suite() -> list[str]:
    """Return the tasks of the interaction suite."""
    names = catalog.task_names(shipped=True)
    return [name for name in names if catalog.task(name).dataset.name == "interactions"]


def swept(tasks: str, models: str, budget: str, seeds: int, jobs: int, folder: str) -> bool:
    """Time a whole sweep; what its data cost to make is no part of it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mmbench", "run", "-t", tasks, "--device", "cuda", "-q"]
    first = ["-m", "constant", "--budget", "smoke", "--results", f"{folder}/first"]
    _whole.run([*command, *first], environment)
    all_of_it = ["-m", models, "--budget", budget, "--seeds", str(seeds), "--jobs", str(jobs)]
    spent = _whole.run([*command, *all_of_it, "--results", f"{folder}/sweep"], environment)
    count = len(store.scan(Path(folder, "sweep"))[0])
    minutes = spent.wall / 60
    name = f"{count} runs, --jobs {jobs}"
    print(f"{name:42} {minutes:6.1f} min (bar {MINUTES:.0f} min)")
    return minutes < MINUTES


class OnGpu(Work):
    """One seed's run, on the GPU."""

    device = torch.device("cuda")

    def bare(self, models: list[Model]) -> None:
        """Train by the shortest loop: items on the GPU, fused optimiser, clipping."""
        model, loss_of = models[0].train(), objective(self.item, "bench")
        feed = Feed(self.splits["train"], self.device, list(FEATURES), targets=True)
        settings = self.item.optimizer
        parameters = list(model.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=0.01, fused=True)
        losses = torch.zeros((), device=self.device)
        order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        draw = np.random.default_rng(0)
        bf16 = torch.cuda.is_bf16_supported()
        for done in range(self.steps):
            if len(order) < BATCH:
                order = draw.permutation(ITEMS)
            batch, order = feed.batch(order[:BATCH]), order[BATCH:]
            for parameter in parameters:
                parameter.grad = None
            with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
                loss = loss_of.loss(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip, foreach=True)
            optimizer.param_groups[0]["lr"] = settings.lr * factor(done, self.steps, settings)
            optimizer.step()
            losses += loss.detach()
        losses.item()
        self.validate(model)

    def rate(self, side: Callable[[list[Model]], None]) -> float:
        """Return samples a second."""
        models = [made(self.spec, 0).to(self.device)]
        torch.cuda.synchronize()
        begun = time.perf_counter()
        side(models)
        torch.cuda.synchronize()
        return self.steps * BATCH / (time.perf_counter() - begun)

    def beside_a_bare_loop(self) -> bool:
        """Time both sides in turn; their best times count."""
        for side in (self.ours, self.bare):
            self.rate(side)  # what is loaded and set up once is nobody's time
        pairs = [(self.rate(self.ours), self.rate(self.bare)) for _ in range(REPEATS)]
        ours, bare = (max(side) for side in zip(*pairs, strict=True))
        told = f"{ours:8.0f} /s {bare:8.0f} /s {ours / bare:6.2f} x (bar {BARE} x)"
        print(f"{'one run, beside a bare loop':42} {told}")
        return ours / bare >= BARE


def deterministic(budget: str, folder: str) -> None:
    """Print the samples a second of a run with and without deterministic kernels."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mmbench", "run", "-t", "sentiment", "-m", "early"]
    command += ["--budget", budget, "--device", "cuda", "-q"]
    best = []
    for name, more in (("free", []), ("deterministic", ["--deterministic"])):
        results = f"{folder}/{name}"
        seeds = ["--seeds", str(REPEATS), "--results", results]
        _whole.run([*command, *seeds, *more], environment)
        found = store.scan(Path(results))[0]
        best.append(max(stored.record.cost["samples_per_second"] for stored in found))
    told = f"{best[1]:8.0f} /s {best[0]:8.0f} /s {best[1] / best[0]:6.2f} x"
    print(f"{'deterministic kernels, beside any':42} {told}")


def main() -> int:
    """Time all three; return 1 if one misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--budget", default="small")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--tasks", default=",".join(suite()))
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("torch sees no CUDA device here: nothing is timed")
        return 0
    print(f"{torch.cuda.get_device_name()}, {given.jobs} jobs")
    with tempfile.TemporaryDirectory() as folder:
        good = [
            OnGpu(64, STEPS).beside_a_bare_loop(),
            swept(given.tasks, given.models, given.budget, given.seeds, given.jobs, folder),
        ]
        deterministic(given.budget, folder)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
