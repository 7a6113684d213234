"""What holds for every metric there is: a reference of its own, and the properties of a metric.

A new metric takes part by itself. Its test file gives ``REFERENCES`` (metric -> its value of given
items, by somebody else's code) and ``CORPORA`` (name -> items, ordinary and nasty).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import registry, rng
from mmbench.metrics import Metric, perfect, prepare, pseudo_values
from mmbench.metrics.slots import KINDS, TIMED
from mmbench.references import (
    FrameReferences,
    ImageReferences,
    LabelReferences,
    MatchReferences,
    MultilabelReferences,
    References,
    Said,
    ScalarReferences,
    TextReferences,
)

#: Metrics that need a program or a file which is not everywhere; their own tests say more.
TOOLS = {"meteor", "spice"}
METRICS = sorted(set(registry.names("metric")) - TOOLS)
#: What a metric may differ by from its reference: sums in another order.
CLOSE = {"label": 1e-12, "multilabel": 1e-12}

N = 64
CLASSES = ("cat", "dog", "cow", "hen", "pig", "owl", "fox", "bee")
WORDS = ("a", "red", "circle", "beeps", "above", "square", "isn't", "naïve", "two", "hums")


def loaded(name: str) -> Metric:
    return registry.load("metric", name)  # type: ignore[no-any-return]


@cache
def modules() -> tuple[Any, ...]:
    names = sorted(p.stem for p in Path(__file__).parent.glob("test_*.py") if p != Path(__file__))
    found = [importlib.import_module(name) for name in names]
    return tuple(m for m in found if hasattr(m, "CORPORA") and isinstance(m.REFERENCES, dict))


def reference_of(name: str) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    for module in modules():
        if name in module.REFERENCES:
            return module.REFERENCES[name], module.CORPORA
    pytest.fail(f"{name} has no independent reference: add one to REFERENCES of its test file")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_equals_an_independent_reference(name: str) -> None:
    metric = loaded(name)
    reference, corpora = reference_of(name)
    compared = 0
    for which, items in corpora.items():
        if metric.check(items):
            continue
        value = reference(items)
        value = value[0] if isinstance(value, tuple) else value
        close = CLOSE.get(metric.kind, 1e-9)
        assert metric.of(metric.measure(items)) == pytest.approx(value, rel=close, abs=close), which
        compared += 1
    assert compared >= 2, f"only {compared} corpora that {name} can score"


# --- items of each kind, as predictions and references -------------------------------------------


def numbers(*names: object, count: int, below: int) -> list[int]:
    return [int(i) for i in rng.integers(0, "metrics", *names, count=count, below=below)]


def uniform(*names: object, shape: tuple[int, ...]) -> Any:
    return rng.uniform(0, "metrics", *names, count=int(np.prod(shape))).reshape(shape)


def sentence(*names: object, longest: int = 9) -> str:
    length = 4 + numbers(*names, "length", count=1, below=longest - 3)[0]
    return " ".join(WORDS[i] for i in numbers(*names, count=length, below=len(WORDS)))


def texts(references: int) -> tuple[Said, References]:
    true = [tuple(sentence(i, j) for j in range(references)) for i in range(N)]
    said = [
        " ".join([*t[0].split()[: 2 + i % 6], *sentence(i, "said").split()[: i % 4], f"x{i % 40}"])
        for i, t in enumerate(true)
    ]
    slots = [parse(t[0]) for t in true]
    return Said(ids(), said, {}), TextReferences(true, slots, parse)


def parse(caption: str) -> dict[str, frozenset[tuple[str, ...]]]:
    kinds = (*KINDS, *TIMED)
    found: dict[str, set[tuple[str, ...]]] = {kind: set() for kind in kinds}
    for word in caption.split():
        for kind in kinds[len(word) % 3 :: 3]:
            found[kind].add((word,))
    return {kind: frozenset(fillers) for kind, fillers in found.items()}


def ids() -> list[str]:
    return [f"item {i}" for i in range(N)]


def labels() -> tuple[Said, References]:
    true = np.array(numbers("label", count=N, below=len(CLASSES)))
    true[: len(CLASSES)] = range(len(CLASSES))
    scores = uniform("scores", shape=(N, len(CLASSES))) + 0.05
    scores[np.arange(N), true] += 0.4
    scores /= scores.sum(axis=1, keepdims=True)
    said = [int(i) for i in scores.argmax(axis=1)]
    return Said(ids(), said, {"scores": list(scores)}), LabelReferences(true, CLASSES)


def multilabels() -> tuple[Said, References]:
    true = uniform("true", shape=(N, len(CLASSES))) < 0.4
    true[: len(CLASSES)] |= np.eye(len(CLASSES), dtype=bool)
    true[~true.any(axis=1), 0] = True
    scores = 0.6 * uniform("multi", shape=(N, len(CLASSES))) + 0.4 * true
    said = [[int(x) for x in row] for row in scores > 0.5]
    return Said(ids(), said, {"scores": list(scores)}), MultilabelReferences(true, CLASSES)


def scalars() -> tuple[Said, References]:
    true = np.round(6 * uniform("scalar", shape=(N,)) - 3, 1)
    true[:3] = (-3.0, 0.0, 3.0)
    said = true + 2 * uniform("noise", shape=(N,)) - 1
    return Said(ids(), [float(x) for x in said], {}), ScalarReferences(true)


def matches() -> tuple[Said, References]:
    relevant = [(2 * i, 2 * i + 1) for i in range(N)]
    scores = uniform("match", shape=(N, 2 * N))
    for query, right in enumerate(relevant):
        scores[query, list(right)] += 0.1
    return Said(ids(), [None] * N, {"scores": list(scores)}), MatchReferences(relevant, 2 * N)


def recordings() -> tuple[Said, References]:
    true = [np.repeat(numbers(i, "event", count=5, below=3), 4) for i in range(N)]
    said = [np.roll(frames, 1 + i % 3) for i, frames in enumerate(true)]
    keys = [np.array([2 + i % 3, 11 + i % 5]) for i in range(N)]
    given = [np.array([2, 11 + i % 5]) for i in range(N)]
    return Said(ids(), said, {"keys": given}), FrameReferences(true, ("none", "a", "b"), 0, keys)


def images() -> tuple[Said, References]:
    real = uniform("real", shape=(N, 3))
    made = uniform("made", shape=(N, 3)) + 0.1
    true = np.array(numbers("colour", count=N, below=3))
    said = np.where(uniform("right", shape=(N,)) < 0.7, true, 0)
    columns = {"features": list(made), "colour": [int(x) for x in said]}
    known = uniform("known", shape=(N, 3))
    references = ImageReferences(real, {"colour": true}, pairs=np.arange(N) // 2, known=known)
    return Said(ids(), [None] * N, columns), references


DRAWN: dict[str, Callable[[], tuple[Said, References]]] = {
    "text": lambda: texts(3),
    "label": labels,
    "multilabel": multilabels,
    "scalar": scalars,
    "match": matches,
    "frames": recordings,
    "image": images,
}


@cache
def drawn(kind: str) -> tuple[Said, References]:
    return DRAWN[kind]()


def taken(said: Said, index: Sequence[int], twice: bool = False) -> Said:
    names = [f"{said.ids[i]} {n // N if twice else ''}" for n, i in enumerate(index)]
    columns = {name: [values[i] for i in index] for name, values in said.columns.items()}
    return Said(names, [said.values[i] for i in index], columns)


def value(metric: Metric, said: Said, references: References) -> float:
    return metric.of(metric.measure(prepare(said, references)))


def scored(name: str) -> tuple[Metric, Said, References]:
    """Return a metric and items for it; a binary one gets two classes."""
    metric = loaded(name)
    said, references = drawn(metric.kind)
    reason = metric.check(prepare(said, references))
    assert not reason, f"{name}: {reason}"
    return metric, said, references


# --- properties ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(N)))
def test_the_order_of_items_changes_nothing(name: str, order: list[int]) -> None:
    metric, said, references = scored(name)
    mixed = value(metric, taken(said, order), references.take(order))
    assert mixed == pytest.approx(value(metric, said, references), rel=1e-9, abs=1e-9)


#: In the other direction a gallery entry asks once, however many queries it is right for.
ONE_WAY = {name for name in METRICS if name.endswith("_back") or name == "rsum"}
#: An n-gram that no reference has counts as one of a single document, however many there are; and
#: what is corrected for a bias that falls with the number of items changes with that number.
SIZED = {"cider", "cider_d", "squared_ece", "ece"}


@pytest.mark.parametrize(
    "name", [n for n in METRICS if loaded(n).local and n not in ONE_WAY | SIZED]
)
def test_the_corpus_twice_scores_as_once(name: str) -> None:
    metric, said, references = scored(name)
    double = [*range(N), *range(N)]
    twice = value(metric, taken(said, double, twice=True), references.take(double))
    assert twice == pytest.approx(value(metric, said, references), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_no_value_lies_beyond_the_bounds(name: str) -> None:
    metric, said, references = scored(name)
    low, high = metric.bounds
    got = value(metric, said, references)
    assert low is None or got >= low - 1e-12
    assert high is None or got <= high + 1e-12


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_prediction_reaches_the_bound(name: str) -> None:
    if name == "distinct":
        pytest.skip("looks at no reference: the bound is a text that repeats nothing")
    metric, _, references = scored(name)
    if metric.kind == "text":
        references = texts(1)[1]  # with one reference alone can all of it be said
    best = metric.bounds[1 if metric.higher_is_better else 0]
    if best is None:
        pytest.skip("no bound is known")
    right = perfect(references)
    items = prepare(right, references)
    if metric.check(items):
        pytest.skip(metric.check(items))
    assert metric.of(metric.measure(items)) == pytest.approx(best, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_pseudo_values_are_finite_and_one_an_item(name: str) -> None:
    metric, said, references = scored(name)
    found = pseudo_values(metric, np.asarray(metric.measure(prepare(said, references))))
    assert found.shape == (N,)
    assert np.isfinite(found).all()
    assert found.std() > 0


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_says_what_it_is(name: str) -> None:
    metric = loaded(name)
    assert metric.name == name
    assert metric.kind in DRAWN
    assert metric.summary
    assert metric.signature.startswith(f"{name}|v{metric.version}")
    assert metric.oracle in ("bound", "reference")
