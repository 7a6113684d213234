"""Floors: the most frequent answer, and linear models on simple features of each modality.

Classes by multinomial logistic regression, numbers by ridge regression; how much they are held
back is chosen on the validation items. Features: a vector is itself; a sequence the mean of its
steps; a text how often each word stands in it; an image or a video the means of an 8 x 8 grid, a
video's over time; a spectrogram mean and spread of each band. All are standardised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.references import LabelReferences, MultilabelReferences, ScalarReferences
from mmbench.scoring import score
from mmbench.spec import TaskSpec
from mmbench.types import Dataset, Modality, Predictions, Ragged, Split

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

#: Training items that are looked at: a linear model of some hundred features needs no more.
MOST_ITEMS = 10_000
#: Words of a bag of words, the most frequent ones.
MOST_WORDS = 2000
#: How strongly weights are held back: of these, what validates best is taken.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
#: Cells of a side of the grid on an image.
GRID = 8


def floors(task: TaskSpec, dataset: Dataset) -> tuple[dict[str, float], list[str]]:
    """Return the scores of the simplest models on the test split, and what there is none of.

    Args:
        task: Names the main output and the main metric.
        dataset: Its data.
    """
    output = dataset.signature.main
    kind = dataset.signature.outputs[output].kind
    if kind not in _MODELS:
        return {}, [f"no floors: a linear model gives no {kind}"]
    ask = _Asked(task, dataset, output)
    train, test = dataset.splits["train"], dataset.splits["test"]
    found = {"majority": ask.score(_frequent(train, output, len(test)))}
    features = {
        name: _features(dataset, name, modality)
        for name, modality in dataset.signature.modalities.items()
    }
    fit = _MODELS[kind]
    for name, parts in features.items():
        found[name] = ask.score(fit(parts, dataset, output))
    if len(features) > 1:
        joined = {s: np.hstack([parts[s] for parts in features.values()]) for s in _SPLITS}
        found["all"] = ask.score(fit(joined, dataset, output))
    return found, []


_SPLITS = ("train", "val", "test")


class _Asked:
    """Scores answers for the test split with the task's main metric."""

    def __init__(self, task: TaskSpec, dataset: Dataset, output: str) -> None:
        self.split, self.output = dataset.splits["test"], output
        self.metric = task.metrics.main

    def score(self, answer: Array) -> float:
        """Return the score: of [N, C] probabilities, or of [N] numbers."""
        right = self.split.references[self.output]
        columns: dict[str, Any] = {}
        if isinstance(right, LabelReferences):
            said: list[Any] = [right.classes[i] for i in answer.argmax(axis=1)]
        elif isinstance(right, MultilabelReferences):
            said = [
                [name for name, p in zip(right.classes, row, strict=True) if p > 0.5]
                for row in answer
            ]
        else:
            said = answer.tolist()
        if answer.ndim == 2:
            columns = {f"{self.output}.scores": answer.tolist()}
        told = Predictions(list(self.split.ids), {self.output: said}, columns)
        references = {self.output: right}
        return float(score(told, references, self.output, [self.metric]).scores[self.metric].value)


def _frequent(train: Split, output: str, count: int) -> Array:
    """Answer with how frequent each class is in training, or with the median number."""
    right = train.references[output]
    if isinstance(right, LabelReferences):
        shares = np.bincount(right.labels, minlength=len(right.classes)) + 1e-6
        return np.tile(shares / shares.sum(), (count, 1))
    if isinstance(right, MultilabelReferences):
        return np.tile(right.labels.mean(axis=0), (count, 1))
    assert isinstance(right, ScalarReferences)
    return np.full(count, float(np.median(right.values)))


# --- features ------------------------------------------------------------------------------------


def _features(dataset: Dataset, name: str, modality: Modality) -> dict[str, Floats]:
    """Return [N, D] standardised features of the three splits; an absent item has zeros."""
    raw = {split: _raw(dataset.splits[split], name, modality, split) for split in _SPLITS}
    if modality.kind == "text":
        common = np.argsort(-raw["train"].sum(axis=0), kind="stable")[:MOST_WORDS]
        raw = {split: values[:, common] for split, values in raw.items()}
    here = _present(dataset.splits["train"], name)[: len(raw["train"])]
    known = raw["train"][here]
    mean = known.mean(axis=0) if len(known) else np.zeros(raw["train"].shape[1])
    spread = known.std(axis=0) if len(known) else np.ones(raw["train"].shape[1])
    spread = np.where(spread > 1e-9, spread, 1.0)
    found = {}
    for split, values in raw.items():
        scaled = (values - mean) / spread
        scaled[~_present(dataset.splits[split], name)[: len(scaled)]] = 0.0
        found[split] = scaled
    return found


def _present(split: Split, name: str) -> Array:
    there = split.present.get(name)
    return np.ones(len(split), dtype=bool) if there is None else np.asarray(there)


def _raw(split: Split, name: str, modality: Modality, which: str) -> Floats:
    values = split.inputs[name]
    lengths: Array | None = None
    if isinstance(values, Ragged):
        lengths, values = np.asarray(values.lengths), values.values
    if which == "train":
        values = values[:MOST_ITEMS]
        lengths = None if lengths is None else lengths[:MOST_ITEMS]
    rows = [
        _one(modality, np.asarray(value), None if lengths is None else int(lengths[index]))
        for index, value in enumerate(values)
    ]
    return np.stack(rows).astype(np.float64)


def _one(modality: Modality, value: Array, length: int | None) -> Array:
    kind = modality.kind
    if kind == "text":
        return np.bincount(value[:length], minlength=len(modality.vocabulary))
    if kind == "sequence":
        return value[:length].mean(axis=0) if length != 0 else np.zeros(value.shape[-1])
    if kind == "spectrogram":
        heard = value[:, : length or value.shape[1]].astype(np.float64)
        return np.concatenate([heard.mean(axis=1).ravel(), heard.std(axis=1).ravel()])
    if kind == "video":
        return _grid(value[: length or len(value)].astype(np.float64).mean(axis=0, keepdims=True))
    if kind not in ("image", "graph"):  # numbers, of whatever kind
        return _numbers(value, length)
    return _grid(value.astype(np.float64))


def _numbers(value: Array, length: int | None) -> Array:
    """Return what is known of a kind's items: mean and spread over all axes but the last one."""
    if value.ndim == 1:
        return value
    flat = value[:length].reshape(-1, value.shape[-1])
    if not len(flat):
        return np.zeros(2 * value.shape[-1])
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0)])


def _grid(pixels: Floats) -> Floats:
    """Return the means of a grid of cells: [C, H, W] -> [C * GRID * GRID] or fewer."""
    rows = np.array_split(np.arange(pixels.shape[1]), min(GRID, pixels.shape[1]))
    columns = np.array_split(np.arange(pixels.shape[2]), min(GRID, pixels.shape[2]))
    cells = [pixels[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean(axis=(1, 2))
             for r in rows for c in columns]  # fmt: skip
    return np.stack(cells, axis=1).ravel()


# --- linear models -------------------------------------------------------------------------------


def logistic(features: Floats, labels: Array, classes: int, penalty: float) -> Floats:
    """Fit multinomial logistic regression; return weights [D + 1, C], the bias last.

    Minimised is the mean negative log-likelihood plus ``penalty / 2`` times the squared weights
    over the number of features; the bias is free.

    Args:
        features: [N, D], about standardised.
        labels: [N] in 0..C-1.
        classes: C.
        penalty: At least 0.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    count, width = features.shape
    wide = np.hstack([features, np.ones((count, 1))])
    held = np.full((width + 1, 1), penalty)
    held[-1] = 0.0
    places = (np.arange(count), labels)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(width + 1, classes)
        logs = log_softmax(wide @ weights, axis=1)
        wrong = np.exp(logs)
        wrong[places] -= 1.0
        value = -logs[places].mean() + 0.5 * float((held * weights**2).sum())
        return value, (wide.T @ wrong / count + held * weights).ravel()

    found = minimize(
        loss, np.zeros((width + 1) * classes), jac=True, method="L-BFGS-B",
        options={"maxiter": 300},
    )  # fmt: skip
    made: Floats = found.x.reshape(width + 1, classes)
    return made


def _probabilities(features: Floats, weights: Floats) -> Floats:
    from scipy.special import softmax

    made: Floats = softmax(features @ weights[:-1] + weights[-1], axis=1)
    return made


def _fit_label(features: dict[str, Floats], dataset: Dataset, output: str) -> Array:
    right = {name: dataset.splits[name].references[output] for name in ("train", "val")}
    train, val = right["train"], right["val"]
    assert isinstance(train, LabelReferences)
    assert isinstance(val, LabelReferences)
    labels = train.labels[: len(features["train"])]

    def trial(penalty: float) -> tuple[float, Array]:
        weights = logistic(features["train"], labels, len(train.classes), penalty)
        said = _probabilities(features["val"], weights)
        likely = said[np.arange(len(said)), val.labels]
        return float(-np.log(np.maximum(likely, 1e-12)).mean()), weights

    return _probabilities(features["test"], _best(trial))


def _fit_multilabel(features: dict[str, Floats], dataset: Dataset, output: str) -> Array:
    right = {name: dataset.splits[name].references[output] for name in ("train", "val")}
    train, val = right["train"], right["val"]
    assert isinstance(train, MultilabelReferences)
    assert isinstance(val, MultilabelReferences)
    columns = []
    for place in range(len(train.classes)):
        labels = train.labels[: len(features["train"]), place].astype(np.int64)
        true = val.labels[:, place].astype(np.int64)

        def trial(
            penalty: float, labels: Array = labels, true: Array = true
        ) -> tuple[float, Array]:
            weights = logistic(features["train"], labels, 2, penalty)
            likely = _probabilities(features["val"], weights)[np.arange(len(true)), true]
            return float(-np.log(np.maximum(likely, 1e-12)).mean()), weights

        columns.append(_probabilities(features["test"], _best(trial))[:, 1])
    return np.stack(columns, axis=1)


def ridge(features: Floats, values: Floats, penalty: float) -> Floats:
    """Fit ridge regression; return weights [D + 1], the bias last.

    Minimised is the mean squared error plus ``penalty`` times the squared weights.
    """
    count, width = features.shape
    centre, level = features.mean(axis=0), float(values.mean())
    moved = features - centre
    inner = moved.T @ moved / count + penalty * np.eye(width)
    weights = np.linalg.solve(inner, moved.T @ (values - level) / count)
    return np.append(weights, level - float(centre @ weights))


def _fit_scalar(features: dict[str, Floats], dataset: Dataset, output: str) -> Array:
    right = {name: dataset.splits[name].references[output] for name in ("train", "val")}
    train, val = right["train"], right["val"]
    assert isinstance(train, ScalarReferences)
    assert isinstance(val, ScalarReferences)
    values = train.values[: len(features["train"])]

    def trial(penalty: float) -> tuple[float, Array]:
        weights = ridge(features["train"], values, penalty)
        said = features["val"] @ weights[:-1] + weights[-1]
        return float(np.abs(said - val.values).mean()), weights

    weights = _best(trial)
    # No answer beyond all that was seen: an item unlike any other gives a line no hold.
    said = features["test"] @ weights[:-1] + weights[-1]
    within: Array = np.clip(said, values.min(), values.max())
    return within


def _best(trial: Callable[[float], tuple[float, Array]]) -> Array:
    """Return the weights of the penalty with the least loss on the validation items."""
    return min((trial(penalty) for penalty in PENALTIES), key=lambda found: found[0])[1]


_MODELS: dict[str, Callable[[dict[str, Floats], Dataset, str], Array]] = {
    "label": _fit_label,
    "multilabel": _fit_multilabel,
    "scalar": _fit_scalar,
}
