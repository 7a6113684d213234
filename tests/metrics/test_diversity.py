"""Distinct n-grams, vocabulary, length: counted as anybody would, with intervals that hold."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import TextItems, prepare, pseudo_values
from mmbench.references import TextReferences
from mmbench.scoring import score
from mmbench.stats import crossed
from mmbench.types import Predictions

NAMES = ["distinct", "distinct(n=2)", "distinct(n=3)", "distinct(n=4)", "vocabulary", "length"]
WHOLE = NAMES[:-1]


def said(*texts: str) -> TextItems:
    return prepare(list(texts), TextReferences([("a reference that nobody reads",)] * len(texts)))


def drawn(seed: int, size: int, words: int, longest: int = 12) -> TextItems:
    """Draw texts of words as unequally frequent as those of a language."""
    draw = random.Random(seed)
    names = [f"w{i}" for i in range(words)]
    weights = [1 / (rank + 2) for rank in range(words)]
    lengths = (draw.randint(0, longest) for _ in range(size))
    return said(*(" ".join(draw.choices(names, weights, k=k)) for k in lengths))


CORPORA = {
    "ordinary": drawn(0, 80, 300),
    "few words": drawn(1, 40, 3),
    "two items": said("a b c d e", "A, b. It's"),
    "all the same": said(*["a red dog runs"] * 5),
    "nothing": said("", "...", " "),
    "one speaks": said("", "one two one two", ""),
}


def grams(items: TextItems, n: int) -> list[tuple[str, ...]]:
    return [tuple(t[at : at + n]) for t in items.tokens for at in range(len(t) - n + 1)]


def plain_distinct(items: TextItems, n: int = 1) -> float:
    found = grams(items, n)
    return len(set(found)) / len(found) if found else 0.0


#: Metric -> its value of given items, counted with Python's own sets.
REFERENCES: dict[str, Callable[[TextItems], float]] = {
    "distinct": plain_distinct,
    "vocabulary": lambda items: float(len(set(grams(items, 1)))),
    "length": lambda items: sum(map(len, items.tokens)) / len(items),
}


def value(name: str, items: TextItems) -> float:
    metric = registry.load("metric", name)
    return float(metric.of(metric.measure(items)))


@pytest.mark.parametrize("which", CORPORA)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_distinct_counts_different_ngrams_per_ngram(n: int, which: str) -> None:
    assert value(f"distinct(n={n})", CORPORA[which]) == plain_distinct(CORPORA[which], n)


@pytest.mark.parametrize("which", CORPORA)
@pytest.mark.parametrize("name", ["vocabulary", "length"])
def test_vocabulary_and_length_are_counted_exactly(name: str, which: str) -> None:
    assert value(name, CORPORA[which]) == REFERENCES[name](CORPORA[which])


@pytest.mark.parametrize("which", ["ordinary", "few words", "two items", "one speaks"])
@pytest.mark.parametrize("name", WHOLE)
def test_pseudo_values_are_the_jackknifes(name: str, which: str) -> None:
    items, metric = CORPORA[which], registry.load("metric", name)
    texts, pseudo = list(items.predictions), pseudo_values(metric, metric.measure(items))
    without = np.array(
        [value(name, said(*texts[:at], *texts[at + 1 :])) for at in range(len(texts))]
    )
    expected = value(name, items) + (len(texts) - 1) * (without.mean() - without)
    np.testing.assert_allclose(pseudo, expected, rtol=1e-9, atol=1e-9)
    assert pseudo.mean() == pytest.approx(value(name, items), rel=1e-9, abs=1e-12)


@given(texts=st.lists(st.lists(st.sampled_from("abc"), max_size=6).map(" ".join), min_size=2))
@settings(max_examples=60, deadline=None)
def test_a_corpus_twice_over_has_the_same_words_and_half_as_distinct(texts: list[str]) -> None:
    once, twice = said(*texts), said(*texts, *texts)
    assert value("vocabulary", twice) == value("vocabulary", once)
    assert value("distinct", twice) == pytest.approx(value("distinct", once) / 2)
    assert value("length", twice) == pytest.approx(value("length", once))


@given(order=st.permutations(range(30)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_items_does_not_matter(order: list[int]) -> None:
    texts = list(drawn(4, 30, 40).predictions)
    for name in NAMES:
        mixed = value(name, said(*(texts[at] for at in order)))
        assert mixed == pytest.approx(value(name, said(*texts)), rel=1e-12)


def test_more_items_are_less_distinct_so_the_number_belongs_to_the_value() -> None:
    few, many = drawn(5, 50, 200), drawn(5, 1000, 200)
    assert value("distinct", many) < 0.5 * value("distinct", few)


@pytest.mark.parametrize("name", NAMES)
def test_who_says_nothing_gets_nothing(name: str) -> None:
    assert value(name, CORPORA["nothing"]) == 0.0


def test_rows_of_a_subgroup_are_not_those_of_the_subgroup() -> None:
    local = {name: registry.load("metric", name).local for name in NAMES}
    assert local == {name: name == "length" for name in NAMES}


@pytest.mark.parametrize("n", [0, 5])
def test_ngrams_that_are_not_counted_are_refused(n: int) -> None:
    with pytest.raises(UsageError, match=rf"n: expected 1 to 4, got {n}"):
        registry.load("metric", f"distinct(n={n})").measure(CORPORA["ordinary"])


def test_they_score_like_any_metric() -> None:
    items = drawn(3, 150, 40)
    ids = [str(place) for place in range(len(items))]
    references = {"caption": TextReferences(list(items.references))}
    given_predictions = Predictions(ids, {"caption": list(items.predictions)})
    found = score(given_predictions, references, "caption", NAMES).scores
    assert found["distinct(n=2)"].value == plain_distinct(items, 2)
    assert all(0 < got.low < got.value < got.high for got in found.values())


def test_without_any_repeat_the_interval_is_a_point_as_documented() -> None:
    rows = registry.load("metric", "distinct").measure(said("a b", "c d", "e"))
    assert pseudo_values(registry.load("metric", "distinct"), rows).tolist() == [1.0] * 3


def coverage(name: str, size: int, repeats: int, words: int = 2_000) -> float:
    """Return how often the interval covers the mean over many corpora of the same size."""
    metric, draw = registry.load("metric", name), np.random.default_rng(8)
    population = list(drawn(9, 20_000, words).predictions)
    found = []
    for _ in range(repeats):
        items = said(*(population[at] for at in draw.integers(0, len(population), size)))
        found.append(pseudo_values(metric, metric.measure(items)))
    truth = np.mean([pseudo.mean() for pseudo in found])
    intervals = map(crossed.interval, found)
    return sum(got.low <= truth <= got.high for got in intervals) / repeats


@pytest.mark.parametrize("name", ["distinct(n=2)", "vocabulary"])
def test_intervals_cover_at_least_what_they_say(name: str) -> None:
    # At least: the jackknife's variance is too large on average, never too small.
    assert 0.92 <= coverage(name, 150, 200) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [("distinct", 2_000), ("distinct(n=2)", 2_000), ("distinct(n=3)", 50), ("vocabulary", 2_000)],
)
@pytest.mark.parametrize("size", [150, 500])
def test_intervals_cover_94_to_99_percent(name: str, words: int, size: int) -> None:
    assert 0.94 <= coverage(name, size, 1000, words) <= 0.99
