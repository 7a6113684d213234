"""Items to look at: what a record said about them, and what would have been right.

A record keeps predictions; references and inputs are its dataset's. Whatever is not to be had is
named in one line, and everything else is shown without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmbench import registry, rng, store
from mmbench.admission import visible
from mmbench.errors import MmbenchError
from mmbench.references import (
    ImageReferences,
    MatchReferences,
    References,
    Slots,
    TextReferences,
    readable,
)
from mmbench.spec import TaskSpec
from mmbench.types import Array, Modality, Ragged, Split

#: Facts: pairs of a slot and one of its fillers.
Facts = frozenset[tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Answers:
    """What a model said about the N items of a split.

    Attributes:
        task: The task's name; it chooses which items are shown.
        split: The split's name.
        output: The output that was predicted.
        ids: N names.
        texts: N predictions.
        weights: For each prediction its words' weights, K a word; None where nothing is gated.
        branches: The names of the K weights.
        metric: The main metric.
        scores: What each item adds to it (see `item_scores`); None where it is not known.
        higher_is_better: The metric's direction.
        data: The items themselves, or None.
        row: Id -> row of `data`.
        modalities: What `data` holds.
        right: For each prediction what would have been right, where the record itself knows it.
        kind: The kind of output: of a ``text`` each word has weights, of all else the answer.
        pictures: For an ``image``, what was painted, [N, C, H, W] uint8.
    """

    task: str
    split: str
    output: str
    ids: Sequence[str]
    texts: Sequence[str]
    weights: Sequence[Sequence[Sequence[float]]] | None = None
    branches: tuple[str, ...] = ()
    metric: str = ""
    scores: Sequence[float] | None = None
    higher_is_better: bool = True
    data: Split | None = None
    row: Mapping[str, int] = field(default_factory=dict)
    modalities: Mapping[str, Modality] = field(default_factory=dict)
    right: Sequence[Sequence[str]] | None = None
    kind: str = "text"
    pictures: Array | None = None

    @property
    def references(self) -> TextReferences | None:
        """The references of all items of `data`; None where they are no texts."""
        found = None if self.data is None else self.data.references.get(self.output)
        return found if isinstance(found, TextReferences) else None

    def right_of(self, item: int) -> tuple[str, ...]:
        """Return what is right for an item, as far as it is known."""
        row = self.row.get(self.ids[item])
        return _right(self, item, self.references if row is not None else None, row)

    def words_of(self, name: str) -> dict[str, str]:
        """Return the words of each modality of an item that is a text, and there."""
        row = self.row.get(name)
        if self.data is None or row is None:
            return {}
        found = {}
        for modality, about in self.modalities.items():
            there = self.data.present.get(modality)
            if about.kind == "text" and (there is None or there[row]):
                found[modality] = " ".join(
                    words_in(about, item_of(self.data.inputs[modality], row))
                )
        return found


@dataclass(frozen=True)
class Sample:
    """One item.

    Attributes:
        id: Its name.
        why: ``random``, ``worst`` or ``best``.
        said: The prediction.
        score: What it adds to the main metric, or None.
        weights: For each word, and the end mark, one weight a branch; None where nothing is gated.
        references: What would have been right; empty where it is not known.
        truth: The item's slots, where its dataset plants them.
        row: Its row in the data, or None.
        spoken: Whether it is a text, word by word; else its one answer is one word.
        picture: What was painted, [C, H, W] uint8; None of another kind of output.
    """

    id: str
    why: str
    said: str
    score: float | None = None
    weights: Sequence[Sequence[float]] | None = None
    references: tuple[str, ...] = ()
    truth: Slots | None = None
    row: int | None = None
    spoken: bool = True
    picture: Array | None = None

    @property
    def words(self) -> list[str]:
        """The words of the prediction; an answer that is no text is one."""
        # Blanks part the words of a prediction; a no-break space may stand within one.
        return [w for w in self.said.split(" ") if w] if self.spoken else [self.said]

    def label(self, metric: str) -> str:
        """Say why it is shown, and how it scored: ``random, cider_d 0.57``."""
        return self.why if self.score is None else f"{self.why}, {scored(metric, self.score)}"


def scored(metric: str, score: float) -> str:
    """Write an item's score.

    >>> scored("cider_d", -0.0004)
    'cider_d 0.00'
    """
    return f"{metric} {round(score, 2) + 0.0:.2f}"


def collect(
    stored: store.Stored, task: TaskSpec, split: str, root: Path | None
) -> tuple[Answers | None, list[str]]:
    """Bring together predictions, item scores and data.

    Args:
        stored: The record.
        task: What it was measured on.
        split: One of its test splits.
        root: Folder of the user's data.

    Returns:
        The answers, None if the record holds no predictions; and a line for all that is missing.
    """
    record = stored.record
    try:
        columns = store.read_predictions(stored, split)
    except MmbenchError as error:
        return None, [f"no samples, contact sheet and gate: {error}"]
    output = main_output(task)
    if not columns["id"] or output not in columns:
        return None, [f"no samples: the predictions hold nothing for {output!r} on {split!r}"]
    warnings: list[str] = []
    kind = task.outputs[output].kind if output in task.outputs else "text"
    weights = columns.get(f"{output}.gate")
    if weights is not None and kind != "text":
        weights = [[_shares(each)] for each in weights]
    scores, better = _scores(stored, task, split, columns["id"], warnings)
    right = columns.get(f"{output}.references")
    right = None if right is None else [[visible(str(text)) for text in each] for each in right]
    data, modalities = items_of(record, task, split, root, warnings, told=right is not None)
    references = None if data is None else data.references.get(output)
    pictures = _pictures(columns[output], task, output) if kind == "image" else None
    answers = Answers(
        task=record.task,
        split=split,
        output=output,
        ids=columns["id"],
        texts=(
            _texts(columns[output], kind, references)
            if pictures is None
            else _shown(pictures, references)
        ),
        weights=weights,
        branches=_branches(record, columns, weights),
        metric=task.metrics.main,
        scores=scores,
        higher_is_better=better,
        data=data,
        row={} if data is None else {name: i for i, name in enumerate(data.ids)},
        modalities=modalities,
        right=right if right is not None or data is None else _of_data(data, output, columns["id"]),
        kind=kind,
        pictures=pictures,
    )
    return answers, warnings


def unsaid(
    record: store.Record, task: TaskSpec, split: str, root: Path | None, warnings: list[str]
) -> Answers | None:
    """Return a split's items where nobody knows what the model said of them: all texts are empty.

    None, and a warning, where the data are not to be had.
    """
    data, modalities = items_of(record, task, split, root, warnings)
    if data is None:
        return None
    output = main_output(task)
    return Answers(
        task=record.task,
        split=split,
        output=output,
        ids=data.ids,
        texts=[""] * len(data.ids),
        data=data,
        row={name: i for i, name in enumerate(data.ids)},
        modalities=modalities,
        right=_of_data(data, output, data.ids),
        kind=task.outputs[output].kind if output in task.outputs else "text",
    )


#: Entries of a gallery that are shown of those that were found.
FOUND = 3


def _texts(said: Sequence[Any], kind: str, references: References | None) -> list[str]:
    """Write predictions as people read them; of retrieval, what the first entries found say."""
    names = references.names if isinstance(references, MatchReferences) else ()
    if kind != "match":
        return [_text(value) for value in said]
    told = [[names[e] if names else f"#{e}" for e in (own or ())[:FOUND]] for own in said]
    return [visible(" / ".join(own)) for own in told]


def _pictures(said: Any, task: TaskSpec, output: str) -> Array | None:
    """Return pictures [N, C, H, W] uint8; None where what was said is none."""
    shape = task.outputs[output].shape
    if not isinstance(said, np.ndarray) or said.size != len(said) * math.prod(shape):
        return None
    return said.reshape(-1, *shape).astype(np.uint8)


def _shown(pictures: Array, references: References | None) -> list[str]:
    """Say what pictures show, as far as the data can read it."""
    read = references.read if isinstance(references, ImageReferences) else None
    names = references.names if isinstance(references, ImageReferences) else {}
    if read is None:
        return ["a picture"] * len(pictures)
    found = read(pictures).attributes
    return [
        ", ".join(
            names[name][found[name][item]] if found[name][item] >= 0 else f"no {name}"
            for name in names
        )
        for item in range(len(pictures))
    ]


def _text(said: Any) -> str:
    """Write a prediction of any kind as people read it."""
    if isinstance(said, float):
        return f"{said:.3g}"
    if isinstance(said, list | tuple):
        return visible(", ".join(map(str, said))) or "none"
    return visible(str(said))


def _shares(weights: Sequence[float]) -> list[float]:
    """Return weights as shares of their sum; those of a product need not add up to one."""
    whole = sum(weights)
    return [weight / whole for weight in weights] if whole else list(weights)


def _of_data(data: Split, output: str, ids: Sequence[str]) -> list[list[str]] | None:
    """Return what is right for each prediction, as the data know it."""
    found = readable(data.references[output]) if output in data.references else None
    row = {name: i for i, name in enumerate(data.ids)}
    return None if found is None else [found[row[name]] if name in row else [] for name in ids]


def choose(answers: Answers, count: int) -> list[Sample]:
    """Choose items: half at random, then those that scored worst, then the best.

    The random ones are the same for every model on a task, and a longer choice begins with a
    shorter one's, so that models can be compared by eye. Without item scores, and of three items
    or fewer, all are random.
    """
    total = len(answers.ids)
    order = rng.permutation(0, "samples", answers.task, answers.split, count=total).tolist()
    extremes = 0 if answers.scores is None else min(count, total) // 4
    drawn = order[: min(count, total) - 2 * extremes]
    chosen = [(item, "random") for item in drawn]
    if extremes and answers.scores is not None:
        sign = 1.0 if answers.higher_is_better else -1.0
        scores = answers.scores
        # Sorting is stable: those that score alike come in the random order.
        rest = sorted(order[len(drawn) :], key=lambda item: sign * scores[item])
        chosen += [(item, "worst") for item in rest[:extremes]]
        chosen += [(item, "best") for item in reversed(rest[-extremes:])]
    return [_sample(answers, item, why) for item, why in chosen]


def item_of(values: Array | Ragged, row: int) -> Any:
    """Return one item of a modality."""
    if isinstance(values, Ragged):
        return values.values[row, : values.lengths[row]]
    return values[row]


def with_words(modalities: Mapping[str, Modality]) -> dict[str, Modality]:
    """Let graphs know the task's words: the number of a thing is that of the word for it."""
    words = next((m.vocabulary for m in modalities.values() if m.kind == "text"), ())
    return {
        name: replace(m, vocabulary=words) if m.kind == "graph" else m
        for name, m in modalities.items()
    }


def words_in(modality: Modality, item: Any) -> list[str]:
    """Return the words of a text; padding left out."""
    known = modality.vocabulary
    return [known[i] if i < len(known) else f"#{i}" for i in item.tolist() if i]


def facts(slots: Slots) -> Facts:
    """Return all fillers with their slots."""
    return frozenset((slot, filler) for slot, fillers in slots.items() for filler in fillers)


def main_output(task: TaskSpec) -> str:
    """Return the name of the output that the main metric is on."""
    marked = [name for name, output in task.outputs.items() if output.main]
    return (marked or list(task.outputs))[0]


def _sample(answers: Answers, item: int, why: str) -> Sample:
    name = answers.ids[item]
    row = answers.row.get(name)
    truth = answers.references if row is not None else None
    return Sample(
        id=name,
        why=why,
        said=answers.texts[item],
        score=None if answers.scores is None else answers.scores[item],
        weights=None if answers.weights is None else answers.weights[item],
        references=_right(answers, item, truth, row),
        truth=None if truth is None or truth.slots is None or row is None else truth.slots[row],
        row=row,
        spoken=answers.kind == "text",
        picture=None if answers.pictures is None else answers.pictures[item],
    )


def _right(
    answers: Answers, item: int, truth: TextReferences | None, row: int | None
) -> tuple[str, ...]:
    if truth is not None and row is not None:
        return tuple(truth.texts[row])
    return () if answers.right is None else tuple(answers.right[item])


def _scores(
    stored: store.Stored, task: TaskSpec, split: str, ids: Sequence[str], warnings: list[str]
) -> tuple[list[float] | None, bool]:
    """Return what each item adds to the main metric: a mean's own scores, else pseudo-values.

    Both within the metric's bounds.
    """
    from mmbench.metrics import pseudo_values

    try:
        metric = registry.load("metric", task.metrics.main)
        items = store.read_items(stored)[split]
        values = pseudo_values(metric, items.families[metric.family][1])
    except (MmbenchError, KeyError) as error:
        why = error if isinstance(error, MmbenchError) else f"none for {task.metrics.main!r}"
        warnings.append(f"no item scores, so all samples are random: {why}")
        return None, True
    # What an item adds to a corpus metric may lie beyond what any score can be.
    low, high = (np.nan if bound is None else bound for bound in metric.bounds)
    values = np.fmin(np.fmax(values, low), high)
    by_id = dict(zip(items.ids, values.tolist(), strict=True))
    if not by_id.keys() >= set(ids):
        warnings.append(
            f"{stored.folder}: no item scores, so all samples are random: the predictions are of "
            f"other items than the item statistics"
        )
        return None, True
    return [by_id[name] for name in ids], metric.higher_is_better


def items_of(
    record: store.Record,
    task: TaskSpec,
    split: str,
    root: Path | None,
    warnings: list[str],
    told: bool = False,
) -> tuple[Split | None, Mapping[str, Modality]]:
    """Return a split's items, if the data are to be had and are those of the record.

    Args:
        record: The record.
        task: What it was measured on.
        split: One of its splits.
        root: Folder of the user's data.
        warnings: Takes a line where there are none, saying why.
        told: Whether the record itself knows what is right.
    """
    from mmbench.data import _load

    if not task.modalities:  # it stands for a file of references, see `mmbench.external`
        if not told:
            warnings.append("no references: they are in a file, of which a record keeps the digest")
        return None, {}
    lacking = "no references and no contact sheet"
    try:
        dataset = _load.load(task, root)
    except MmbenchError as error:
        warnings.append(f"{lacking}: {error}")
        return None, {}
    own = record.data.get("fingerprint", "")
    if dataset.fingerprint != own:
        warnings.append(
            f"{lacking}: the data here are not those of the record (fingerprint "
            f"{dataset.fingerprint[:8]}, the record has {own[:8] or 'none'})"
        )
        return None, {}
    found = dataset.splits[split]
    modalities = with_words(dataset.signature.modalities)
    # Of retrieval, an item is a query; the gallery belongs to none.
    return found, {name: modalities[name] for name in modalities if name in found.inputs}


def _branches(
    record: store.Record, columns: Mapping[str, Sequence[Any]], weights: Any
) -> tuple[str, ...]:
    """Return the names of the weights, as the predictions tell them; numbers where they do not."""
    count = next((len(word) for item in weights or () for word in item), 0)
    told = columns.get("branches") or [record.definition.get("branches") or ()]
    names = tuple(str(name) for name in told[0])
    return names if len(names) == count else tuple(f"#{k + 1}" for k in range(count))
