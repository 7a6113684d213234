"""Training a record's run once more, and saying how far the two agree and what differed.

The run is made from the record's own definition, in a folder that is thrown away. The same code on
the same kind of machine gives the same bits. Elsewhere the last digits differ, training carries
them further, and what can be asked is whether the scores agree within what items leave open: each
within so many standard errors of the record's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmbench import paired, store
from mmbench.admission import line
from mmbench.data import _load
from mmbench.errors import MmbenchError, StoreError
from mmbench.record_checks import NOTE, OK, Check
from mmbench.run import Run, Settings, Watcher, execute, import_torch
from mmbench.spec import ModelSpec, TaskSpec
from mmbench.store import Items, Stored
from mmbench.together import execute_together
from mmbench.trust import FAILED, REPRODUCED
from mmbench.verify import Verdict

#: Standard errors of a record's score within which that of a rerun agrees with it. Both models are
#: tested on the same items, so two that learned alike differ by less; seeds differ by more.
TOLERANCE = 2.0
#: What of the environment can change bits.
_PLACES = ("mmbench", "commit", "python", "platform", "cpu", "device", "threads")


def plan(
    verdicts: Sequence[Verdict], minutes: float | None = None, data: Path | None = None
) -> tuple[list[Verdict], dict[int, Run]]:
    """Choose what is trained again.

    Args:
        verdicts: What was found without training.
        minutes: As long as the records' own times add up to at most so many; None: all.
        data: Folder of the user's data.

    Returns:
        The verdicts, in which those that are not trained again say why; and their place -> run.
    """
    found, chosen, spent = list(verdicts), {}, 0.0
    for place, verdict in enumerate(verdicts):
        if verdict.stored is None:
            continue
        why = _hindrance(verdict)
        lasts = seconds([verdict])
        if not why and minutes is not None and spent + lasts > 60 * minutes:
            why = f"it took {lasts:.0f} s, which is beyond --limit-minutes {minutes:g}"
        try:
            if not why:
                chosen[place] = run_of(verdict.stored, data)
                spent += lasts
        except MmbenchError as error:
            why = line(str(error))
        if why:
            found[place] = verdict.with_check(Check("rerun", NOTE, f"not trained again: {why}"))
    return found, chosen


def run_of(stored: Stored, data: Path | None = None) -> Run:
    """Return the run that a record is of, on the device that there is.

    Raises:
        StoreError: Its definition is none of a run, or the data are others now.
    """
    record = stored.record
    try:
        task = msgspec.convert(record.definition["task"], TaskSpec)
        model = msgspec.convert(record.definition["model"], ModelSpec)
    except (KeyError, msgspec.ValidationError) as error:
        raise StoreError(
            f"{record.name}: its definition is of no run: {line(str(error))}"
        ) from None
    device = "cpu"
    if record.provenance.get("device") != "cpu" and import_torch().cuda.is_available():
        device = "cuda"
    modes = str(record.definition.get("execution", "single")).split(", ")
    named = dict.fromkeys(name for scores in record.scores.values() for name in scores)
    metrics = [name for name in named if name not in task.metric_names and _known(name)]
    settings = Settings(
        data=data,
        device=device,
        threads=record.provenance.get("threads"),
        limit=record.definition.get("limit"),
        metrics=tuple(metrics),
        compiled="compiled" in modes,
        deterministic="deterministic" in modes,
        batch_seeds="batched seeds" in modes,
    )
    return Run(task, model, record.budget, record.seed, settings)


def _hindrance(verdict: Verdict) -> str:
    """Say why a record cannot be trained again; nothing where it can be tried."""
    assert verdict.stored is not None
    if "external" in verdict.stored.record.definition.get("model", {}):
        return "its predictions were made elsewhere"
    if any(c.name in ("task", "identity") and c.outcome == FAILED for c in verdict.checks):
        return "it is not what its definition says"
    return ""


def rerun(verdict: Verdict, run: Run, watcher: Watcher, tolerance: float = TOLERANCE) -> Verdict:
    """Train a record's run once more and add what came of it to its verdict.

    What stands in the way of training is a note, no failure: nothing was shown.

    Args:
        verdict: Of the record.
        run: As `run_of` returns it.
        watcher: Watches the training.
        tolerance: Standard errors of the record's scores within which scores agree.
    """
    stored = verdict.stored
    assert stored is not None
    try:
        dataset = _load.load(run.task, run.settings.data)
        if dataset.fingerprint != stored.record.data.get("fingerprint"):
            raise StoreError("the record was trained on other data than there are now")
        with tempfile.TemporaryDirectory(prefix="mmbench-verify-") as folder:
            settings = replace(run.settings, results=Path(folder))
            again = _again(replace(run, settings=settings), watcher)
            check = compared(stored, again, tolerance)
            differs = environment(stored.record.provenance, again.record.provenance)
    except MmbenchError as error:
        return verdict.with_check(Check("rerun", NOTE, f"not trained again: {line(str(error))}"))
    if check.outcome != OK or not check.said.startswith(_BITS):
        told = ", ".join(differs) or "nothing that a record keeps"
        check = replace(check, said=f"{check.said}; what differs in the environment: {told}")
    return verdict.with_check(check, REPRODUCED, rerun=True, environment=tuple(differs))


def _again(run: Run, watcher: Watcher) -> Stored:
    """Train a run; a seed of a batch as a batch of one, which gives what a batch of many does."""
    return (
        execute_together([run], watcher)[0] if run.settings.batch_seeds else execute(run, watcher)
    )


_BITS = "the same bits"


def compared(stored: Stored, again: Stored, tolerance: float) -> Check:
    """Say how far a record and its rerun agree: in all bits, in scores, or not.

    Raises:
        StoreError: Item statistics are damaged.
    """
    old, new = stored.record, again.record
    if old.status == "diverged" or new.status == "diverged":
        if old.status == new.status:
            same = old.reason == new.reason
            return Check("rerun", OK, f"{_BITS * same or 'diverged again'}: {new.reason}")
        told = "diverged, the record did not" if new.status == "diverged" else "did not diverge"
        return Check("rerun", FAILED, f"nothing agrees: the rerun {told}")
    before, now = store.read_items(stored), store.read_items(again)
    files = {
        "predictions": _same_predictions(stored, again),
        "weights": _same_file(stored, again, store.WEIGHTS),
    }
    if _same_items(before, now) and False not in files.values():
        equal = ["item statistics", *(name for name, same in files.items() if same)]
        return Check("rerun", OK, f"{_BITS}: {', '.join(equal)}")
    others = [name for name, same in files.items() if same is False]
    return _agreement(stored, again, others, tolerance)


def _agreement(stored: Stored, again: Stored, others: Sequence[str], tolerance: float) -> Check:
    """Hold scores against each other, in standard errors of the record's own."""
    apart: list[tuple[float, str]] = []
    for split, scores in stored.record.scores.items():
        for metric, got in scores.items():
            new = again.record.scores.get(split, {}).get(metric)
            if new is None or new.signature != got.signature:
                continue
            if got.value is None or new.value is None:
                continue
            # Where all items are alike there is no error: then one item may come out otherwise.
            unit = got.se or 1 / max(got.n, 1)
            told = f"{metric} on {split}, {new.value:.4g} for {got.value:.4g}"
            apart.append((abs(new.value - got.value) / unit, told))
    if not apart:
        return Check("rerun", NOTE, "no score can be held against the record's")
    worst, told = max(apart)
    beyond = sum(share > tolerance for share, _ in apart)
    within = f"{tolerance:g} standard errors"
    if beyond:
        said = f"{beyond} of {len(apart)} scores differ by more than {within}"
        return Check("rerun", FAILED, f"nothing agrees: {said} (most, by {worst:.1f}: {told})")
    said = f"scores agree within {within}" if worst else "scores are equal"
    said += f" (most apart, by {worst:.2g}: {told})" if worst else ""
    return Check("rerun", OK, said + f"; {' and '.join(others)} differ" * bool(others))


def environment(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name what differs between where a record was made and here: ``torch 2.6.0 -> 2.7.1``."""
    pairs = [(key, before.get(key), now.get(key)) for key in _PLACES]
    packages = [one.get("packages", {}) for one in (before, now)]
    pairs += [(k, *(of.get(k) for of in packages)) for k in sorted({*packages[0], *packages[1]})]
    plugins = [one.get("plugins", {}) for one in (before, now)]
    pairs += [(k, *(of.get(k) for of in plugins)) for k in sorted({*plugins[0], *plugins[1]})]
    return [
        f"{key} {_shown(key, old)} -> {_shown(key, new)}" for key, old, new in pairs if old != new
    ]


def _shown(key: str, value: object) -> str:
    text = str(value) if value not in (None, "") else "none"
    if key == "commit":
        head, plus, changed = text.partition("+")
        return head[:8] + plus + changed
    return text


def _known(metric: str) -> bool:
    try:
        return bool(paired.signature(metric))
    except MmbenchError:
        return False


def _same_items(before: Mapping[str, Items], now: Mapping[str, Items]) -> bool:
    """Whether what both hold is equal in all bits; a metric that is not known now is not held."""
    if before.keys() != now.keys():
        return False
    for split, one in before.items():
        other = now[split]
        shared = one.families.keys() & other.families.keys()
        if (one.ids, one.clusters) != (other.ids, other.clusters) or not shared:
            return False
        for family in shared:
            (names, rows), (others, new) = one.families[family], other.families[family]
            if names != others or not np.array_equal(rows, new):
                return False
    return True


def _same_file(stored: Stored, again: Stored, name: str) -> bool | None:
    """Whether a file is the same; None where the record was stored without one."""
    digest = stored.record.files.get(name)
    return None if digest is None else digest == again.record.files.get(name)


def _same_predictions(stored: Stored, again: Stored) -> bool | None:
    """Whether the predictions are the same; another pyarrow may lay them out otherwise."""
    if _same_file(stored, again, store.PREDICTIONS):
        return True
    if not (stored.folder / store.PREDICTIONS).exists():
        packages = [one.record.provenance.get("packages", {}) for one in (stored, again)]
        same_writer = packages[0].get("pyarrow") == packages[1].get("pyarrow")
        listed = store.PREDICTIONS in stored.record.files
        return False if listed and same_writer else None
    both = [_predicted(one) for one in (stored, again)]
    return both[0] == both[1]


def _predicted(stored: Stored) -> dict[str, dict[str, Any]]:
    told = {split: store.read_predictions(stored, split) for split in stored.record.scores}
    return {
        split: {n: v.tobytes() if hasattr(v, "tobytes") else v for n, v in columns.items()}
        for split, columns in told.items()
    }


def seconds(verdicts: Iterable[Verdict]) -> float:
    """Return how long the records took to train and test where they were made."""
    found = 0.0
    for verdict in verdicts:
        cost = verdict.stored.record.cost if verdict.stored is not None else {}
        found += float(cost.get("train_seconds", 0.0)) + float(cost.get("test_seconds", 0.0))
    return found
