"""Recognition: what is planted is in the pixels and the record, and what is best is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from scipy.optimize import minimize

from mmbench import catalog, registry
from mmbench.data import _finite, _load, recognition
from mmbench.data._contract import Request
from mmbench.data.recognition import law as laws
from mmbench.data.recognition import record
from mmbench.data.recognition.law import FIELDS, MISSING, SIGNS, SITES, STATES, Law
from mmbench.errors import SpecError, UsageError
from mmbench.scoring import score
from mmbench.text import SPECIALS
from mmbench.types import Dataset, Ragged, Split

Make: TypeAlias = Callable[..., Dataset]
SPLITS = {"train": 60, "val": 20, "test": 120}
BOTH = frozenset({"image", "record"})


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    cache = tmp_path_factory.mktemp("cache")

    def made(sizes: dict[str, int] | None = None, **params: Any) -> Dataset:
        return recognition.build(Request("task", 1, 5, params, sizes or SPLITS, None, cache))

    return made


def states(split: Split) -> np.ndarray:
    return np.asarray(split.references["label"].states)  # type: ignore[attr-defined]


# --- the dataset as the contract wants it --------------------------------------------------------


@pytest.mark.parametrize("kind", ["table", "report"])
def test_shapes_are_those_that_were_promised(make: Make, kind: str) -> None:
    assert registry.load("dataset", "recognition") is recognition.build
    dataset = make(record=kind)
    name = "record" if kind == "table" else "report"
    assert list(dataset.signature.modalities) == ["image", name]
    for split_name, size in SPLITS.items():
        split = dataset.splits[split_name]
        assert len(split) == len(set(split.ids)) == size
        assert np.asarray(split.inputs["image"]).shape == (size, 3, 32, 32)
        told = split.inputs[name]
        shape = (told.values if isinstance(told, Ragged) else told).shape
        assert shape == (size, *dataset.signature.modalities[name].shape)
        assert split.references["label"].labels.tolist() == split.targets["label"].tolist()  # type: ignore[attr-defined]
        part = split.take(np.array([3, 1]))
        np.testing.assert_array_equal(states(part), states(split)[[3, 1]])


#: SHA-256 over all arrays of the splits above; a change here needs a new VERSION.
BYTES = {
    "table": "68b586960f130824a904eafe8ec2bb8a6f13707fb0787964a5080c4915e5c062",
    "report": "e1ea68c60721b61831cd310ab65b8a71f4c417fc2d517af16fc75d7aab8a7334",
}


@pytest.mark.parametrize("kind", BYTES)
def test_bytes_are_pinned(make: Make, kind: str) -> None:
    total = hashlib.sha256()
    for split in make(record=kind).splits.values():
        for array in (*split.inputs.values(), *split.targets.values()):
            parts = (array.values, array.lengths) if isinstance(array, Ragged) else (array,)
            for part in parts:
                total.update(np.ascontiguousarray(part).tobytes())
    assert total.hexdigest() == BYTES[kind]


def test_no_item_is_there_twice_and_the_first_ones_do_not_depend_on_how_many(make: Make) -> None:
    dataset = make()
    pictures = [p.tobytes() for s in dataset.splits.values() for p in np.asarray(s.inputs["image"])]
    assert len(set(pictures)) == len(pictures)
    fewer = make({"test": 30})
    for name in ("image", "record"):
        np.testing.assert_array_equal(
            np.asarray(fewer.splits["test"].inputs[name]),
            np.asarray(dataset.splits["test"].inputs[name])[:30],
        )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"record": "tabel"}, "record: 'tabel' is none of its values"),
        ({"prevalence": 0.0}, "prevalence"),
        ({"missing": -0.1}, "missing"),
        ({"missing": 1.0}, "missing"),
        ({"interaction": 0.4}, "interaction"),
        ({"noise": -1}, "noise"),
        ({"nois": 1}, "did you mean 'noise'"),
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
    with pytest.raises(SpecError, match="this mmbench makes recognition 1; write version = 1"):
        recognition.build(Request("mine", 2, 5, {}, SPLITS, None, tmp_path))


# --- what is shown can be read off ---------------------------------------------------------------


def read_picture(pixels: np.ndarray) -> tuple[int, int, int]:
    """Read border, size and texture off a picture."""
    frame = np.concatenate([pixels[:, :2].reshape(3, -1), pixels[:, -2:].reshape(3, -1)], axis=1)
    dark = (np.median(frame, axis=1)[:, None, None] - pixels.astype(float)).mean(axis=0)
    inside = dark > np.percentile(dark, 97) / 2
    inside = dark > np.median(dark[inside]) / 2
    y, x = np.nonzero(inside)
    x, y = x - x.mean(), y - y.mean()
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    size = np.abs(np.sqrt(len(x) / np.pi) - np.array([4.5, 6.0, 7.5, 9.0])).argmin()
    lobes = np.abs((radius**2 * np.exp(5j * angle)).sum()) / (radius**2).sum()
    # ``2 a``, a the lobes' reach, less what the fourth power of a rugged edge adds below.
    reach = np.array([0.0, 0.13, 0.26, 0.39])
    expected = (2 * reach + 1.5 * reach**3) / (1 + 3 * reach**2 + 0.375 * reach**4)
    core = radius < 0.55 * np.sqrt(len(x) / np.pi)
    spread = dark[inside][core].std()
    return int(np.abs(lobes - expected).argmin()), int(size), int(spread > 7.5)


def test_signs_can_be_read_off_the_pixels(make: Make) -> None:
    split = make({"test": 1000}).splits["test"]
    found = np.array([read_picture(p) for p in np.asarray(split.inputs["image"])])
    right = (found == states(split)[:, : len(SIGNS)]).mean(axis=0)
    assert right.min() >= 0.99, dict(zip(SIGNS, right, strict=True))


def test_fields_can_be_read_off_a_row(make: Make) -> None:
    split = make().splits["test"]
    rows, true = np.asarray(split.inputs["record"], dtype=float), states(split)[:, len(SIGNS) :]
    gone = rows[:, -len(FIELDS) :] == 1
    np.testing.assert_array_equal(gone, true == MISSING)
    numbers = np.rint(rows[:, :3] * [16, 5, 5] + [34.5, 11.5, 11.5])
    site = np.where(gone[:, 3], MISSING, rows[:, 3 : 3 + len(SITES)].argmax(axis=1))
    found = np.column_stack([np.where(gone[:, :3], MISSING, numbers), site])
    np.testing.assert_array_equal(found, true)
    assert not rows[:, :3][gone[:, :3]].any()
    assert not rows[:, 3 : 3 + len(SITES)][gone[:, 3]].any()


def test_bands_can_be_read_off_a_report(make: Make) -> None:
    split = make(record="report").splits["test"]
    told = split.inputs["report"]
    assert isinstance(told, Ragged)
    words, true = record.vocabulary(), states(split)
    every = {w: i for i, group in enumerate(record.LEVEL_WORDS) for w in group}
    places = {w: i for i, group in enumerate(record.SITE_WORDS) for w in group}
    for row, length, state in zip(told.values, told.lengths, true, strict=True):
        text = [words[i] for i in row[:length]]
        assert not set(text) & set(SPECIALS)
        found = dict.fromkeys(FIELDS, MISSING)
        for at, word in enumerate(text):
            if word in record.DECADES:
                found["age"] = record.DECADES.index(word)
            elif word in places:
                found["site"] = places[word]
            elif word in ("s100", "ldh") and text[at + 1] != "not":
                found[word] = every[text[at + 2] if text[at + 1] == "is" else text[at + 1]]
        for name in FIELDS:
            value = state[STATES.index(name)]
            if name != "site" and value != MISSING:
                value = laws.banded(name, value)
            assert found[name] == value, (" ".join(text), name)


# --- the law -------------------------------------------------------------------------------------

PLAIN = Law(0.4, 0.9, 0.15, report=False)


def drawn(law: Law, items: int) -> tuple[np.ndarray, np.ndarray]:
    return recognition._draw(3, "test", items, law)


@pytest.mark.parametrize("report", [False, True])
def test_the_posterior_is_bayes_rule_written_out(report: bool) -> None:
    law = Law(0.3, 0.8, 0.4, report)
    _, items = drawn(law, 40)
    border, size = laws.signs()

    def number(label: int, name: str, value: int) -> float:
        table = laws.numbers(name)[label]
        if value == MISSING:
            return 1.0
        if not report:
            return float(table[value])
        band = laws.banded(name, np.array(value))
        return float(sum(p for v, p in enumerate(table) if laws.banded(name, np.array(v)) == band))

    def image_and_site(label: int, texture: int | None, site: int | None) -> float:
        """Sum over whatever is not seen."""
        total = 0.0
        for s in range(4):
            for t in range(2):
                if site not in (None, MISSING, s) or texture not in (None, t):
                    continue
                means = t if s < 2 else 1 - t
                total += 0.25 * (0.8 if means == label else 0.2)
        return total

    for state in items:
        b, z, t, age, s100, ldh, site = (int(v) for v in state)
        for heard in (frozenset[str](), frozenset({"image"}), frozenset({"record"}), BOTH):
            chances = np.array([0.7, 0.3])
            for label in range(2):
                if "image" in heard:
                    chances[label] *= border[label, b] * size[label, z]
                if "record" in heard:
                    for name, value in (("age", age), ("s100", s100), ("ldh", ldh)):
                        chances[label] *= number(label, name, value)
                chances[label] *= image_and_site(
                    label, t if "image" in heard else None, site if "record" in heard else None
                )
            mine = laws.posterior(law, state[None], heard)[0]
            np.testing.assert_allclose(mine, chances / chances.sum(), rtol=1e-9)


@pytest.mark.parametrize("report", [False, True])
def test_the_posterior_promises_what_happens_and_limits_are_its_mean(report: bool) -> None:
    law = Law(0.4, 0.9, 0.15, report)
    labels, items = drawn(law, 20_000)
    for heard in (frozenset({"image"}), frozenset({"record"}), BOTH):
        chances = laws.posterior(law, items, heard)
        own = chances[np.arange(len(items)), labels]
        loss, hits = -np.log2(own), chances.argmax(axis=1) == labels
        promised = -(chances * np.log2(chances)).sum(axis=1)
        assert abs((loss - promised).mean()) < 4.5 * (loss - promised).std() / 20_000**0.5
        if not report and heard != frozenset({"image"}):
            continue  # the exact sum over a million rows is left to the levels
        limits = laws.limits(law, heard)
        assert abs(loss.mean() - limits["bits"]) < 4.5 * loss.std() / 20_000**0.5
        assert abs(hits.mean() - limits["accuracy"]) < 4.5 * 0.5 / 20_000**0.5
        positive, negative = chances[labels == 1, 1], chances[labels == 0, 1]
        ranks = np.searchsorted(np.sort(negative), positive, side="left")
        ties = np.searchsorted(np.sort(negative), positive, side="right") - ranks
        area = float((ranks + ties / 2).mean() / len(negative))
        assert area == pytest.approx(limits["auroc"], abs=0.015)


def test_texture_and_site_say_nothing_alone() -> None:
    labels, items = drawn(PLAIN, 20_000)
    column = dict(zip(STATES, items.T, strict=True))
    assert abs(np.corrcoef(column["texture"], labels)[0, 1]) < 0.03
    assert abs(np.corrcoef(column["site"] >= 2, labels)[0, 1]) < 0.03
    known = column["site"] != MISSING
    means = laws.meant(column["texture"], column["site"])
    assert (means == labels)[known].mean() == pytest.approx(0.9, abs=0.015)
    assert (~known).mean() == pytest.approx(0.15, abs=0.015)


def test_no_sum_of_functions_beats_the_bound_on_late_fusion() -> None:
    """The best additive logits over border and texture, and site: found by descent."""
    law = Law(0.4, 0.9, 0.15, report=True)
    border, _ = laws.signs()
    table = np.zeros((2, 8, 5))  # label, border and texture, site
    for label in range(2):
        for b in range(4):
            for t in range(2):
                for s in range(5):
                    said = t if s < 2 else 1 - t
                    share = 0.5 if s == 4 else 0.9 if said == label else 0.1
                    chance = 0.15 if s == 4 else 0.85 / 4
                    chance *= law.prior[label] * border[label, b]
                    table[label, 2 * b + t, s] = share * chance

    def loss(flat: np.ndarray) -> float:
        logit = flat[:8, None] + flat[None, 8:]
        return float((table[1] * np.logaddexp(0, -logit) + table[0] * np.logaddexp(0, logit)).sum())

    found = min(
        minimize(loss, np.random.default_rng(k).normal(size=13), method="L-BFGS-B").fun
        for k in range(3)
    )
    bound = _finite.best(law.prior[:, None] * border)["nll"]
    assert found == pytest.approx(bound, abs=1e-5)
    both = _finite.best(table.reshape(2, -1))["nll"]
    assert both < bound - 0.2, "whoever joins them does beat it"


# --- the oracle ----------------------------------------------------------------------------------


def test_the_oracle_gains_by_each_modality_and_permuted_labels_are_chance(make: Make) -> None:
    sizes = {"test": 1500}
    split = make(sizes, noise=0).splits["test"]
    found = {}
    for heard in (frozenset[str](), frozenset({"image"}), frozenset({"record"}), BOTH):
        said = recognition.oracle(split, heard)
        scored = score(said, split.references, "label", ["auroc", "bits"], ids=split.ids)
        found[len(heard), *sorted(heard)] = scored.scores["auroc"].value
    assert found[(0,)] == 0.5
    assert 0.65 < found[1, "image"] < found[2, "image", "record"] - 0.12
    assert 0.65 < found[1, "record"] < found[2, "image", "record"] - 0.12
    chances = np.array(recognition.oracle(split, BOTH).columns["label.scores"])[:, 1]
    shuffled = np.roll(split.targets["label"], 7)
    more = chances[shuffled == 1][:, None] > chances[shuffled == 0]
    assert more.mean() == pytest.approx(0.5, abs=0.06)


def test_what_is_no_modality_or_another_dataset_is_refused(make: Make) -> None:
    split = make().splits["val"]
    with pytest.raises(UsageError, match="unknown modality 'report': the data have image, record"):
        recognition.oracle(split, frozenset({"report"}))
    with pytest.raises(UsageError, match="not of the dataset 'recognition'"):
        recognition.bounds(Split(split.ids, split.inputs, {}, {}))


@pytest.mark.parametrize("name", ["recognition", "recognition_report"])
def test_levels_leave_something_to_win(name: str) -> None:
    levels = catalog.task(name).levels
    auroc, bits = levels["auroc"], levels["bits"]
    assert max(auroc.alone.values()) < 0.77
    assert auroc.late_reference is not None
    assert max(auroc.alone.values()) + 0.05 < auroc.late_reference < auroc.ceiling - 0.1
    assert bits.late is not None
    assert bits.ceiling < bits.late - 0.25
    assert len(auroc.bound) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recognition", "recognition_report"])
def test_levels_are_what_the_oracle_scores(name: str) -> None:
    from mmbench import levels

    task = catalog.task(name)
    found = levels.levels(task, _load.load(task))
    assert found == task.levels, f"write them anew: python -m mmbench.levels {name}"
