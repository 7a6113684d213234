"""Caption metrics beside pycocoevalcap, on captions of this script's own making.

    python tests/bench/bench_captions.py [--images 5000] [--references 5] [--repeats 5]

Both sides run in turn in one process, so that a busy machine slows both; what counts is the ratio
of the medians. Ours includes the intervals, which pycocoevalcap has none of.
"""

from __future__ import annotations

import argparse
import random
import shutil

import numpy as np
from _side_by_side import compare, timed

from mmbench import registry, text
from mmbench.metrics import TextItems, prepare
from mmbench.references import TextReferences
from mmbench.scoring import score
from mmbench.types import Predictions

METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "cider_d", "rouge_l")


def captions(images: int, references: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """Make captions whose words are as unequally frequent as those of a language."""
    draw = random.Random(0)
    words = [f"{'bcdfglmnprst'[i % 12]}{'aeiou'[i % 5]}{i:x}" for i in range(6000)]
    words = ["".join("abcdefghij"[int(c)] if c.isdigit() else c for c in w) for w in words]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    predictions, truth = [], []
    for _ in range(images):
        scene = draw.choices(words, weights, k=14)
        said = []
        for _ in range(references + 1):
            kept = [w if draw.random() < 0.7 else draw.choices(words, weights)[0] for w in scene]
            kept = kept[: draw.randint(7, 14)]
            if draw.random() < 0.1:
                kept[2] += ","
            if draw.random() < 0.03:
                kept[3] += "'s"
            said.append(" ".join(kept).capitalize() + draw.choice([".", " .", ""]))
        predictions.append(said[0])
        truth.append(tuple(said[1:]))
    return predictions, truth


def values(items: TextItems) -> dict[str, float]:
    loaded = [registry.load("metric", name) for name in METRICS]
    return {m.name: m.of(m.measure(items)) for m in loaded}


def main() -> None:
    """Print one line a comparison."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    predictions, truth = captions(given.images, given.references)
    prepared = prepare(predictions, TextReferences(truth))
    tokens, reference_tokens = prepared.tokens, prepared.reference_tokens
    said = {i: [" ".join(t)] for i, t in enumerate(tokens)}
    true = {i: [" ".join(t) for t in refs] for i, refs in enumerate(reference_tokens)}

    def from_tokens() -> dict[str, float]:
        items = prepare(predictions, TextReferences(truth))
        vars(items).update(tokens=tokens, reference_tokens=reference_tokens)
        return values(items)

    def their_values() -> list[float]:
        bleu = Bleu(4).compute_score(true, said, verbose=0)[0]
        return [*bleu, Cider().compute_score(true, said)[0], Rouge().compute_score(true, said)[0]]

    ids = [str(i) for i in range(len(predictions))]
    given_predictions = Predictions(ids, {"caption": predictions})

    def from_text() -> object:
        text._runs.clear()
        return score(given_predictions, {"caption": TextReferences(truth)}, "caption", METRICS)

    def their_tokens() -> tuple[object, object]:
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

        both = ({i: [t] for i, t in enumerate(predictions)}, dict(enumerate(truth)))
        return tuple(
            PTBTokenizer().tokenize(
                {i: [{"caption": c} for c in texts] for i, texts in side.items()}
            )
            for side in both
        )

    apart = np.abs(np.array(list(from_tokens().values())) - np.array(their_values())).max()
    print(f"{given.images} images x {given.references} references; largest difference {apart:.1e}")
    print(f"{'medians of ' + str(given.repeats):42} {'mmbench':>10} {'pycocoevalcap':>10}")
    compare("tokens -> BLEU-1..4, CIDEr-D, ROUGE-L", from_tokens, their_values, given.repeats)
    every = [*predictions, *(t for texts in truth for t in texts)]

    def our_tokens() -> object:
        text._runs.clear()
        return text.tokenize(every)

    if shutil.which("java"):
        compare("text -> tokens (theirs in Java)", our_tokens, their_tokens, given.repeats)
        compare(
            "text -> all of it (ours with intervals)",
            from_text,
            lambda: (their_tokens(), their_values()),
            given.repeats,
        )
    else:
        print(f"text -> tokens: {timed(our_tokens):.3f} s (theirs needs Java, which is not here)")


if __name__ == "__main__":
    main()
