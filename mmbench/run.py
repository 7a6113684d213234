"""One run: load, build, train, predict, score, store. The whole flow is `execute`."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mmbench import provenance, registry, rng, store
from mmbench.data import _load
from mmbench.errors import MissingExtraError, UsageError
from mmbench.score import Scored, score
from mmbench.spec import DecodingSpec, LevelSpec, ModelSpec, TaskSpec, digest
from mmbench.train import Progress, Trained, train
from mmbench.types import Dataset, Predictions

if TYPE_CHECKING:
    import torch

    from mmbench.models.model import Model

#: Standard errors by which a score may exceed a proven bound before it counts as a leak.
LEAK_SE = 4.0


@dataclass(frozen=True)
class Settings:
    """What the command line says beside task, model and seed.

    Attributes:
        results: Where records go.
        data: Folder of the user's data, or None.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Compute threads; one is fastest on small models, and repeatable.
        limit: Test items at most; such records are never ranked.
        force: Repeat what is finished.
        metrics: Metrics to score beside the task's own.
    """

    results: Path = Path("results")
    data: Path | None = None
    device: str = "auto"
    threads: int = 1
    limit: int | None = None
    force: bool = False
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One cell of a sweep: all that determines its outcome."""

    task: TaskSpec
    model: ModelSpec
    budget: str
    seed: int
    settings: Settings = field(default_factory=Settings)
    named: str = ""  # how the user called the model: a name or a path
    overrides: tuple[str, ...] = ()

    @cached_property
    def device(self) -> str:
        """``cpu`` or ``cuda``, resolved."""
        return resolve_device(self.settings.device)

    @cached_property
    def identity(self) -> str:
        """SHA-256 over everything that affects scores, the seed included."""
        return digest(
            {
                "task": self.task.digest(self.budget),
                "model": self.model.digest(),
                "plugins": self.plugins,
                "source": _load.source_digest(self.task, self.settings.data),
                "device": self.device,
                "precision": "bf16" if self.device == "cuda" else "fp32",
                "execution": "single",
                "limit": self.settings.limit,
                "seed": self.seed,
            }
        )

    @cached_property
    def plugins(self) -> dict[str, str]:
        """Component -> digest, of those that are not mmbench's own."""
        model = self.model
        used = [("dataset", self.task.dataset.name), ("fusion", model.fusion.name)]
        used += [("combiner", model.combiner.name)]
        used += [("encoder", c.name) for c in model.encoders.values()]
        used += [("head", c.name) for c in model.heads.values()]
        used += [("objective", o.name) for s in model.recipe.stages for o in s.objectives]
        digests = {f"{kind} {name}": registry.digest(kind, name) for kind, name in used}
        return {name: value for name, value in sorted(digests.items()) if value}

    @property
    def folder(self) -> Path:
        """Where its record is, or will be."""
        tail = f"{self.budget}-s{self.seed}-{self.identity[:8]}"
        return self.settings.results / self.task.name / self.model.name / tail

    def finished(self) -> store.Stored | None:
        """Return the record of this very run, if it is there and whole."""
        if not (self.folder / store.RECORD).exists():
            return None
        found = store.read(self.folder)
        return found if found.record.identity == self.identity else None


class Watcher(Progress, Protocol):
    """What watches a run: training steps, and what else takes long."""

    def phase(self, name: str) -> None:
        """Take note that another phase begins."""

    def items(self, done: int, total: int) -> None:
        """Take note of predicted items."""


def execute(run: Run, watcher: Watcher) -> store.Stored:
    """Load, build, train, predict, score and store one run.

    Raises:
        MmbenchError: Whatever stands in the way, in one line; nothing is stored then.
    """
    settings = run.settings
    store.check_writable(settings.results)
    watcher.phase("data")
    dataset = _load.load(run.task, settings.data)
    watcher.phase("build")
    model = make_model(run, dataset)
    validate = partial(_validate, run=run, dataset=dataset)
    watcher.phase("train")
    budget = run.task.budgets[run.budget]
    trained = train(
        model, dataset.splits, run.model.recipe, budget, run.seed, validate, watcher
    )
    told: dict[str, Predictions] = {}
    scored: dict[str, Scored] = {}
    started = time.perf_counter()
    if not trained.diverged:
        watcher.phase("test")
        told = _predict_tests(run, model, dataset, watcher)
        scored = _score_tests(run, dataset, told)
    test_seconds = time.perf_counter() - started
    record = _record(run, dataset, model, trained, scored)
    record.cost["test_seconds"] = test_seconds
    return store.write(
        settings.results,
        record,
        _items(dataset, told, scored) if scored else None,
        store.predictions_table(told) if told else None,
        partial(_save_weights, model),
    )


def make_model(run: Run, dataset: Dataset) -> Model:
    """Build the run's model on its device, initialised from the run's own stream."""
    torch = import_torch()
    from mmbench.models.build import build

    torch.set_num_threads(run.settings.threads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.torch_seed(run.seed, "initialisation"))
        model = build(run.model, dataset.signature)
    return model.to(run.device)


def load_model(stored: store.Stored, run: Run, dataset: Dataset) -> Model:
    """Build a record's model and load its weights."""
    from safetensors.torch import load_file

    model = make_model(run, dataset)
    model.load_state_dict(load_file(stored.folder / store.WEIGHTS))
    return model


def test_splits(task: TaskSpec) -> list[str]:
    """Return the splits that a finished model is tested on, ``test`` first."""
    return ["test", *(name for name in task.splits if name not in ("train", "val", "test"))]


def import_torch() -> Any:
    """Import torch, or say which extra brings it."""
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtraError("torch, which training needs,", "train") from None
    return torch


def resolve_device(name: str) -> str:
    """Turn ``auto`` into what the machine has.

    Raises:
        UsageError: A GPU was asked for and there is none.
    """
    if name == "cpu":
        return name
    torch = import_torch()
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError("--device cuda: torch sees no GPU here: use --device cpu")
    return "cuda" if there else "cpu"


def leaks(
    scores: Mapping[str, Any], levels: Mapping[str, LevelSpec], heard: Sequence[str]
) -> list[str]:
    """Name the scores that lie beyond a proven bound by more than `LEAK_SE` standard errors.

    A bound for a set of modalities holds for every model that hears no more than those.
    """
    found = []
    for metric, level in levels.items():
        got = scores.get(metric)
        if got is None or got.value is None:
            continue
        for names, bound in level.bound.items():
            if not set(heard) <= set(names.split("+")):
                continue
            beyond = got.value - bound if got.higher_is_better else bound - got.value
            if beyond > LEAK_SE * (got.se or 0.0) + 1e-9:
                found.append(
                    f"{metric} {got.value:.4f} is beyond the proven bound {bound:.4f} for {names}"
                )
    return found


def _validate(model: Model, *, run: Run, dataset: Dataset) -> float:
    """Score greedy predictions on validation items; more is better."""
    from mmbench.predict import predict

    split = dataset.splits["val"]
    limit = min(run.task.budgets[run.budget].validation_items, len(split))
    said = predict(model, split, DecodingSpec(beams=1), limit)
    output = dataset.signature.main
    references = {output: split.references[output].take(range(limit))}
    main = run.task.metrics.main
    got = score(said, references, output, [main]).scores[main]
    return got.value if got.higher_is_better else -got.value


def _predict_tests(
    run: Run, model: Model, dataset: Dataset, watcher: Watcher
) -> dict[str, Predictions]:
    from mmbench.predict import predict

    limit = run.settings.limit
    return {
        name: predict(model, dataset.splits[name], run.model.recipe.decoding, limit, watcher.items)
        for name in test_splits(run.task)
    }


def _score_tests(run: Run, dataset: Dataset, told: Mapping[str, Predictions]) -> dict[str, Scored]:
    output = dataset.signature.main
    metrics = [*run.task.metrics.names, *run.settings.metrics]
    scored = {}
    for name, said in told.items():
        split = dataset.splits[name]
        count = len(said.ids)
        references = {output: split.references[output].take(range(count))}
        clusters = None if split.clusters is None else split.clusters[:count]
        scored[name] = score(said, references, output, metrics, clusters)
    return scored


def _items(
    dataset: Dataset, told: Mapping[str, Predictions], scored: Mapping[str, Scored]
) -> Any:
    return store.items_table(
        {name: said.ids for name, said in told.items()},
        {name: result.statistics for name, result in scored.items()},
        {name: dataset.splits[name].clusters for name in told},
    )


def _record(
    run: Run, dataset: Dataset, model: Model, trained: Trained, scored: Mapping[str, Scored]
) -> store.Record:
    scores = {
        split: {name: _stored(s) for name, s in result.scores.items()}
        for split, result in scored.items()
    }
    found = leaks(scores.get("test", {}), run.task.levels, list(model.encoders))
    status = "diverged" if trained.diverged else "leak" if found else "finished"
    settings = run.settings
    return store.Record(
        status=status,
        reason=trained.diverged or "; ".join(found),
        ranked=settings.limit is None,
        task=run.task.name,
        task_version=run.task.version,
        task_digest=run.task.digest(run.budget),
        budget=run.budget,
        model=run.model.name,
        family=run.model.family,
        summary=run.model.summary,
        model_digest=run.model.digest(),
        seed=run.seed,
        identity=run.identity,
        definition={
            "task": msgspec.to_builtins(run.task),
            "model": msgspec.to_builtins(run.model),
            "signature": _signature(dataset),
            "limit": settings.limit,
        },
        provenance=provenance.collect(_device_name(run.device), settings.threads, run.plugins),
        data={
            "fingerprint": dataset.fingerprint,
            "source": _load.source_digest(run.task, settings.data),
        },
        scores=scores,
        curve=[
            {"step": p.step, "loss": p.loss, "score": p.score} for p in trained.curve
        ],
        cost=_cost(model, trained),
        reproduce=reproduce(run),
    )


def reproduce(run: Run) -> str:
    """Return the command that makes this record again; the user's own paths by file name."""
    parts = ["mmbench run", f"-t {run.task.name}", f"-m {run.named or run.model.name}"]
    parts += [f"--seeds {run.seed}-{run.seed}", f"--budget {run.budget}", f"--device {run.device}"]
    if run.settings.limit is not None:
        parts.append(f"--limit {run.settings.limit}")
    if run.settings.data is not None and _load.source_digest(run.task, run.settings.data):
        parts.append("--data DIR")
    parts += [f"--set '{setting}'" for setting in run.overrides]
    return " ".join(parts)


def _signature(dataset: Dataset) -> dict[str, Any]:
    signature = dataset.signature
    return {
        "modalities": {
            name: {"kind": m.kind, "shape": list(m.shape), "vocabulary": list(m.vocabulary)}
            for name, m in signature.modalities.items()
        },
        "outputs": {
            name: {"kind": o.kind, "size": o.size, "vocabulary": list(o.vocabulary), "main": o.main}
            for name, o in signature.outputs.items()
        },
    }


def _stored(got: Any) -> store.StoredScore:
    low, high = got.bounds
    return store.StoredScore(
        value=got.value,
        low=got.low,
        high=got.high,
        se=got.se,
        n=got.n,
        signature=got.signature,
        higher_is_better=got.higher_is_better,
        bounds=(low, high),
    )


def _cost(model: Model, trained: Trained) -> dict[str, Any]:
    torch = import_torch()
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024  # macOS reports bytes, Linux KiB
    cost = {
        "parameters": count,
        "steps": trained.steps,
        "best_step": trained.best_step,
        "stopped_early": trained.stopped_early,
        "train_seconds": trained.seconds,
        "samples_per_second": trained.items / max(trained.seconds, 1e-9),
        "peak_host_bytes": peak,
    }
    if next(model.parameters()).device.type == "cuda":
        cost["peak_device_bytes"] = torch.cuda.max_memory_allocated()
    return cost


def _device_name(device: str) -> str:
    if device == "cuda":
        return str(import_torch().cuda.get_device_name())
    return "cpu"


def _save_weights(model: Model, path: Path) -> None:
    from safetensors.torch import save

    # Through Python's own file, so that a full disk is an OSError like any other.
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    path.write_bytes(save(weights))


#: How a sweep reports: (run, what happened, the record if there is one).
Report = Callable[[Run, str, "store.Stored | None"], None]
