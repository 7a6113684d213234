"""One run: load, build, train, predict, score, store. The whole flow is `execute`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mmbench import devices, provenance, records, registry, rng, store
from mmbench.checkpoint import EVERY, Checkpoints, maker
from mmbench.cost.meter import Meter
from mmbench.data import _load
from mmbench.data._building import watched
from mmbench.errors import (
    MissingExtraError,
    MmbenchError,
    OutOfMemoryError,
    StoreError,
    UsageError,
)
from mmbench.metrics import perfect
from mmbench.room import USUAL, Allowance
from mmbench.scoring import Scored, score
from mmbench.spec import DecodingSpec, ModelSpec, TaskSpec, digest
from mmbench.text import SPECIALS
from mmbench.train import Engine, Progress, Trained, check_recipe, lacks_memory, train
from mmbench.types import Dataset, Modality, Output, Predictions, Signature, Split

if TYPE_CHECKING:
    from mmbench.models.extent import Extent
    from mmbench.models.model import Model


@dataclass(frozen=True)
class Settings:
    """What the command line says beside task, model and seed.

    Attributes:
        results: Where records go.
        data: Folder of the user's data, or None.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Compute threads; None: as many as each task asks for.
        limit: Test items at most; such records are never ranked.
        force: Repeat what is finished.
        metrics: Metrics to score beside the task's own.
        devices: Processes that share every batch, each on a device of its own.
        compiled: Whether losses go through `torch.compile`.
        deterministic: Whether a GPU may use deterministic kernels only; a CPU always does.
        checkpoint_every: Seconds between two checkpoints; 0: one after every step.
        memory: What data may take of the memory; results do not depend on it.
        skip_bad: Leave out items that cannot be read; part of the task's definition then.
        batch_seeds: Whether the seeds of a model are trained as a batch (`mmbench.together`).
    """

    results: Path = Path("results")
    data: Path | None = None
    device: str = "auto"
    threads: int | None = None
    limit: int | None = None
    force: bool = False
    metrics: tuple[str, ...] = ()
    devices: int = 1
    compiled: bool = False
    deterministic: bool = False
    checkpoint_every: float = EVERY
    memory: Allowance = USUAL
    skip_bad: bool = False
    batch_seeds: bool = False


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

    @property
    def threads(self) -> int:
        """Compute threads."""
        return self.settings.threads or self.task.threads

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
                "execution": self.execution,
                "limit": self.settings.limit,
                "seed": self.seed,
            }
        )

    @property
    def execution(self) -> str:
        """How training is carried out, as far as that changes last digits."""
        settings = self.settings
        modes = {
            f"{settings.devices} devices": settings.devices > 1,
            "compiled": settings.compiled,
            "deterministic": settings.deterministic and self.device == "cuda",
            "batched seeds": settings.batch_seeds,
        }
        return ", ".join(mode for mode, on in modes.items() if on) or "single"

    @cached_property
    def plugins(self) -> dict[str, str]:
        """Component, or pretrained weights -> digest, of what is not mmbench's own."""
        from mmbench import weights

        model = self.model
        used = [("dataset", self.task.dataset.name), ("fusion", model.fusion.name)]
        used += [("combiner", c.name) for c in (model.combiner, *model.combiners.values())]
        used += [("encoder", c.name) for c in model.encoders.values()]
        used += [("head", c.name) for c in model.heads.values()]
        used += [("objective", o.name) for s in model.recipe.stages for o in s.objectives]
        digests = {f"{kind} {name}": registry.digest(kind, name) for kind, name in used}
        for part in (model.fusion, *model.encoders.values(), *model.heads.values()):
            named = part.params.get("weights")
            if isinstance(named, str) and named:
                digests[f"weights {named}"] = weights.digest(named)
        return {name: value for name, value in sorted(digests.items()) if value}

    @property
    def folder(self) -> Path:
        """Where its record is, or will be."""
        tail = f"{self.budget}-s{self.seed}-{self.identity[:8]}"
        return self.settings.results / self.task.name / self.model.name / tail

    @property
    def checkpoints(self) -> Path:
        """Where it is written down how far the run is, until its record is there."""
        return self.folder.with_name(f".{self.folder.name}.checkpoint")

    @property
    def alone(self) -> Run:
        """This run without its seed being trained beside others."""
        if not self.settings.batch_seeds:
            return self
        return replace(self, settings=replace(self.settings, batch_seeds=False))

    def finished(self) -> store.Stored | None:
        """Return the record of this very run, if it is there.

        A seed that was trained alone need not be trained once more beside others.

        Raises:
            StoreError: It is damaged.
        """
        for folder in dict.fromkeys((self.folder, self.alone.folder)):
            if (folder / store.RECORD).exists():
                found = store.read(folder)
                if found.record.identity in (self.identity, self.alone.identity):
                    return found
        return None

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics to score with, the task's own first."""
        return tuple(dict.fromkeys((*self.task.metric_names, *self.settings.metrics)))

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
        """Take note of items that are prepared (phase ``data``) or predicted."""

    def note(self, text: str) -> None:
        """Take note of something about this run that is worth a line."""


#: By which share the size of a matched model may differ from what the task wants.
WITHIN = 0.2


def check(run: Run) -> str:
    """Refuse what cannot work, before anything is loaded or trained.

    The model is built for the shapes that the task promises, and thrown away.

    Returns:
        What is to be known of the model, in one line: a matched one of another size than the task
        wants. Empty where there is nothing.

    Raises:
        IncompatibleError: Model and task do not fit.
        UsageError: A component is unknown, an argument or the recipe is wrong.
    """
    torch = import_torch()
    from mmbench.models.build import build
    from mmbench.models.extent import extent

    key = (*_pinned(run.model, run.task), tuple(run.task.splits))
    if key not in _fitting:
        signature = promised(run.task)
        with torch.random.fork_rng(devices=[]):
            model = build(run.model, signature)
            check_recipe(run.model.recipe, model, run.task.splits)
            # What somebody else wrote may end the process: it is tried where a run is made.
            _fitting[key] = extent(model, None if run.plugins else signature)
    wanted, size = run.task.parameters if run.model.matched else 0, _fitting[key].parameters
    if not wanted or abs(size / wanted - 1) <= WITHIN:
        return ""
    return (
        f"{run.model.name} has {size:,} parameters on {run.task.name}, which wants {wanted:,} "
        f"within {WITHIN:.0%} of matched models: no width comes nearer"
    )


def size_of(run: Run) -> Extent:
    """Return how large the run's model is, and how much it computes; see `check`."""
    key = (*_pinned(run.model, run.task), tuple(run.task.splits))
    if key not in _fitting:
        check(run)
    return _fitting[key]


#: What is known of models that tasks of the same shapes share: of 46 models on six tasks, most.
_fitting: dict[tuple[Any, ...], Extent] = {}
_widths: dict[tuple[Any, ...], int] = {}


def _pinned(model: ModelSpec, task: TaskSpec) -> tuple[Any, ...]:
    """Return all that a model as built for a task depends on."""
    plugins = tuple(Run(task, model, task.default_budget, 0).plugins.items())
    return model.digest(), plugins, repr(promised(task))


def promised(task: TaskSpec) -> Signature:
    """Return the signature that a task's TOML promises, with a vocabulary of one word."""
    words = (*SPECIALS, "word")
    return Signature(
        modalities={
            name: Modality(m.kind, tuple(m.shape), words if m.kind == "text" else (), m.role)
            for name, m in task.modalities.items()
        },
        outputs={
            name: Output(
                o.kind,
                len(o.classes) or (1 if o.kind == "transcript" else 2),
                words if o.kind in ("text", "transcript") else o.classes,
                name == task.main_output,
                clock=o.clock or "pool",
                shape=tuple(o.shape),
            )
            for name, o in task.outputs.items()
        },
    )


def sized(model: ModelSpec, task: TaskSpec) -> ModelSpec:
    """Give a matched model the width with which it has as many parameters as the task wants."""
    if not (model.matched and task.parameters):
        return model
    import_torch()
    from mmbench.models.sizes import matched_width

    key = (*_pinned(model, task), task.parameters)
    if key not in _widths:
        _widths[key] = matched_width(model, promised(task), task.parameters)
    return msgspec.structs.replace(model, width=_widths[key])


def execute(run: Run, watcher: Watcher) -> store.Stored:
    """Load, build, train, predict, score and store one run.

    Raises:
        MmbenchError: Whatever stands in the way, in one line; nothing is stored then.
    """
    settings = run.settings
    store.check_writable(settings.results)
    devices.group().lead(run)
    with enough_memory(run), devices.explained():
        made = _make(run, watcher)
    stored = keep(run, made)
    if run.checkpoints.exists():
        with suppress(OSError):
            store.discard(run.checkpoints, run.folder)
    return stored


@contextmanager
def enough_memory(run: Run) -> Iterator[None]:
    """Say in one line that a run does not fit the memory.

    Raises:
        OutOfMemoryError: That.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        told = str(error).splitlines()[0][:200] if str(error) else "no more is known"
        raise OutOfMemoryError(
            f"{run.model.name} on {run.task.name} does not fit the memory ({told}): set a smaller "
            f"recipe.batch_size or width, run fewer jobs at once, or use a device with more"
        ) from None


def follow() -> None:
    """Do this process's part of every run that the leading one makes, until it says goodbye."""
    group = devices.group()
    while (run := group.follow()) is not None:
        try:
            _make(run, _Silent())
        except Exception as error:
            # Nobody could go on without this process: it says why, and ends.
            line = next(iter(str(error).strip().splitlines()), "")
            group.failed(
                line if isinstance(error, MmbenchError) else f"{type(error).__name__}: {line}"
            )
            raise


@dataclass
class Made:
    """A trained model, and what it said and scored."""

    dataset: Dataset
    model: Model
    trained: Trained
    came_from: dict[str, Any]
    meter: Meter
    told: dict[str, Predictions] = field(default_factory=dict)
    scored: dict[str, Scored] = field(default_factory=dict)
    test_seconds: float = 0.0


def prepare(run: Run, watcher: Watcher) -> tuple[Dataset, dict[str, Any], Meter]:
    """Load the data, say where the run comes from, and begin to measure what it costs."""
    watcher.phase("data")
    with watched(watcher.items):
        dataset = _load.load(run.task, run.settings.data)
    came_from = provenance.collect(device_name(run.device), run.threads, run.plugins)
    _try_metrics(run, dataset)
    return dataset, came_from, Meter(run.device)


def _make(run: Run, watcher: Watcher) -> Made:
    """Load, build, train and test; all processes that share a run do this."""
    settings, group = run.settings, devices.group()
    dataset, came_from, meter = prepare(run, watcher)
    watcher.phase("build")
    with deterministic(run):
        model = make_model(run, dataset)
        validate = partial(validation_score, run=run, dataset=dataset)
        made_by = maker(came_from["device"], run.threads)
        every, note = settings.checkpoint_every, watcher.note
        checkpoints = Checkpoints(run.checkpoints, run.identity, made_by, every, note)
        engine = Engine(group, checkpoints, settings.compiled, settings.memory)
        for line in streamed(run, model, dataset):
            watcher.note(line)
        watcher.phase("train")
        budget, recipe = run.task.budgets[run.budget], run.model.recipe
        trained = train(model, dataset.splits, recipe, budget, run.seed, validate, watcher, engine)
        made = Made(dataset, model, trained, came_from, meter)
        examine(run, made, watcher)
    return made


def examine(run: Run, made: Made, watcher: Watcher) -> None:
    """Predict and score the test splits; a training that diverged has nothing to be tested."""
    started = time.perf_counter()
    if not made.trained.diverged:
        watcher.phase("test")
        made.told = _predict_tests(run, made.model, made.dataset, watcher)
        items = sum(len(said.ids) for said in made.told.values())
        made.meter.stop(items, time.perf_counter() - started)
        if devices.group().leads:
            made.scored = score_tests(run, made.dataset, made.told)
    made.test_seconds = time.perf_counter() - started


def keep(run: Run, made: Made) -> store.Stored:
    """Measure what is still to be measured, and store the record."""
    record = records.record(
        run, made.dataset, made.model, made.trained, made.scored, made.came_from
    )
    record.cost["test_seconds"] = made.test_seconds
    split = made.dataset.splits["test"]
    with devices.alone():
        record.cost.update(made.meter.cost(made.model, split, _decoding(run), run.settings.limit))
    record.provenance["measured"] = made.meter.how
    partly = ["since it was gone on with"] if made.trained.resumed else []
    partly += ["of the first of its devices"] if run.settings.devices > 1 else []
    for name in ("energy_joules", "peak_host_bytes", "peak_device_bytes"):
        if partly and name in made.meter.how:
            record.provenance["measured"][name] += f"; only {' and '.join(partly)}"
    return store.write(
        run.settings.results,
        record,
        _items(made.dataset, made.told, made.scored) if made.scored else None,
        store.predictions_table(made.told) if made.told else None,
        partial(_save_weights, made.model),
    )


class _Silent:
    """Watches a run of which another process tells."""

    def phase(self, name: str) -> None:
        """Say nothing."""

    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Say nothing."""

    def items(self, done: int, total: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


@contextmanager
def deterministic(run: Run) -> Iterator[None]:
    """Allow a GPU deterministic kernels only, where that is asked for."""
    if not (run.settings.deterministic and run.device == "cuda"):
        yield
        return
    torch = import_torch()
    # What cuBLAS needs to add up in one order; read when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def make_model(run: Run, dataset: Dataset) -> Model:
    """Build the run's model on its device, initialised from the run's own stream."""
    torch = import_torch()
    from mmbench.models.build import build

    torch.set_num_threads(run.threads)
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


def validation_score(
    model: Model, *, run: Run, dataset: Dataset, limit: int | None = None
) -> float:
    """Score greedy predictions on validation items; more is better.

    Args:
        model: The model.
        run: Names the task and its budget.
        dataset: The data.
        limit: Validation items at most; None: as many as the budget has.
    """
    from mmbench.predict import predict

    split = dataset.splits["val"]
    limit = min(limit or run.task.budgets[run.budget].validation_items, len(split))
    greedy, memory = DecodingSpec(beams=1), run.settings.memory
    said = predict(model, split, greedy, limit, memory=memory, seed=run.seed)
    output = dataset.signature.main
    references = {output: split.references[output].take(range(limit))}
    main = run.task.metrics.main
    got = score(said, references, output, [main]).scores[main]
    # The last digit may be another one on another machine, and all have to keep the same weights.
    return devices.group().told(got.value if got.higher_is_better else -got.value)


def _predict_tests(
    run: Run, model: Model, dataset: Dataset, watcher: Watcher
) -> dict[str, Predictions]:
    from mmbench.predict import predict

    limit, decoding = run.settings.limit, _decoding(run)
    return {
        name: predict(
            model,
            dataset.splits[name],
            decoding,
            limit,
            watcher.items,
            run.settings.memory,
            seed=run.seed,
        )
        for name in test_splits(run.task)
    }


def streamed(run: Run, model: Model, dataset: Dataset) -> list[str]:
    """Say which splits take more memory than data may."""
    from mmbench.models.feed import streaming

    budget, limit = run.task.budgets[run.budget], run.settings.limit
    trained_on = {stage.split for stage in run.model.recipe.stages}
    sizes = dict.fromkeys(trained_on, budget.items)
    sizes.setdefault("val", budget.validation_items)
    splits = {
        name: (split, min(sizes.get(name, limit) or len(split), len(split)), name in trained_on)
        for name, split in dataset.splits.items()
        if name in sizes or name in test_splits(run.task)
    }
    for name in list(splits):
        gallery = splits[name][0].gallery
        if gallery is not None:
            splits[f"the gallery of {name}"] = gallery, len(gallery), False
    device = next(model.parameters()).device
    return streaming(splits, list(model.encoders), device, run.settings.memory)


def _decoding(run: Run) -> DecodingSpec:
    """Return how texts are read out: as the recipe says, within the budget's beams."""
    asked = run.model.recipe.decoding
    beams = min(asked.beams, run.task.budgets[run.budget].beams)
    return msgspec.structs.replace(asked, beams=beams)


def _try_metrics(run: Run, dataset: Dataset) -> None:
    """Score a few references against themselves: a metric that fails shall do so before training.

    Those that so few say nothing of are tried on as many as there will be.

    Raises:
        UsageError: A metric cannot be computed on such items.
    """
    split = dataset.splits["val"]
    whole = min(len(split), run.settings.limit or len(split))
    try:
        _score_right(run, dataset, min(8, whole))
    except UsageError:
        _score_right(run, dataset, whole)


def _score_right(run: Run, dataset: Dataset, count: int) -> None:
    """Score the first references of the validation split against themselves."""
    split, few = dataset.splits["val"], range(count)
    references = {name: refs.take(few) for name, refs in split.references.items()}
    right = {name: perfect(refs) for name, refs in references.items()}
    columns = {f"{o}.{name}": v for o, said in right.items() for name, v in said.columns.items()}
    ids = [split.ids[i] for i in few]
    said = Predictions(ids, {name: given.values for name, given in right.items()}, columns)
    score(said, references, dataset.signature.main, run.metrics)


def score_tests(run: Run, dataset: Dataset, told: Mapping[str, Predictions]) -> dict[str, Scored]:
    """Score the predictions of each test split with all metrics that are asked for."""
    output = dataset.signature.main
    scored = {}
    for name, said in told.items():
        split = dataset.splits[name]
        count = len(said.ids)
        references = {name: refs.take(range(count)) for name, refs in split.references.items()}
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


def device_name(device: str) -> str:
    """Return what the device calls itself."""
    if device == "cuda":
        return str(import_torch().cuda.get_device_name())
    return "cpu"


def _save_weights(model: Model, path: Path) -> None:
    from safetensors.torch import save

    # Through Python's own file, so that a full disk is an OSError like any other.
    weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    path.write_bytes(save(weights))
