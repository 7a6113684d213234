"""Strict definitions: what may stand in a task's and in a model's TOML.

An unknown key, a wrong type or an impossible value is one error that names file, key and what
would be right. Definitions name things; they never compute.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from mmbench.errors import SpecError
from mmbench.strict import Clock, FolderName, MetricName, Name, PartOfName, convert
from mmbench.types import GALLERY, QUERY

#: The schema of task and model files that this version reads and writes.
SCHEMA = 1

Positive = Annotated[int, Meta(ge=1)]
Decay = Annotated[float, Meta(ge=0.0, lt=1.0)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0)]
Weight = Annotated[float, Meta(ge=0.0)]
Above0 = Annotated[float, Meta(gt=0.0)]


class _Strict(Struct, frozen=True, forbid_unknown_fields=True):
    """No key that is not named here."""


class DatasetSpec(_Strict, frozen=True):
    """Which data: a builder, its version, the seed that generated data come from, parameters."""

    name: Name
    version: Positive
    seed: int = 0
    params: dict[str, Any] = field(default_factory=dict)


class ModalitySpec(_Strict, frozen=True):
    """One input.

    Attributes:
        kind: What it is.
        shape: That of ONE item.
        role: For retrieval, whose it is: of the ``query``, or of the ``gallery``'s entries.
    """

    kind: Name
    shape: tuple[Positive, ...]
    role: Literal["query", "gallery"] = QUERY


class OutputSpec(_Strict, frozen=True):
    """One thing to predict. A task with one output needs no ``main``.

    Attributes:
        kind: ``text``, ``transcript``, ``label``, ``multilabel``, ``frames``, ``scalar``,
            ``match`` or ``image``.
        main: Whether the task's metrics, in ``[metrics]``, are of this output.
        classes: For ``label``, ``multilabel`` and ``frames``, the names of the classes, in the
            data's order.
        clock: For ``transcript`` and ``frames``, the time axis that they are read from:
            ``native:NAME``, the steps of that modality's tokens, which models without it cannot
            have; or ``latent:L``, L steps at even distances.
        shape: For ``image``, channels, height and width.
        metrics: Of an output that is not the main one, what it is scored with; the scores are
            called ``OUTPUT.METRIC``.
    """

    kind: Name
    main: bool = False
    classes: tuple[str, ...] = ()
    metrics: tuple[MetricName, ...] = ()
    clock: Clock = ""
    shape: tuple[Positive, ...] = ()

    def __post_init__(self) -> None:
        """Refuse one class under two numbers."""
        twice = next((name for name in self.classes if self.classes.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the class {twice!r} stands there twice")


class MetricsSpec(_Strict, frozen=True):
    """The metric that ranks, and those that stand beside it."""

    main: MetricName
    also: tuple[MetricName, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics, the main one first."""
        return (self.main, *self.also)


class BudgetSpec(_Strict, frozen=True):
    """What training may cost. Test items are the same under every budget.

    Attributes:
        items: Training items at most (the first so many).
        steps: Optimiser steps at most, over all stages.
        validations: How often the model is validated on the way.
        validation_items: Validation items at most.
        beams: Beams at most when texts are read out; a quick look can do with one.
    """

    items: Positive
    steps: Positive
    validations: Positive = 8
    validation_items: Positive = 200
    beams: Positive = 50


class LevelSpec(_Strict, frozen=True):
    """What is possible on one metric, computed by the task's oracle (see `mmbench.levels`).

    Attributes:
        floor: The best answer known that looks at nothing.
        ceiling: The oracle that sees every modality.
        alone: Modality -> the oracle that sees only that one.
        bound: Modalities joined by ``+`` -> a PROVEN bound for every predictor that sees only
            those. A score beyond it by more than four standard errors is a leak.
        late: A PROVEN bound for decision-level fusion (information in bits has one); a late model
            beyond it by more than four standard errors is a leak.
        late_reference: What the late fusion with the least cross-entropy scores here, where that
            is no bound.
    """

    floor: float
    ceiling: float
    alone: dict[str, float] = field(default_factory=dict)
    bound: dict[str, float] = field(default_factory=dict)
    late: float | None = None
    late_reference: float | None = None


class PublishedSpec(_Strict, frozen=True):
    """A published row on exactly this split, with its source."""

    model: str
    source: str
    scores: dict[str, float]
    note: str = ""


class FileSpec(_Strict, frozen=True, kw_only=True):
    """A file that ``mmbench data fetch`` downloads.

    Attributes:
        url: Its address.
        sha256: SHA-256 of what is downloaded, as hex.
        md5: Its MD5, where who publishes the file tells no more: it finds a broken download, and
            not one that somebody forged. Exactly one of the two.
        name: What it is called in the folder; the last part of the address if not given.
        unpack: Into which subfolder an archive is unpacked, ``.`` being the folder itself; it is
            deleted then. Empty: it stays as it is.
    """

    url: str
    sha256: str = ""
    md5: str = ""
    name: PartOfName = ""
    unpack: str = ""

    def __post_init__(self) -> None:
        """Refuse a file that cannot be checked, or is to be checked twice."""
        if bool(self.sha256) == bool(self.md5):
            raise ValueError("expected exactly one of sha256 and md5")
        for name, digits, told in (("sha256", 64, self.sha256), ("md5", 32, self.md5)):
            if told and not re.fullmatch(f"[0-9a-f]{{{digits}}}", told):
                raise ValueError(
                    f"{name} = {told[:80]!r}: expected {digits} digits from 0 to f, in lower case"
                )
        if ".." in self.unpack.split("/") or self.unpack.startswith("/"):
            raise ValueError(f"unpack = {self.unpack!r}: expected a folder inside of the data's")

    @property
    def checksum(self) -> tuple[str, str]:
        """Which checksum it has, as `hashlib` calls it, and the checksum as hex."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", self.md5)


class SourceSpec(_Strict, frozen=True):
    """Where the data come from.

    Attributes:
        paper: Who made them, and where it is told.
        url: Where they are found.
        licence: Under which terms; shown before anything is fetched.
        cluster: What items share that makes them depend on one another (video, speaker, ...), by
            which intervals are computed; ``none`` where every item is a unit of its own. Of data
            that are not generated; tests hold it against what is loaded.
        published: Figures on exactly these splits.
        files: What ``mmbench data fetch`` downloads.
        folder: The folder that the files go into, if tasks share it; else the task's name.
    """

    paper: str = ""
    url: str = ""
    licence: str = ""
    cluster: str = ""
    published: tuple[PublishedSpec, ...] = ()
    files: tuple[FileSpec, ...] = ()
    folder: FolderName = ""


class TaskSpec(_Strict, frozen=True):
    """A task: a dataset with metrics.

    Attributes:
        parameters: How many parameters a model that is ``matched`` has here, within 20 %; its
            width follows from it. 0: models have the width that they name.
        threads: Compute threads of a run on a CPU that is not told otherwise. They decide the last
            digits, so it is the task's number and not the machine's: the same bits on any number of
            cores. Two are faster from about ten million operations an item on.
    """

    schema: int
    name: Name
    version: Positive
    summary: str
    dataset: DatasetSpec
    modalities: dict[str, ModalitySpec]
    outputs: dict[str, OutputSpec]
    splits: dict[str, Positive]
    metrics: MetricsSpec
    budgets: dict[str, BudgetSpec]
    default_budget: str = "small"
    parameters: Annotated[int, Meta(ge=0)] = 0
    threads: Positive = 1
    levels: dict[str, LevelSpec] = field(default_factory=dict)
    source: SourceSpec = field(default_factory=SourceSpec)

    @property
    def main_output(self) -> str:
        """The name of the output that the task's metrics score."""
        return next((n for n, o in self.outputs.items() if o.main), next(iter(self.outputs)))

    @property
    def metric_names(self) -> tuple[str, ...]:
        """All metrics: of the main output, the one that ranks first, then ``OUTPUT.METRIC``."""
        others = [f"{name}.{m}" for name, output in self.outputs.items() for m in output.metrics]
        return (*self.metrics.names, *others)

    def digest(self, budget: str) -> str:
        """Return the SHA-256 over what affects scores.

        Not summary, levels, metrics, threads or source; nor the size of matched models, which shows
        in their width.
        """
        outputs = {n: msgspec.structs.replace(o, metrics=()) for n, o in self.outputs.items()}
        return digest(
            {
                "schema": self.schema,
                "name": self.name,
                "version": self.version,
                "dataset": self.dataset,
                "modalities": self.modalities,
                "outputs": outputs,
                "splits": self.splits,
                "budget": self.budgets[budget],
            }
        )


class ComponentSpec(_Strict, frozen=True):
    """A component by name, with arguments for its constructor."""

    name: Name
    params: dict[str, Any] = field(default_factory=dict)


class OptimizerSpec(_Strict, frozen=True):
    """AdamW with a schedule over the objective's own steps.

    Attributes:
        lr: Peak learning rate.
        weight_decay: On matrices only; biases, norms and embeddings are spared.
        schedule: ``one_cycle`` (linear warm-up, hold, cosine to zero) or ``constant``.
        warmup: Share of the steps that warm up.
        hold: Share of the steps that stay at the peak before the cosine begins.
        clip: Gradient norm at most; 0 switches clipping off.
        betas: Decay of the two moments.
    """

    lr: Annotated[float, Meta(gt=0.0, le=1e37)] = 2e-3
    weight_decay: Annotated[float, Meta(ge=0.0)] = 0.01
    schedule: Annotated[str, Meta(pattern="^(one_cycle|constant)$")] = "one_cycle"
    warmup: Fraction = 0.1
    hold: Fraction = 0.0
    clip: Annotated[float, Meta(ge=0.0)] = 1.0
    betas: tuple[Decay, Decay] = (0.9, 0.95)


class ObjectiveSpec(_Strict, frozen=True):
    """A loss, what it trains, with which optimiser, on which steps.

    Attributes:
        name: The objective (a file in ``mmbench/models/objectives/``).
        params: Its arguments.
        parameters: Patterns over parameter names (``encoders.*``) that this objective trains; a
            leading ``!`` leaves out what the others match (``["*", "!fusion.discriminator.*"]``).
        period: It acts on every `period`-th step of its stage, after `offset` steps.
    """

    name: Name
    params: dict[str, Any] = field(default_factory=dict)
    parameters: tuple[str, ...] = ("*",)
    period: Positive = 1
    offset: Annotated[int, Meta(ge=0)] = 0
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)


class StageSpec(_Strict, frozen=True, kw_only=True):
    """A phase of training: objectives on a split for a share of the budget's steps.

    Attributes:
        keep: Which weights the next stage starts from: the ``best`` validated, or the ``last``,
            for a stage that does not train what validation looks at (pretraining).
    """

    name: Name = "fit"
    split: str = "train"
    share: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    objectives: tuple[ObjectiveSpec, ...]
    keep: Annotated[str, Meta(pattern="^(best|last)$")] = "best"


class DecodingSpec(_Strict, frozen=True):
    """How texts are read out on the test split; validation is greedy.

    Attributes:
        beams: Hypotheses kept; 1 is greedy.
        length_penalty: The sum of log-probabilities is divided by ``length ** length_penalty``.
    """

    beams: Annotated[int, Meta(ge=1, le=50)] = 3
    length_penalty: Annotated[float, Meta(ge=0.0)] = 0.7


class RecipeSpec(_Strict, frozen=True, kw_only=True):
    """How a model is trained.

    Attributes:
        batch_size: Items a step.
        patience: Validations without a better score after which training stops; 0 never stops.
        modality_dropout: Probability with which each modality of a training item is taken away,
            one at least being left (Neverova et al. 2015, arXiv:1501.00102).
        ogm_ge: Strength alpha with which the modality that leads is slowed (OGM-GE, Peng et al.
            2022, arXiv:2203.15332); 0 switches it off.
        ema: Decay of an exponential moving average of the weights, which is then what is validated
            and kept; 0: the weights themselves.
        stages: In order; their shares add up to at most 1.
        decoding: How texts are read out.
    """

    batch_size: Positive = 64
    patience: Annotated[int, Meta(ge=0)] = 0
    modality_dropout: Decay = 0.0
    ogm_ge: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.0
    ema: Decay = 0.0
    stages: tuple[StageSpec, ...]
    decoding: DecodingSpec = field(default_factory=DecodingSpec)


class RangeSpec(_Strict, frozen=True, kw_only=True):
    """What a tuned value is drawn from: a range, or a list of choices.

    Attributes:
        low: Least value, included.
        high: Greatest value, included.
        log: Draw uniformly on a logarithmic scale.
        scale: What is drawn multiplies the value that stands there.
        choices: Draw one of these instead.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    scale: bool = False
    choices: tuple[str | int | float | bool, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is neither a range nor a list."""
        if self.choices:
            if self.low is not None or self.high is not None or self.log or self.scale:
                raise ValueError("expected either choices or low and high, got both")
            return
        if self.low is None or self.high is None:
            raise ValueError("expected low and high, or choices = [...]")
        if not (self.low < self.high and self.high < float("inf") and self.low > -float("inf")):
            raise ValueError(f"expected low < high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log = true needs low above 0, got {self.low:g}")


class TuningSpec(_Strict, frozen=True, kw_only=True):
    """How a model's values were found; `mmbench tune` writes it, records and boards show it.

    Attributes:
        task: On which task,
        task_digest: as it was then, its budget included.
        budget: Which budget a trial had.
        sampler: ``random`` or ``tpe``.
        trials: How many, those that failed included.
        failed: How many failed; they count as the task's floor.
        seeds: First and last seed, which no reported run may have.
        metric: What was looked at, on all validation items.
        score: Its best value.
        expected_best: The expected best value of 1, 2, ... `trials` trials
            (`mmbench.stats.expected_best`); empty where trials depend on one another.
    """

    task: Name
    task_digest: str
    budget: Name
    sampler: str
    trials: Positive
    failed: Annotated[int, Meta(ge=0)] = 0
    seeds: tuple[int, int]
    metric: MetricName
    score: float
    expected_best: tuple[float, ...] = ()

    @property
    def effort(self) -> str:
        """What was spent, in a few words."""
        return f"{self.trials} {self.sampler} trials on {self.task}/{self.budget}"


class ModelSpec(_Strict, frozen=True, kw_only=True):
    """A model: a fusion strategy with its encoders, heads and recipe.

    Attributes:
        modalities: Those that it looks at; ``None``: all that the task has.
        encoders: Kind of modality -> encoder.
        heads: Kind of output -> head.
        combiner: What merges the branches' predictions, where `combiners` names nothing else.
        combiners: Kind of output -> what merges the branches' predictions.
        matched: On a task that names a number of parameters, the width is chosen so that the
            model has so many, within 20 %.
        departs: Why a model that stands on the matched recipe is of another size.
        on: Kinds of the task's main output, joined by ``+``, or names of tasks -> what is different
            there.
        search: Where a value stands (``recipe.stages.*.objectives.*.optimizer.lr``; ``*`` is every
            element of a list) -> what `mmbench tune` draws it from.
        tuning: How the values were found, if they were tuned.
    """

    schema: int
    name: Name
    summary: str
    family: str
    paper: str = ""
    width: Positive
    modalities: tuple[str, ...] | None = None
    encoders: dict[str, ComponentSpec]
    fusion: ComponentSpec
    combiner: ComponentSpec
    combiners: dict[str, ComponentSpec] = field(default_factory=dict)
    heads: dict[str, ComponentSpec]
    recipe: RecipeSpec
    matched: bool = False
    departs: str = ""
    on: dict[str, dict[str, Any]] = field(default_factory=dict)
    search: dict[str, RangeSpec] = field(default_factory=dict)
    tuning: TuningSpec | None = None

    def of(self, task: TaskSpec) -> ModelSpec:
        """Return what of the model plays a part on a task: that alone is its identity there.

        A part for another kind of modality or output may come or change, and no record of this
        task is orphaned.
        """
        heard = heard_of(task.modalities, self.modalities)
        ins = {task.modalities[name].kind for name in heard if name in task.modalities}
        outs = {output.kind for output in task.outputs.values()}
        return msgspec.structs.replace(
            self,
            encoders=_only(self.encoders, ins),
            heads=_only(self.heads, outs),
            combiners={kind: part for kind, part in self.combiners.items() if kind in outs},
            on={},
        )

    def combiner_of(self, kind: str) -> ComponentSpec:
        """Return what merges predictions of a kind of output."""
        return self.combiners.get(kind, self.combiner)

    def digest(self) -> str:
        """Return the SHA-256 over what affects scores.

        Not name, summary, family or paper; nor how the width and tuned values were chosen, which
        shows in them.
        """
        content = essential(self)
        for key in _UNSCORED:
            content.pop(key, None)
        return digest(content)


#: Keys of a model that its scores do not depend on.
_UNSCORED = (
    "name", "summary", "family", "paper", "matched", "departs", "on", "search", "tuning",
)  # fmt: skip


class _HasRole(Protocol):
    @property
    def role(self) -> str: ...


def heard_of(modalities: Mapping[str, _HasRole], named: Sequence[str] | None) -> tuple[str, ...]:
    """Return the modalities that a model hears, in the order in which it or the task names them.

    Where it names none of the gallery's it hears the whole gallery: ``image_only`` looks for texts
    by their image alone, and what it finds has to be read. Where it names a part of the gallery and
    nothing of the query it hears the whole query: somebody has to be looking for what is found.

    Args:
        modalities: What the task has; each has a role.
        named: What the model names; None: all.
    """
    if named is None:
        return tuple(modalities)
    sides = {role: [n for n, m in modalities.items() if m.role == role] for role in _ROLES}
    gallery, own = sides[GALLERY], set(named)
    if not own & set(gallery):
        return (*named, *gallery)
    part = bool(set(gallery) - own) and not own & set(sides[QUERY])
    return (*(sides[QUERY] if part else ()), *named)


def alone_of(modalities: Mapping[str, _HasRole]) -> dict[str, frozenset[str]]:
    """Return what a model for each modality alone hears: modality -> modalities.

    Of retrieval that is the other side too, or there would be nothing to compare with. A modality
    is left out where its model would hear nothing of a query, or everything.
    """
    found = {name: frozenset(heard_of(modalities, [name])) for name in modalities}
    roles = {name: {modalities[one].role for one in heard} for name, heard in found.items()}
    if all(modality.role == QUERY for modality in modalities.values()):
        return found
    everything = frozenset(modalities)
    return {n: h for n, h in found.items() if QUERY in roles[n] and h != everything}


def _only(table: dict[str, ComponentSpec], kinds: set[str]) -> dict[str, ComponentSpec]:
    """Return the parts of the kinds; all of them where a kind has none, for an error to list."""
    return {kind: table[kind] for kind in sorted(kinds)} if kinds <= set(table) else table


Spec = TypeVar("Spec", TaskSpec, ModelSpec)


def essential(content: Any) -> Any:
    """Return specs as plain tables without the values that equal their default.

    A later version may add a key: definitions that do not use it keep their digest.
    """
    if isinstance(content, Struct):
        fields = msgspec.structs.fields(content)
        found = {item.encode_name: (getattr(content, item.name), item) for item in fields}
        return {k: essential(v) for k, (v, item) in found.items() if v != _default(item)}
    if isinstance(content, Mapping):
        return {key: essential(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [essential(value) for value in content]
    return content


def _default(item: msgspec.structs.FieldInfo) -> Any:
    if item.default_factory is not msgspec.NODEFAULT:
        return item.default_factory()
    return item.default


def digest(content: object) -> str:
    """Return the SHA-256 of the canonical JSON (sorted keys) of what is `essential`, as hex."""
    content = essential(content)
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; every failure is one line that names it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: is not valid TOML: {error}") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base`: tables merge key by key, everything else is replaced.

    A component table (one with a ``name``) that names another component replaces the whole table,
    so that no argument of the old component is left behind.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            renamed = "name" in old and value.get("name", old["name"]) != old["name"]
            merged[key] = dict(value) if renamed else merge(old, value)
        else:
            merged[key] = value
    return merged


def override(content: dict[str, Any], setting: str) -> dict[str, Any]:
    """Apply one ``key.path=value`` (the value in TOML's own notation) to a definition."""
    path, sign, text = setting.partition("=")
    if not sign or not path.strip():
        raise SpecError(f"--set {setting!r}: expected KEY=VALUE, e.g. recipe.batch_size=32")
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        value = text
    keys = [int(key) if key.isdigit() else key for key in path.strip().split(".")]
    return _put(content, keys, value, setting)  # type: ignore[no-any-return]


def _put(node: Any, keys: list[str | int], value: Any, setting: str) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(key, int):
        if not isinstance(node, list | tuple) or key >= len(node):
            raise SpecError(f"--set {setting!r}: there is no element {key}")
        return [
            _put(item, rest, value, setting) if i == key else item for i, item in enumerate(node)
        ]
    if not isinstance(node, Mapping):
        raise SpecError(f"--set {setting!r}: {key!r} does not stand in a table")
    changed = {**node, key: _put(node.get(key, {}), rest, value, setting)}
    if key == "name" and not rest and value != node.get("name"):
        changed.pop("params", None)  # they are the other component's, as in `merge`
    return changed


def parse_task(content: Mapping[str, Any], where: str) -> TaskSpec:
    """Check the content of a task file; `where` names it in errors."""
    task: TaskSpec = convert(content, TaskSpec, where, SCHEMA)
    for split in ("train", "val", "test"):
        if split not in task.splits:
            raise SpecError(f"{where}: splits.{split} is missing: a task needs train, val and test")
    # Not of the types: a record that was made before such a rule has to stay readable.
    scored = {f"splits.{name}": n for name, n in task.splits.items() if name != "train"}
    scored |= {f"budgets.{n}.validation_items": b.validation_items for n, b in task.budgets.items()}
    for key, items in scored.items():
        if items < 2:
            raise SpecError(f"{where}: {key} = {items}: expected 2 or more: scores need them")
    mains = [name for name, output in task.outputs.items() if output.main]
    if len(task.outputs) > 1 and len(mains) != 1:
        raise SpecError(f"{where}: outputs: exactly one needs main = true, found {len(mains)}")
    for name, output in task.outputs.items():
        if output.metrics and name == task.main_output:
            raise SpecError(
                f"{where}: outputs.{name}.metrics: it is the main output, whose metrics stand in "
                f"[metrics]: move them there"
            )
        if output.kind in ("label", "multilabel", "frames") and not output.classes:
            raise SpecError(f"{where}: outputs.{name}.classes is missing: name the classes")
        if len(output.shape) != (3 if output.kind == "image" else 0):
            told = list(output.shape) or "missing"
            raise SpecError(
                f"{where}: outputs.{name}.shape is {told}: "
                + (
                    "a picture has channels, height and width, as [3, 32, 32]"
                    if output.kind == "image"
                    else f"it is for pictures, and {name} is a {output.kind}: leave it out"
                )
            )
        _check_clock(name, output, task, where)
    if not task.outputs or not task.modalities:
        raise SpecError(f"{where}: a task needs at least one modality and one output")
    _check_roles(task, where)
    if task.default_budget not in task.budgets:
        raise SpecError(
            f"{where}: default_budget = {task.default_budget!r} is not in budgets "
            f"({', '.join(task.budgets) or 'none'})"
        )
    return task


#: The kinds of output that are read from a time axis.
_CLOCKED = ("transcript", "frames")


def _check_clock(name: str, output: OutputSpec, task: TaskSpec, where: str) -> None:
    """Refuse a transcript or frames without a time axis, and a time axis that is nobody's."""
    kind, _, modality = output.clock.partition(":")
    if (output.kind in _CLOCKED) != bool(kind):
        told = f"is for transcripts and frames, and {name} is a {output.kind}"
        offer = f"'native:{next(iter(task.modalities), 'audio')}' or 'latent:100'"
        raise SpecError(
            f"{where}: outputs.{name}.clock {told if kind else 'is missing'}: transcripts and "
            f"frames have one, {offer}"
        )
    if kind == "native" and modality not in task.modalities:
        raise SpecError(
            f"{where}: outputs.{name}.clock = {output.clock!r}: the task has no modality "
            f"{modality!r}: it has {', '.join(task.modalities)}"
        )


def _check_roles(task: TaskSpec, where: str) -> None:
    """Refuse a gallery that nothing looks through, and a search without one."""
    matches = [name for name, output in task.outputs.items() if output.kind == "match"]
    roles = {role: [n for n, m in task.modalities.items() if m.role == role] for role in _ROLES}
    if not matches and roles[GALLERY]:
        raise SpecError(
            f"{where}: modalities.{roles[GALLERY][0]}.role = {GALLERY!r}: no output is of the kind "
            f"'match', and nothing else looks through a gallery: leave the role out"
        )
    if not matches:
        return
    for role, names in roles.items():
        if not names:
            raise SpecError(
                f"{where}: outputs.{matches[0]} is of the kind 'match', and no modality has the "
                f"role {role!r}: such a task needs one of the queries and one of the gallery, "
                f'which says role = "gallery"'
            )
    if len(task.outputs) > 1:
        raise SpecError(
            f"{where}: outputs.{matches[0]} is of the kind 'match', which stands alone: its items "
            f"are pairs, and other outputs have none: make a task of their own of the others"
        )


_ROLES = (QUERY, GALLERY)


def parse_model(content: Mapping[str, Any], where: str) -> ModelSpec:
    """Check the content of a model file (after ``extends``); `where` names it in errors."""
    model: ModelSpec = convert(content, ModelSpec, where, SCHEMA)
    if not model.recipe.stages:
        raise SpecError(f"{where}: recipe.stages is empty: a recipe needs at least one stage")
    share = sum(stage.share for stage in model.recipe.stages)
    if share > 1.0 + 1e-9:
        raise SpecError(f"{where}: recipe.stages: the shares add up to {share:g}, more than 1")
    for stage in model.recipe.stages:
        if not stage.objectives:
            raise SpecError(f"{where}: recipe.stages: the stage {stage.name!r} has no objective")
    return model


def check_params(params: Mapping[str, Any], kind: type[Any], where: str) -> Any:
    """Convert a component's free parameters to its own strict struct `kind`."""
    return convert(params, kind, where, SCHEMA)
