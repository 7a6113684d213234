"""Decoding photographs beside a bare loop over Pillow, and a second start from the cache.

    python tests/bench/bench_decoding.py [--images 2000] [--size 64] [--repeats 5]

On the photographs of Flickr8k where they are (MMBENCH_TEST_DATA names the folder above flickr8k),
else on drawn ones of 500 x 375 pixels. A bare loop opens, converts to RGB, resizes by the same
filter and puts the pixels into an array. Ours obeys orientation marks, names what cannot be read,
digests the files and writes parts and the cache. What is compared is a core's work: one worker
beside the loop, then all workers beside as many loops in processes of their own. Wanted: 0.8 of the
loop's images a second at least, under 1 GiB, and a second start in under a second beyond imports.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from _side_by_side import compare

from mmbench.data import _building, _images

DATA = Path(os.environ.get("MMBENCH_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))

#: Loads a task's data, and says how long that took beyond imports, and the memory at its peak.
START = """
import resource, sys, time
from pathlib import Path
from mmbench import catalog, registry
from mmbench.data import _load
task = catalog.task("flickr8k_retrieval")
registry.load("dataset", task.dataset.name)
import filelock, PIL.Image
begin = time.perf_counter(), time.process_time()
dataset = _load.load(task, Path(sys.argv[1]))
seen = int(dataset.splits["test"].inputs["image"][::100].sum())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.perf_counter() - begin[0], time.process_time() - begin[1], peak)
"""


def photographs(count: int, folder: Path) -> list[Path]:
    """Return the paths of real photographs, or of drawn ones."""
    found = sorted((DATA / "flickr8k" / "Images").glob("*.jpg"))[:count]
    if found:
        return found
    from PIL import Image

    draw = np.random.default_rng(0)
    for k in range(min(count, 300)):
        rough = draw.integers(0, 256, (15, 20, 3), dtype=np.uint8)
        picture = Image.fromarray(rough).resize((500, 375), Image.Resampling.BICUBIC)
        picture.save(folder / f"{k:04d}.jpg", quality=90)
    return sorted(folder.glob("*.jpg"))


def bare(paths: list[Path], size: int) -> object:
    """Do what anybody would write first."""
    from PIL import Image

    pixels = np.empty((len(paths), size, size, 3), dtype=np.uint8)
    for k, path in enumerate(paths):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
            pixels[k] = np.asarray(small)
    return pixels


def start(cache: Path) -> None:
    """Time two starts on Flickr8k: one that prepares the data, and one from the cache."""
    environment = {**os.environ, "MMBENCH_CACHE": str(cache)}
    for what in ("first start", "second start"):
        done = subprocess.run(
            [sys.executable, "-c", START, str(DATA)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        wall, processor, peak = map(float, done.stdout.split())
        print(f"{what:28} {wall:8.3f} s, {processor:.3f} s of the processor, {peak:.0f} MiB")


def main() -> None:
    """Compare, and time both starts where the real photographs are."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(given.images, Path(folder))
        shown = _images.Photographs(paths, [path.name for path in paths], given.size)
        count = itertools.count()

        def ours(workers: int) -> object:
            os.environ["MMBENCH_WORKERS"] = str(workers)
            with _building.watched(lambda done, of: None):
                return _images.prepared(Path(folder) / f"cache{next(count)}", shown, False)

        print(f"{'':42} {'ours':>10} {'Pillow':>10}")
        compare(
            f"{len(paths):,} photographs to {given.size} x {given.size}",
            lambda: ours(1),
            lambda: bare(paths, given.size),
            given.repeats,
        )
        cores = len(os.sched_getaffinity(0))
        with ProcessPoolExecutor(cores) as pool:
            shares = [paths[k::cores] for k in range(cores)]
            compare(
                f"{len(paths):,} photographs, {cores} cores each",
                lambda: ours(cores),
                lambda: list(pool.map(bare, shares, [given.size] * cores)),
                given.repeats,
            )
        del os.environ["MMBENCH_WORKERS"]
        if (DATA / "flickr8k" / "dataset_flickr8k.json").is_file():
            start(Path(folder) / "cache")


if __name__ == "__main__":
    main()
