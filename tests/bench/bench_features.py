"""Preparing sound and video in parts beside the loop that one would write, in one process.

Run it: ``python tests/bench/bench_features.py [DATA]`` with the folder that holds ``grid_s1``.
Every other round is ours; what is told is the ratio of utterances a second, which the machine's
mood hardly changes, and how long a second start from the cache takes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

ROUNDS, ITEMS = 3, 128


def main(data: Path) -> None:
    """Measure, and print one line for each figure."""
    import av
    import numpy as np
    import soundfile

    from mmbench.data import _building, _speech_jsonl, grid

    os.environ["MMBENCH_WORKERS"] = "1"
    file = data / "grid_s1" / "manifest.jsonl"
    rows = _speech_jsonl.read(file, ("video", "audio"), ("text",))[:ITEMS]
    jobs = [grid._Job(row, grid.Params(), 0, ()) for row in rows]
    ours, bare, again = [], [], []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            key = {"name": "bench", "round": number}
            for times in (ours, again):
                begun = time.perf_counter()
                _building.prepared(Path(folder), key, jobs, grid._item)
                times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        for row in rows:
            soundfile.read(row.files["audio"])
            with av.open(str(row.files["video"])) as container:
                np.stack([f.to_ndarray(format="gray") for f in container.decode(video=0)])
        bare.append(time.perf_counter() - begun)
    print(f"ours / bare loop: {min(bare) / min(ours):.2f} of its utterances a second")
    print(f"{ITEMS / min(ours):.0f} utterances/s; a second start takes {min(again):.3f} s")


if __name__ == "__main__":
    shared = Path(__file__).resolve().parents[3] / "shared" / "data"
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else shared
    if (place / "grid_s1").is_dir():
        main(place)
    else:
        print(f"skipped: {place} holds no grid_s1")
