"""Metrics of labels and probabilities beside scikit-learn and torchmetrics, ours with intervals.

    python tests/bench/bench_labels.py [--items 1000000] [--classes 10] [--repeats 7]

Both sides run in turn in one process; what counts is the ratio of the medians. Ours starts from
the same arrays: it checks them, puts them beside the truth, and ends with 95 % intervals, which
the others have none of.
"""

from __future__ import annotations

import argparse

import numpy as np
from _side_by_side import compare

from mmbench import registry
from mmbench.metrics import prepare
from mmbench.references import LabelReferences, Said
from mmbench.scoring import Score, combine


def draw(items: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw right classes, and answers that are right in four of five items."""
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, classes, (2, items))
    return truth, np.where(rng.random(items) < 0.8, truth, guess)


def probabilities(truth: np.ndarray, classes: int) -> np.ndarray:
    """Draw probabilities that know something of the truth."""
    logits = np.random.default_rng(1).normal(size=(len(truth), classes))
    logits[np.arange(len(truth)), truth] += 1.5
    scores = np.exp(logits)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def score(
    names: list[str], truth: np.ndarray, said: object, classes: int, **columns: np.ndarray
) -> list[Score]:
    """Do what ``mmbench score`` does once predictions and references are read."""
    references = LabelReferences(truth, tuple(f"class {c}" for c in range(classes)))
    items = prepare(Said(range(len(truth)), said, columns), references)  # type: ignore[arg-type]
    loaded = [registry.load("metric", name) for name in names]
    return [combine(metric.name, [metric.measure(items)]) for metric in loaded]


def accuracy_and_f1(items: int, classes: int, repeats: int) -> None:
    """Compare accuracy and macro F1."""
    import torch
    from sklearn.metrics import accuracy_score, f1_score
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    torch.set_num_threads(1)
    truth, said = draw(items, classes)
    tensors = torch.from_numpy(said), torch.from_numpy(truth)
    every = range(classes)

    def ours() -> list[Score]:
        return score(["accuracy", "macro_f1"], truth, said, classes)

    def sklearn() -> tuple[float, float]:
        f1 = f1_score(truth, said, average="macro", labels=every, zero_division=0.0)
        return accuracy_score(truth, said), f1

    def torchmetrics() -> tuple[object, object]:
        return (
            multiclass_accuracy(*tensors, num_classes=classes, average="micro"),
            multiclass_f1_score(*tensors, num_classes=classes, average="macro"),
        )

    apart = np.abs(np.array([s.value for s in ours()]) - np.array(sklearn())).max()
    print(f"{items} items, {classes} classes; largest difference {apart:.1e}")
    compare("accuracy + macro F1, scikit-learn", ours, sklearn, repeats)
    compare("accuracy + macro F1, torchmetrics", ours, torchmetrics, repeats)


def rankings(items: int, repeats: int) -> None:
    """Compare AUROC and average precision of two classes."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, said = draw(items, 2)
    scores = probabilities(truth, 2)
    for name, theirs in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
        compare(
            f"{name}, two classes, scikit-learn",
            lambda name=name: score([name], truth, said, 2, scores=scores),
            lambda theirs=theirs: theirs(truth, scores[:, 1]),
            repeats,
        )


def main() -> None:
    """Print one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    score(["accuracy"], *draw(100, 2), 2)  # imports what the interval needs
    print(f"{'medians of ' + str(given.repeats):42} {'mmbench':>10} {'other':>10}")
    accuracy_and_f1(given.items, given.classes, given.repeats)
    accuracy_and_f1(given.items // 20, 1000, given.repeats)
    rankings(given.items, given.repeats)


if __name__ == "__main__":
    main()
