"""What is planted in the reasoning tasks has to come out: who joins the two graphs answers.

One seed each, with fewer steps than the budget ``small``. What is compared with a number lies more
than three standard errors (0.03 at most) from it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import trained

pytestmark = pytest.mark.slow


@cache
def accuracy(task_name: str, name: str, steps: int, *settings: str) -> dict[str, float]:
    """Train and test one model: accuracy by kind of question and hops, and of ``all``."""
    tested = trained.tested(task_name, name, steps, *settings)
    split = tested.dataset.splits["test"]
    classes = np.array(tested.dataset.signature.outputs["answer"].vocabulary)
    right = np.array(tested.said.outputs["answer"]) == classes[split.targets["answer"]]
    groups = split.groups["question_hops"]
    by = {str(key): float(right[groups == key].mean()) for key in np.unique(groups)}
    return {**by, "all": float(right.mean())}


def test_messages_along_the_union_of_both_graphs_find_a_pattern() -> None:
    """Measured: R-GCN .997, and concat .498 and late .488 with as many steps."""
    assert accuracy("reasoning_match", "rgcn", 320)["all"] > 0.9


@pytest.mark.parametrize("model", ["late", "concat"])
def test_whoever_sums_the_graphs_up_apart_is_at_chance(model: str) -> None:
    assert accuracy("reasoning_match", model, 320)["all"] < 0.55


def test_relations_take_messages_that_know_them() -> None:
    """Measured: R-GCN .997, GCN .333. The latter cannot hear which relation an edge bears."""
    assert accuracy("reasoning_relation", "rgcn", 320)["all"] > 0.9
    assert accuracy("reasoning_relation", "gcn", 320)["all"] < 1 / 3 + 0.05


def test_ways_longer_than_there_are_layers_are_not_found() -> None:
    """Two layers. Measured over one to four hops: .999, .952, .642, .611. That is not chance: nodes
    hear the whole question and it hears all nodes, so that some of the rest can be ruled out.
    """
    by = accuracy("reasoning_path", "rgcn", 500)
    assert by["path 1"] > 0.95
    assert by["path 2"] > 0.85
    assert max(by["path 3"], by["path 4"]) < by["path 2"] - 0.1
