from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mmbench.references import TextReferences
from mmbench.report.samples import Answers, choose, facts, main_output, scored
from mmbench.spec import parse_task
from mmbench.types import Split


def answers(scores: Sequence[float] | None, count: int = 40, **more: Any) -> Answers:
    ids = [f"item-{k}" for k in range(count)]
    return Answers(
        task=more.pop("task", "mini"),
        split=more.pop("split", "test"),
        output="caption",
        ids=ids,
        texts=[f"text {k}" for k in range(count)],
        metric="cider_d",
        scores=scores,
        **more,
    )


RISING = [float(k) for k in range(40)]


def test_half_are_random_and_the_others_the_worst_and_the_best() -> None:
    chosen = choose(answers(RISING), 12)
    whys = [sample.why for sample in chosen]
    assert whys == ["random"] * 6 + ["worst"] * 3 + ["best"] * 3
    drawn = {sample.score for sample in chosen[:6]}
    others = [score for score in RISING if score not in drawn]
    assert [sample.score for sample in chosen[6:9]] == others[:3]
    assert [sample.score for sample in chosen[9:]] == others[:-4:-1]
    assert len({sample.id for sample in chosen}) == 12


def test_where_lower_is_better_the_worst_score_highest() -> None:
    chosen = choose(answers(RISING, higher_is_better=False), 12)
    worst, best = (
        [sample.score for sample in chosen if sample.why == why] for why in ("worst", "best")
    )
    assert min(worst) > max(best)  # type: ignore[type-var]


def test_random_items_are_the_same_for_every_model_and_a_longer_choice_goes_on() -> None:
    one = [s.id for s in choose(answers(RISING), 12) if s.why == "random"]
    two = [s.id for s in choose(answers(RISING[::-1]), 12) if s.why == "random"]
    many = [s.id for s in choose(answers(RISING), 30) if s.why == "random"]
    assert one == two == many[:6]
    assert one != [s.id for s in choose(answers(RISING, split="ood"), 12) if s.why == "random"]
    assert one != [s.id for s in choose(answers(RISING, task="other"), 12) if s.why == "random"]


def test_random_items_are_spread_over_the_split() -> None:
    rows = [int(s.id.removeprefix("item-")) for s in choose(answers(None, 1000), 100)]
    assert 350 < sum(rows) / 100 < 650
    assert rows != sorted(rows)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_items_are_all_random(count: int) -> None:
    assert [s.why for s in choose(answers(RISING), count)] == ["random"] * count


def test_without_item_scores_all_are_random() -> None:
    chosen = choose(answers(None), 12)
    assert {sample.why for sample in chosen} == {"random"}
    assert chosen[0].score is None
    assert chosen[0].label("cider_d") == "random"


@pytest.mark.parametrize("scores", [RISING[:5], None])
def test_more_items_than_there_are_gives_each_once(scores: list[float] | None) -> None:
    chosen = choose(answers(scores, 5), 12)
    assert sorted(sample.id for sample in chosen) == [f"item-{k}" for k in range(5)]


def test_equal_scores_do_not_favour_the_first_items() -> None:
    chosen = choose(answers([0.0] * 400, 400), 40)
    extremes = [int(s.id.removeprefix("item-")) for s in chosen if s.why != "random"]
    assert max(extremes) > 200


def test_a_sample_carries_what_belongs_to_its_item_whatever_the_order_of_the_data() -> None:
    ids = [f"item-{k}" for k in reversed(range(40))]
    texts = [(f"true {name}", "second") for name in ids]
    data = Split(ids, {}, {}, {"caption": TextReferences(texts)})
    gate = [[[float(k), 1.0 - k]] for k in range(40)]
    row = {name: k for k, name in enumerate(ids)}
    for sample in choose(answers(RISING, data=data, row=row, weights=gate), 12):
        number = int(sample.id.removeprefix("item-"))
        assert sample.said == f"text {number}"
        assert sample.score == number
        assert sample.references == (f"true {sample.id}", "second")
        assert sample.weights == [[float(number), 1.0 - number]]
        assert sample.row == 39 - number


def test_facts_are_pairs_of_slot_and_filler() -> None:
    slots = {"count": frozenset([("two",)]), "sound": frozenset[tuple[str, ...]]()}
    assert facts(slots) == {("count", ("two",))}


def test_scores_of_items_are_never_a_negative_zero() -> None:
    assert scored("cider_d", -0.001) == "cider_d 0.00"
    assert scored("cider_d", -0.006) == "cider_d -0.01"


def test_the_main_output_is_the_marked_one_or_the_only_one() -> None:
    base = {
        "schema": 1,
        "name": "mini",
        "version": 1,
        "summary": "",
        "dataset": {"name": "scenecap", "version": 1},
        "modalities": {"image": {"kind": "image", "shape": [3, 48, 48]}},
        "splits": {"train": 1, "val": 2, "test": 2},
        "metrics": {"main": "cider_d"},
        "budgets": {"small": {"items": 1, "steps": 1}},
    }
    only = parse_task({**base, "outputs": {"caption": {"kind": "text"}}}, "mini")
    label = {"kind": "label", "classes": ["a", "b"]}
    outputs = {"label": label, "caption": {"kind": "text", "main": True}}
    assert main_output(only) == "caption"
    assert main_output(parse_task({**base, "outputs": outputs}, "mini")) == "caption"
