from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from mmbench.report import canvas, colours, curve, scores
from mmbench.spec import TaskSpec, parse_task
from mmbench.store import Record, StoredScore

Neat = Callable[[Any], list[str]]
LEVEL = {"floor": 0.5, "ceiling": 3.4, "alone": {"image": 2.1, "audio": 1.2}}


def task(main: str = "cider_d", levels: dict[str, Any] | None = None) -> TaskSpec:
    return parse_task(
        {
            "schema": 1,
            "name": "mini",
            "version": 1,
            "summary": "",
            "dataset": {"name": "scenecap", "version": 1},
            "modalities": {"image": {"kind": "image", "shape": [3, 48, 48]}},
            "outputs": {"caption": {"kind": "text"}},
            "splits": {"train": 1, "val": 2, "test": 2},
            "metrics": {"main": main, "also": ["bleu4", "emitter_f1"]},
            "budgets": {"small": {"items": 1, "steps": 1}},
            "levels": {"cider_d": LEVEL} if levels is None else levels,
        },
        "mini",
    )


def score(value: float, high: float | None = 1.0, better: bool = True) -> StoredScore:
    return StoredScore(
        value=value,
        low=value - 0.02,
        high=value + 0.02,
        se=0.01,
        n=1000,
        signature="v1",
        higher_is_better=better,
        bounds=(0.0, high),
    )


def record(**more: Any) -> Record:
    points: list[dict[str, float | None]] = [
        {"step": 10.0 * k, "loss": 8.0 / k, "score": 0.3 * k if k % 5 == 0 else None}
        for k in range(1, 21)
    ]
    settings: dict[str, Any] = {
        "status": "finished",
        "task": "mini",
        "task_version": 1,
        "task_digest": "d",
        "budget": "small",
        "model": "hybrid",
        "model_digest": "m",
        "seed": 0,
        "identity": "0123456789abcdef",
        "definition": {},
        "provenance": {},
        "data": {},
        "curve": points,
        "cost": {"best_step": 150},
        "scores": {
            "ood": {"cider_d": score(1.5, 10.0), "bleu4": score(0.4)},
            "test": {
                "cider_d": score(1.65, 10.0),
                "bleu4": score(0.45),
                "emitter_f1": score(1.0),
                "words": score(7.0, None, better=False),
            },
        },
    }
    return Record(**(settings | more))


def drawn_scores(**more: Any) -> Any:
    return scores.figure(record(**more), task(), "mini/hybrid small, seed 0")


def drawn_curve(made: Record, of: TaskSpec | None = None) -> Any:
    return curve.figure(made, of or task(), "mini/hybrid small, seed 0")


def test_the_points_of_a_curve_are_those_that_are_numbers() -> None:
    points: list[dict[str, float | None]] = [
        {"step": 10.0, "loss": 2.0, "score": None},
        {"step": 20.0, "loss": 1.0, "score": 0.5},
        {"step": 30.0, "loss": None, "score": None},
        {"step": 40.0, "loss": math.inf, "score": math.nan},
    ]
    got = curve.points(record(curve=points, cost={"best_step": 20}))
    assert got == curve.Curve([10.0, 20.0], [2.0, 1.0], [20.0], [0.5], 20.0)


def test_a_curve_of_a_metric_of_which_less_is_better_is_shown_in_its_own_direction() -> None:
    points: list[dict[str, float | None]] = [{"step": 10.0, "loss": 1.0, "score": -7.0}]
    lower = record(curve=points, scores={"test": {"words": score(7.0, None, better=False)}})
    axes = drawn_curve(lower, task("words", {})).axes[0]
    assert list(axes.lines[0].get_ydata()) == [7.0]


def test_the_curve_has_levels_and_marks_the_step_that_was_kept(neat: Neat) -> None:
    figure = drawn_curve(record())
    texts = neat(figure)
    assert "floor of test 0.500" in texts
    assert "ceiling of test 3.400" in texts
    assert "kept: 4.500 at step 150" in texts
    assert any("learning curve" in text for text in texts)
    above, below = figure.axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("validation cider_d", "training loss")
    assert above.get_ylim()[1] > 6.0
    assert len(below.lines[0].get_xdata()) == 20


def test_without_levels_there_are_no_lines(neat: Neat) -> None:
    assert not [t for t in neat(drawn_curve(record(), task(levels={}))) if "floor" in t]


def test_a_diverged_curve_shows_what_there_is_and_why_it_ended(neat: Neat) -> None:
    reason = "the loss became nan by step 30"
    some: list[dict[str, float | None]] = [
        {"step": 10.0, "loss": 2.0, "score": None},
        {"step": 20.0, "loss": 9.0, "score": None},
        {"step": 30.0, "loss": None, "score": None},
    ]
    for points in (some, some[2:]):
        figure = drawn_curve(
            record(status="diverged", reason=reason, curve=points, scores={}, cost={})
        )
        texts = neat(figure)
        assert f"diverged: {reason}" in texts
        assert "never validated" in texts
    assert figure.axes[1].lines[-1].get_xdata()[0] == 30.0


@pytest.mark.parametrize(
    ("bounds", "values", "ends"),
    [
        ((0.0, 1.0), [0.001], (0.0, 1.0)),
        ((0.0, 10.0), [1.65], (0.0, 2.0)),
        ((0.0, 10.0), [9.7], (0.0, 10.0)),
        ((-1.0, 1.0), [0.2], (-1.0, 1.0)),
        ((0.0, None), [130.0], (0.0, 200.0)),
        ((None, None), [-0.03, 0.4], (-0.05, 0.5)),
        ((0.0, 10.0), [0.0], (0.0, 1.0)),
    ],
)
def test_an_axis_runs_to_the_bound_or_to_a_round_number_above_all_that_is_drawn(
    bounds: tuple[float | None, float | None], values: list[float], ends: tuple[float, float]
) -> None:
    assert scores.scale(bounds, values) == pytest.approx(ends)


def test_scores_are_named_with_their_intervals_and_nothing_overlaps(neat: Neat) -> None:
    texts = neat(drawn_scores())
    for part in ("cider_d", "words\n(lower is better)", "1.650 [1.630, 1.670]", "on test", "5"):
        assert part in texts
    for part in ("test", "ood", "oracle that sees image alone", "oracle that sees audio alone"):
        assert part in texts


def test_points_and_levels_stand_at_their_values() -> None:
    axes = drawn_scores().axes[0]
    points = {
        (line.get_marker(), round(float(line.get_xdata()[0]), 4))
        for line in axes.lines
        if line.get_marker() not in ("None", None, "")
    }
    # The axis of CIDEr-D runs to 5, because its ceiling is 3.4.
    assert {("o", 0.33), ("D", 0.3), ("v", 0.42), ("v", 0.24), ("o", 0.45), ("o", 1.0)} <= points
    spans = {
        (round(bar.get_x(), 4), round(bar.get_width(), 4))
        for bar in axes.patches
        if to_hex(bar.get_facecolor()) == colours.HEADROOM
    }
    assert spans == {(0.1, 0.58)}


def test_modalities_have_the_colours_that_they_have_as_branches() -> None:
    axes = drawn_scores().axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "v"]
    paints = colours.of_branches(["joint", "image", "audio"])
    assert {to_hex(m.get_markerfacecolor()) for m in marks} == {paints["image"], paints["audio"]}


def test_a_record_with_one_split_and_no_levels_is_drawn(neat: Neat) -> None:
    only = record(scores={"test": {"bleu4": score(0.45)}})
    texts = neat(scores.figure(only, task(levels={}), "mini/hybrid"))
    assert not [text for text in texts if "oracle" in text]


def test_levels_are_left_out_where_the_first_split_is_not_test() -> None:
    only = record(scores={"ood": {"cider_d": score(1.5, 10.0)}})
    axes = scores.figure(only, task(), "mini/hybrid").axes[0]
    assert not [line for line in axes.lines if line.get_marker() == "v"]


@pytest.mark.parametrize("draw", [drawn_scores, lambda: drawn_curve(record())])
def test_the_same_record_gives_the_same_bytes(draw: Callable[[], Any]) -> None:
    made = [canvas.png(draw) for _ in range(2)]
    assert made[0] == made[1]
    width, height = FigureCanvasAgg(draw()).get_width_height()
    assert width > 900
    assert height > 200
