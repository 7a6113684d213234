"""Error rates beside jiwer, on transcripts of this script's own making.

    python tests/bench/bench_speech.py [--pairs 100000] [--words 20] [--wrong 0.15] [--repeats 5]

Both sides run in turn in one process, so that a busy machine slows both; what counts is the ratio
of the medians. Ours begins with predictions and references as a task hands them over and ends with
scores and their 95 % intervals, which jiwer has none of.
"""

from __future__ import annotations

import argparse
import random

import jiwer
from _side_by_side import compare

from mmbench.references import TextReferences
from mmbench.scoring import Scored, score
from mmbench.types import Predictions


def transcripts(pairs: int, words: int, wrong: float) -> tuple[list[str], list[str]]:
    """Make predictions and references whose words are as unequally frequent as in a language."""
    draw = random.Random(0)
    lengths = draw.choices((2, 3, 4, 5, 6, 7, 8, 9, 11), (3, 6, 8, 6, 4, 3, 2, 2, 1), k=6000)
    known = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=length)) for length in lengths]
    weights = [1 / (rank + 3) for rank in range(len(known))]
    spoken = draw.choices(known, weights, k=pairs * words)
    mistaken = iter(draw.choices(known, weights, k=2 * pairs * words))

    def heard(word: str) -> list[str]:
        chance = draw.random() / wrong
        if chance < 0.6:
            return [next(mistaken)]
        if chance < 0.8:
            return []
        return [word, next(mistaken)] if chance < 1 else [word]

    true = [spoken[start : start + words] for start in range(0, pairs * words, words)]
    said = [" ".join(word for one in text for word in heard(one)) for text in true]
    return said, [" ".join(text) for text in true]


def main() -> None:
    """Print one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--wrong", type=float, default=0.15)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    said, true = transcripts(given.pairs, given.words, given.wrong)
    predictions = Predictions([str(i) for i in range(given.pairs)], {"text": said})
    references = {"text": TextReferences([(text,) for text in true])}
    transform = jiwer.transformations.wer_standardize

    def ours(*metrics: str) -> Scored:
        return score(predictions, references, "text", metrics)

    def standardised() -> object:
        return jiwer.process_words(true, said, transform, transform)

    # Once before the clock: what is imported on the way is loaded, and the values are the same.
    scores = ours("wer", "cer").scores
    apart = (
        scores["wer"].value - jiwer.wer(true, said),
        scores["cer"].value - jiwer.cer(true, said),
    )
    print(f"{given.pairs} pairs of {given.words} words, WER {scores['wer'].value:.4f}")
    print(f"differences of WER and CER from jiwer's: {apart[0]}, {apart[1]}")
    print(f"{'medians of ' + str(given.repeats):42} {'mmbench':>10} {'jiwer':>10}")
    rates = ("wer", "mer", "wil", "wip", "substitution_rate", "deletion_rate", "insertion_rate")
    for name, mine, other in (
        ("WER", lambda: ours("wer"), lambda: jiwer.wer(true, said)),
        ("all rates of words", lambda: ours(*rates), lambda: jiwer.process_words(true, said)),
        ("WER, jiwer's standard transform", lambda: ours("wer(normalizer=jiwer)"), standardised),
        ("CER", lambda: ours("cer"), lambda: jiwer.cer(true, said)),
    ):
        compare(name, mine, other, given.repeats)


if __name__ == "__main__":
    main()
