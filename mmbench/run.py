"""One run: load, build, train, predict, score, store. The whole flow is `execute`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mmbench import catalog, provenance, registry, rng, store
from mmbench.data import _load
from mmbench.errors import MissingExtraError, StoreError, UsageError
from mmbench.metrics import perfect
from mmbench.scoring import Scored, score
from mmbench.spec import DecodingSpec, LevelSpec, ModelSpec, TaskSpec, digest
from mmbench.text import SPECIALS
from mmbench.train import Progress, Trained, check_recipe, train
from mmbench.types import Dataset, Modality, Output, Predictions, Signature, Split

if TYPE_CHECKING:
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
    task_named: str = ""
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
                "precision": precision(self.device),
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
        """Return the record of this very run, if it is there.

        Raises:
            StoreError: It is damaged.
        """
        if not (self.folder / store.RECORD).exists():
            return None
        found = store.read(self.folder)
        return found if found.record.identity == self.identity else None

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics to score with, the task's own first."""
        return tuple(dict.fromkeys((*self.task.metrics.names, *self.settings.metrics)))

    @property
    def heard(self) -> tuple[str, ...]:
        """The modalities that the model looks at."""
        named = self.model.modalities
        return tuple(self.task.modalities) if named is None else named


class Watcher(Progress, Protocol):
    """What watches a run: training steps, and what else takes long."""

    def phase(self, name: str) -> None:
        """Take note that another phase begins."""

    def items(self, done: int, total: int) -> None:
        """Take note of predicted items."""


def check(run: Run) -> None:
    """Refuse what cannot work, before anything is loaded or trained.

    The model is built for the shapes that the task promises, and thrown away.

    Raises:
        IncompatibleError: Model and task do not fit.
        UsageError: A component is unknown, an argument or the recipe is wrong.
    """
    torch = import_torch()
    from mmbench.models.build import build

    with torch.random.fork_rng(devices=[]):
        model = build(run.model, _promised(run.task))
    check_recipe(run.model.recipe, model, run.task.splits)


def _promised(task: TaskSpec) -> Signature:
    """Return the signature that a task's TOML promises, with a vocabulary of one word."""
    words = (*SPECIALS, "word")
    return Signature(
        modalities={
            name: Modality(m.kind, tuple(m.shape), words if m.kind == "text" else ())
            for name, m in task.modalities.items()
        },
        outputs={
            name: Output(o.kind, 2, words, o.main or len(task.outputs) == 1)
            for name, o in task.outputs.items()
        },
    )


def outdated(run: Run, stored: store.Stored) -> bool:
    """Whether a record lacks a score that is asked for now, or was judged by other levels."""
    record = stored.record
    if record.status == "diverged":
        return False
    for name in run.metrics:
        signature = registry.load("metric", name).signature
        for scores in record.scores.values():
            if name not in scores or scores[name].signature != signature:
                return True
    found = leaks(record.scores["test"], run.task.levels, run.heard)
    return record.reason != "; ".join(found)


def rescore(run: Run, stored: store.Stored, watcher: Watcher) -> store.Stored:
    """Score what a finished run said with all metrics that are asked for now; train nothing.

    What it was scored with before beside those stays, and so does all else that it left.

    Raises:
        StoreError: Its predictions are missing, or the data are no longer those it was tested on.
    """
    watcher.phase("data")
    dataset = _load.load(run.task, run.settings.data)
    record = stored.record
    if dataset.fingerprint != record.data["fingerprint"]:
        raise StoreError(f"{stored.folder}: was tested on other data than there are now")
    watcher.phase("score")
    told = {split: _told(stored, split, dataset) for split in record.scores}
    scored = _score_tests(run, dataset, told)
    scores = {split: record.scores[split] | new for split, new in _scores(scored).items()}
    found = leaks(scores["test"], run.task.levels, run.heard)
    before = store.read_items(stored)
    items = store.items_table(
        {split: said.ids for split, said in told.items()},
        {name: {**before[name].families, **new.statistics} for name, new in scored.items()},
        {split: before[split].clusters for split in told},
    )
    now = provenance.collect(_device_name(run.device), run.settings.threads, run.plugins)
    rescored = {key: now[key] for key in ("mmbench", "commit", "started")}
    changed = msgspec.structs.replace(
        record,
        status="leak" if found else "finished",
        reason="; ".join(found),
        definition=record.definition | {"task": msgspec.to_builtins(run.task)},
        provenance=record.provenance | {"rescored": rescored},
        scores=scores,
        reproduce=reproduce(run),
    )
    return store.rewrite(stored, changed, items)


def _told(stored: store.Stored, split: str, dataset: Dataset) -> Predictions:
    columns = store.read_predictions(stored, split)
    outputs = {name: columns[name] for name in dataset.signature.outputs}
    return Predictions(columns["id"], outputs)


def execute(run: Run, watcher: Watcher) -> store.Stored:
    """Load, build, train, predict, score and store one run.

    Raises:
        MmbenchError: Whatever stands in the way, in one line; nothing is stored then.
    """
    settings = run.settings
    store.check_writable(settings.results)
    watcher.phase("data")
    dataset = _load.load(run.task, settings.data)
    came_from = provenance.collect(_device_name(run.device), settings.threads, run.plugins)
    _try_metrics(run, dataset)
    watcher.phase("build")
    model = make_model(run, dataset)
    validate = partial(_validate, run=run, dataset=dataset)
    watcher.phase("train")
    budget = run.task.budgets[run.budget]
    trained = train(model, dataset.splits, run.model.recipe, budget, run.seed, validate, watcher)
    told: dict[str, Predictions] = {}
    scored: dict[str, Scored] = {}
    started = time.perf_counter()
    if not trained.diverged:
        watcher.phase("test")
        told = _predict_tests(run, model, dataset, watcher)
        scored = _score_tests(run, dataset, told)
    test_seconds = time.perf_counter() - started
    record = _record(run, dataset, model, trained, scored, came_from)
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
        # Not torch.manual_seed, which would also set every GPU's state, and nobody put it back.
        torch.default_generator.manual_seed(rng.torch_seed(run.seed, "initialisation"))
        model = build(run.model, dataset.signature)
    return model.to(run.device)


def load_model(stored: store.Stored, run: Run, dataset: Dataset) -> Model:
    """Build a record's model and load its weights.

    Raises:
        StoreError: The weights are missing, damaged, or of another model.
    """
    from safetensors.torch import load_file

    path = store.checked(stored, store.WEIGHTS)
    model = make_model(run, dataset)
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError:
        raise StoreError(
            f"{path}: are not the weights of {run.model.name!r} as built now"
        ) from None
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


def precision(device: str) -> str:
    """Return what training computes in: bfloat16 where a GPU has it."""
    return "bf16" if device == "cuda" and import_torch().cuda.is_bf16_supported() else "fp32"


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
    asked = run.model.recipe.decoding
    beams = min(asked.beams, run.task.budgets[run.budget].beams)
    decoding = msgspec.structs.replace(asked, beams=beams)
    return {
        name: predict(model, dataset.splits[name], decoding, limit, watcher.items)
        for name in test_splits(run.task)
    }


def _try_metrics(run: Run, dataset: Dataset) -> None:
    """Score a few references against themselves: a metric that fails shall do so before training.

    Raises:
        UsageError: A metric cannot be computed on such items.
    """
    output = dataset.signature.main
    split = dataset.splits["val"]
    few = range(min(8, len(split)))
    references = split.references[output].take(few)
    right = perfect(references)
    columns = {f"{output}.{name}": values for name, values in right.columns.items()}
    said = Predictions([split.ids[i] for i in few], {output: right.values}, columns)
    score(said, {output: references}, output, run.metrics)


def _score_tests(run: Run, dataset: Dataset, told: Mapping[str, Predictions]) -> dict[str, Scored]:
    output = dataset.signature.main
    scored = {}
    for name, said in told.items():
        split = dataset.splits[name]
        count = len(said.ids)
        references = {output: split.references[output].take(range(count))}
        clusters = _clusters(split, count)
        scored[name] = score(said, references, output, run.metrics, clusters, split.ids[:count])
    return scored


def _items(dataset: Dataset, told: Mapping[str, Predictions], scored: Mapping[str, Scored]) -> Any:
    return store.items_table(
        {name: said.ids for name, said in told.items()},
        {name: result.statistics for name, result in scored.items()},
        {name: _clusters(dataset.splits[name], len(said.ids)) for name, said in told.items()},
    )


def _clusters(split: Split, count: int) -> list[Any] | None:
    return None if split.clusters is None else split.clusters[:count].tolist()


def _record(
    run: Run,
    dataset: Dataset,
    model: Model,
    trained: Trained,
    scored: Mapping[str, Scored],
    came_from: dict[str, Any],
) -> store.Record:
    scores = _scores(scored)
    found = leaks(scores.get("test", {}), run.task.levels, run.heard)
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
            "branches": list(model.fusion.branches),
            "limit": settings.limit,
        },
        provenance=came_from,
        data={
            "fingerprint": dataset.fingerprint,
            "source": _load.source_digest(run.task, settings.data),
        },
        scores=scores,
        curve=[{"step": p.step, "loss": p.loss, "score": p.score} for p in trained.curve],
        cost=_cost(model, trained),
        reproduce=reproduce(run),
    )


def reproduce(run: Run) -> str:
    """Return the command that makes this record again; the user's own paths by file name."""
    named = run.named or run.model.name
    parts = ["mmbench", "run", "-t", _shown(run.task_named or run.task.name), "-m", _shown(named)]
    parts += ["--seeds", f"{run.seed}-{run.seed}", "--budget", run.budget, "--device", run.device]
    settings = run.settings
    if settings.threads != 1:
        parts += ["--threads", str(settings.threads)]
    if settings.limit is not None:
        parts += ["--limit", str(settings.limit)]
    if settings.data is not None and _load.source_digest(run.task, settings.data):
        parts += ["--data", "DIR"]
    for path in _includes(run, named):
        parts += ["--include", f"./{path.name}"]
    for name in settings.metrics:
        file = registry.included_file("metric", name)
        parts += ["--metric", f"./{file.name}" if file else name]
    for setting in run.overrides:
        parts += ["--set", setting]
    return shlex.join(parts)


def _shown(name: str) -> str:
    """Show a path by its file's name alone: folders are nobody's business."""
    return f"./{Path(name).name}" if name.endswith((".toml", ".py")) else name


def _includes(run: Run, named: str) -> list[Path]:
    """Return what the command has to include for the names in it to be known."""
    files = [registry.included_file(*key.split(" ")) for key in run.plugins]
    beside = Path(named).resolve().with_suffix(".py")  # comes with the model itself
    own = dict.fromkeys(file for file in files if file is not None and file != beside)
    return [*catalog.included(), *own]


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


def _scores(scored: Mapping[str, Scored]) -> dict[str, dict[str, store.StoredScore]]:
    return {
        split: {name: _stored(got) for name, got in result.scores.items()}
        for split, result in scored.items()
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


def _peak_bytes() -> int | None:
    """Return the most memory that this process ever had; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _cost(model: Model, trained: Trained) -> dict[str, Any]:
    torch = import_torch()
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    cost = {
        "parameters": count,
        "steps": trained.steps,
        "best_step": trained.best_step,
        "stopped_early": trained.stopped_early,
        "train_seconds": trained.seconds,
        "samples_per_second": trained.items / max(trained.seconds, 1e-9),
        "peak_host_bytes": _peak_bytes(),
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
