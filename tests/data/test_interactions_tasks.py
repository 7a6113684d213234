"""The tasks of the interaction suite: their levels are what can be computed, and in order."""

from __future__ import annotations

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _load, interactions
from mmbench.data.interactions.information import DRAWS, lattice
from mmbench.data.interactions.references import law_of
from mmbench.data.interactions.structures import MODALITIES
from mmbench.scoring import score
from mmbench.spec import TaskSpec
from mmbench.types import Ragged

NAMES = (
    "redundant",
    "imbalanced",
    "unique",
    "synergy",
    "synergy3",
    "sentiment",
    "grounding",
    "shortcut",
)
#: Items that are simulated here; what stands in the TOMLs comes from 200,000.
FEW = {"grounding": 2000, "shortcut": 2000}


def scores(task: TaskSpec, heard: frozenset[str]) -> dict[str, float]:
    """Score the oracle on the test split, with all metrics of the task."""
    split = _load.load(task).splits["test"]
    said = interactions.oracle(split, heard)
    found: dict[str, float] = {}
    for name, output in task.outputs.items():
        names = task.metrics.names if output.main else output.metrics
        scored = score(said, split.references, name, names, ids=split.ids).scores
        found |= {n if output.main else f"{name}.{n}": s.value for n, s in scored.items()}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_item_stands_twice_in_a_split_or_in_two(name: str) -> None:
    dataset = _load.load(catalog.task(name))
    seen: set[bytes] = set()
    items = 0
    for split in (dataset.splits[n] for n in ("train", "val", "test")):
        assert len(set(split.ids)) == len(split)
        for modality in MODALITIES:
            values = split.inputs[modality]
            array = np.asarray(values.values if isinstance(values, Ragged) else values)
            seen.update(one.tobytes() for one in array)
            items += len(array)
    assert len(seen) == items


@pytest.mark.parametrize("name", NAMES)
def test_levels_are_the_scores_of_the_oracle(name: str) -> None:
    task = catalog.task(name)
    assert set(task.levels) == set(task.metric_names)
    ceiling, floor = scores(task, frozenset(MODALITIES)), scores(task, frozenset())
    text = scores(task, frozenset({"text"}))
    for metric, level in task.levels.items():
        assert level.ceiling == pytest.approx(ceiling[metric], abs=1e-4)
        assert level.floor == pytest.approx(floor[metric], abs=1e-4)
        assert level.alone["text"] == pytest.approx(text[metric], abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_bounds_are_those_of_the_law_and_the_oracle_keeps_to_them(name: str) -> None:
    task = catalog.task(name)
    split = _load.load(task).splits["test"]
    draws = FEW.get(name, 12_000)
    known = lattice(law_of(split), draws)
    for metric, table in interactions.bounds(split, draws).items():
        if metric not in task.levels:
            continue
        figure = metric.removeprefix("intensity.").split("_")[0]
        level = task.levels[metric]
        for names, bound in table.items():
            se = known[frozenset(names.split("+"))][figure].se
            # Both are moved to the safe side, each by its own three standard errors.
            assert level.bound[names] == pytest.approx(bound, abs=8 * se + 1e-4), (metric, names)
        assert len(level.bound) == 7
        error = known[frozenset(MODALITIES)][figure].se * (draws / len(split)) ** 0.5
        top = level.bound["text+vision+audio"]
        assert abs(level.ceiling - top) < 5 * max(error, 0.01)


@pytest.mark.parametrize(
    ("name", "bits", "accuracy"),
    [
        ("synergy", 2.0, 0.25),
        ("synergy3", 2.0, 0.25),
        ("grounding", 2.0, 0.25),
        ("sentiment", 2.0 - 1.18872, 0.75),
        ("shortcut", 2.0 - 0.67601, 17 / 32),
    ],
)
def test_late_fusion_is_bounded_where_it_has_to_fail(
    name: str, bits: float, accuracy: float
) -> None:
    levels = catalog.task(name).levels
    assert levels["bits"].late == pytest.approx(bits, abs=1e-4)
    assert levels["nll"].late == pytest.approx(bits * 0.693147, abs=1e-4)
    assert levels["accuracy"].late_reference == pytest.approx(accuracy, abs=1e-4)
    assert levels["bits"].ceiling < bits - 0.5, "fusion has something to win"


@pytest.mark.parametrize("name", ["redundant", "imbalanced", "unique"])
def test_late_fusion_is_bounded_by_what_all_know_elsewhere(name: str) -> None:
    levels = catalog.task(name).levels
    assert levels["bits"].late == levels["bits"].bound["text+vision+audio"]
    assert levels["accuracy"].late_reference == pytest.approx(levels["accuracy"].ceiling, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_bounds_in_the_tomls_are_those_that_are_computed(name: str) -> None:
    task = catalog.task(name)
    split = _load.load(task).splits["test"]
    found = interactions.bounds(split, DRAWS)
    for metric, level in task.levels.items():
        assert level.bound == {k: round(v, 4) for k, v in sorted(found.get(metric, {}).items())}
    late, reference = interactions.late_bounds(split), interactions.late_references(split)
    for metric, level in task.levels.items():
        assert level.late == (round(late[metric], 4) if metric in late else None)
        told = round(reference[metric], 4) if metric in reference else None
        assert level.late_reference == told


def test_the_further_splits_of_redundant_are_harder_and_known() -> None:
    dataset = _load.load(catalog.task("redundant"))
    everything = frozenset(MODALITIES)
    found = {}
    for name, split in dataset.splits.items():
        chances = interactions.posterior(split, everything)
        found[name] = float(chances.max(axis=1).mean())
        hits = float((chances.argmax(axis=1) == split.targets["label"]).mean())
        assert hits == pytest.approx(found[name], abs=0.045)
    assert max(found, key=found.__getitem__) in ("train", "val", "test")
    assert found["conflict"] < found["missing"] < found["noisy_text"] < found["test"] - 0.05
    assert found["noisy_text"] < found["noisy_vision"] < found["noisy_audio"]
