from __future__ import annotations

import numpy as np
import pytest

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import TextItems, prepare
from mmbench.references import Slots, TextReferences


def slots(**kinds: str) -> Slots:
    """Write slots shortly: object="red ball,cube" is two fillers."""
    return {
        kind: frozenset(tuple(f.split()) for f in fillers.split(",") if f)
        for kind, fillers in kinds.items()
    }


TRUE = [slots(object="ball,cube", relation="ball left cube"), slots(object="cone", relation="")]
SAID = {"first": slots(object="ball,cone", relation="cube left ball"), "second": TRUE[1], "": {}}


def items_of(*predictions: str, truth: list[Slots] = TRUE) -> TextItems:
    texts = [("some text",)] * len(truth)
    return prepare(predictions, TextReferences(texts, truth, SAID.__getitem__))


def value(name: str, items: TextItems) -> float:
    metric = registry.load("metric", name)
    return metric.of(metric.measure(items))


def test_f1_is_over_the_corpus_and_not_the_mean_of_items() -> None:
    items = items_of("first", "second")
    assert value("object_f1", items) == 2 * 2 / (3 + 3)
    assert value("relation_f1", items) == 0.0
    assert value("slot_f1", items) == 2 * 2 / (4 + 4)


def test_each_kind_has_its_own_columns() -> None:
    metric = registry.load("metric", "slot_f1")
    rows = metric.measure(items_of("first", "second"))
    column = dict(zip(metric.columns, rows.T, strict=True))
    np.testing.assert_array_equal(column["object_tp"], [1, 1])
    np.testing.assert_array_equal(column["object_said"], [2, 1])
    np.testing.assert_array_equal(column["object_true"], [2, 1])
    assert len({registry.load("metric", n).family for n in ("slot_f1", "object_f1")}) == 1


def test_a_kind_without_its_own_metric_counts_in_the_whole() -> None:
    truth = [slots(object="ball", mood="sad"), slots(object="cone")]
    assert value("slot_f1", items_of("second", "second", truth=truth)) == 2 * 1 / (2 + 3)


def test_a_kind_that_nobody_states_scores_zero_and_not_one() -> None:
    assert value("relation_f1", items_of("", "second")) == 0.0
    assert value("relation_f1", items_of("", "second", truth=[TRUE[1], TRUE[1]])) == 0.0


def test_references_without_slots_are_refused_by_name() -> None:
    items = prepare(["a", "b"], TextReferences([("a",), ("b",)]))
    with pytest.raises(
        UsageError, match=r"'emitter_f1': the references have no slots and no parser"
    ):
        registry.load("metric", "emitter_f1").measure(items)
    with pytest.raises(UsageError, match="bring no parser"):
        _ = items.predicted_slots


def test_a_kind_that_the_dataset_does_not_plant_is_refused_with_those_it_does() -> None:
    with pytest.raises(UsageError, match=r"'sound_f1'.*kind 'sound'.*object, relation"):
        registry.load("metric", "sound_f1").measure(items_of("first", "second"))


def test_references_that_plant_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'slot_f1': no item has slots; there are: none at all"):
        registry.load("metric", "slot_f1").measure(items_of("", "", truth=[{}, {}]))


def test_gradients_by_differences_are_those_of_the_formula() -> None:
    from mmbench.metrics._influence import _differences

    metric = registry.load("metric", "object_f1")
    sums = np.zeros(len(metric.columns))
    sums[:3] = tp, said, true = 70.0, 90.0, 110.0
    exact = np.zeros_like(sums)
    exact[:3] = 2 / (said + true), *[-2 * tp / (said + true) ** 2] * 2
    np.testing.assert_allclose(_differences(metric.of_sums, sums, sums), exact, rtol=1e-9)
