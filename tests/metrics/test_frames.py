"""Labelled time steps: equal to brute force and to scikit-learn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import influence, perfect, prepare, pseudo_values
from mmbench.metrics._items.frames import FrameItems
from mmbench.references import FrameReferences
from mmbench.stats import crossed

CLASSES = ("nothing", "bounce", "roll", "spin")

# --- corpora -------------------------------------------------------------------------------------


def recordings(
    seed: int,
    size: int,
    longest: int = 16,
    stay: float = 0.7,
    background: int | None = 0,
    missing: float = 0.0,
) -> FrameItems:
    """Draw recordings whose classes stay for a while, and predictions that are often right."""
    draw = np.random.default_rng(seed)
    shape = (size, longest)

    def classes() -> np.ndarray:
        drawn = draw.integers(0, len(CLASSES), shape)
        changes = np.where(draw.random(shape) < stay, 0, np.arange(longest))
        return np.take_along_axis(drawn, np.maximum.accumulate(changes, axis=1), axis=1)

    lengths = draw.integers(1, longest + 1, size)
    right, other = classes(), classes()
    answers = np.where(draw.random(shape) < 0.8, right, other)
    true, said, keys, told = [], [], [], []
    for row, length in enumerate(lengths):
        true.append(right[row, :length])
        gone = draw.random() < missing
        said.append(None if gone else answers[row, :length])
        keys.append(np.flatnonzero(draw.random(length) < 0.25))
        told.append(None if gone else np.flatnonzero(draw.random(length) < 0.25))
    references = FrameReferences(true, CLASSES, background, keys)
    return prepare(said, references, {"keys": told})


def spelled(true: list[str], said: list[str | None], background: int | None = 0) -> FrameItems:
    """Write recordings as texts: one digit a frame."""
    frames = [np.array([int(c) for c in text]) for text in true]
    values = [None if text is None else [int(c) for c in text] for text in said]
    keys = [np.zeros(0, dtype=int)] * len(true)
    return prepare(values, FrameReferences(frames, CLASSES, background, keys), {"keys": keys})


CORPORA: dict[str, FrameItems] = {
    "ordinary": recordings(0, 40),
    "restless": recordings(1, 40, longest=40, stay=0.2),
    "long events": recordings(2, 12, longest=200, stay=0.97),
    "no background": recordings(3, 30, background=None),
    "another background": recordings(4, 30, background=2),
    "missing": recordings(5, 30, missing=0.3),
    "one frame each": recordings(6, 50, longest=1),
    "only background": spelled(["000", "00"], ["000", "00"]),
    "nothing said": spelled(["0110", "22"], ["0000", "00"]),
    "split and merged": spelled(
        ["1110111", "1111111", "1110222", "1101100"], ["1111111", "1110111", "1112222", "1111110"]
    ),
    "two recordings": spelled(["11", "11"], ["11", "00"]),
}

# --- brute force ---------------------------------------------------------------------------------


def split(items: FrameItems) -> list[tuple[list[int], list[int]]]:
    """Return what was said and what is true, as plain lists, for each recording."""
    return [
        (items.said[items.recording == i].tolist(), items.true[items.recording == i].tolist())
        for i in range(len(items))
    ]


def events(frames: list[int], background: int | None) -> list[tuple[int, set[int]]]:
    found, at = [], 0
    for label, run in itertools.groupby(frames):
        length = len(list(run))
        if label not in (-1, background):
            found.append((label, set(range(at, at + length))))
        at += length
    return found


def most_matches(edges: list[tuple[int, int]]) -> int:
    """Return the size of the largest matching, by augmenting paths."""
    partner: dict[int, int] = {}

    def augment(left: int, seen: set[int]) -> bool:
        for other in (b for a, b in edges if a == left and b not in seen):
            seen.add(other)
            if other not in partner or augment(partner[other], seen):
                partner[other] = left
                return True
        return False

    return sum(augment(left, set()) for left in sorted({a for a, _ in edges}))


def f1(tp: float, said: float, true: float) -> float:
    return 2 * tp / (said + true) if said + true else 0.0


def event_f1(items: FrameItems, iou: float = 0.5) -> float:
    counts = np.zeros(3)
    for said, true in split(items):
        ours, theirs = (events(frames, items.background) for frames in (said, true))
        edges = [
            (a, b)
            for a, (one, these) in enumerate(ours)
            for b, (other, those) in enumerate(theirs)
            if one == other and len(these & those) / len(these | those) >= iou
        ]
        counts += most_matches(edges), len(ours), len(theirs)
    return f1(*counts)


def key_frame_f1(items: FrameItems, tolerance: int = 1) -> float:
    counts = np.zeros(3)
    for said, true in zip(items.said_keys or [], items.keys or [], strict=True):
        edges = [
            (a, b)
            for a, one in enumerate(said.tolist())
            for b, other in enumerate(true.tolist())
            if abs(one - other) <= tolerance
        ]
        counts += most_matches(edges), len(said), len(true)
    return f1(*counts)


def of_sklearn(average: str) -> Callable[[FrameItems], float]:
    def reference(items: FrameItems) -> float:
        from sklearn.metrics import f1_score

        return float(
            f1_score(
                items.true, items.said, labels=items.foreground, average=average, zero_division=0.0
            )
        )

    return reference


def accuracy(items: FrameItems) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(items.true, items.said))


#: Metric -> its value, by brute force or by scikit-learn.
REFERENCES: dict[str, Callable[[FrameItems], float]] = {
    "frame_accuracy": accuracy,
    "frame_f1": of_sklearn("micro"),
    "frame_f1_macro": of_sklearn("macro"),
    "event_f1": event_f1,
    "key_frame_f1": key_frame_f1,
}


def value(name: str, items: FrameItems) -> float:
    metric = registry.load("metric", name)
    return float(metric.of(metric.measure(items)))


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("which", CORPORA)
def test_a_metric_equals_its_independent_reference(name: str, which: str) -> None:
    items = CORPORA[which]
    assert value(name, items) == pytest.approx(REFERENCES[name](items), rel=1e-12, abs=1e-12)


def test_every_frame_metric_has_a_reference() -> None:
    ours = {n for n in registry.names("metric") if registry.load("metric", n).kind == "frames"}
    assert set(REFERENCES) == ours


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    iou=st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.99, 1.0]),
    stay=st.sampled_from([0.3, 0.8, 0.95]),
)
def test_as_many_events_are_matched_as_can_be(seed: int, iou: float, stay: float) -> None:
    items = recordings(seed, 6, longest=60, stay=stay)
    name = "event_f1" if iou == 0.5 else f"event_f1(iou={iou})"
    assert value(name, items) == pytest.approx(event_f1(items, iou), abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), tolerance=st.integers(0, 6))
def test_as_many_key_frames_are_matched_as_can_be(seed: int, tolerance: int) -> None:
    items = recordings(seed, 6, longest=40)
    name = f"key_frame_f1(tolerance={tolerance})"
    assert value(name, items) == pytest.approx(key_frame_f1(items, tolerance), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_from_one_half_on_no_event_has_a_choice(seed: int) -> None:
    from mmbench.metrics.frames import _overlapping

    first, second = _overlapping(recordings(seed, 8, longest=50, stay=0.6), 0.5)
    assert len(np.unique(first)) == len(first)
    assert len(np.unique(second)) == len(second)


# --- what holds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("true", "said", "expected"),
    [
        ("0110", "0110", 1.0),
        ("0110", "0010", 1.0),  # 1 of 2: exactly one half
        ("1110", "0010", 0.0),  # 1 of 3
        ("0110", "0220", 0.0),  # another class
        ("0110", "0000", 0.0),
        ("0000", "0000", 0.0),  # nothing there and nothing said
        ("1111", "1011", 2 / 3),  # split: 3 frames would be, 2 are, one half of 4
        ("1111110", "1101110", 2 / 3),
        ("0110110", "0111110", 0.0),  # merged: 2 of 5 either way
        ("0110111", "0111111", 2 / 3),
    ],
)
def test_an_event_is_right_where_half_of_it_is(true: str, said: str, expected: float) -> None:
    assert value("event_f1", spelled([true], [said])) == pytest.approx(expected)


def test_events_do_not_run_on_from_one_recording_into_the_next() -> None:
    assert spelled(["011", "110"], ["011", "110"]).true_events.length.tolist() == [2, 2]
    items = spelled(["0111", "1000"], ["0001", "1000"])
    assert value("event_f1", items) == pytest.approx(2 * 1 / 4)


def test_background_counts_for_accuracy_and_not_for_f1() -> None:
    items = spelled(["0000000011"], ["0000000000"])
    assert value("frame_accuracy", items) == 0.8
    assert value("frame_f1", items) == value("frame_f1_macro", items) == 0.0
    everything = spelled(["0000000011"], ["0000000000"], background=None)
    assert value("frame_f1", everything) == value("frame_accuracy", everything) == 0.8


def test_a_missing_recording_says_nothing() -> None:
    items = spelled(["0110", "0110"], ["0110", None])
    assert value("frame_accuracy", items) == 0.5  # not even its background is right
    assert value("frame_f1", items) == pytest.approx(2 * 2 / 6)
    assert value("event_f1", items) == pytest.approx(2 * 1 / 3)
    keyed = prepare(
        [[0, 1], None],
        FrameReferences([np.array([0, 1])] * 2, CLASSES, 0, [np.array([1])] * 2),
        {"keys": [[1], None]},
    )
    assert value("key_frame_f1", keyed) == pytest.approx(2 * 1 / 3)


def test_a_key_frame_matches_only_one() -> None:
    def keyed(true: list[int], said: list[int]) -> FrameItems:
        references = FrameReferences(
            [np.zeros(10, dtype=int)], CLASSES, 0, [np.array(true, dtype=int)]
        )
        return prepare([[0] * 10], references, {"keys": [said]})

    assert value("key_frame_f1", keyed([5], [4, 6])) == pytest.approx(2 / 3)
    assert value("key_frame_f1", keyed([5], [5, 5])) == pytest.approx(2 / 3)
    assert value("key_frame_f1", keyed([4, 6], [6, 3])) == 1.0
    assert value("key_frame_f1", keyed([2], [4])) == 0.0
    assert value("key_frame_f1(tolerance=2)", keyed([2], [4])) == 1.0
    assert value("key_frame_f1", keyed([], [])) == 0.0


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("background", [0, None])
def test_perfect_predictions_reach_the_bound(name: str, background: int | None) -> None:
    frames = [np.array([1, 1, 0, 2, 3]), np.array([3, 0, 0])]
    references = FrameReferences(frames, CLASSES, background, [np.array([0, 3]), np.array([2])])
    assert value(name, prepare(perfect(references), references)) == 1.0


@pytest.mark.parametrize("name", REFERENCES)
def test_names_of_classes_are_as_good_as_numbers(name: str) -> None:
    frames = [np.array([1, 1, 0, 2, 3]), np.array([3, 0, 0])]
    references = FrameReferences(frames, CLASSES, 0, [np.array([0, 3]), np.array([2])])
    said = [[1, 0, 0, 2, 2], [3, 3, 0]]
    keys = {"keys": [[1], [2]]}
    named = [[CLASSES[c] for c in frames] for frames in said]
    assert value(name, prepare(said, references, keys)) == value(
        name, prepare(named, references, keys)
    )


@pytest.mark.parametrize("name", REFERENCES)
def test_two_copies_of_a_corpus_score_what_one_does(name: str) -> None:
    items = CORPORA["ordinary"]
    pairs = split(items) * 2
    references = FrameReferences(
        [np.array(true) for _, true in pairs], CLASSES, 0, list(items.keys or []) * 2
    )
    twice = prepare([s for s, _ in pairs], references, {"keys": list(items.said_keys or []) * 2})
    assert value(name, twice) == pytest.approx(value(name, items), rel=1e-12)


@pytest.mark.parametrize("name", REFERENCES)
def test_pseudo_values_say_what_leaving_a_recording_out_does(name: str) -> None:
    items = recordings(9, 300)
    metric = registry.load("metric", name)
    whole = value(name, items)
    pseudo = pseudo_values(metric, metric.measure(items))
    assert pseudo.mean() == pytest.approx(whole, rel=1e-9)
    pairs = split(items)
    for gone in range(0, 300, 37):
        kept = [i for i in range(300) if i != gone]
        references = FrameReferences(
            [np.array(pairs[i][1]) for i in kept], CLASSES, 0, [items.keys[i] for i in kept]
        )
        columns = {"keys": [items.said_keys[i] for i in kept]}
        without = value(name, prepare([pairs[i][0] for i in kept], references, columns))
        # To first order: the rest is of the size 1 / N^2.
        assert whole - without == pytest.approx((pseudo[gone] - whole) / 300, abs=2e-4)


@pytest.mark.parametrize("name", ["frame_f1", "event_f1", "key_frame_f1"])
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    from dataclasses import replace

    metric = registry.load("metric", name)
    rows = metric.measure(CORPORA["ordinary"])
    by_differences = influence(replace(metric, gradient=None), rows)
    np.testing.assert_allclose(influence(metric, rows), by_differences, atol=1e-8)
    nothing = metric.measure(CORPORA["only background"])
    assert (influence(metric, nothing) == 0).all()


@pytest.mark.parametrize("trials", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_intervals_cover_what_other_recordings_would_score(trials: int) -> None:
    truth = {name: value(name, recordings(10**6, 8000)) for name in REFERENCES}
    inside = dict.fromkeys(REFERENCES, 0)
    for trial in range(trials):
        items = recordings(trial, 150)
        for name in REFERENCES:
            metric = registry.load("metric", name)
            found = crossed.interval(pseudo_values(metric, metric.measure(items)))
            inside[name] += found.low <= truth[name] <= found.high
    slack = 2 * (0.05 * 0.95 / trials) ** 0.5  # two standard errors of the simulation
    for name, count in inside.items():
        assert 0.93 - slack <= count / trials <= 0.97 + slack, name


# --- bad input -----------------------------------------------------------------------------------

TWO = FrameReferences(
    [np.array([0, 1, 1]), np.array([2, 2])], CLASSES, 0, [np.array([1]), np.array([0])]
)


@pytest.mark.parametrize(
    ("said", "columns", "message"),
    [
        ([[0, 1], [2, 2]], {}, r"prediction of '0' has the shape \(2,\): .* each of its 3 frames"),
        ([[0, 1, 4], [2, 2]], {}, "prediction of '0' holds the class 4: expected 0 to 3"),
        ([[0, 1, -1], [2, 2]], {}, "prediction of '0' holds the class -1"),
        ([[0, 1, 1], [2, 0.5]], {}, "prediction of '1' holds float64: expected numbers of classes"),
        ([[0, 1, 1], ["rol", "roll"]], {}, "'1' holds the class 'rol': did you mean 'roll'"),
        ([[0, 1, 1], [2, 2]], {"keys": [[3], [0]]}, "key frames of '0' lie outside .* 0 to 2"),
        ([[0, 1, 1], [2, 2]], {"keys": [[0], [0.5]]}, "of '1' are no list of frame numbers"),
        ([[0, 1, 1], [2, 2]], {"keys": [[0], 1]}, "of '1' are no list of frame numbers"),
    ],
)
def test_predictions_that_do_not_fit_are_one_line(said: Any, columns: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        prepare(said, TWO, columns)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("event_f1(iou=0.0)", "iou = 0: expected a share of the union"),
        ("event_f1(iou=1.5)", "iou = 1.5: expected a share of the union"),
        ("key_frame_f1(tolerance=-1)", "tolerance = -1: expected a number of frames"),
        ("key_frame_f1", "no column 'keys'"),
    ],
)
def test_what_cannot_be_computed_says_why(name: str, message: str) -> None:
    items = CORPORA["ordinary"] if "(" in name else prepare([[0, 1, 1], [2, 2]], TWO)
    with pytest.raises(UsageError, match=message):
        registry.load("metric", name).measure(items)


def test_key_frames_need_references_that_mark_them() -> None:
    items = prepare([[0]], FrameReferences([np.array([0])], CLASSES), {"keys": [[0]]})
    with pytest.raises(UsageError, match="references have no key frames"):
        registry.load("metric", "key_frame_f1").measure(items)
