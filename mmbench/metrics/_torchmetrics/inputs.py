"""What ``update`` of a class of torchmetrics gets: the items of each kind of output as arrays."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mmbench.metrics._items.label import LabelItems
    from mmbench.metrics._items.match import MatchItems
    from mmbench.metrics._items.multilabel import MultilabelItems
    from mmbench.metrics._items.scalar import ScalarItems
    from mmbench.metrics._items.text import TextItems
    from mmbench.types import Array, Floats

#: Classes that compare a text with one reference.
_ONE_REFERENCE = {
    "CharErrorRate",
    "EditDistance",
    "MatchErrorRate",
    "WordErrorRate",
    "WordInfoLost",
    "WordInfoPreserved",
}
#: Classes that find nothing wrong with an empty text: one swaps the two texts and so finds no edits
#: where nothing was said, one leaves out references that share nothing with what was said.
_BLIND = {"CHRFScore", "TranslationEditRate"}
#: Tokenisers that are downloaded when they are first used.
_DOWNLOADED = ("flores101", "flores200")


class Numbers(ABC):
    """Classes, sets of classes or numbers: predictions [N] or [N, W] beside references.

    Args:
        said: Names of the W columns of the predictions.
        truth: Names of the columns of the references.
        whole: Whether predictions and references are whole numbers.
    """

    def __init__(self, said: Sequence[str], truth: Sequence[str], whole: tuple[bool, bool]) -> None:
        self.width, self.whole, self.columns = len(said), whole, (*said, *truth)

    def rows(self, inputs: Sequence[Array]) -> Floats:
        """Return items as [N, S] numbers."""
        parts = [part.reshape(len(part), -1).astype(np.float64) for part in inputs]
        return np.concatenate(parts, axis=1)

    def split(self, rows: Floats) -> list[Array]:
        """Return what ``update`` takes; the inverse of `rows`."""
        parts = (rows[:, : self.width], rows[:, self.width :])
        return [
            np.ascontiguousarray(part[:, 0] if part.shape[1] == 1 else part).astype(
                np.int64 if whole else np.float64
            )
            for part, whole in zip(parts, self.whole, strict=True)
        ]

    @abstractmethod
    def lacks(self, items: Any) -> str:
        """Say why the items cannot be scored, or return an empty string."""

    @abstractmethod
    def of(self, items: Any) -> list[Array]:
        """Return what ``update`` takes: predictions and references, each N long."""


class Labels(Numbers):
    """Inputs of the kind ``label``."""

    def __init__(self, metric: Any, asked: Mapping[str, Any]) -> None:
        self.binary = type(metric).__name__.startswith("Binary")
        self.count = 2 if self.binary else getattr(metric, "num_classes", None)
        self.scored = _wants_scores(metric, asked)
        several = self.scored and not self.binary
        names = [f"score_{place}" for place in range(self.count or 0)] if several else ["said"]
        super().__init__(names, ["truth"], (not self.scored, True))

    def lacks(self, items: LabelItems) -> str:
        if self.count is not None and len(items.classes) != self.count:
            return _other_classes(self.count, self.binary, items.classes)
        if self.scored:
            return _lacks_scores(items.scores)
        silent = int((items.said < 0).sum())
        return f"{silent} items have no answer, and torchmetrics knows no such class" * bool(silent)

    def of(self, items: LabelItems) -> list[Array]:
        said = items.scores if self.scored else items.said
        if self.scored and self.binary:
            said = np.asarray(said)[:, 1]
        return [np.ascontiguousarray(said), np.ascontiguousarray(items.truth)]


class Sets(Numbers):
    """Inputs of the kind ``multilabel``."""

    def __init__(self, metric: Any, asked: Mapping[str, Any]) -> None:
        self.count = int(metric.num_labels)
        self.scored = _wants_scores(metric, asked)
        places = range(self.count)
        truth = [f"truth_{place}" for place in places]
        super().__init__([f"said_{place}" for place in places], truth, (not self.scored, True))

    def lacks(self, items: MultilabelItems) -> str:
        if len(items.classes) != self.count:
            return _other_classes(self.count, False, items.classes)
        if self.scored:
            return _lacks_scores(items.scores)
        silent = int(items.missing.sum())
        return f"{silent} items have no answer, and torchmetrics knows no such set" * bool(silent)

    def of(self, items: MultilabelItems) -> list[Array]:
        said = items.scores if self.scored else items.said.astype(np.int64)
        return [np.ascontiguousarray(said), items.truth.astype(np.int64)]


class Scalars(Numbers):
    """Inputs of the kind ``scalar``."""

    def __init__(self, metric: Any, asked: Mapping[str, Any]) -> None:
        super().__init__(["said"], ["truth"], (False, False))

    def lacks(self, items: ScalarItems) -> str:
        silent = int(items.missing.sum())
        return f"{silent} items have no answer, and no number is as bad" * bool(silent)

    def of(self, items: ScalarItems) -> list[Array]:
        return [np.ascontiguousarray(items.said), np.ascontiguousarray(items.truth)]


class Texts:
    """Inputs of the kind ``text``: as they are written, each with its references."""

    def __init__(self, metric: Any, asked: Mapping[str, Any]) -> None:
        self.title = type(metric).__name__
        self.tokenizer = asked.get("tokenize")
        self.bare = bool(asked.get("no_punctuation"))

    def lacks(self, items: TextItems) -> str:
        if self.tokenizer in _DOWNLOADED:
            return f"tokenize={self.tokenizer} downloads a model; take 13a, intl, char or zh"
        if self.title in _BLIND:
            words = re.compile(r"\w" if self.bare else r"\S")
            silent = sum(not words.search(text) for text in items.predictions)
            if silent:
                return f"{silent} texts are empty, which torchmetrics takes for perfect ones"
        most = max(len(texts) for texts in items.references)
        if self.title in _ONE_REFERENCE and most > 1:
            return f"compares with one reference, and items have up to {most}"
        return ""

    def of(self, items: TextItems) -> list[Any]:
        said = list(items.predictions)
        if self.title == "SQuAD":
            return _questions(said, items.references)
        if self.title in _ONE_REFERENCE:
            return [said, [texts[0] for texts in items.references]]
        return [said, [list(texts) for texts in items.references]]


class Matches:
    """Inputs of the kind ``match``: queries that look for gallery entries, one after the other.

    Only the order of a query's scores counts here, so they go in as places, above 0 and up to 1:
    several classes take an entry with a score of 0 or less for one that was not found, and one
    squeezes scores beyond 1 until they are equal.
    """

    def __init__(self, metric: Any, asked: Mapping[str, Any]) -> None:
        self.aggregation = metric.aggregation

    def lacks(self, items: MatchItems) -> str:
        if self.aggregation != "mean":
            return f"aggregation={self.aggregation} is no mean over queries, so has no interval"
        silent = int((~items.present).sum())
        if silent:
            return f"{silent} queries have no answer, and torchmetrics knows no such query"
        return items.unknown(False, None, every=True)

    def each(self, items: MatchItems) -> Iterator[list[Array]]:
        """Yield what ``update`` takes for each query: scores, what is right, its number."""
        ends = np.searchsorted(items.query, np.arange(len(items) + 1))
        zeros = np.zeros(items.gallery, dtype=np.int64)
        for query, (start, stop) in enumerate(pairwise(ends.tolist())):
            right = zeros.copy()
            right[items.entry[start:stop]] = 1
            places = np.unique(_scores(items, query), return_inverse=True)[1].reshape(-1) + 1.0
            yield [places / items.gallery, right, zeros]


#: The kind of output -> from a metric of the library and its arguments to what it reads.
OF_KIND: Mapping[str, Callable[[Any, Mapping[str, Any]], Numbers | Texts | Matches]] = {
    "label": Labels,
    "multilabel": Sets,
    "scalar": Scalars,
    "text": Texts,
    "match": Matches,
}


def _wants_scores(metric: Any, asked: Mapping[str, Any]) -> bool:
    """Whether a metric of classes has to be given probabilities, and not the classes."""
    from torchmetrics import classification as known

    by_class = (
        *(known.BinaryStatScores, known.MulticlassStatScores, known.MultilabelStatScores),
        *(known.BinaryConfusionMatrix, known.MulticlassConfusionMatrix),
        *(known.MultilabelConfusionMatrix, known.MultilabelExactMatch),
    )
    if not type(metric).__module__.startswith("torchmetrics.classification"):
        return False
    thresholded = "threshold" in asked or getattr(metric, "top_k", 1) not in (1, None)
    return thresholded or not isinstance(metric, by_class)


def _other_classes(count: int, binary: bool, classes: Sequence[str]) -> str:
    named = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    wanted = "is for 2 classes" if binary else f"was asked for with {count} classes"
    return f"{wanted}, but the output has {len(classes)}: {named}"


def _lacks_scores(scores: Floats | None) -> str:
    if scores is None:
        return "needs probabilities: predictions bring them in the column 'scores'"
    silent = int(np.isnan(scores).any(axis=1).sum())
    return f"needs probabilities, and {silent} items have none" * bool(silent)


def _questions(said: Sequence[str], references: Sequence[Sequence[str]]) -> list[Any]:
    answers = [{"answer_start": [0] * len(texts), "text": list(texts)} for texts in references]
    return [
        [{"id": str(at), "prediction_text": text} for at, text in enumerate(said)],
        [{"id": str(at), "answers": answer} for at, answer in enumerate(answers)],
    ]


def _scores(items: MatchItems, query: int) -> Floats:
    """Return [M] the similarity of one query with each gallery entry."""
    if items.scores is not None:
        return np.ascontiguousarray(items.scores[query], dtype=np.float64)
    if items.embeddings is not None:
        ours, theirs = (np.asarray(part, dtype=np.float64) for part in items.embeddings)
        norms = np.linalg.norm(theirs, axis=1) * np.linalg.norm(ours[query])
        found = np.zeros(items.gallery)
        np.divide(theirs @ ours[query], norms, out=found, where=norms > 0)
        return found
    ranking = (items.rankings or [])[query]
    found = np.full(items.gallery, -float(items.gallery))
    found[ranking] = -np.arange(len(ranking), dtype=np.float64)
    return found
