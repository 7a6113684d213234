"""Caption metrics beside pycocoevalcap, on captions of this script's own making.

    python tests/bench/bench_captions.py [--images 5000 40000] [--references 5] [--repeats 5]

Both sides run in turn in one process, so that a busy machine slows both; what counts is the ratio
of the medians. Ours includes the intervals, which pycocoevalcap has none of. Peak memory above the
loaded inputs is that of a process of its own for each side; pycocoevalcap's Java, a further
process, is counted apart.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import numpy as np
from _side_by_side import compare, timed

from mmbench import registry, text
from mmbench.metrics import prepare
from mmbench.metrics._captions import Captions
from mmbench.references import TextReferences
from mmbench.scoring import score
from mmbench.types import Predictions

METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "cider_d", "rouge_l")
Texts = tuple[list[str], list[tuple[str, ...]]]


def captions(images: int, references: int) -> Texts:
    """Make captions whose words are as unequally frequent as those of a language."""
    draw = random.Random(0)
    words = [f"{'bcdfglmnprst'[i % 12]}{'aeiou'[i % 5]}{i:x}" for i in range(6000)]
    words = ["".join("abcdefghij"[int(c)] if c.isdigit() else c for c in w) for w in words]
    weights = list(accumulate(1 / (rank + 3) for rank in range(len(words))))
    predictions, truth = [], []
    for _ in range(images):
        scene = draw.choices(words, cum_weights=weights, k=14)
        said = []
        for _ in range(references + 1):
            others = draw.choices(words, cum_weights=weights, k=14)
            kept = [a if draw.random() < 0.7 else b for a, b in zip(scene, others, strict=True)]
            kept = kept[: draw.randint(7, 14)]
            if draw.random() < 0.1:
                kept[2] += ","
            if draw.random() < 0.03:
                kept[3] += "'s"
            said.append(" ".join(kept).capitalize() + draw.choice([".", " .", ""]))
        predictions.append(said[0])
        truth.append(tuple(said[1:]))
    return predictions, truth


def ours(predictions: list[str], truth: list[tuple[str, ...]]) -> dict[str, float]:
    """Score raw captions, with intervals; nothing is remembered from the last time."""
    text._runs.clear()
    ids = [str(place) for place in range(len(predictions))]
    given = Predictions(ids, {"caption": predictions})
    found = score(given, {"caption": TextReferences(truth)}, "caption", METRICS)
    return {name: found.scores[name].value for name in METRICS}


def our_values(captions_of: Captions) -> list[float]:
    """Return the values of numbered tokens, without intervals, as pycocoevalcap has none."""
    items = prepare([""] * len(captions_of.first), TextReferences([("",)] * len(captions_of.first)))
    vars(items)["captions"] = captions_of
    loaded = [registry.load("metric", name) for name in METRICS]
    return [metric.of(metric.measure(items)) for metric in loaded]


Laid = dict[int, list[str]]


def their_tokens(predictions: list[str], truth: list[tuple[str, ...]]) -> tuple[Laid, Laid]:
    """Return predictions and references after pycocoevalcap's tokeniser, in Java."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    sides = ({i: (t,) for i, t in enumerate(predictions)}, dict(enumerate(truth)))
    laid = [{i: [{"caption": c} for c in texts] for i, texts in side.items()} for side in sides]
    said, true = (PTBTokenizer().tokenize(side) for side in laid)
    return said, true


def their_values(said: Laid, true: Laid) -> list[float]:
    """Return the values of tokens, by pycocoevalcap."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    bleu = Bleu(4).compute_score(true, said, verbose=0)[0]
    return [*bleu, Cider().compute_score(true, said)[0], Rouge().compute_score(true, said)[0]]


def theirs(predictions: list[str], truth: list[tuple[str, ...]]) -> list[float]:
    """Score raw captions by pycocoevalcap, Java included."""
    return their_values(*their_tokens(predictions, truth))


def times(predictions: list[str], truth: list[tuple[str, ...]], repeats: int) -> None:
    """Print one line a comparison of times."""
    prepared = prepare(predictions, TextReferences(truth))
    tokens, reference_tokens = prepared.tokens, prepared.reference_tokens
    said = {i: [" ".join(t)] for i, t in enumerate(tokens)}
    true = {i: [" ".join(t) for t in refs] for i, refs in enumerate(reference_tokens)}

    def from_tokens() -> list[float]:
        return our_values(Captions.of(tokens, reference_tokens))

    apart = np.abs(np.array(from_tokens()) - np.array(their_values(said, true))).max()
    print(f"{len(truth)} images x {len(truth[0])} references; largest difference {apart:.1e}")
    print(f"{'medians of ' + str(repeats):42} {'mmbench':>10} {'pycocoevalcap':>10}")
    compare(
        "tokens -> BLEU, CIDEr-D, ROUGE-L", from_tokens, lambda: their_values(said, true), repeats
    )
    if shutil.which("java"):
        name = "text -> all of it (ours with intervals)"
        compare(name, lambda: ours(predictions, truth), lambda: theirs(predictions, truth), repeats)
    else:
        seconds = timed(lambda: ours(predictions, truth))
        print(f"text -> all of it: {seconds:.3f} s (theirs needs Java, which is not here)")


# --- memory --------------------------------------------------------------------------------------

SIDES: dict[str, Callable[[list[str], list[tuple[str, ...]]], object]] = {
    "mmbench": ours,
    "pycocoevalcap": theirs,
}


def status(key: str) -> float:
    """Return a line of this process's status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def memory(side: str, images: int, references: int) -> tuple[float, float]:
    """Return the peak of this process above its inputs, and that of its children, in MB."""
    import resource

    predictions, truth = captions(images, references)
    with contextlib.redirect_stdout(io.StringIO()):
        SIDES[side](predictions[:50], truth[:50])  # imports are no part of it
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = status("VmRSS")
        SIDES[side](predictions, truth)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return status("VmHWM") - before, children


def memories(images: int, references: int) -> None:
    """Print the peak memory of both sides."""
    found = []
    for side in SIDES:
        call = [sys.executable, __file__, "--memory", side]
        size = ["--images", str(images), "--references", str(references)]
        done = subprocess.run([*call, *size], capture_output=True, text=True, check=True)
        found.append([float(number) for number in done.stdout.split()])
    (mine, _), (other, java) = found
    print(
        f"{'peak memory above the inputs':42} {mine:7.0f} MB {other:7.0f} MB {other / mine:7.1f} x"
        f"   (and Java {java:.0f} MB)"
    )


def main() -> None:
    """Print one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 40_000])
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="fewer where there are more images")
    parser.add_argument("--memory", choices=SIDES, help="used by itself")
    given = parser.parse_args()
    if given.memory:
        print(*memory(given.memory, given.images[0], given.references))
        return
    for images in given.images:
        repeats = max(1, round(given.repeats * 5000 / max(images, 5000)))
        times(*captions(images, given.references), repeats)
        if shutil.which("java") and Path("/proc/self/clear_refs").exists():
            memories(images, given.references)


if __name__ == "__main__":
    main()
