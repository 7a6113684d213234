from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmbench import registry
from mmbench.errors import IncompatibleError, NotComparableError, UnknownNameError, UsageError
from mmbench.references import Slots, TextReferences
from mmbench.scoring import combine, difference, score
from mmbench.types import Predictions

IDS = [f"image {place}" for place in range(6)]
TEXTS = [
    ("a dog runs on the beach", "the dog runs"),
    ("a cat sleeps on a red mat", "a cat"),
    ("two men play chess in a park",),
    ("a cow eats the green grass", "a cow"),
    ("a child jumps over a fence",),
    ("a bird sits on the old roof",),
]
SAID = [
    "a dog runs on a beach",
    "a cat sleeps on a mat",
    "two men in a park",
    "a cow eats grass",
    "a dog jumps over a fence",
    "a bird on the roof",
]


def parse(text: str) -> Slots:
    return {"object": frozenset((w,) for w in text.split() if w in {"dog", "cat", "cow", "bird"})}


REFERENCES = {"caption": TextReferences(TEXTS, [parse(texts[0]) for texts in TEXTS], parse)}


def said(texts: list[str] = SAID, ids: list[str] = IDS, output: str = "caption") -> Predictions:
    return Predictions(ids, {output: texts})


def test_a_score_says_all_that_a_record_keeps() -> None:
    found = score(said(), REFERENCES, "caption", ["cider_d", "bleu4"])
    assert list(found.scores) == ["cider_d", "bleu4"]
    cider = found.scores["cider_d"]
    assert 0 < cider.low < cider.value < cider.high < 10
    assert (cider.n, cider.seeds, cider.scope) == (6, 1, "these weights")
    assert (cider.higher_is_better, cider.bounds) == (True, (0.0, 10.0))
    assert cider.signature == registry.load("metric", "cider_d").signature
    assert (cider.se > 0, cider.df) == (True, 5)


def test_metrics_of_a_family_share_one_table_of_statistics() -> None:
    found = score(
        said(), REFERENCES, "caption", ["bleu1", "bleu4", "object_f1", "slot_f1", "rouge_l"]
    )
    assert set(found.statistics) == {"bleu", "slots", "rouge_l"}
    columns, rows = found.statistics["bleu"]
    assert rows.shape == (6, len(columns))


def test_a_family_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmbench.metrics import Metric

    calls: list[str] = []
    measure = Metric.measure
    monkeypatch.setattr(
        Metric, "measure", lambda m, items: calls.append(m.name) or measure(m, items)
    )
    score(said(), REFERENCES, "caption", ["bleu1", "bleu2", "bleu3", "bleu4"])
    assert calls == ["bleu1"]


def test_the_interval_of_a_mean_is_that_of_its_items() -> None:
    from scipy import stats

    found = score(said(), REFERENCES, "caption", ["rouge_l"])
    x = found.statistics["rouge_l"].rows[:, 0]
    low, high = stats.t.interval(0.95, 5, x.mean(), stats.sem(x))
    got = found.scores["rouge_l"]
    assert (got.value, got.low, got.high) == pytest.approx((x.mean(), max(low, 0), min(high, 1)))


def test_the_interval_stops_at_the_bounds_of_the_metric() -> None:
    found = score(
        said([texts[0] for texts in TEXTS]), REFERENCES, "caption", ["rouge_l", "object_f1"]
    )
    assert found.scores["rouge_l"].value == found.scores["rouge_l"].high == 1.0
    half = score(said(["", *(t[0] for t in TEXTS[1:])]), REFERENCES, "caption", ["rouge_l"])
    assert half.scores["rouge_l"].high == 1.0
    nothing = score(said([""] * 6), REFERENCES, "caption", ["cider_d", "bleu4", "slot_f1"])
    assert all((s.low, s.value) == pytest.approx((0.0, 0.0)) for s in nothing.scores.values())


def test_the_jackknife_of_bleu_gives_the_same_standard_error() -> None:
    texts, truth = SAID * 40, TextReferences(TEXTS * 40)
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.permutation(t.split())[: draw.integers(3, 9)]) for t in texts]
    found = score(
        Predictions(range(240), {"caption": texts}), {"caption": truth}, "caption", ["bleu2"]
    )  # type: ignore[arg-type]
    metric, (_, rows) = registry.load("metric", "bleu2"), found.statistics["bleu"]
    left_out = metric.of_sums(rows.sum(axis=0) - rows)
    jackknife = (239 / 240 * ((left_out - left_out.mean()) ** 2).sum()) ** 0.5
    assert found.scores["bleu2"].se == pytest.approx(jackknife, rel=0.02)


def test_clusters_widen_the_interval_where_items_repeat() -> None:
    texts, truth = SAID * 2, {"caption": TextReferences(TEXTS * 2)}
    twice = Predictions([str(i) for i in range(12)], {"caption": texts})
    alone = score(twice, truth, "caption", ["rouge_l"]).scores["rouge_l"]
    together = score(twice, truth, "caption", ["rouge_l"], clusters=IDS * 2).scores["rouge_l"]
    once = score(said(), REFERENCES, "caption", ["rouge_l"]).scores["rouge_l"]
    assert together.value == pytest.approx(alone.value)
    assert together.se == pytest.approx(once.se)
    assert together.se > 1.3 * alone.se


def test_predictions_with_ids_may_come_in_any_order() -> None:
    order = [3, 0, 5, 1, 4, 2]
    shuffled = said([SAID[i] for i in order], [IDS[i] for i in order])
    a = score(shuffled, REFERENCES, "caption", ["bleu4", "cider_d"], ids=IDS)
    b = score(said(), REFERENCES, "caption", ["bleu4", "cider_d"], ids=IDS)
    assert a.scores == b.scores


@pytest.mark.parametrize(
    ("predictions", "ids", "message"),
    [
        (said(SAID[:5], IDS[:5]), IDS, r"1 without a prediction \(image 5\)"),
        (said([*SAID, "x"], [*IDS, "image 9"]), IDS, r"items: 1 unknown \(image 9\)"),
        (said(SAID, [*IDS[:5], "x"]), IDS, r"\(image 5\) and 1 unknown \(x\)"),
        (said(SAID, [*IDS[:5], IDS[0]]), IDS, r"predictions have 1 ids more than once \(image 0\)"),
        (
            said(SAID, [*IDS[:5], IDS[0]]),
            None,
            r"predictions have 1 ids more than once \(image 0\)",
        ),
        (said(), [*IDS[:5], IDS[0]], "references have 1 ids more than once"),
        (said(["a"] * 6, [f"other {i}" for i in range(6)]), IDS, r"6 without.*, \.\.\.\) and 6"),
        (said(SAID[:5], IDS[:5]), None, "6 items but 5 predictions"),
        (said(SAID[:5]), None, "6 ids but 5 values of 'caption'"),
        (said(), IDS[:5], "6 references but 5 ids"),
        (said([*SAID[:5], None]), None, r"without a prediction \(image 5\)"),  # type: ignore[list-item]
        (said([*SAID[:5], float("nan")]), IDS, "prediction of 'image 5' is nan, expected text"),  # type: ignore[list-item]
        (said(output="title"), None, "predictions have no output 'caption'; they have: title"),
    ],
)
def test_predictions_that_do_not_fit_are_refused_with_names(
    predictions: Predictions, ids: list[str] | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        score(predictions, REFERENCES, "caption", ["bleu4"], ids=ids)
    assert "\n" not in str(caught.value)


def test_an_output_without_references_is_refused() -> None:
    with pytest.raises(UsageError, match="references have no output 'title'"):
        score(said(output="title"), REFERENCES, "title", ["bleu4"])


def test_an_unknown_metric_is_refused_before_anything_is_scored() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'bleu4'"):
        score(said(), REFERENCES, "caption", ["bleu-4"])


def test_each_metric_is_checked_even_if_its_family_is_there() -> None:
    with pytest.raises(UsageError, match=r"'sound_f1': no item has slots of the kind 'sound'"):
        score(said(), REFERENCES, "caption", ["slot_f1", "sound_f1"])


@pytest.fixture
def own_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_included", {})
    monkeypatch.setattr(registry, "_included_files", {})
    path = tmp_path / "mine.py"
    path.write_text(
        "from mmbench.metrics import metric\n\n"
        "@metric(kind='label')\n"
        "def own_accuracy(items):\n"
        "    return [1.0 for _ in items.predictions]\n\n"
        "@metric\n"
        "def bleu(items):\n"
        "    return [1.0 for _ in items.predictions]\n"
    )
    registry.include(path)


@pytest.mark.usefixtures("own_metrics")
def test_a_metric_for_another_kind_of_output_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="'own_accuracy' scores outputs of the kind"):
        score(said(), REFERENCES, "caption", ["own_accuracy"])


@pytest.mark.usefixtures("own_metrics")
def test_a_metric_called_as_a_family_of_ours_is_refused_beside_it() -> None:
    with pytest.raises(UsageError, match="a family of metrics is called 'bleu' already"):
        score(said(), REFERENCES, "caption", ["bleu4", "bleu"])


# --- several seeds -------------------------------------------------------------------------------


def seeds_of(count: int, start: int = 0) -> list[np.ndarray]:
    """Score `count` seeds of a model that drops words at random."""
    found = []
    for seed in range(start, start + count):
        draw = np.random.default_rng(seed)
        texts = [" ".join(w for w in t.split() if draw.random() < 0.8) for t in SAID * 20]
        predictions = Predictions([str(i) for i in range(120)], {"caption": texts})
        truth = {"caption": TextReferences(TEXTS * 20)}
        found.append(score(predictions, truth, "caption", ["bleu2"]).statistics["bleu"].rows)
    return found


def test_one_seed_combined_is_the_score_itself() -> None:
    found = score(said(), REFERENCES, "caption", ["bleu2"])
    assert combine("bleu2", [found.statistics["bleu"].rows]) == found.scores["bleu2"]


def test_seeds_combine_to_the_mean_of_their_scores() -> None:
    rows = seeds_of(4)
    alone = [combine("bleu2", [r]) for r in rows]
    together = combine("bleu2", rows)
    assert together.value == pytest.approx(np.mean([s.value for s in alone]))
    assert (together.seeds, together.n, together.scope) == (4, 120, "seeds and items")
    assert together.se < max(s.se for s in alone)


def test_the_difference_of_two_models_is_that_of_their_scores() -> None:
    a, b = seeds_of(3), seeds_of(2, start=10)
    found = difference("bleu2", a, b)
    assert found.value == pytest.approx(combine("bleu2", a).value - combine("bleu2", b).value)
    assert found.seeds == (3, 2)
    same = difference("bleu2", a[:1], a[:1])
    assert (same.value, same.se) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no seed"),
        ([np.ones((6, 10)), np.ones((5, 10))], r"differ in shape \(\(5, 10\), \(6, 10\)\)"),
        ([np.ones((6, 2))], r"expected item statistics with the 10 columns matched_1.*\(6, 2\)"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(rows: list[np.ndarray], message: str) -> None:
    with pytest.raises(NotComparableError, match=message):
        combine("bleu2", rows)
    with pytest.raises(NotComparableError, match=message):
        difference("bleu2", rows, [*rows, *rows])


def test_clusters_of_one_item_each_are_none() -> None:
    """So a board says of stored items what the record says of them."""
    width = len(registry.load("metric", "accuracy").columns)
    rows = np.ones((3, width))
    plain, apart = (combine("accuracy", [rows], c) for c in (None, ["a", "b", "c"]))
    assert (plain.low, plain.high) == (apart.low, apart.high)
    assert plain.low < 0.9, "three of three are not certain"
