"""chrF and chrF++: equal to sacrebleu's, whatever stands in the texts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_translation import CORPORA, NASTY, corpus, sacrebleu, streams

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import TextItems, chrf, influence, prepare
from mmbench.references import TextReferences

__all__ = ["CORPORA"]


def reference(items: TextItems, **options: object) -> float:
    scorer = sacrebleu.metrics.CHRF(**options)
    return float(scorer.corpus_score(list(items.predictions), streams(items.references)).score)


#: Metric -> its value of given items, by sacrebleu.
REFERENCES: dict[str, Callable[[TextItems], float]] = {"chrf": reference}


def ours(items: TextItems, **options: object) -> float:
    metric = registry.load("metric", "chrf").configure(options)
    return float(metric.of(metric.measure(items)))


@pytest.mark.parametrize("which", CORPORA)
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("word_order", [0, 1, 2])
def test_chrf_equals_sacrebleu(word_order: int, lowercase: bool, which: str) -> None:
    options = {"word_order": word_order, "lowercase": lowercase}
    items = CORPORA[which]
    assert ours(items, **options) == pytest.approx(reference(items, **options), abs=1e-9)


TEXT = st.lists(st.sampled_from([*NASTY, "ab", "ba", " "]), max_size=6).map("".join)
ITEM = st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=4).map(tuple))


@pytest.mark.parametrize("word_order", [0, 2])
@given(items=st.lists(ITEM, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_chrf_equals_sacrebleu_on_any_texts(
    word_order: int, items: list[tuple[str, tuple[str, ...]]]
) -> None:
    prepared = prepare([said for said, _ in items], TextReferences([true for _, true in items]))
    options = {"word_order": word_order}
    assert ours(prepared, **options) == pytest.approx(reference(prepared, **options), abs=1e-9)


def test_of_equal_references_the_first_counts() -> None:
    # Either would give the item the same F-score, but not the corpus the same sums.
    items = prepare(["ab cd", "abc abc"], TextReferences([("ab xy", "xy ab"), ("abc", "ab")]))
    turned = prepare(["ab cd", "abc abc"], TextReferences([("xy ab", "ab xy"), ("abc", "ab")]))
    for given_items in (items, turned):
        assert ours(given_items) == pytest.approx(reference(given_items), abs=1e-9)


def test_working_on_fewer_items_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    metric, items = registry.load("metric", "chrf(word_order=2)"), corpus(40, 50, 12)
    whole = metric.measure(items)
    monkeypatch.setattr(chrf, "_BLOCK", 7)
    np.testing.assert_array_equal(metric.measure(items), whole)


def test_an_item_does_not_know_the_others() -> None:
    metric, items = registry.load("metric", "chrf"), CORPORA["long"]
    alone = prepare(list(items.predictions[3:4]), TextReferences(list(items.references[3:4])))
    np.testing.assert_array_equal(metric.measure(alone)[0], metric.measure(items)[3])


@pytest.mark.parametrize("which", ["long", "short"])
def test_influence_is_the_derivative_by_the_weight_of_an_item(which: str) -> None:
    metric = registry.load("metric", "chrf")
    rows = metric.measure(CORPORA[which])
    total, psi = rows.sum(axis=0), influence(metric, rows)
    assert abs(psi.sum()) < 1e-9
    for row, moved in zip(rows, psi, strict=True):
        small = 1e-4 * (row - total / len(rows))
        change = float(metric.of_sums(total + small) - metric.of_sums(total - small)) / 2e-4
        assert moved == pytest.approx(change, rel=1e-4, abs=1e-6)


def test_perfect_is_a_hundred_and_nothing_is_nothing() -> None:
    texts = ["Ein schönes Haus.", "日本語", "a"]
    items = prepare(texts, TextReferences([(t, "x") for t in texts]))
    assert ours(items) == pytest.approx(100.0)
    assert ours(items, word_order=2) == pytest.approx(100.0)
    nothing = prepare(["", " "], TextReferences([("a",), ("",)]))
    assert ours(nothing) == ours(nothing, word_order=2) == 0.0


def test_upper_case_counts_unless_told_otherwise() -> None:
    items = prepare(["ABC"], TextReferences([("abc",)]))
    assert ours(items) == 0.0
    assert ours(items, lowercase=True) == pytest.approx(100.0)


@pytest.mark.parametrize("word_order", [-1, 3])
def test_another_word_order_is_refused(word_order: int) -> None:
    metric = registry.load("metric", f"chrf(word_order={word_order})")
    with pytest.raises(UsageError, match=rf"word_order: expected 0.*got {word_order}"):
        metric.measure(CORPORA["short"])
