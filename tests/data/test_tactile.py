"""Tactile: what touch, form and odour show can be read off them, and what is best is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import _load, tactile
from mmbench.data._contract import Request
from mmbench.data.interactions.sequences import directions
from mmbench.data.tactile import law as laws
from mmbench.data.tactile import senses
from mmbench.data.tactile.law import CLASSES, DEGREES, MODALITIES, VALUES, Law
from mmbench.errors import SpecError, UsageError
from mmbench.scoring import score
from mmbench.types import Dataset, Ragged, Split

Make: TypeAlias = Callable[..., Dataset]
SPLITS = {"train": 60, "val": 20, "test": 400}
SETS = [frozenset(heard) for size in range(4) for heard in combinations(MODALITIES, size)]
ALL = frozenset(MODALITIES)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    cache = tmp_path_factory.mktemp("cache")

    def made(sizes: dict[str, int] | None = None, **params: Any) -> Dataset:
        return tactile.build(Request("task", 1, 5, params, sizes or SPLITS, None, cache))

    return made


def states(split: Split) -> np.ndarray:
    return np.asarray(split.references["material"].states)  # type: ignore[attr-defined]


def points_of(split: Split) -> list[np.ndarray]:
    told = split.inputs["form"]
    assert isinstance(told, Ragged)
    rows = zip(told.values, told.lengths, strict=True)
    return [np.asarray(row[:length], dtype=float) for row, length in rows]


# --- the dataset as the contract wants it --------------------------------------------------------


def test_shapes_and_outputs_are_those_that_were_promised(make: Make) -> None:
    assert registry.load("dataset", "tactile") is tactile.build
    dataset = make()
    told = dataset.signature.modalities
    assert {n: m.kind for n, m in told.items()} == {
        "touch": "sequence", "form": "points", "odour": "vector",
    }  # fmt: skip
    for name, size in SPLITS.items():
        split = dataset.splits[name]
        assert len(split) == len(set(split.ids)) == size
        for modality in MODALITIES:
            given = split.inputs[modality]
            values = given.values if isinstance(given, Ragged) else given
            assert values.shape == (size, *told[modality].shape)
            assert values.dtype == np.float32
        form = split.inputs["form"]
        assert isinstance(form, Ragged)
        beyond = np.arange(senses.POINTS) >= np.asarray(form.lengths)[:, None]
        assert not np.asarray(form.values)[beyond].any()
        assert 40 <= form.lengths.min() <= form.lengths.max() <= 64
        error = split.targets["hardness"] - DEGREES[states(split)[:, 0]]
        assert np.abs(error).max() <= 15
        np.testing.assert_array_equal(error, np.rint(error))
        part = split.take(np.array([3, 1]))
        np.testing.assert_array_equal(states(part), states(split)[[3, 1]])
    output = dataset.signature.outputs["hardness"]
    train = make({"train": 4000}).splits["train"].targets["hardness"]
    assert (output.offset, output.scale) == (pytest.approx(45.0), pytest.approx(24.9199, abs=1e-3))
    assert output.offset == pytest.approx(float(train.mean()), abs=1.5)
    assert output.scale == pytest.approx(float(train.std()), abs=1.0)


#: SHA-256 over all arrays of the splits above; a change here needs a new VERSION.
BYTES = "c07321b7d2fbc78510aef3165675c22340b3bb6af7ad9a55af41559dfa65c8b2"


def test_bytes_are_pinned(make: Make) -> None:
    total = hashlib.sha256()
    for split in make().splits.values():
        for array in (*split.inputs.values(), *split.targets.values()):
            parts = (array.values, array.lengths) if isinstance(array, Ragged) else (array,)
            for part in parts:
                total.update(np.ascontiguousarray(part).tobytes())
    assert total.hexdigest() == BYTES


def test_no_item_is_there_twice_and_the_first_ones_do_not_depend_on_how_many(make: Make) -> None:
    dataset = make()
    for name in MODALITIES:
        items = []
        for split in dataset.splits.values():
            given = split.inputs[name]
            items += [v.tobytes() for v in (given.values if isinstance(given, Ragged) else given)]
        assert len(set(items)) == len(items)
    fewer = make({"test": 30}).splits["test"]
    part = dataset.splits["test"].take(np.arange(30))
    for name in ("touch", "odour"):
        np.testing.assert_array_equal(np.asarray(fewer.inputs[name]), np.asarray(part.inputs[name]))
    for one, other in zip(points_of(fewer), points_of(part), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"interaction": 0.2}, "interaction"),
        ({"noise": -1.0}, "noise"),
        ({"noise": 2.0}, "noise"),
        ({"nois": 1.0}, "did you mean 'noise'"),
    ],
)
def test_wrong_parameters_are_one_line_that_names_the_key(
    make: Make, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        make(**params)
    assert message in str(caught.value)
    assert "tasks/task.toml: dataset.params" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="this mmbench makes tactile 1; write version = 1"):
        tactile.build(Request("mine", 2, 5, {}, SPLITS, None, tmp_path))


# --- what is shown can be read off ---------------------------------------------------------------


def test_the_force_can_be_read_off_the_taxels(make: Make) -> None:
    split = make().splits["test"]
    # Of a press the squares over taxels add up to the force's own, whoever feels it when.
    pressed = np.asarray(split.inputs["touch"], dtype=float)
    power = (pressed**2).sum(axis=(1, 2)) - 0.06**2 * senses.STEPS * senses.TAXELS
    time = np.arange(senses.STEPS)
    press = np.array([
        (np.where((t > 0) & (t < 1), np.sin(np.pi * t) ** 2, 0) ** 2).sum()
        for t in ((time - begin) / (senses.STEPS - 4) for begin in np.linspace(0, 4, 50))
    ])  # fmt: skip
    assert press.std() / press.mean() < 1e-3, "when it begins says nothing"
    found = np.rint((np.sqrt(np.maximum(power, 0) / press.mean()) - 0.5) / 0.25)
    true = laws.force(states(split)[:, 0], states(split)[:, 2])
    assert (found == true).mean() > 0.99


def test_form_and_size_can_be_read_off_the_points(make: Make) -> None:
    split = make().splits["test"]
    right = []
    for points, state in zip(points_of(split), states(split), strict=True):
        squares = (points**2).sum(axis=1)
        size = np.abs(np.sqrt(squares.mean()) - np.array([0.7, 1.0, 1.4])).argmin()
        spread = np.linalg.eigvalsh(points.T @ points / len(points)) / squares.mean()
        round_ = np.sqrt(squares).std() / np.sqrt(squares.mean())
        if spread[2] > 0.8:
            form = 3  # a rod: one direction
        elif spread[0] < 0.06:
            form = 1  # a ring: two
        else:
            form = 0 if round_ < 0.09 else 2
        right.append((form == state[1], size == state[2]))
    assert np.mean(right, axis=0).min() > 0.99


def test_points_come_in_no_order_and_turned_anyhow(make: Make) -> None:
    split = make().splits["test"]
    rods = [p for p, s in zip(points_of(split), states(split), strict=True) if s[1] == 3]
    steps = [np.linalg.norm(np.diff(p, axis=0), axis=1).mean() / np.abs(p).max() for p in rods]
    assert min(steps) > 0.3, "neighbours in the list are none on the rod"
    ends = np.array([p[np.abs(p).max(axis=1).argmax()] for p in rods])
    ends /= np.linalg.norm(ends, axis=1, keepdims=True)
    np.testing.assert_allclose(ends.T @ ends / len(ends), np.eye(3) / 3, atol=0.12)


def test_the_odour_can_be_read_off_the_receptors(make: Make) -> None:
    split = make().splits["test"]
    found = np.asarray(split.inputs["odour"]) @ directions(senses.RECEPTORS)[:, 1:5]
    np.testing.assert_array_equal(found.argmax(axis=1), states(split)[:, 3])


# --- the law -------------------------------------------------------------------------------------

PLAIN = Law(0.92)


def drawn(make: Make, items: int) -> Split:
    return make({"test": items}).splits["test"]


@pytest.mark.parametrize("heard", SETS, ids=lambda h: "+".join(sorted(h)) or "-")
def test_the_posterior_is_bayes_rule_written_out(heard: frozenset[str]) -> None:
    law = Law(0.8)
    soft = np.array([0.24, 0.22, 0.18, 0.14, 0.10, 0.06, 0.04, 0.02])

    def chance(label: int, e: int, form: int, odour: int) -> float:
        hard, kind = divmod(label, 2)
        first, second = divmod(odour, 2)
        smell = 0.75 if first == hard else 0.25
        smell *= 0.8 if second == (kind if form < 2 else 1 - kind) else 0.2
        return float((soft[::-1] if hard else soft)[e] * smell / 4 / 3)

    for state in ((0, 0, 0, 0), (3, 2, 1, 2), (7, 3, 2, 1), (4, 1, 0, 3)):
        material, degree = np.zeros(4), np.zeros(8)
        for label in range(4):
            for e, form, size, odour in np.ndindex(8, 4, 3, 4):
                if "touch" in heard and e + 2 * size != state[0] + 2 * state[2]:
                    continue
                if "form" in heard and (form, size) != state[1:3]:
                    continue
                if "odour" in heard and odour != state[3]:
                    continue
                material[label] += chance(label, e, form, odour)
                degree[e] += chance(label, e, form, odour)
        read = np.zeros(101)  # from -5 to 95, an even error of 15 at most
        for value in range(101):
            read[value] = sum(p for e, p in enumerate(degree) if abs(value - 5 - 10 * e - 10) <= 15)
        for output, table in (("material", material), ("hardness", read)):
            mine = laws.posterior(law, np.array([state]), heard, output)[0]
            np.testing.assert_allclose(mine, table / table.sum(), atol=1e-12)


def test_the_oracle_scores_what_limits_promise_and_nobody_late_can(make: Make) -> None:
    split = drawn(make, 4000)
    proven = tactile.bounds(split)
    assert all(len(table) == 7 for table in proven.values())
    for heard in SETS[1:]:
        said = tactile.oracle(split, heard)
        names = "+".join(name for name in MODALITIES if name in heard)
        scored = score(said, split.references, "material", ["accuracy", "bits"], ids=split.ids)
        for metric, got in scored.scores.items():
            room = 1e-9 + (0.0 if np.isnan(got.se) else 4.5 * got.se)  # of form, all alike
            assert abs(got.value - proven[metric][names]) < room, (metric, names)
        mae = score(said, split.references, "hardness", ["mae"], ids=split.ids).scores["mae"]
        room = 1e-9 + (0.0 if np.isnan(mae.se) else 4.5 * mae.se)
        assert abs(mae.value - proven["hardness.mae"][names]) < room, names
    for less, more in ((a, b) for a in SETS for b in SETS if a < b):
        few, many = (laws.limits(PLAIN, heard) for heard in (less, more))
        assert many["accuracy"] >= few["accuracy"] - 1e-12
        assert many["bits"] <= few["bits"] + 1e-12
        assert many["hardness.mae"] <= few["hardness.mae"] + 1e-12
    late, alone = laws.late_limits(PLAIN), [laws.limits(PLAIN, frozenset({m})) for m in MODALITIES]
    assert max(one["accuracy"] for one in alone) < late["accuracy"] < 0.45
    assert laws.limits(PLAIN, ALL)["accuracy"] > 0.7
    assert late["bits"] > laws.limits(PLAIN, ALL)["bits"] + 0.5


def test_no_sum_of_functions_beats_the_bound_on_late_fusion() -> None:
    """The best additive logits over the three modalities' values, found by descent."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    table = PLAIN.table
    cells = np.indices(table.shape).reshape(5, -1)
    label, weight = cells[0], table.ravel()
    keys = [laws.seen(cells[1:].T, frozenset({name})) for name in MODALITIES]
    sizes = [int(key.max()) + 1 for key in keys]
    starts = np.cumsum([0, *sizes])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        values = flat.reshape(-1, 4)
        logits = sum(values[start + key] for start, key in zip(starts, keys, strict=False))
        slope = softmax(logits, axis=1)
        slope[np.arange(len(label)), label] -= 1.0
        found = np.zeros_like(values)
        for start, key in zip(starts, keys, strict=False):
            np.add.at(found, start + key, weight[:, None] * slope)
        value = -(weight * log_softmax(logits, axis=1)[np.arange(len(label)), label]).sum()
        return float(value), found.ravel()

    start = np.random.default_rng(0).normal(size=4 * int(starts[-1]))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 400})
    bound, all_know = laws.late_limits(PLAIN)["nll"], laws.limits(PLAIN, ALL)["nll"]
    assert bound - 1e-6 <= found.fun < bound + 0.03
    assert all_know < bound - 0.3


def test_permuted_labels_are_chance(make: Make) -> None:
    split = drawn(make, 2000)
    chances = laws.posterior(PLAIN, states(split), ALL, "material")
    shuffled = np.roll(split.targets["material"], 3)
    assert (chances.argmax(axis=1) == shuffled).mean() == pytest.approx(0.25, abs=0.04)


def test_the_median_is_the_number_with_the_least_expected_distance() -> None:
    chances = np.random.default_rng(0).dirichlet(np.full(101, 0.2), size=200)
    mine = (chances * np.abs(VALUES - laws.median(chances)[:, None])).sum(axis=1)
    costs = chances @ np.abs(VALUES[:, None] - VALUES)
    np.testing.assert_allclose(mine, costs.min(axis=1))


def test_what_is_no_modality_or_another_dataset_is_refused(make: Make) -> None:
    split = make().splits["val"]
    with pytest.raises(UsageError, match="unknown modality 'smell': the data have touch, form"):
        tactile.oracle(split, frozenset({"smell"}))
    with pytest.raises(UsageError, match="not of the dataset 'tactile'"):
        tactile.bounds(Split(split.ids, split.inputs, {}, {}))


def test_levels_are_what_the_oracle_scores_and_leave_something_to_win() -> None:
    from mmbench import levels

    task = catalog.task("tactile")
    assert task.outputs["material"].classes == CLASSES
    found = levels.levels(task, _load.load(task))
    assert found == task.levels, "write them anew: python -m mmbench.levels tactile"
    accuracy = task.levels["accuracy"]
    assert accuracy.late_reference is not None
    assert max(accuracy.alone.values()) < accuracy.late_reference < accuracy.ceiling - 0.3
    hardness = task.levels["hardness.mae"]
    assert hardness.bound["touch+form"] == pytest.approx(240 / 31, abs=1e-4)  # the error's own
    assert min(hardness.alone.values()) > hardness.ceiling + 3
