"""Recall at 1, 5 and 10 in both directions beside torch's whole matrix and topk.

    python tests/bench/bench_retrieval.py [--queries 5000] [--each 5] [--width 256] [--repeats 5]

Both sides run in turn in one process with the same number of threads; what counts is the ratio of
the medians. Ours begins with embeddings as a model hands them over and ends with scores and their
95 % intervals; torch's side normalises, multiplies, takes the first 10 of rows and columns, and
averages hits. Memory is the peak above the loaded inputs, each side in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _side_by_side import compare
from threadpoolctl import threadpool_limits

from mmbench.references import MatchReferences
from mmbench.scoring import score
from mmbench.types import Predictions

DEPTHS = (1, 5, 10)
METRICS = tuple(f"recall_at_{k}{way}" for way in ("", "_back") for k in DEPTHS)


def embeddings(queries: int, each: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Make queries and, for each, some gallery entries that are not far from it."""
    draw = np.random.default_rng(0)
    q = draw.standard_normal((queries, width), dtype=np.float32)
    g = np.repeat(q, each, axis=0)
    g += np.float32(4.5) * draw.standard_normal(g.shape, dtype=np.float32)
    return q, g


def ours(q: np.ndarray, g: np.ndarray, metrics: tuple[str, ...] = METRICS) -> list[float]:
    """Score with intervals."""
    each = len(g) // len(q)
    right = [tuple(range(each * i, each * (i + 1))) for i in range(len(q))]
    said = Predictions(
        [str(i) for i in range(len(q))],
        {"match": [None] * len(q)},
        {"match.embedding": q, "match.gallery": g},
    )
    found = score(said, {"match": MatchReferences(right, len(g))}, "match", metrics)
    return [one.value for one in found.scores.values()]


def theirs(q: np.ndarray, g: np.ndarray) -> list[float]:
    """Return the same hit rates from the whole matrix."""
    import torch
    from torch.nn.functional import normalize

    each = len(g) // len(q)
    similarity = normalize(torch.from_numpy(q)) @ normalize(torch.from_numpy(g)).T
    owner = torch.arange(len(g)) // each
    forth = owner[similarity.topk(max(DEPTHS), dim=1).indices] == torch.arange(len(q))[:, None]
    back = similarity.topk(max(DEPTHS), dim=0).indices == owner
    rates = [hits[:, :k].any(dim=1) for hits in (forth, back.T) for k in DEPTHS]
    return [float(rate.double().mean()) for rate in rates]


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def memory(side: str, folder: str) -> float:
    """Return the peak of one side above its loaded inputs, in MB; for a process of its own."""
    q, g = (np.load(Path(folder) / f"{name}.npy") for name in "qg")
    run = {"ours": ours, "theirs": theirs}[side]
    run(q[:16], g[: 16 * (len(g) // len(q))])  # imports are no part of it
    before = peak()
    run(q, g)
    return peak() - before


def main() -> None:
    """Print one line a comparison."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--each", type=int, default=5)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", nargs=2, metavar=("SIDE", "FOLDER"), help="used by itself")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with threadpool_limits(given.threads):
        if given.memory:
            print(memory(*given.memory))
            return
        q, g = embeddings(given.queries, given.each, given.width)
        apart = max(abs(a - b) for a, b in zip(ours(q, g), theirs(q, g), strict=True))
        print(f"{len(q)} queries x {len(g)} entries x {given.width}; largest difference {apart:g}")
        print(f"{'medians of ' + str(given.repeats):42} {'mmbench':>10} {'torch':>10}")
        compare(
            "R@1, 5, 10 both ways (ours with intervals)",
            lambda: ours(q, g),
            lambda: theirs(q, g),
            given.repeats,
        )
        compare(
            "the same and ranks, MRR (torch without)",
            lambda: ours(q, g, (*METRICS, "median_rank", "median_rank_back", "mean_rank", "mrr")),
            lambda: theirs(q, g),
            given.repeats,
        )
    with tempfile.TemporaryDirectory() as folder:
        for name, side in zip("qg", (q, g), strict=True):
            np.save(Path(folder) / f"{name}.npy", side)
        sizes = []
        for who in ("ours", "theirs"):
            call = [sys.executable, __file__, "--threads", str(given.threads), "--memory"]
            found = subprocess.run([*call, who, folder], capture_output=True, text=True, check=True)
            sizes.append(float(found.stdout))
    mine, other = sizes
    print(
        f"{'peak memory above the inputs':42} {mine:7.0f} MB {other:7.0f} MB {other / mine:7.1f} x"
    )


if __name__ == "__main__":
    main()
