"""What retrieval metrics read: where the right answers stand, found once for each direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import ItemError, UsageError
from mmbench.metrics._items._vectors import vectors
from mmbench.metrics._places import Places, every_place, first_places
from mmbench.metrics._similarity import Embedded, Given

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.metrics._similarity import Similarity
    from mmbench.references import MatchReferences, Said
    from mmbench.types import Array, Floats

    Ints = NDArray[np.int64]

#: How embeddings are compared.
SIMILARITIES = ("cosine", "dot")
_HOW = (
    "give the column 'scores' (for each query, its similarity with each gallery entry), or "
    "'embedding' with 'gallery', or as values the gallery numbers that each query finds, best first"
)


@dataclass(frozen=True)
class MatchItems:
    """N queries beside a gallery of M entries, and what was predicted about them.

    One of `scores`, `embeddings` and `rankings` is set. A direction is `back` where the gallery
    asks for queries, else the queries ask for gallery entries.

    Attributes:
        query: [P] the query of each right pair, in order.
        entry: [P] its gallery entry.
        queries: N.
        gallery: M.
        present: [N] bool, False where there is no prediction: the query finds nothing and is found
            by nothing.
        scores: [N, M] similarities.
        embeddings: [N, D] those of the queries and [M, D] those of the gallery.
        rankings: For each query, the gallery numbers it finds, best first; may stop anywhere.
    """

    query: Ints
    entry: Ints
    queries: int
    gallery: int
    present: NDArray[np.bool_]
    scores: Array | None = None
    embeddings: tuple[Array, Array] | None = None
    rankings: Sequence[Ints] | None = None
    _found: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return self.queries

    def askers(self, back: bool) -> int:
        """Return how many ask in a direction: N or M."""
        return self.gallery if back else self.queries

    def right(self, back: bool) -> Ints:
        """Return how many right answers each asker has, [N] or [M]."""
        return np.bincount(self.entry if back else self.query, minlength=self.askers(back))

    def first(self, back: bool, similarity: str) -> Places:
        """Return where the best right answer of each asker stands.

        An asker without a right answer, or whose right answers are missing or beyond the end of
        its ranking, does not appear.

        Raises:
            UsageError: The predictions do not say it.
        """
        if self.rankings is not None:
            every = self.every(back, similarity)
            return every.take(every.before == 0)
        if ("first", similarity) not in self._found:
            source, kept, query, entry = self._source(similarity)
            forth, other = first_places(source, query, entry)
            self._found["first", similarity] = (forth.named(kept), other)
        return self._found["first", similarity][back]  # type: ignore[no-any-return]

    def every(self, back: bool, similarity: str) -> Places:
        """Return where all right answers of each asker stand; as `first`, but costs more."""
        key = ("every", similarity, back)
        if key not in self._found:
            self._found[key] = self._every(back, similarity)
        return self._found[key]  # type: ignore[no-any-return]

    def _every(self, back: bool, similarity: str) -> Places:
        if self.rankings is not None:
            self._refuse(back, similarity)
            return _ranked(self.rankings, self.query, self.entry, self.gallery)
        if self.right(back).max() == 1:
            return self.first(back, similarity)
        source, kept, query, entry = self._source(similarity)
        if not back:
            return every_place(source, query, entry).named(kept)
        order = np.argsort(entry, kind="stable")
        return every_place(source.turned(), entry[order], query[order])

    def unknown(self, back: bool, depth: int | None, every: bool = False) -> str:
        """Say why predictions do not tell who stands where; return an empty string if they do.

        Args:
            back: The direction.
            depth: Only the first so many places count; None: all.
            every: Whether all right answers count, or only the best.
        """
        if self.rankings is None:
            return ""
        if back:
            return (
                "rankings of the gallery do not say how the gallery ranks the queries: give the "
                "column 'scores', or 'embedding' with 'gallery'"
            )
        places = self.every(False, SIMILARITIES[0])
        found = np.bincount(places.asker, places.right, minlength=self.queries)
        wanted = self.right(False) if every else np.ones(self.queries)
        lengths = np.array([len(ranking) for ranking in self.rankings])
        needed = self.gallery if depth is None else min(depth, self.gallery)
        open_ended = np.flatnonzero(self.present & (found < wanted) & (lengths < needed))
        if not len(open_ended):
            return ""
        which = f"the first {needed} of the {self.gallery}"
        return (
            f"{len(open_ended)} rankings stop before {'all right answers' if every else 'any'} "
            f"right answer is found (that of query {open_ended[0]} after {lengths[open_ended[0]]} "
            f"gallery entries): rank {which if needed < self.gallery else 'the whole gallery'}, or "
            f"give 'scores'"
        )

    def per_query(self, outcomes: Floats, back: bool) -> Floats:
        """Sum what the askers of a direction got over the query that owns them.

        Args:
            outcomes: [N] or [M], one number for each asker.
            back: The direction.

        Returns:
            [N, 2]: the sum, and the number of askers. A gallery entry belongs to the first query
            that it is right for; one that is right for none counts nowhere.
        """
        if not back:
            return np.stack([outcomes, np.ones(self.queries)], axis=1)
        owner = self.owner
        owned = np.flatnonzero(owner >= 0)
        total = np.bincount(owner[owned], outcomes[owned], minlength=self.queries)
        count = np.bincount(owner[owned], minlength=self.queries)
        return np.stack([total, count], axis=1)

    @property
    def owner(self) -> Ints:
        """[M] the first query that each gallery entry is right for, -1 where there is none."""
        owner = np.full(self.gallery, -1, dtype=np.int64)
        owner[self.entry[::-1]] = self.query[::-1]
        return owner

    def _source(self, similarity: str) -> tuple[Similarity, Ints, Ints, Ints]:
        """Return similarities of the queries that are there, their numbers, and right pairs."""
        self._refuse(False, similarity)
        kept = np.flatnonzero(self.present)
        there = self.present[self.query]
        place = np.cumsum(self.present) - 1
        every = len(kept) == self.queries
        source: Similarity
        if self.embeddings is not None:
            ours, theirs = self.embeddings
            source = Embedded(ours if every else ours[kept], theirs, similarity == "cosine")
        else:
            scores = np.asarray(self.scores)
            source = Given(scores if every else scores[kept])
        return source, kept, place[self.query[there]], self.entry[there]

    def _refuse(self, back: bool, similarity: str) -> None:
        if similarity not in SIMILARITIES:
            raise UsageError(
                f"similarity = {similarity!r}: expected one of {', '.join(SIMILARITIES)}"
            )
        if similarity != SIMILARITIES[0] and self.embeddings is None:
            raise UsageError(
                f"similarity = {similarity!r}: there are no embeddings to compare, the predictions "
                f"bring {'rankings' if self.scores is None else 'scores'}"
            )
        if back and self.rankings is not None:
            raise UsageError(self.unknown(True, None))


def _ranked(rankings: Sequence[Ints], query: Ints, entry: Ints, gallery: int) -> Places:
    """Return where right answers stand in rankings; those that are not in them are left out."""
    lengths = np.array([len(ranking) for ranking in rankings], dtype=np.int64)
    asker = np.repeat(np.arange(len(rankings)), lengths)
    above = np.arange(len(asker)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    said = np.concatenate([*rankings, np.zeros(0, dtype=np.int64)])
    right = np.isin(asker * gallery + said, query * gallery + entry)
    asker, above = asker[right], above[right]
    one = np.ones_like(asker)
    return Places(asker, above, one, one, np.arange(len(asker)) - np.searchsorted(asker, asker))


def prepare(said: Said, references: MatchReferences) -> MatchItems:
    """Put predictions beside the right answers of retrieval.

    Predictions come in one of three forms:

    * the column ``scores``: for each query, its similarity with each of the M gallery entries; or
      one array [N, M];
    * the columns ``embedding``, one vector a query, and ``gallery``, one vector a gallery entry
      (M of them: this column alone has another length); the values then mean nothing;
    * the values: for each query, the numbers of the gallery entries it finds, best first, each at
      most once. A ranking may stop before the end of the gallery; metrics that have to look
      further then refuse it.

    A missing prediction (None in the place of the row, vector or ranking) finds nothing and is
    found by nothing.

    Args:
        said: Predictions of N queries.
        references: Of the same N queries.

    Raises:
        UsageError: Predictions come in none or two of the forms, are of the wrong length or type,
            are not finite (scores may be infinite, but not NaN), or the references are wrong.
    """
    query, entry = _pairs(said.ids, references)
    items = partial(MatchItems, query, entry, len(said), references.gallery)
    forms = [name for name in ("scores", "embedding") if name in said.columns]
    if len(forms) == 2:
        raise UsageError("the predictions bring both 'scores' and 'embedding': leave one out")
    if not forms:
        rankings, present = _rankings(said, references.gallery)
        return items(present, rankings=rankings)
    rows, present = vectors(said.columns[forms[0]], forms[0], said.ids, infinite="scores" in forms)
    if not present.any():
        raise UsageError(f"the column {forms[0]!r} is empty: {_HOW}")
    if forms == ["scores"]:
        if rows.shape[1] != references.gallery:
            raise UsageError(
                f"the scores of {said.ids[0]!r} are {rows.shape[1]}, expected one for each of the "
                f"{references.gallery} gallery entries"
            )
        return items(present, scores=rows)
    gallery = _gallery(said, references.gallery)
    if gallery.shape[1] != rows.shape[1]:
        raise UsageError(
            f"the queries' embeddings have {rows.shape[1]} numbers, those of the gallery "
            f"{gallery.shape[1]}: both sides need the same"
        )
    return items(present, embeddings=(rows, gallery))


def _gallery(said: Said, size: int) -> Array:
    if "gallery" not in said.columns:
        raise UsageError(
            f"the predictions bring 'embedding' but no column 'gallery': add the embeddings of the "
            f"{size} gallery entries"
        )
    column = said.columns["gallery"]
    if len(column) != size:
        raise UsageError(
            f"the column 'gallery' has {len(column)} embeddings, expected one for each of the "
            f"{size} gallery entries"
        )
    names = [f"gallery entry {place}" for place in range(size)]
    rows, present = vectors(column, "gallery", names)
    if not present.all():
        raise UsageError(
            f"{names[int(np.argmin(present))]} has no embedding: every entry needs one"
        )
    return rows


def _pairs(ids: Sequence[str], references: MatchReferences) -> tuple[Ints, Ints]:
    """Return the right pairs (queries, gallery entries), sorted by query."""
    size = references.gallery
    counts = np.array([len(right) for right in references.relevant], dtype=np.int64)
    for name, count in zip(ids, counts, strict=True):
        if not count:
            raise ItemError(
                f"query {name!r} has no right answer: it needs at least one", name, right=True
            )
    query = np.repeat(np.arange(len(counts)), counts)
    entry = np.array([e for right in references.relevant for e in right], dtype=np.int64)
    for place in np.flatnonzero((entry < 0) | (entry >= size))[:1]:
        name = ids[int(query[place])]
        raise ItemError(
            f"query {name!r}: its right answer {entry[place]} is no gallery entry: they are 0 to "
            f"{size - 1}",
            name,
            right=True,
        )
    key = np.sort(query * size + entry)
    for twice in key[1:][key[1:] == key[:-1]][:1]:
        name = ids[int(twice) // size]
        raise ItemError(
            f"query {name!r} has its right answer {twice % size} twice", name, right=True
        )
    return key // size, key % size


def _rankings(said: Said, gallery: int) -> tuple[list[Ints], Array]:
    """Return each ranking as numbers, empty where missing, and which are there."""
    present = np.array([value is not None for value in said.values], dtype=bool)
    if not present.any():
        raise UsageError(f"there are no predictions: {_HOW}")
    nothing = np.zeros(0, dtype=np.int64)
    rankings = []
    for name, value in zip(said.ids, said.values, strict=True):
        ranking = nothing if value is None else np.asarray(value)
        if ranking.ndim != 1 or (len(ranking) and ranking.dtype.kind not in "iu"):
            raise ItemError(
                f"the prediction of {name!r} is no list of gallery numbers: {_HOW}", name
            )
        if len(ranking) and not 0 <= ranking.min() <= ranking.max() < gallery:
            raise ItemError(
                f"the ranking of {name!r} holds numbers outside the gallery: they are 0 to "
                f"{gallery - 1}",
                name,
            )
        if len(np.unique(ranking)) < len(ranking):
            raise ItemError(f"the ranking of {name!r} holds a gallery number more than once", name)
        rankings.append(ranking.astype(np.int64))
    return rankings, present


def perfect(references: MatchReferences) -> tuple[list[None], dict[str, Sequence[Any]]]:
    """Return scores of 1 where an entry is right for a query and 0 elsewhere."""
    scores: Any = np.zeros((len(references), references.gallery), dtype=np.float32)
    for place, right in enumerate(references.relevant):
        scores[place, list(right)] = 1.0
    return [None] * len(references), {"scores": scores}
