"""Retrieval: hit rates, ranks and average precision, of queries in a gallery and the other way.

A plain name asks forward: the queries look for gallery entries. With ``_back`` the gallery entries
look for queries. For images as queries and captions as gallery, ``recall_at_1`` is what papers
call image-to-text and ``recall_at_1_back`` text-to-image. Backward, the entries that belong to one
query count as one independent unit (see `mmbench.references.MatchReferences`), and the value is
the mean over entries.

**Recall at k is the hit rate**: the share of askers with AT LEAST ONE right answer among the first
k, as the captioning world uses the word. (The share of the right answers that are found, which is
what torchmetrics' ``RetrievalRecall`` computes, could not exceed 1/5 at k = 1 with five captions.)

**Ties** count with their mean over all random orders (see `mmbench.metrics._ties`), so that equal
similarities score what guessing scores. Entries that are equal are tied, even if computed in
different blocks; two right answers that are tied with each other are no problem.

Embeddings are compared by the cosine, or by ``similarity=dot``; scores are taken as they are. A
missing prediction finds nothing and is found by nothing: 0, or a rank one behind the last.
Intervals are about further askers; the candidates they choose from count as given.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics import _ties
from mmbench.metrics._contract import Metric, metric, ratio
from mmbench.metrics._median import median
from mmbench.metrics._settled import COLUMNS, settle, settled

if TYPE_CHECKING:
    from mmbench.metrics._items.match import MatchItems
    from mmbench.types import Floats

#: From the items, the direction and the kind of similarity to one number for each asker.
Outcome: TypeAlias = Callable[["MatchItems", bool, str], "Floats"]

_TIES = "ties:expected"


def _of_first(items: MatchItems, back: bool, similarity: str, measure: Any, lost: float) -> Floats:
    """Return `measure` of the best right answer of each asker, `lost` where there is none."""
    places = items.first(back, similarity)
    out = np.full(items.askers(back), lost)
    out[places.asker] = measure(places)
    return out


def _hits(items: MatchItems, back: bool, similarity: str, k: int) -> Floats:
    return _of_first(items, back, similarity, partial(_ties.hit, k=k), 0.0)


def _ranks(items: MatchItems, back: bool, similarity: str) -> Floats:
    behind = float(items.askers(not back) + 1)
    return _of_first(items, back, similarity, _ties.rank, behind)


def _reciprocals(items: MatchItems, back: bool, similarity: str) -> Floats:
    return _of_first(items, back, similarity, _ties.reciprocal, 0.0)


def _precisions(items: MatchItems, back: bool, similarity: str) -> Floats:
    return _ties.average_precision(items.every(back, similarity), items.right(back))


def _gains(items: MatchItems, back: bool, similarity: str, k: int) -> Floats:
    return _ties.ndcg(items.every(back, similarity), items.right(back), k)


def _mean(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])


def _mean_gradient(sums: Floats) -> Floats:
    return np.array([1.0, -float(sums[0] / sums[1])]) / float(sums[1])


def _make(
    name: str,
    doc: str,
    outcome: Callable[..., Floats],
    depth: int | None = None,
    every: bool = False,
    options: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[Metric, Metric]:
    """Make a metric that is a mean over askers, forward and back.

    Args:
        name: The forward name; the other gets ``_back``.
        doc: Its documentation.
        outcome: One number for each asker.
        depth: How many places it looks at; None: all. Where `options` have a ``k``, that.
        every: Whether it looks at all right answers, or only at the best.
        options: Beside the similarity.
        **fields: Further fields of `Metric`.
    """

    def make(back: bool) -> Metric:
        def rows(items: MatchItems, similarity: str, **given: Any) -> Floats:
            if "k" in given:
                _require_depth(items, back, given["k"], every)
            return items.per_query(outcome(items, back, similarity, **given), back)

        rows.__name__, rows.__doc__ = f"{name}{'_back' * back}", _told(doc, back)
        reach = 1 if "k" in (options or {}) else depth
        return metric(
            columns=("sum", "asked"),
            value=_mean,
            gradient=_mean_gradient,
            check=partial(_unknown, back=back, depth=reach, every=every and reach is None),
            kind="match",
            local=not back,
            settings=_TIES,
            options={"similarity": "cosine", **(options or {})},
            shown=("k",),
            **fields,
        )(rows)

    return make(False), make(True)


def _told(doc: str, back: bool) -> str:
    first, _, rest = doc.partition("\n")
    return f"{first[:-1]}, the gallery asking for queries.\n{rest}" if back else doc


def _unknown(items: MatchItems, back: bool, depth: int | None, every: bool = False) -> str:
    return items.unknown(back, depth, every)


def _require_depth(items: MatchItems, back: bool, k: int, every: bool) -> None:
    if k < 1:
        raise UsageError(f"k = {k}: expected how many places count, at least 1")
    reason = items.unknown(back, k, every)
    if reason:
        raise UsageError(f"k = {k}: {reason}")


# --- hit rates -----------------------------------------------------------------------------------

_RECALL = """Recall at {k}: share of askers with a right answer among their first {k}.

    Range 0 to 1, proven; higher is better. A hit rate: one right answer suffices, however many
    there are. In a gallery of no more than {k} entries it is 1.

    Returns:
        [N, 2]: hits, and how many asked.
    """


def _recall(k: int) -> tuple[Metric, Metric]:
    hits = partial(_hits, k=k)
    return _make(f"recall_at_{k}", _RECALL.format(k=k), hits, depth=k, bounds=(0.0, 1.0))


recall_at_1, recall_at_1_back = _recall(1)
recall_at_5, recall_at_5_back = _recall(5)
recall_at_10, recall_at_10_back = _recall(10)
recall_at_k, recall_at_k_back = _make(
    "recall_at_k", _RECALL.format(k="k"), _hits, options={"k": 50}, bounds=(0.0, 1.0)
)

#: The recalls that `rsum` adds up.
_SUMMED = (1, 5, 10)


def _rsum(sums: Floats) -> Floats:
    pairs = sums.reshape(*sums.shape[:-1], -1, 2)
    return np.asarray(ratio(pairs[..., 0], pairs[..., 1]).sum(axis=-1))


@metric(
    columns=tuple(
        f"{part}_{k}{way}" for way in ("", "_back") for k in _SUMMED for part in ("sum", "asked")
    ),
    value=_rsum,
    bounds=(0.0, 6.0),
    kind="match",
    local=False,
    settings=_TIES,
    options={"similarity": "cosine"},
    check=partial(_unknown, back=True, depth=max(_SUMMED)),
)
def rsum(items: MatchItems, similarity: str) -> Floats:
    """Sum of the recalls at 1, 5 and 10 in both directions.

    Range 0 to 6, proven; higher is better. Papers print it in per cent, 0 to 600.

    Returns:
        [N, 12]: for each recall, hits and how many asked.
    """
    ways = [(back, k) for back in (False, True) for k in _SUMMED]
    rows = [items.per_query(_hits(items, back, similarity, k), back) for back, k in ways]
    return np.concatenate(rows, axis=1)


# --- ranks ---------------------------------------------------------------------------------------

mean_rank, mean_rank_back = _make(
    "mean_rank",
    """Mean rank of the best right answer, from 1.

    Lower is better, at least 1. Among t tied candidates of which r are right, behind c better
    ones, it is ``c + (t + 1) / (r + 1)``.

    Returns:
        [N, 2]: ranks, and how many asked.
    """,
    _ranks,
    bounds=(1.0, None),
    higher_is_better=False,
)

mrr, mrr_back = _make(
    "mrr",
    """Mean reciprocal rank of the best right answer.

    Range 0 to 1, proven; higher is better.

    Returns:
        [N, 2]: reciprocal ranks, and how many asked.
    """,
    _reciprocals,
    bounds=(0.0, 1.0),
)


def _median_of_column(rows: Floats) -> tuple[float, Floats]:
    return median(rows[:, 0], np.arange(len(rows)), len(rows))


@metric(
    columns=("rank",),
    whole=_median_of_column,
    bounds=(1.0, None),
    higher_is_better=False,
    kind="match",
    settings=_TIES,
    options={"similarity": "cosine"},
    check=partial(_unknown, back=False, depth=None),
)
def median_rank(items: MatchItems, similarity: str) -> Floats:
    """Median rank of the best right answer, from 1.

    Lower is better, at least 1. The interval comes from order statistics (Woodruff, JASA 1952; see
    `mmbench.metrics._median`).

    Returns:
        [N, 1]: the rank.
    """
    return _ranks(items, False, similarity)[:, None]


@metric(
    columns=COLUMNS,
    whole=settled,
    bounds=(1.0, None),
    higher_is_better=False,
    kind="match",
    local=False,
    settings=_TIES,
    options={"similarity": "cosine"},
    check=partial(_unknown, back=True, depth=None),
)
def median_rank_back(items: MatchItems, similarity: str) -> Floats:
    """Median rank of the best right answer, from 1, the gallery asking for queries.

    Over all gallery entries that are right for a query. Lower is better, at least 1. The entries
    of one query need not be as many as those of another, so its ranks are no row: a row is what
    the query moves the median by.

    Returns:
        [N, 2]: the median, the same in each row, and the distance of the pseudo-value from it.
    """
    owner = items.owner
    owned = np.flatnonzero(owner >= 0)
    ranks = _ranks(items, True, similarity)[owned]
    return settle(*median(ranks, owner[owned], len(items)))


# --- all right answers ---------------------------------------------------------------------------

retrieval_map, retrieval_map_back = _make(
    "retrieval_map",
    """Mean average precision over all right answers of each asker.

    The precision at the place of each right answer, averaged over them. Range 0 to 1, proven;
    higher is better. With one right answer it is `mrr`.

    Returns:
        [N, 2]: average precisions, and how many asked.
    """,
    _precisions,
    every=True,
    bounds=(0.0, 1.0),
)

retrieval_ndcg, retrieval_ndcg_back = _make(
    "retrieval_ndcg",
    """NDCG at k of right and wrong: right answers among the first k, discounted by their places.

    A right answer at place i counts ``1 / log2(i + 1)``, divided by what it would be with the
    right ones on top (Jarvelin and Kekalainen, ACM TOIS 2002). Range 0 to 1, proven; higher is
    better.

    Returns:
        [N, 2]: nDCG, and how many asked.
    """,
    _gains,
    every=True,
    options={"k": 10},
    bounds=(0.0, 1.0),
)
