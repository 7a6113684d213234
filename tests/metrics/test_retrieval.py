"""Retrieval: equal to enumeration and to torchmetrics, the same bits whatever the blocks."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import _places, _similarity, perfect, prepare, pseudo_values
from mmbench.metrics._items.match import MatchItems
from mmbench.references import MatchReferences, Said
from mmbench.scoring import score
from mmbench.stats import crossed
from mmbench.types import Predictions

# --- corpora -------------------------------------------------------------------------------------


def embedded(
    seed: int, queries: int, each: int, noise: float, width: int = 16, kind: Any = np.float32
) -> MatchItems:
    """Draw `each` right gallery entries around each query, and as many again around nothing."""
    draw = np.random.default_rng(seed)
    q = draw.standard_normal((queries, width))
    g = np.repeat(q, each, axis=0) + noise * draw.standard_normal((queries * each, width))
    g = np.concatenate([g, draw.standard_normal((queries, width))])
    order = draw.permutation(len(g))
    place = np.argsort(order)
    relevant = [tuple(int(p) for p in place[each * i : each * (i + 1)]) for i in range(queries)]
    columns = {"embedding": q.astype(kind), "gallery": g[order].astype(kind)}
    return prepare([None] * queries, MatchReferences(relevant, len(g)), columns)


def scored(scores: Any, relevant: list[tuple[int, ...]]) -> MatchItems:
    gallery = len(next(row for row in scores if row is not None))
    return prepare([None] * len(relevant), MatchReferences(relevant, gallery), {"scores": scores})


def crossed_over(seed: int, queries: int, gallery: int, levels: int) -> MatchItems:
    """Draw scores of few levels; entries are right for none, one or several queries."""
    draw = np.random.default_rng(seed)
    relevant = [
        tuple(int(e) for e in draw.choice(gallery, draw.integers(1, 4), replace=False))
        for _ in range(queries)
    ]
    return scored(draw.integers(0, levels, (queries, gallery)).astype(float), relevant)


def doubled() -> MatchItems:
    """Every gallery entry stands there twice, and only one of the two is right."""
    items = embedded(7, 15, 1, 1.0, width=7)
    q, g = items.embeddings or (None, None)
    relevant = [(int(e),) for e in items.entry]
    columns = {"embedding": q, "gallery": np.concatenate([g, g])}
    return prepare([None] * 15, MatchReferences(relevant, 60), columns)


def with_gaps() -> MatchItems:
    draw = np.random.default_rng(8)
    rows: list[Any] = list(draw.standard_normal((12, 5)))
    rows[3] = rows[7] = None
    relevant = [(i, (i + 5) % 12) for i in range(11)] + [(3,)]
    columns = {"embedding": rows, "gallery": draw.standard_normal((13, 5))}
    return prepare([None] * 12, MatchReferences(relevant, 13), columns)


CORPORA: dict[str, MatchItems] = {
    "one right": embedded(0, 40, 1, 1.0),
    "five right": embedded(1, 30, 5, 1.5),
    "float64": embedded(2, 25, 3, 1.5, kind=np.float64),
    "few levels": crossed_over(3, 20, 12, 4),
    "two levels": crossed_over(4, 9, 11, 2),
    "constant": scored(np.zeros((6, 8)), [(i, i + 1) for i in range(6)]),
    "collapsed": prepare(
        [None] * 5,
        MatchReferences([(i, 5) for i in range(5)], 7),
        {"embedding": np.full((5, 33), 0.1), "gallery": np.full((7, 33), 0.3)},
    ),
    "gallery twice": doubled(),
    "missing": with_gaps(),
    "vectors of zeros": prepare(
        [None] * 4,
        MatchReferences([(0,), (1,), (2,), (0,)], 3),
        {"embedding": np.eye(4, 3), "gallery": np.diag([1.0, 0.0, 2.0])},
    ),
    "infinite": scored(
        [[-np.inf, 1.0, -np.inf], [np.inf, np.inf, 0.0], [0.0, -np.inf, 3.0]], [(0,), (1,), (2,)]
    ),
    "two items": scored([[0.2, 0.1], [0.3, 0.4]], [(0,), (0, 1)]),
}

# --- an implementation that enumerates ----------------------------------------------------------


def similarity(items: MatchItems) -> np.ndarray:
    """Return the similarities; those that differ by rounding are made equal."""
    if items.scores is not None:
        return np.where(items.present[:, None], items.scores, np.nan)
    sides = []
    for side in items.embeddings or ():
        lengths = np.sqrt((side.astype(float) ** 2).sum(axis=1, keepdims=True))
        sides.append(side / np.where(lengths > 0, lengths, 1))
    cosines = np.round(sides[0].astype(float) @ sides[1].astype(float).T, 11)
    return np.where(items.present[:, None], cosines, np.nan)


Group = tuple[int, int, int, int]


def asked(items: MatchItems, back: bool) -> Iterator[tuple[int, list[Group], int]]:
    """Give each asker's owner, tie groups (above, tied, right, right before) and right answers."""
    table = similarity(items)
    right: dict[int, list[int]] = {}
    for query, entry in zip(items.query.tolist(), items.entry.tolist(), strict=True):
        right.setdefault(entry if back else query, []).append(query if back else entry)
    for asker in sorted(right):
        row = table[:, asker] if back else table[asker]
        groups: list[Group] = []
        before = 0
        for level in sorted({row[r] for r in right[asker] if not math.isnan(row[r])}, reverse=True):
            ours = sum(row[r] == level for r in right[asker])
            groups.append((int((row > level).sum()), int((row == level).sum()), int(ours), before))
            before += int(ours)
        yield (min(right[asker]) if back else asker), groups, len(right[asker])


def orders(group: Group) -> Iterator[tuple[int, ...]]:
    """Give every set of places, from 1, that the right ones of a tie group can take."""
    above, tied, right, _ = group
    for places in itertools.combinations(range(tied), right):
        yield tuple(above + 1 + place for place in places)


def mean_over(group: Group, measure: Callable[[tuple[int, ...]], Any]) -> float:
    values = [Fraction(measure(places)) for places in orders(group)]
    return float(sum(values) / len(values))


def of_first(measure: Callable[[tuple[int, ...]], Any], lost: Callable[[int], float]) -> Any:
    def outcome(groups: list[Group], total: int, candidates: int) -> float:
        return mean_over(groups[0], measure) if groups else lost(candidates)

    return outcome


def hits(k: int) -> Any:
    return of_first(lambda places: places[0] <= k, lambda _: 0.0)


rank = of_first(lambda places: places[0], lambda candidates: candidates + 1.0)
inverse = of_first(lambda places: Fraction(1, places[0]), lambda _: 0.0)


def precision(groups: list[Group], total: int, candidates: int) -> float:
    parts = [
        mean_over(
            group,
            lambda places, group=group: sum(
                Fraction(group[3] + i + 1, place) for i, place in enumerate(places)
            ),
        )
        for group in groups
    ]
    return sum(parts) / total


def gain(groups: list[Group], total: int, candidates: int) -> float:
    parts = [
        mean_over(group, lambda places: sum(1 / math.log2(p + 1) for p in places if p <= 10))
        for group in groups
    ]
    return sum(parts) / sum(1 / math.log2(i + 2) for i in range(min(total, 10)))


def mean(outcome: Any, back: bool, middle: Any = statistics.fmean) -> Callable[[MatchItems], float]:
    def reference(items: MatchItems) -> float:
        candidates = items.queries if back else items.gallery
        found = [outcome(groups, total, candidates) for _, groups, total in asked(items, back)]
        return float(middle(found))

    return reference


def rsum(items: MatchItems) -> float:
    return sum(mean(hits(k), back)(items) for k in (1, 5, 10) for back in (False, True))


#: Metric -> its value, by enumerating all orders of tied candidates.
REFERENCES: dict[str, Callable[[MatchItems], float]] = {
    f"{name}{'_back' * back}": mean(outcome, back, middle)
    for back in (False, True)
    for name, outcome, middle in (
        *((f"recall_at_{k}", hits(k), statistics.fmean) for k in (1, 5, 10)),
        ("recall_at_k", hits(50), statistics.fmean),
        ("mean_rank", rank, statistics.fmean),
        ("median_rank", rank, statistics.median),
        ("mrr", inverse, statistics.fmean),
        ("retrieval_map", precision, statistics.fmean),
        ("retrieval_ndcg", gain, statistics.fmean),
    )
} | {"rsum": rsum}


def value(name: str, items: MatchItems) -> float:
    metric = registry.load("metric", name)
    return float(metric.of(metric.measure(items)))


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("which", CORPORA)
def test_a_metric_equals_the_mean_over_all_orders_of_the_tied(name: str, which: str) -> None:
    items = CORPORA[which]
    assert value(name, items) == pytest.approx(REFERENCES[name](items), rel=1e-12, abs=1e-12)


def test_every_retrieval_metric_has_a_reference() -> None:
    ours = {n for n in registry.names("metric") if registry.load("metric", n).kind == "match"}
    assert set(REFERENCES) == ours


@pytest.mark.parametrize("which", ["one right", "five right", "float64"])
def test_without_ties_metrics_equal_those_of_torchmetrics(which: str) -> None:
    functional = pytest.importorskip("torchmetrics.functional.retrieval")
    torch = pytest.importorskip("torch")
    items = CORPORA[which]
    # Its average precision leaves out right answers whose similarity is not above 0.
    table = torch.from_numpy(similarity(items) + 2.0)
    truth = torch.zeros(table.shape, dtype=torch.bool)
    truth[items.query, items.entry] = True
    for back in (False, True):
        pairs = zip(*((table.T, truth.T) if back else (table, truth)), strict=True)
        rows = [(said, true) for said, true in pairs if true.any()]
        for name, measure in (
            ("recall_at_5", lambda s, t: functional.retrieval_hit_rate(s, t, top_k=5)),
            ("mrr", functional.retrieval_reciprocal_rank),
            ("retrieval_map", functional.retrieval_average_precision),
            ("retrieval_ndcg", lambda s, t: functional.retrieval_normalized_dcg(s, t, top_k=10)),
        ):
            theirs = statistics.fmean(float(measure(said, true)) for said, true in rows)
            # They compute in single precision.
            assert value(f"{name}{'_back' * back}", items) == pytest.approx(theirs, abs=2e-6), name


def test_recall_is_a_hit_rate_where_torchmetrics_has_the_share_of_right_answers() -> None:
    functional = pytest.importorskip("torchmetrics.functional.retrieval")
    torch = pytest.importorskip("torch")
    items = scored([[0.9, 0.8, 0.1, 0.2, 0.3, 0.4]] * 2, [(0, 1, 2, 3, 4)] * 2)
    theirs = functional.retrieval_recall(
        torch.tensor([0.9, 0.8, 0.1, 0.2, 0.3, 0.4]),
        torch.tensor([True] * 5 + [False]),
        top_k=1,
    )
    assert float(theirs) == pytest.approx(1 / 5)
    assert value("recall_at_1", items) == 1.0


def test_ndcg_with_ties_equals_that_of_scikit_learn() -> None:
    from sklearn.metrics import ndcg_score

    items = CORPORA["few levels"]
    truth = np.zeros(items.scores.shape)
    truth[items.query, items.entry] = 1
    for k in (1, 3, 10):
        theirs = ndcg_score(truth, items.scores, k=k)
        assert value(f"retrieval_ndcg(k={k})", items) == pytest.approx(theirs, abs=1e-12)


# --- the same bits whatever the blocks -----------------------------------------------------------


def nasty(seed: int, width: int, kind: Any, spread: float) -> tuple[np.ndarray, np.ndarray, Any]:
    """Draw embeddings full of copies, near copies, opposite and scaled vectors."""
    draw = np.random.default_rng(seed)
    q = draw.standard_normal((70, width)) * spread + 1.0
    g = draw.standard_normal((200, width)) * spread + 1.0
    g[100:] = g[draw.permutation(100)]
    g[150:170] = q[:20]
    g[170:180] = np.nextafter(q[:10].astype(kind), kind(9)).astype(float)
    g[180:190] = 2.0 * q[:10]
    g[190:] = -q[:10]
    q[60:] = q[:10]
    relevant = [tuple(int(e) for e in draw.choice(200, 3, replace=False)) for _ in range(70)]
    return q.astype(kind), g.astype(kind), relevant


def places_of(items: MatchItems, how: str) -> list[np.ndarray]:
    found = [
        getattr(items, which)(back, how) for which in ("first", "every") for back in (False, True)
    ]
    return [values for places in found for values in vars(places).values()]


@pytest.mark.parametrize("how", ["cosine", "dot"])
@pytest.mark.parametrize("spread", [1.0, 1e-4, 1e-9, 0.0])
@pytest.mark.parametrize(("width", "kind"), [(1, np.float64), (13, np.float32), (64, np.float32)])
def test_the_sizes_of_blocks_change_no_bit(
    monkeypatch: pytest.MonkeyPatch, how: str, spread: float, width: int, kind: Any
) -> None:
    q, g, relevant = nasty(0, width, kind, spread)

    def places(rows: int, columns: int, numbers: int, dense: int) -> list[np.ndarray]:
        for module, name, size in (
            (_similarity, "_ROWS", rows),
            (_similarity, "_COLUMNS", columns),
            (_similarity, "_NUMBERS", numbers),
            (_places, "_NUMBERS", numbers),
            (_places, "_DENSE", dense),
        ):
            monkeypatch.setattr(module, name, size)
        columns_ = {"embedding": q, "gallery": g}
        return places_of(prepare([None] * 70, MatchReferences(relevant, 200), columns_), how)

    expected = places(256, 2048, 1 << 20, 16)
    for sizes in ((1, 1, 1, 16), (7, 33, 500, 1), (64, 200, 3000, 10**9), (5, 17, 64, 10**9)):
        for one, other in zip(expected, places(*sizes), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("spread", [1.0, 1e-4, 1e-9, 0.0])
def test_copies_are_tied_wherever_they_stand(spread: float) -> None:
    q, g, _ = nasty(1, 24, np.float32, spread)
    order = np.random.default_rng(2).permutation(200)
    relevant = [(i,) for i in range(70)]
    items = prepare([None] * 70, MatchReferences(relevant, 200), {"embedding": q, "gallery": g})
    moved = [(int(np.argsort(order)[i]),) for i in range(70)]
    shuffled = prepare(
        [None] * 70, MatchReferences(moved, 200), {"embedding": q, "gallery": g[order]}
    )
    for back in (False, True):
        here, there = items.first(back, "cosine"), shuffled.first(back, "cosine")
        pick = [list(there.asker).index(moved[a][0]) for a in here.asker] if back else here.asker
        np.testing.assert_array_equal(here.above, there.above[pick])
        np.testing.assert_array_equal(here.tied, there.tied[pick])


def test_near_copies_are_told_apart_beyond_single_precision() -> None:
    q = np.array([[1.0, 0.0], [0.0, 1.0]])
    g = np.array([[1.0, 1e-6], [1.0, 2e-6], [0.0, 1.0], [0.0, 1.0]])
    items = prepare([None] * 2, MatchReferences([(0,), (2,)], 4), {"embedding": q, "gallery": g})
    # The cosines of the first two are 1 - 5e-13 and 1 - 2e-12; the last two are copies.
    places = items.first(False, "cosine")
    np.testing.assert_array_equal(places.above, [0, 0])
    np.testing.assert_array_equal(places.tied, [1, 2])


def test_single_precision_scores_equal_those_of_the_same_numbers_in_double() -> None:
    draw = np.random.default_rng(3)
    scores = draw.standard_normal((30, 40)).astype(np.float32)
    relevant = [(i, i + 1) for i in range(30)]
    for name in REFERENCES:
        assert value(name, scored(scores, relevant)) == value(
            name, scored(scores.astype(float).tolist(), relevant)
        )


# --- what holds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("queries", [20])
def test_equal_similarities_score_what_guessing_scores(queries: int) -> None:
    relevant = [(5 * i,) for i in range(queries)]
    items = scored(np.full((queries, 100), 0.3), relevant)
    assert value("recall_at_1", items) == pytest.approx(1 / 100)
    assert value("recall_at_10", items) == pytest.approx(10 / 100)
    assert value("recall_at_5_back", items) == pytest.approx(5 / queries)
    assert value("mean_rank", items) == value("median_rank", items) == 50.5
    harmonic = sum(1 / i for i in range(1, 101)) / 100
    assert value("mrr", items) == pytest.approx(harmonic)
    assert value("retrieval_map", items) == pytest.approx(harmonic)


def test_average_precision_equals_that_of_scikit_learn_below_zero_too() -> None:
    from sklearn.metrics import average_precision_score

    items = CORPORA["five right"]
    table, truth = similarity(items), np.zeros((len(items), items.gallery), dtype=bool)
    truth[items.query, items.entry] = True
    pairs = zip(truth, table, strict=True)
    theirs = statistics.fmean(average_precision_score(true, row) for true, row in pairs)
    assert table[truth].min() < 0
    assert value("retrieval_map", items) == pytest.approx(theirs, abs=1e-12)


def test_random_breaking_of_ties_has_the_value_as_its_mean() -> None:
    items = CORPORA["few levels"]
    draw = np.random.default_rng(5)
    relevant = MatchReferences(
        [tuple(items.entry[items.query == i].tolist()) for i in range(len(items))], items.gallery
    )
    for name in ("recall_at_1", "recall_at_5_back", "mrr", "retrieval_map", "mean_rank_back"):
        broken = [
            value(
                name,
                prepare(
                    [None] * len(items),
                    relevant,
                    {"scores": items.scores + draw.uniform(0, 0.5, items.scores.shape)},
                ),
            )
            for _ in range(300)
        ]
        se = statistics.stdev(broken) / 300**0.5
        assert value(name, items) == pytest.approx(statistics.fmean(broken), abs=4 * se + 1e-12)


def test_many_ties_and_many_right_answers_stay_exact() -> None:
    relevant = [tuple(range(200))] * 3
    items = scored(np.zeros((3, 1000)), relevant)
    # A hypergeometric draw: 1 - C(800, 10) / C(1000, 10), and (n + 1) / (r + 1).
    missed = math.comb(800, 10) / math.comb(1000, 10)
    assert value("recall_at_10", items) == pytest.approx(1 - missed, rel=1e-12)
    assert value("mean_rank", items) == pytest.approx(1001 / 201, rel=1e-12)


@pytest.mark.parametrize("name", REFERENCES)
def test_perfect_predictions_reach_the_bound(name: str) -> None:
    references = MatchReferences([(0, 1), (2,), (3, 4, 5), (7,)], 8)
    items = prepare(perfect(references), references)
    metric = registry.load("metric", name)
    assert value(name, items) == pytest.approx(metric.bounds[1 if metric.higher_is_better else 0])


@pytest.mark.parametrize("name", REFERENCES)
def test_missing_predictions_are_failures(name: str) -> None:
    full, gaps = np.eye(6), [*np.eye(6)[:2].tolist(), *[None] * 4]
    relevant = [(i,) for i in range(6)]
    whole, part = (value(name, scored(s, relevant)) for s in (full, gaps))
    metric = registry.load("metric", name)
    assert whole == metric.bounds[1 if metric.higher_is_better else 0]
    expected = {
        "rsum": 6 * 2 / 6,
        "median_rank": 7.0,  # one behind the last of six
        "mean_rank": (2 * 1 + 4 * 7) / 6,
    }.get(name.removesuffix("_back"), 2 / 6)
    assert part == pytest.approx(expected)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_monotone_map_of_the_scores_changes_nothing(name: str) -> None:
    items = CORPORA["few levels"]
    relevant = [tuple(items.entry[items.query == i].tolist()) for i in range(len(items))]
    assert value(name, scored(np.exp(items.scores) - 7, relevant)) == value(name, items)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_items_and_gallery_changes_nothing(seed: int) -> None:
    items = crossed_over(seed, 7, 9, 3)
    draw = np.random.default_rng(seed)
    rows, columns = draw.permutation(7), draw.permutation(9)
    at = np.argsort(columns)
    relevant = [tuple(at[items.entry[items.query == i]].tolist()) for i in rows]
    moved = scored(items.scores[rows][:, columns], relevant)
    for name in REFERENCES:
        assert value(name, moved) == pytest.approx(value(name, items), rel=1e-12)


def test_the_captions_of_one_image_are_one_unit() -> None:
    items = embedded(11, 20, 5, 1.5)
    metric = registry.load("metric", "recall_at_1_back")
    rows = metric.measure(items)
    assert rows.shape == (20, 2)
    assert (rows[:, 1] == 5).all()
    assert 0 < rows[:, 0].sum() < 100
    assert metric.local is False
    assert registry.load("metric", "recall_at_1").local is True


def test_an_entry_that_is_right_for_none_only_distracts() -> None:
    scores = np.array([[0.5, 0.1, 0.9], [0.2, 0.6, 0.0]])
    items = scored(scores, [(0,), (1,)])
    assert value("recall_at_1", items) == 0.5
    assert value("recall_at_1_back", items) == 1.0
    rows = registry.load("metric", "recall_at_1_back").measure(items)
    assert rows[:, 1].sum() == 2


def test_dot_products_are_an_option() -> None:
    q, g = np.eye(2), np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 4.0]])
    columns = {"embedding": q, "gallery": g}
    items = prepare([None] * 2, MatchReferences([(0,), (1,)], 3), columns)
    assert value("recall_at_1", items) == 1.0
    assert value("recall_at_1(similarity=dot)", items) == 0.0
    assert "similarity:dot" in registry.load("metric", "mrr(similarity=dot)").signature
    draw = np.random.default_rng(0)
    q, g = draw.standard_normal((20, 6)) * 100, draw.standard_normal((50, 6)) * 1e-3
    relevant = [(i, i + 20) for i in range(20)]
    columns = {"embedding": q, "gallery": g}
    items = prepare([None] * 20, MatchReferences(relevant, 50), columns)
    for name in ("mean_rank", "mean_rank_back", "retrieval_map", "retrieval_map_back"):
        expected = value(name, scored(q @ g.T, relevant))
        assert value(f"{name}(similarity=dot)", items) == pytest.approx(expected, rel=1e-12)


# --- rankings ------------------------------------------------------------------------------------


def ranked(*rankings: Any, relevant: list[tuple[int, ...]], gallery: int = 6) -> MatchItems:
    return prepare(list(rankings), MatchReferences(relevant, gallery))


def test_rankings_say_what_scores_say() -> None:
    items = CORPORA["five right"]
    table = similarity(items)
    relevant = [tuple(items.entry[items.query == i].tolist()) for i in range(len(items))]
    full = ranked(*np.argsort(-table, axis=1), relevant=relevant, gallery=items.gallery)
    cut = ranked(
        *np.argsort(-table, axis=1)[:, :10].tolist(), relevant=relevant, gallery=items.gallery
    )
    for name in REFERENCES:
        metric = registry.load("metric", name)
        if name.endswith("_back") or name == "rsum":
            with pytest.raises(UsageError, match="do not say how the gallery ranks the queries"):
                metric.measure(full)
            continue
        assert value(name, full) == pytest.approx(value(name, items), rel=1e-12)
        if name.startswith("recall_at_1") or name in ("recall_at_5", "retrieval_ndcg"):
            assert value(name, cut) == pytest.approx(value(name, items), rel=1e-12)


def test_a_ranking_that_is_cut_off_tells_only_what_it_holds() -> None:
    items = ranked([3, 0], [1, 2], relevant=[(0,), (4,)])
    assert value("recall_at_1", items) == 0.0
    for name in ("recall_at_5", "median_rank", "mrr", "retrieval_map"):
        with pytest.raises(UsageError, match=r"1 rankings stop before .* query 1 after 2 gallery"):
            registry.load("metric", name).measure(items)
    with pytest.raises(UsageError, match="k = 50: 1 rankings stop"):
        registry.load("metric", "recall_at_k").measure(items)
    found = ranked([3, 0], [4], relevant=[(0,), (4,)])
    assert value("mrr", found) == pytest.approx(0.75)
    assert value("recall_at_10", found) == 1.0
    some = ranked([3, 0], [4], relevant=[(0, 5), (4,)])
    with pytest.raises(UsageError, match="before all right answers"):
        registry.load("metric", "retrieval_map").measure(some)


def test_a_missing_ranking_finds_nothing() -> None:
    items = ranked([0, 1, 2, 3, 4, 5], None, relevant=[(0,), (4,)])
    assert value("recall_at_10", items) == 0.5
    assert value("mean_rank", items) == (1 + 7) / 2
    assert value("mrr", items) == 0.5


# --- bad input -----------------------------------------------------------------------------------

TWO = MatchReferences([(0,), (1,)], 3)


@pytest.mark.parametrize(
    ("values", "columns", "message"),
    [
        ([None, None], {}, "there are no predictions: give the column 'scores'"),
        (["a", "b"], {}, "'0' is no list of gallery numbers"),
        ([[0, 1], [0.5, 1]], {}, "'1' is no list of gallery numbers"),
        ([[0, 3], [0, 1]], {}, "'0' holds numbers outside the gallery: they are 0 to 2"),
        ([[0, 1], [1, 1]], {}, "'1' holds a gallery number more than once"),
        ([None] * 2, {"scores": np.zeros((2, 4))}, "scores of '0' are 4, expected one for each of"),
        ([None] * 2, {"scores": [[1, 2, 3], [1, 2]]}, r"'scores' of '1' has the shape \(2,\)"),
        ([None] * 2, {"scores": [[1, 2, 3], [1, np.nan, 2]]}, r"of '1': expected numbers \(not"),
        ([None] * 2, {"scores": [["a"] * 3] * 2}, "'scores' holds <U1, expected numbers"),
        ([None] * 2, {"scores": [None, None]}, "the column 'scores' is empty: give"),
        ([None] * 2, {"embedding": np.ones((2, 4))}, "no column 'gallery'"),
        (
            [None] * 2,
            {"embedding": np.ones((2, 4)), "gallery": np.ones((2, 4))},
            "'gallery' has 2 embeddings, expected one for each of the 3",
        ),
        (
            [None] * 2,
            {"embedding": np.ones((2, 4)), "gallery": np.ones((3, 5))},
            "have 4 numbers, those of the gallery 5",
        ),
        (
            [None] * 2,
            {"embedding": np.ones((2, 4)), "gallery": [[1.0] * 4, None, [1.0] * 4]},
            "gallery entry 1 has no embedding",
        ),
        (
            [None] * 2,
            {"embedding": [[1.0, np.inf], [1.0, 1.0]], "gallery": np.ones((3, 2))},
            "'embedding' of '0': expected finite numbers",
        ),
        (
            [None] * 2,
            {"embedding": np.ones((2, 4)), "scores": np.ones((2, 3))},
            "both 'scores' and 'embedding'",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_one_line(values: Any, columns: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        prepare(values, TWO, columns)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("relevant", "message"),
    [
        ([(0,), ()], "query 'b' has no right answer"),
        ([(0,), (3,)], "query 'b': its right answer 3 is no gallery entry: they are 0 to 2"),
        ([(0, 0), (1,)], "query 'a' has its right answer 0 twice"),
    ],
)
def test_references_that_do_not_fit_are_one_line(relevant: Any, message: str) -> None:
    said = Said(["a", "b"], [None, None], {"scores": np.zeros((2, 3))})
    with pytest.raises(UsageError, match=message):
        prepare(said, MatchReferences(relevant, 3))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recall_at_k(k=0)", "k = 0: expected how many places count"),
        ("mrr(similarity=angle)", "'angle': expected one of cosine, dot"),
        ("mrr(similarity=dot)", "no embeddings to compare, the predictions bring scores"),
    ],
)
def test_options_that_make_no_sense_are_one_line(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        value(name, CORPORA["few levels"])


def test_a_gallery_of_another_length_travels_through_scoring() -> None:
    draw = np.random.default_rng(0)
    q, g = draw.standard_normal((4, 3)), draw.standard_normal((9, 3))
    references = MatchReferences([(i, i + 4) for i in range(4)], 9)
    order = [2, 0, 3, 1]
    said = Predictions(
        [f"q{i}" for i in order],
        {"match": [None] * 4},
        {"match.embedding": q[order], "match.gallery": g},
    )
    found = score(
        said, {"match": references}, "match", ["mrr", "rsum"], ids=["q0", "q1", "q2", "q3"]
    )
    items = prepare([None] * 4, references, {"embedding": q, "gallery": g})
    for name, one in found.scores.items():
        assert one.value == value(name, items)
        assert one.low <= one.value <= one.high


# --- intervals -----------------------------------------------------------------------------------


def covered(name: str, draw: Callable[[int], MatchItems], truth: float, trials: int) -> float:
    metric = registry.load("metric", name)
    inside = 0
    for trial in range(trials):
        found = crossed.interval(pseudo_values(metric, metric.measure(draw(trial))))
        inside += found.low <= truth <= found.high
    return inside / trials


def from_a_gallery(seed: int, queries: int, gallery: np.ndarray, noise: float) -> MatchItems:
    """Draw queries that each look for one entry of a gallery that stays the same."""
    draw = np.random.default_rng(seed)
    right = draw.integers(0, len(gallery), queries)
    q = gallery[right] + noise * draw.standard_normal((queries, gallery.shape[1]))
    relevant = [(int(e),) for e in right]
    columns = {"embedding": q.astype(np.float32), "gallery": gallery}
    return prepare([None] * queries, MatchReferences(relevant, len(gallery)), columns)


TRIALS = [150, pytest.param(2000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("trials", TRIALS)
@pytest.mark.parametrize(
    ("name", "queries", "noise"),
    [
        ("recall_at_1", 200, 1.0),
        ("recall_at_5", 100, 3.0),
        ("mean_rank", 200, 2.0),
        ("median_rank", 200, 3.0),
        ("median_rank", 50, 6.0),
    ],
)
def test_intervals_cover_what_further_queries_would_score(
    name: str, queries: int, noise: float, trials: int
) -> None:
    gallery = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    truth = value(name, from_a_gallery(10**6, 20_000, gallery, noise))
    found = covered(name, lambda t: from_a_gallery(t, queries, gallery, noise), truth, trials)
    assert 0.93 - slack(trials) <= found <= 0.97 + slack(trials)


@pytest.mark.parametrize("trials", TRIALS)
@pytest.mark.parametrize("name", ["recall_at_1_back", "median_rank_back", "rsum", "retrieval_map"])
def test_intervals_cover_what_other_images_and_captions_would_score(name: str, trials: int) -> None:
    def draw(seed: int) -> MatchItems:
        drawn = np.random.default_rng(seed)
        q, own = drawn.standard_normal((2, 100, 8))
        g = np.repeat(q + 0.7 * own, 5, axis=0) + 2.0 * drawn.standard_normal((500, 8))
        relevant = [tuple(range(5 * i, 5 * i + 5)) for i in range(100)]
        columns = {"embedding": q.astype(np.float32), "gallery": g.astype(np.float32)}
        return prepare([None] * 100, MatchReferences(relevant, 500), columns)

    values = [value(name, draw(10**6 + trial)) for trial in range(trials)]
    truth = statistics.median(values) if name.startswith("median") else statistics.fmean(values)
    found = covered(name, draw, truth, trials)
    assert 0.93 - slack(trials) <= found <= 0.98 + slack(trials)


def slack(trials: int) -> float:
    """Return two standard errors of a simulated coverage of 95 %."""
    return 2 * (0.05 * 0.95 / trials) ** 0.5


def test_where_the_median_is_one_of_two_ranks_the_interval_holds_both() -> None:
    from mmbench.metrics._median import median

    for ones in (49, 50, 51):
        ranks = np.array([1.0] * ones + [2.0] * (100 - ones))
        found = crossed.interval(median(ranks, np.arange(100), 100)[1])
        assert found.low <= 1.0
        assert found.high >= 2.0


def test_a_median_that_all_ranks_agree_on_is_certain() -> None:
    from mmbench.metrics._median import median

    middle, pseudo = median(np.full(9, 3.0), np.arange(9), 9)
    assert middle == 3.0
    assert (pseudo == 3.0).all()
