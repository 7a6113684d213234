"""The exact posterior: against brute force, against what is drawn, and against known figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench.data import interactions
from mmbench.data._contract import Request
from mmbench.data.interactions import sequences
from mmbench.data.interactions.information import DRAWS, Estimate, label_entropy, lattice
from mmbench.data.interactions.law import Law
from mmbench.data.interactions.oracle import median
from mmbench.data.interactions.posterior import posterior
from mmbench.data.interactions.references import law_of
from mmbench.data.interactions.structures import MODALITIES, structure
from mmbench.errors import UsageError
from mmbench.scoring import score
from mmbench.types import Split

Make: TypeAlias = Callable[..., Split]
ALL = frozenset(MODALITIES)
SETS = [frozenset(heard) for size in range(4) for heard in combinations(MODALITIES, size)]
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
#: Everything that can go wrong in a split.
WRONG: dict[str, dict[str, Any]] = {
    "label noise": {"label_noise": 0.2},
    "more noise": {"feature_noise": {"text": 1.5, "vision": 0.5}},
    "misaligned": {"misaligned": 0.6},
    "conflict": {"conflict": 0.7},
    "group": {"group_correlation": 0.7},
    "missing": {"missing": {"text": 0.3, "vision": 0.2, "audio": 0.6}},
    "all": {
        "label_noise": 0.1,
        "feature_noise": {"audio": 0.5},
        "misaligned": 0.2,
        "conflict": 0.3,
        "group_correlation": -0.9,
        "missing": {"vision": 0.2},
    },
}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Build a test split: structure, size, what goes wrong in it, other parameters."""

    def made(name: str, items: int, wrong: dict[str, Any] | None = None, **params: Any) -> Split:
        fields = {"structure": name, "splits": {"test": wrong or {}}, **params}
        request = Request("task", 1, 11, fields, {"test": items}, None, tmp_path)
        return interactions.build(request).splits["test"]

    return made


def labels(split: Split) -> np.ndarray:
    return np.asarray(split.targets["label"])


def realised(split: Split, heard: frozenset[str]) -> tuple[Estimate, Estimate, Estimate]:
    """Return hits less what was promised, log loss less its promise, and the log loss."""
    chances = posterior(split, heard)
    own = chances[np.arange(len(split)), labels(split)]
    hits = (chances.argmax(axis=1) == labels(split)) - chances.max(axis=1)
    entropy = -(chances * np.log2(np.maximum(chances, 1e-300))).sum(axis=1)
    rows = (hits, -np.log2(own) - entropy, -np.log2(own))
    found = [Estimate(x.mean(), x.std() / len(x) ** 0.5) for x in rows]
    return found[0], found[1], found[2]


def near(found: Estimate, wanted: float, errors: float = 4.5) -> bool:
    return abs(found.value - wanted) <= errors * found.se + 1e-9


# --- against brute force -------------------------------------------------------------------------


def density(x: np.ndarray, means: np.ndarray, deviation: float) -> float:
    """Return the mean over `means` [K, T, d] of the normal density of x [T, d], unscaled."""
    powers = -((x - means) ** 2).sum(axis=(1, 2)) / (2 * deviation**2)
    return float(np.exp(powers - PIVOT).mean())


#: Keeps densities of some hundred dimensions within range.
PIVOT = -70.0


def places(name: str, law: Law, modality: int, state: int, mark: int | None) -> np.ndarray:
    """Return all sequences without noise [K, T, d] of one state, written out one by one."""
    length, width = sequences.LENGTHS[modality], sequences.WIDTHS[modality]
    basis = sequences.directions(width)
    values = structure(name).values if modality == 1 else None  # type: ignore[arg-type]
    if values is None:
        shown = [basis[:, 1 + state]]
    else:
        shown = [basis[:, 1 + i] + basis[:, 5 + v] for i, v in enumerate(values[state])]
    found = []
    for times in permutations(range(length), len(shown)):
        x = np.zeros((length, width))
        for time, vector in zip(times, shown, strict=True):
            x[time] = law.amplitudes[modality] * vector
        if mark is not None:
            x += law.group_amplitude * (2 * mark - 1) * basis[:, -1]
        found.append(x)
    return np.array(found)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("redundant", "audio"),
        ("sentiment", None),
        ("sentiment", "vision"),
        ("imbalanced", "text"),
        ("grounding", "text"),
    ],
)
def test_the_posterior_is_bayes_rule_written_out(make: Make, name: str, group: str | None) -> None:
    marks = {"modality": group, "amplitude": 0.4}
    wrong = {"group_correlation": 0.5} if group else {}
    split = make(name, 2, wrong, **({"group": marks} if group else {}))
    law, table = law_of(split), structure(name).table  # type: ignore[arg-type]
    for item in range(1 if name == "grounding" else 2):
        chance: dict[tuple[int, int, int], float] = {}
        for m, modality in enumerate(MODALITIES):
            x = np.asarray(split.inputs[modality][item], dtype=np.float64)  # type: ignore[index]
            for state in range(table.shape[m + 1]):
                for mark in (0, 1) if group == modality else (None,):
                    found = density(x, places(name, law, m, state, mark), 1.0)
                    for same in (0, 1) if mark is None else (mark,):
                        chance[m, state, same] = found
        for heard in SETS:
            total = np.zeros(4)
            for cell in np.argwhere(table > 0):
                for mark in (0, 1):
                    share = 0.5 + 0.5 * (0.5 if group else 0.0) * (2 * mark - 1) * (
                        1 if cell[0] >= 2 else -1
                    )
                    parts = [
                        chance[m, int(cell[m + 1]), mark]
                        for m, modality in enumerate(MODALITIES)
                        if modality in heard
                    ]
                    total[cell[0]] += table[tuple(cell)] * share * np.prod(parts)
            mine = posterior(split.take(np.array([item])), heard)[0]
            np.testing.assert_allclose(mine, total / total.sum(), rtol=1e-6, atol=1e-12)


# --- against what is drawn -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if n != "grounding"])
@pytest.mark.parametrize("wrong", ["nothing", *WRONG])
def test_the_posterior_promises_what_happens(make: Make, name: str, wrong: str) -> None:
    """Calibration of every set: a law that is not that of the data would show here."""
    if name == "shortcut" and wrong not in ("nothing", "all"):
        return
    group = {"group": {"modality": "vision", "amplitude": 0.3}} if wrong in ("group", "all") else {}
    split = make(name, 1500, WRONG.get(wrong), **group)
    for heard in SETS if name != "shortcut" else (ALL, frozenset({"vision"})):
        hits, loss, _ = realised(split, heard)
        assert near(hits, 0.0), heard
        assert near(loss, 0.0), heard


def test_permuted_labels_are_worse_than_chance(make: Make) -> None:
    split = make("sentiment", 1000)
    shuffled = np.roll(labels(split), 1)
    chances = posterior(split, ALL)
    own = chances[np.arange(1000), shuffled]
    assert (chances.argmax(axis=1) == shuffled).mean() < 0.32
    assert -np.log2(np.maximum(own, 1e-300)).mean() > 2.0


def test_an_absent_modality_leaves_the_product_whatever_stands_in_it(make: Make) -> None:
    split = make("redundant", 60, {"missing": {"text": 0.5}})
    there = np.asarray(split.present["text"])
    filled = np.where(there[:, None, None], split.inputs["text"], np.nan)  # type: ignore[arg-type]
    other = replace(split, inputs={**split.inputs, "text": filled})
    found = posterior(other, ALL)
    np.testing.assert_array_equal(found, posterior(split, ALL))
    alone = posterior(split, ALL - {"text"})
    np.testing.assert_allclose(found[~there], alone[~there])
    assert np.abs(found[there] - alone[there]).max() > 0.1
    nothing = make("redundant", 5, {"missing": dict.fromkeys(MODALITIES, 1.0)})
    np.testing.assert_allclose(posterior(nothing, ALL), 0.25)


def test_the_oracle_says_classes_numbers_and_probabilities(make: Make) -> None:
    split = make("sentiment", 400)
    said = interactions.oracle(split, ALL)
    scores = np.array(said.columns["label.scores"])
    np.testing.assert_array_equal(scores, posterior(split, ALL))
    of_label = score(said, split.references, "label", ["accuracy", "bits"], ids=split.ids).scores
    assert of_label["accuracy"].value > 0.93
    assert of_label["bits"].value < 0.25
    names = ["mae", "acc2_has0", "acc2_non0", "f1_non0", "pearson"]
    of_number = score(said, split.references, "intensity", names, ids=split.ids).scores
    assert of_number["mae"].value < 0.15
    assert of_number["acc2_has0"].value == of_number["acc2_non0"].value > 0.95
    assert of_number["pearson"].value > 0.9
    floor = interactions.oracle(split, frozenset())
    assert set(floor.outputs["label"]) == {"--"}
    assert set(floor.outputs["intensity"]) == {-1.0}


def test_the_median_is_the_number_with_the_least_expected_distance() -> None:
    numbers = np.array([-2.0, -1.0, 1.0, 2.0])
    chances = np.random.default_rng(0).dirichlet(np.ones(4), size=200)
    found = median(chances)
    costs = chances @ np.abs(numbers[:, None] - numbers)
    mine = (chances * np.abs(numbers - found[:, None])).sum(axis=1)
    np.testing.assert_allclose(mine, costs.min(axis=1))
    assert median(np.array([[0.1, 0.4, 0.4, 0.1]])).tolist() == [-1.0]


def test_what_is_no_modality_or_no_split_of_the_suite_is_refused(make: Make) -> None:
    split = make("unique", 3)
    with pytest.raises(UsageError, match="unknown modality 'smell': the data have text, vision"):
        posterior(split, frozenset({"text", "smell"}))
    with pytest.raises(UsageError, match="not of the dataset 'interactions'"):
        posterior(replace(split, references={}), ALL)


# --- the information lattice ---------------------------------------------------------------------

#: Structure -> set of modalities (first letters) -> bits, measured independently on 12,000
#: items; those that are 0 are so exactly.
LATTICE: dict[str, dict[str, float]] = {
    name: dict(zip(("t", "v", "a", "tv", "ta", "va", "tva"), bits, strict=True))
    for name, bits in {
        "redundant": (0.851, 0.716, 0.587, 1.264, 1.181, 1.096, 1.478),
        "imbalanced": (1.646, 0.716, 0.587, 1.772, 1.744, 1.096, 1.835),
        "unique": (1.534, 0, 0, 1.534, 1.534, 0, 1.534),
        "synergy": (0, 0, 0, 1.912, 0, 0, 1.912),
        "synergy3": (0, 0, 0, 0, 0, 0, 1.915),
        "sentiment": (0.182, 0, 0.951, 0.927, 1.134, 0.951, 1.878),
        "grounding": (0, 0, 0, 1.952, 0, 0, 1.952),
    }.items()
}
#: Structure -> accuracy without text, vision, audio; with noise 1.5 more on each. Measured on
#: 6,000 items.
ACCURACY: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "redundant": ((0.762, 0.792, 0.811), (0.788, 0.810, 0.826)),
    "imbalanced": ((0.762, 0.935, 0.951), (0.823, 0.943, 0.952)),
    "unique": ((0.255, 0.895, 0.895), (0.534, 0.895, 0.895)),
    "synergy": ((0.255, 0.255, 0.979), (0.740, 0.728, 0.979)),
    "synergy3": ((0.255, 0.255, 0.248), (0.760, 0.752, 0.732)),
    "sentiment": ((0.502, 0.739, 0.493), (0.788, 0.847, 0.775)),
}


def plain(name: str, deviations: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Law:
    return Law(name, structure(name).amplitudes, deviations)  # type: ignore[arg-type]


def short(heard: frozenset[str]) -> str:
    return "".join(name[0] for name in MODALITIES if name in heard)


@pytest.mark.parametrize("name", LATTICE)
def test_every_set_knows_as_many_bits_as_measured_elsewhere(name: str) -> None:
    draws = 1000 if name == "grounding" else 12_000
    for heard, figures in lattice(plain(name), draws).items():
        found = figures["information"]
        wanted = LATTICE[name].get(short(heard), 0.0)
        # Both are means over items; the other one's log loss varies more than an entropy does.
        spread = 0.0 if wanted == 0.0 else 4 * found.se + 0.015
        assert abs(found.value - wanted) <= spread + 1e-9, heard


@pytest.mark.parametrize("name", ACCURACY)
def test_accuracy_without_a_modality_and_with_a_noisy_one(name: str) -> None:
    absent, noisy = ACCURACY[name]
    for m in range(3):
        rest = lattice(plain(name), 12_000)[ALL - {MODALITIES[m]}]["accuracy"]
        assert rest.value == pytest.approx(absent[m], abs=0.02)
        deviations = [1.0, 1.0, 1.0]
        deviations[m] = (1 + 1.5**2) ** 0.5
        law = plain(name, (deviations[0], deviations[1], deviations[2]))
        found = lattice(law, 12_000)[ALL]["accuracy"]
        assert found.value == pytest.approx(noisy[m], abs=0.02)


def test_vision_alone_has_a_shortcut_only_where_values_repeat() -> None:
    vision = frozenset({"vision"})
    short_cut = lattice(plain("shortcut"), 1000)
    assert short_cut[vision]["accuracy"].value == pytest.approx(17 / 32, abs=0.02)
    assert short_cut[ALL]["accuracy"].value > 0.97
    assert lattice(plain("grounding"), 1000)[vision]["accuracy"].value == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["redundant", "sentiment"])
def test_more_modalities_never_know_less_and_the_simulation_is_that_of_the_data(
    make: Make, name: str
) -> None:
    split = make(name, 3000, WRONG["all"], group={"modality": "text", "amplitude": 0.3})
    law = law_of(split)
    known = lattice(law, 12_000)
    for less, more in ((a, b) for a in SETS for b in SETS if a < b):
        for figure, sign in (("information", 1), ("accuracy", 1), ("brier", -1)):
            gain = sign * (known[more][figure].value - known[less][figure].value)
            assert gain > -3 * known[more][figure].se - 1e-9
    assert label_entropy(law) == pytest.approx(2.0)
    for heard in SETS:
        loss = realised(split, heard)[2]
        both = Estimate(loss.value, (loss.se**2 + known[heard]["bits"].se ** 2) ** 0.5)
        assert near(both, known[heard]["bits"].value), heard


def test_the_standard_error_of_a_bit_is_small() -> None:
    found = lattice(plain("redundant"), 12_000)
    worst = max(figures["bits"].se for figures in found.values())
    assert worst * (12_000 / DRAWS) ** 0.5 < 0.002
