"""What `compare` and `gate` promise: how often equal models are told apart, and unequal ones found.

Experiments are drawn as real ones come about: all models share the items and how hard they are,
every seed has a skill of its own, and what a seed says of an item is one of several answers that
were scored by the metric itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mmbench import registry, scoring, store
from mmbench.cli import run_cli
from mmbench.compare import Side
from mmbench.gate import looks, verdicts
from mmbench.gate.policy import Gate, Policy
from mmbench.gate.sides import Pair
from mmbench.metrics import pseudo_values
from mmbench.references import LabelReferences, TextReferences
from mmbench.stats import components, power
from mmbench.stats.noninferiority import FAILED, PASSED, Verdict
from mmbench.types import Predictions

ITEMS, ANSWERS, TRIALS = 200, 6, 4000
_WORDS = [
    "a",
    "the",
    "red",
    "blue",
    "small",
    "dog",
    "cat",
    "bird",
    "runs",
    "sits",
    "sings",
    "near",
    "under",
    "over",
    "box",
    "tree",
    "hill",
]


class Pool(NamedTuple):
    """Answers to each item, the best first, and their rows [N, ANSWERS, S]."""

    metric: str
    rows: np.ndarray


def _texts(draw: np.random.Generator) -> tuple[list[list[str]], list[list[str]]]:
    """Return references of each item, and answers that get worse word by word."""
    right, said = [], []
    for _ in range(ITEMS):
        words = [str(w) for w in draw.choice(_WORDS, size=draw.integers(6, 12))]
        other = [
            str(w) if draw.random() < 0.2 else word
            for word, w in zip(words, draw.choice(_WORDS, len(words)), strict=True)
        ]
        right.append((" ".join(words), " ".join(other)))
        answers = []
        for damage in range(ANSWERS):
            now = list(words)
            for place in draw.choice(len(words), size=min(len(words), damage), replace=False):
                now[place] = str(draw.choice(_WORDS))
            answers.append(" ".join(now))
        said.append(answers)
    return right, said


@cache
def pool(metric: str) -> Pool:
    draw = np.random.default_rng(len(metric))
    loaded = registry.load("metric", metric)
    ids = [str(k) for k in range(ITEMS)]
    if loaded.kind == "label":
        classes = ("a", "b", "c", "d")
        truth = draw.choice(4, size=ITEMS, p=[0.4, 0.3, 0.2, 0.1])
        references = LabelReferences(truth.astype(np.int64), classes)
        answers = [
            np.where(draw.random(ITEMS) < 0.12 * k, draw.integers(0, 4, ITEMS), truth)
            for k in range(ANSWERS)
        ]
        told = [[classes[k] for k in one] for one in answers]
    else:
        right, said = _texts(draw)
        references = TextReferences(right)
        told = [[one[k] for one in said] for k in range(ANSWERS)]
    rows = []
    for one in told:
        scored = scoring.score(Predictions(ids, {"y": one}, {}), {"y": references}, "y", [metric])
        rows.append(scored.statistics[loaded.family].rows)
    return Pool(metric, np.stack(rows, axis=1))


def model(
    draw: np.random.Generator,
    rows: np.ndarray,
    hard: np.ndarray,
    seeds: int,
    spread: float,
    skill: float = 0.0,
) -> list[np.ndarray]:
    """Draw the rows of each seed: the worse it is and the harder the item, the worse the answer."""
    drawn = draw.normal(0, 0.8, (seeds, len(hard)))
    level = hard + skill + spread * draw.standard_normal((seeds, 1)) + drawn
    place = np.clip(level, 0, ANSWERS - 1).astype(int)
    return [rows[np.arange(len(hard)), own] for own in place]


def side(name: str, rows: list[np.ndarray], metric: str) -> Side:
    loaded = registry.load("metric", metric)
    families = [{loaded.family: own} for own in rows]
    ids = [str(k) for k in range(len(rows[0]))]
    return Side(name, families, {metric: loaded.signature}, ids, None)


METRICS = ["accuracy", "macro_f1", "wer", "cider_d"]
SPREADS = [0.02, 0.5]


def sides_of(
    draw: np.random.Generator, metric: str, seeds: tuple[int, int], spread: float
) -> list[list[np.ndarray]]:
    rows, hard = pool(metric).rows, draw.normal(1.5, 1.2, ITEMS)
    return [model(draw, rows, hard, count, spread) for count in seeds]


def judged(old: list[np.ndarray], new: list[np.ndarray], metric: str) -> Verdict:
    """Return what the gate's test says of equal models at a margin of 0."""
    loaded = registry.load("metric", metric)
    sides = (side("candidate", new, metric), side("reference", old, metric))
    return looks.at(*sides, loaded, Policy()).tested(loaded, 0.0)[1]


def difference(
    draw: np.random.Generator,
    metric: str,
    seeds: tuple[int, int],
    spread: float,
    skill: float = 0.0,
) -> scoring.Interval:
    rows = pool(metric).rows
    hard = draw.normal(1.5, 1.2, ITEMS)
    one = model(draw, rows, hard, seeds[0], spread, skill)
    other = model(draw, rows, hard, seeds[1], spread)
    return scoring.difference(metric, one, other)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("metric", METRICS)
def test_equal_models_are_told_apart_in_at_most_8_percent(
    metric: str, spread: float, seeds: int
) -> None:
    """Of `compare`, two-sided; and of `gate` at its margin, where it may neither pass nor fail."""
    draw = np.random.default_rng([seeds, round(spread * 100), len(metric)])
    apart = passed = failed = 0
    for _ in range(TRIALS):
        one, other = sides_of(draw, metric, (seeds, seeds), spread)
        apart += scoring.difference(metric, one, other).p_value() < 0.05
        said = judged(other, one, metric)
        passed += said.status == PASSED
        failed += said.status == FAILED
    assert apart / TRIALS <= 0.08
    assert passed / TRIALS <= 0.08
    assert failed / TRIALS <= 0.08
    assert apart / TRIALS >= 0.01  # a test that never speaks would hold all of the above


def detectable(draw: np.random.Generator, metric: str, seeds: int, spread: float) -> float:
    """Return the effect that `compare` prints beside "no difference" after one experiment."""
    loaded = registry.load("metric", metric)
    rows, hard = pool(metric).rows, draw.normal(1.5, 1.2, ITEMS)
    values = [
        np.stack([pseudo_values(loaded, own) for own in model(draw, rows, hard, seeds, spread)])
        for _ in range(2)
    ]
    parts = components.estimate_difference(*values)
    return power.detectable(parts, (seeds, seeds), ITEMS, estimated=True).difference


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("metric", METRICS)
def test_what_is_printed_as_detectable_is_found_in_three_of_four(
    metric: str, spread: float, seeds: int
) -> None:
    """Printed by experiments of their own, and found in others that lie so far apart."""
    draw = np.random.default_rng([seeds, round(spread * 100), len(metric), 1])
    printed = [detectable(draw, metric, seeds, spread) for _ in range(60)]
    found = [difference(draw, metric, (seeds, seeds), spread) for _ in range(600)]
    power_of = [np.mean([one.p_value(-effect) < 0.05 for one in found]) for effect in printed]
    assert 0.75 <= np.mean(power_of) <= 0.97


def verdict(
    old: list[np.ndarray],
    new: list[np.ndarray],
    metric: str,
    margin: float,
    looks: Sequence[int] = (),
) -> str:
    """Return what the gate says, all the way through."""
    sides = {"test": (side("reference", old, metric), side("candidate", new, metric))}
    pair = Pair("task", "model", metric, {"test": [metric]}, sides)
    policy = Policy(gates=[Gate(margin=margin)], seeds=list(looks))
    (one,) = verdicts.judge([pair], policy).verdicts
    return one.status


@pytest.mark.slow
@pytest.mark.parametrize("known", [2, 3, 5])
@pytest.mark.parametrize("spread", SPREADS)
def test_one_unlucky_seed_is_no_regression(spread: float, known: int) -> None:
    """A candidate of one seed beside a reference of several takes its spread from those."""
    draw = np.random.default_rng([round(spread * 100), known])
    said = []
    for _ in range(1500):
        old, new = sides_of(draw, "accuracy", (known, 1), spread)
        said.append(judged(old, new, "accuracy").status)
    assert said.count(FAILED) / 1500 <= 0.08
    assert said.count(PASSED) / 1500 <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("metric", METRICS)
def test_eight_equal_models_all_may_have_every_place(metric: str, seeds: int) -> None:
    draw = np.random.default_rng([seeds, len(metric), 8])
    whole = 0
    for _ in range(300):
        found = scoring.ranks(metric, sides_of(draw, metric, (seeds,) * 8, 0.5))
        whole += found.low == (1,) * 8 and found.high == (8,) * 8
    assert whole / 300 >= 0.93


@pytest.mark.slow
def test_looks_that_are_planned_keep_the_level_and_looking_without_a_plan_does_not() -> None:
    """Candidates worse by the margin exactly, with seeds added until the gate passes."""
    draw, rows, looks = np.random.default_rng(7), pool("accuracy").rows, [3, 5, 8, 12, 16]
    planned = unplanned = 0
    for _ in range(400):
        hard = draw.normal(1.5, 1.2, ITEMS)
        old, new = (model(draw, rows, hard, 16, 0.6) for _ in range(2))
        told = [
            [verdict(old, new[:k], "accuracy", 0.0, plan) for k in looks] for plan in (looks, ())
        ]
        planned += "passed" in told[0]
        unplanned += "passed" in told[1]
    assert planned / 400 <= 0.08
    assert unplanned > 1.5 * planned


def test_a_candidate_that_is_worse_is_red_and_one_that_is_as_good_is_green() -> None:
    draw, rows = np.random.default_rng(3), pool("accuracy").rows
    hard = draw.normal(1.5, 1.2, ITEMS)
    old, new = (model(draw, rows, hard, 5, 0.02) for _ in range(2))
    worse = model(draw, rows, hard, 5, 0.02, skill=1.5)
    assert verdict(old, new, "accuracy", 0.05) == "passed"
    assert verdict(old, worse, "accuracy", 0.05) == "regressed"
    assert verdict(old, new, "accuracy", 0.0005) == "inconclusive"


# --- real runs -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_disjoint_seeds_of_one_model_are_one_model(workplace: Path) -> None:
    """A/A trials: 12 real runs of each of two models, split at random into three and three."""
    said, family = [], registry.load("metric", "accuracy").family
    for name in ("concat", "late"):
        options = ["-t", "redundant", "-m", name, "--budget", "smoke", "--seeds", "12", "-q"]
        assert run_cli(["run", *options]) == 0
        members = [s for s in store.scan(Path("results"))[0] if s.record.model == name]
        rows = [store.read_items(member)["test"].families[family][1] for member in members]
        draw = np.random.default_rng(0)
        for _ in range(200):
            order = draw.permutation(len(rows))
            old, new = ([rows[k] for k in order[part]] for part in (slice(3), slice(3, 6)))
            apart = scoring.difference("accuracy", new, old).p_value() < 0.05
            said.append((apart, verdict(old, new, "accuracy", 0.0)))
    assert np.mean([apart for apart, _ in said]) <= 0.08
    assert np.mean([told == "regressed" for _, told in said]) <= 0.08
    assert np.mean([told == "passed" for _, told in said]) <= 0.08
