"""Tuning: draw values for a model's recipe, train, look at validation items, keep the best.

A method that was tuned longer scores higher, whatever the method. So every model gets the same
number of trials, each trial draws from the space that the model's TOML names under ``[search]``,
and what is written says how many trials there were and what fewer would have found. Trials have
seeds of their own (`mmbench.rng.TUNING`), which no reported run may have, and the test split is
not touched.

A study is two files, ``TASK/MODEL_tuned.json`` (every trial) and ``TASK/MODEL_tuned.toml`` (the
best one as a model). The first is written anew after each trial: a study that was killed goes on
with the trial at which it was, and ends with the same values.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from mmbench import registry, rng, sealed
from mmbench.data import _load
from mmbench.errors import MissingExtraError, SpecError, StoreError, UsageError
from mmbench.run import Run, Watcher, make_model, precision, sized, validation_score
from mmbench.spec import ModelSpec, RangeSpec, TuningSpec, digest, essential, parse_model
from mmbench.stats.tuning import expected_best
from mmbench.train import Engine, train
from mmbench.types import Dataset

#: The schema of studies that this version reads and writes.
SCHEMA = 1
#: Trials are drawn independently, or where earlier ones were good.
SAMPLERS = ("random", "tpe")
#: Drawn numbers are kept to so many significant digits: who reads the TOML shall see them.
DIGITS = 4


class Trial(Struct, frozen=True, kw_only=True):
    """One trial.

    Attributes:
        number: From 0.
        seed: That of initialisation, order and dropout.
        drawn: Key of ``[search]`` -> what was drawn.
        score: On all validation items; None where it failed.
        reason: Why it failed.
        seconds: It took so long.
    """

    number: int
    seed: int
    drawn: dict[str, Any]
    score: float | None = None
    reason: str = ""
    seconds: float = 0.0


class Study(Struct, frozen=True, kw_only=True):
    """All trials of one model on one task.

    Attributes:
        schema: Version of this layout.
        identity: SHA-256 of all that determines the trials, their number left out.
        task, task_digest, budget: What a trial was trained on.
        model: What was tuned.
        metric: What was looked at.
        higher_is_better: Its direction.
        floor: What a failed trial counts as; None where the task has no level for the metric.
        sampler: One of `SAMPLERS`.
        trials: In order.
        checksum: SHA-256 of the study with an empty checksum.
    """

    schema: int = SCHEMA
    identity: str
    task: str
    task_digest: str
    budget: str
    model: str
    metric: str
    higher_is_better: bool
    floor: float | None
    sampler: str
    trials: tuple[Trial, ...] = ()
    checksum: str = ""

    @property
    def failed(self) -> int:
        """How many trials failed."""
        return sum(trial.score is None for trial in self.trials)

    @property
    def best(self) -> Trial | None:
        """The best trial, of equal ones the first; None where all failed."""
        sign = 1.0 if self.higher_is_better else -1.0
        done = [trial for trial in self.trials if trial.score is not None]
        return max(done, key=lambda t: sign * _score(t), default=None)

    @property
    def scores(self) -> list[float]:
        """What each trial counts as: a failed one as the floor, or as the worst of the others."""
        done = [_score(trial) for trial in self.trials if trial.score is not None]
        worst = self.floor
        if worst is None:
            worst = min(done, default=0.0) if self.higher_is_better else max(done, default=0.0)
        return [worst if trial.score is None else _score(trial) for trial in self.trials]

    @property
    def expected_best(self) -> tuple[float, ...]:
        """The expected best score of 1, 2, ... trials; empty where trials depend on one another."""
        if self.sampler != "random" or not self.trials:
            return ()
        curve = expected_best(self.scores, higher_is_better=self.higher_is_better)
        return tuple(_rounded(float(value), 6) for value in curve)


class Eyes(Protocol):
    """What watches a study."""

    def trial(self, run: Run, number: int) -> Watcher:
        """Watch another trial."""

    def said(self, study: Study) -> None:
        """Take note of the trial that ended last."""


def space(run: Run, base: ModelSpec) -> dict[str, RangeSpec]:
    """Return what is to be drawn, every key of it found in the model.

    Raises:
        SpecError: There is no table ``[search]``, or a key of it leads nowhere.
    """
    if not base.search:
        raise SpecError(
            f"the model {base.name!r} has no table [search]: name in its TOML what may be drawn, "
            f'e.g. "recipe.batch_size" = {{ choices = [64, 128] }}'
        )
    content = _plain(base)
    if "width" in base.search and base.matched and run.task.parameters:
        raise SpecError(
            f"search.'width' of the model {base.name!r}: its width follows from "
            f"the task's number of parameters: add matched = false, or draw something else"
        )
    for key, wanted in base.search.items():
        for path in _places(content, key):
            value = _at(content, path)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if wanted.scale and not number:
                raise SpecError(
                    f"search.{key!r} of the model {base.name!r}: scale = true multiplies the "
                    f"number that stands there, but there is {value!r}"
                )
    _proposed(base, {key: _middle(wanted) for key, wanted in base.search.items()})
    return dict(base.search)


def tune(
    run: Run, base: ModelSpec, trials: int, folder: Path, sampler: str, eyes: Eyes
) -> tuple[Study, Path]:
    """Make the trials of one model on one task that are still to be made.

    Args:
        run: Task, budget, device; its model is that of no trial.
        base: The model as it is on the task, its width not yet chosen.
        trials: How many in all.
        folder: Where the study goes, in a folder of the task's name.
        sampler: One of `SAMPLERS`.
        eyes: What watches.

    Returns:
        The study and the TOML of its best trial.

    Raises:
        UsageError: All trials failed, or the model cannot be tuned.
        StoreError: The study there is another one, or cannot be read or written.
    """
    import_optuna()
    wanted = space(run, base)
    path = folder / run.task.name / f"{base.name}_tuned.json"
    fresh = _fresh(run, base, sampler)
    there = fresh if run.settings.force else _there(path, fresh)
    study = msgspec.structs.replace(there, trials=there.trials[:trials])
    if len(study.trials) < trials:
        _write(path, sealed.encode(sealed.seal(study)))  # what cannot be written fails now
        dataset = _load.load(run.task, run.settings.data)
        for number in range(len(study.trials), trials):
            drawn = _draw(wanted, study, number)
            seed = rng.TUNING + number
            trial_run = Run(run.task, base, run.budget, seed, run.settings)
            watcher = eyes.trial(trial_run, number)
            trial = _try(trial_run, dataset, Trial(number=number, seed=seed, drawn=drawn), watcher)
            study = msgspec.structs.replace(study, trials=(*study.trials, trial))
            _write(path, sealed.encode(sealed.seal(study)))
            eyes.said(study)
    best = study.best
    if best is None:
        raise UsageError(
            f"all {trials} trials of {base.name!r} failed, the first one with: "
            f"{study.trials[0].reason}"
        )
    written = path.with_suffix(".toml")
    _write(written, _toml(tuned(base, study), study).encode())
    return study, written


def tuned(base: ModelSpec, study: Study) -> ModelSpec:
    """Return a model with the values of a study's best trial."""
    best = study.best
    assert best is not None
    seeds = [trial.seed for trial in study.trials]
    return msgspec.structs.replace(
        _proposed(base, best.drawn),
        name=f"{base.name}_tuned",
        tuning=TuningSpec(
            task=study.task,
            task_digest=study.task_digest,
            budget=study.budget,
            sampler=study.sampler,
            trials=len(study.trials),
            failed=study.failed,
            seeds=(min(seeds), max(seeds)),
            metric=study.metric,
            score=_rounded(_score(best), 6),
            expected_best=study.expected_best,
        ),
    )


def import_optuna() -> Any:
    """Import Optuna, or say which extra brings it."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise MissingExtraError("Optuna, which tuning needs,", "tune") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _try(run: Run, dataset: Dataset, trial: Trial, watcher: Watcher) -> Trial:
    """Train with what was drawn; a recipe that cannot work is a failed trial."""
    started = time.perf_counter()

    def ended(score: float | None, reason: str = "") -> Trial:
        seconds = round(time.perf_counter() - started, 2)
        return msgspec.structs.replace(trial, score=score, reason=reason, seconds=seconds)

    try:
        model = sized(_proposed(run.model, trial.drawn), run.task)
        run = Run(run.task, model, run.budget, run.seed, run.settings)
        watcher.phase("train")
        built = make_model(run, dataset)
        validate = partial(validation_score, run=run, dataset=dataset)
        budget = run.task.budgets[run.budget]
        engine = Engine(memory=run.settings.memory)
        made = train(
            built, dataset.splits, model.recipe, budget, run.seed, validate, watcher, engine
        )
    except UsageError as error:
        return ended(None, str(error))
    if made.diverged:
        return ended(None, made.diverged)
    score = validation_score(built, run=run, dataset=dataset, limit=len(dataset.splits["val"]))
    if not math.isfinite(score):
        return ended(None, f"the validation score is {score}")
    higher = registry.load("metric", run.task.metrics.main).higher_is_better
    return ended(score if higher else -score)


def _draw(wanted: Mapping[str, RangeSpec], study: Study, number: int) -> dict[str, Any]:
    """Draw the values of one trial: a function of the trials before it and of its number."""
    optuna = import_optuna()
    seed = rng.stream_seed(rng.TUNING + number, "tuning", study.sampler) % 2**32
    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    kinds = {key: _distribution(optuna, one) for key, one in wanted.items()}
    asked = optuna.create_study(
        direction="maximize" if study.higher_is_better else "minimize",
        sampler=samplers[study.sampler](seed=seed),
    )
    for trial, score in zip(study.trials, study.scores, strict=True):
        asked.add_trial(
            optuna.trial.create_trial(value=score, params=trial.drawn, distributions=kinds)
        )
    drawn = asked.ask(kinds).params
    return {key: _kept(drawn[key], one) for key, one in wanted.items()}


def _distribution(optuna: Any, wanted: RangeSpec) -> Any:
    kinds = optuna.distributions
    if wanted.choices:
        return kinds.CategoricalDistribution(wanted.choices)
    return kinds.FloatDistribution(wanted.low, wanted.high, log=wanted.log)


def _kept(value: Any, wanted: RangeSpec) -> Any:
    """Round a drawn number, within its range."""
    if wanted.choices:
        return value
    assert wanted.low is not None
    assert wanted.high is not None
    return min(max(_rounded(value, DIGITS), wanted.low), wanted.high)


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _middle(wanted: RangeSpec) -> Any:
    return wanted.choices[0] if wanted.choices else wanted.low


def _proposed(base: ModelSpec, drawn: Mapping[str, Any]) -> ModelSpec:
    """Return a model with what was drawn in its place.

    Raises:
        SpecError: A value cannot stand where it was put.
    """
    content = _plain(base)
    for key, value in drawn.items():
        for path in _places(content, key):
            old = _at(content, path)
            new = value
            if base.search[key].scale:
                new = _rounded(old * value, DIGITS)
            if isinstance(old, int) and not isinstance(old, bool) and isinstance(new, float):
                new = round(new)
            _at(content, path[:-1])[path[-1]] = new
    return parse_model(content, f"[search] of the model {base.name!r}")


def _plain(base: ModelSpec) -> dict[str, Any]:
    """Return a model as tables and lists that can be written to."""
    content: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(base))
    return content


def _places(content: Any, key: str) -> list[list[str | int]]:
    """Return the places that a key of ``[search]`` names; a table may lack the last step.

    Raises:
        SpecError: It leads nowhere.
    """
    found: list[list[str | int]] = [[]]
    steps = key.split(".")
    for k, step in enumerate(steps):
        longer: list[list[str | int]] = []
        for path in found:
            node = _at(content, path)
            if isinstance(node, list):
                if step != "*" and not (step.isdigit() and int(step) < len(node)):
                    raise SpecError(
                        f"search.{key!r}: {step!r} is no element: expected * or a number below "
                        f"{len(node)}"
                    )
                chosen = range(len(node)) if step == "*" else [int(step)]
                longer += [[*path, place] for place in chosen]
            elif isinstance(node, dict) and (step in node or k == len(steps) - 1):
                longer.append([*path, step])
            else:
                known = ", ".join(node) if isinstance(node, dict) else "nothing"
                raise SpecError(f"search.{key!r}: there is no {step!r}: known here: {known}")
        found = longer
    return found


def _at(content: Any, path: Sequence[str | int]) -> Any:
    """Return what stands at a place; None where nothing does yet."""
    for step in path:
        content = content.get(step) if isinstance(content, dict) else content[step]
    return content


def _score(trial: Trial) -> float:
    assert trial.score is not None
    return trial.score


def _fresh(run: Run, base: ModelSpec, sampler: str) -> Study:
    """Return the study without a trial."""
    main = run.task.metrics.main
    level = run.task.levels.get(main)
    task_digest = run.task.digest(run.budget)
    return Study(
        identity=digest(
            {
                "task": task_digest,
                "model": base.digest(),
                "search": base.search,
                "sampler": sampler,
                "metric": main,
                "parameters": run.task.parameters if base.matched else 0,
                "plugins": run.plugins,
                "source": _load.source_digest(run.task, run.settings.data),
                "device": run.device,
                "precision": precision(run.device),
            }
        ),
        task=run.task.name,
        task_digest=task_digest,
        budget=run.budget,
        model=base.name,
        metric=main,
        higher_is_better=registry.load("metric", main).higher_is_better,
        floor=level.floor if level is not None else None,
        sampler=sampler,
    )


def read(path: Path) -> Study:
    """Read a study.

    Raises:
        StoreError: It cannot be read, is damaged or from a newer mmbench.
    """
    return sealed.read(path, Study, SCHEMA, "--force begins anew")


def _there(path: Path, fresh: Study) -> Study:
    """Return the study that is there, if it is this one."""
    if not path.exists():
        return fresh
    found = read(path)
    if found.identity != fresh.identity:
        what = "its recipe, search, budget, task or device is another"
        raise StoreError(
            f"{path}: holds another study ({what}): --force begins anew, --out names another folder"
        )
    return found


def _write(path: Path, content: bytes) -> None:
    try:
        sealed.put(path, content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None


def _toml(model: ModelSpec, study: Study) -> str:
    import tomli_w

    head = (
        f"# {study.model}, tuned on {study.task} (budget {study.budget}): the best of "
        f"{len(study.trials)} trials on\n# validation items. Written by 'mmbench tune'; the .json "
        f"beside holds every trial.\n"
    )
    return head + tomli_w.dumps(essential(model))
