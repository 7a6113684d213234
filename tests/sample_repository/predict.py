"""A model of somebody's own: captions from a table of words. `--careless` is the regression."""

import argparse
import json
import random
import sys
from pathlib import Path

HERE = Path(__file__).parent


def caption(truth: str, skill: float, draw: random.Random) -> str:
    """Say what is there, most of the time."""
    others = ["dog", "cat", "ball", "house", "river", "child"]
    words = [w if draw.random() < skill else draw.choice(others) for w in truth.split()]
    return " ".join(words)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--out", required=True)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--careless", action="store_true")
    asked = options.parse_args()
    draw = random.Random(asked.seed)
    skill = 0.8 if asked.careless else 0.9
    with Path(asked.out).open("w") as file:
        for line in (HERE / "quality" / "references.jsonl").read_text().splitlines():
            item = json.loads(line)
            said = caption(item["caption"], skill, draw)
            file.write(json.dumps({"id": item["id"], "caption": said}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
