"""The tokeniser ``ptb`` beside Stanford's, which it stands for, in Java.

    python tests/bench/bench_tokenizer.py [--captions FILE] [--repeats 7]

On the captions of Flickr8k where they are (a Karpathy file, or MMBENCH_TEST_DATA names the folder
above flickr8k), else on captions of bench_captions' making. Java's time includes its start, as it
does in use; it is run as pycocoevalcap runs it, once for all captions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from _side_by_side import compare, timed
from bench_captions import captions as made_captions

from mmbench import text
from mmbench.numbering import number

DATA = Path(os.environ.get("MMBENCH_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))


def flickr(path: Path) -> list[str]:
    """Return all captions of a Karpathy file as people wrote them."""
    images = json.loads(path.read_text(encoding="utf-8"))["images"]
    return [sentence["raw"] for image in images for sentence in image["sentences"]]


def ours(captions: list[str]) -> list[list[str]]:
    """Take captions apart; nothing is remembered from the last time."""
    text.forget()
    return text.tokenize(captions)


def numbered(captions: list[str]) -> object:
    """Take captions apart and number the words, as the metrics do."""
    text.forget()
    return number(captions, text.TOKENIZERS["ptb"])


def theirs(captions: list[str]) -> list[list[str]]:
    """Take captions apart as pycocoevalcap does, without writing into its folder."""
    from pycocoevalcap.tokenizer import ptbtokenizer as stanford

    jar = Path(stanford.__file__).with_name(stanford.STANFORD_CORENLP_3_4_1_JAR)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder, "captions.txt")
        lines.write_text("\n".join(c.replace("\n", " ") for c in captions), encoding="utf-8")
        command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar)]
        command += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
        done = subprocess.run([*command, str(lines)], capture_output=True, check=True)
    found = done.stdout.decode("utf-8").split("\n")[: len(captions)]
    dropped = {"", *stanford.PUNCTUATIONS}
    return [[word for word in line.rstrip().split(" ") if word not in dropped] for line in found]


def main() -> int:
    """Print one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=Path, default=DATA / "flickr8k/dataset_flickr8k.json")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    if given.captions.exists():
        name, captions = "Flickr8k", flickr(given.captions)
    else:
        said, true = made_captions(8000, 4)
        name, captions = "made-up captions", [*said, *(t for texts in true for t in texts)]
    if shutil.which("java") is None:
        print(f"{len(captions)} captions: {timed(lambda: ours(captions)):.3f} s; theirs needs Java")
        return 0
    pairs = list(zip(ours(captions), theirs(captions), strict=True))
    same = sum(a == b for a, b in pairs) / len(pairs)
    del pairs  # a million objects in memory are no part of either side
    print(f"{name}: {len(captions)} captions, {same:.4%} identical")
    print(f"{'medians of ' + str(given.repeats):42} {'mmbench':>10} {'Java':>10}")
    each = compare(
        "lists of tokens", lambda: ours(captions), lambda: theirs(captions), given.repeats
    )
    compare("numbers", lambda: numbered(captions), lambda: theirs(captions), given.repeats)
    return int(each < 6 or same < 0.9997)


if __name__ == "__main__":
    sys.exit(main())
