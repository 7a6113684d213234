"""Preparing in parts: the same bytes however many processes, and resumed where it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench.data import _building, _cache
from mmbench.errors import DataError

KEY = {"name": "made", "version": 1}


def item(number: int) -> dict[str, Any]:
    """Make an item of `number` % 5 + 1 steps; 13 is bad."""
    if number == 13:
        raise DataError("item 13 is bad")
    draw = np.random.default_rng(number)
    steps = number % 5 + 1
    return {
        "audio": draw.integers(0, 255, (steps, 3), dtype=np.uint8),
        "video": draw.standard_normal((steps + 1, 2, 2)),
    }


def logged(job: tuple[int, str]) -> dict[str, Any]:
    """Make an item, and note that it was made."""
    number, folder = job
    with (Path(folder) / "log").open("a") as log:
        log.write(f"{number}\n")
    return item(number)


def files(entry: _cache.Entry) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(a).tobytes() for name, a in entry.arrays.items()}


def test_items_stand_padded_with_their_lengths(tmp_path: Path) -> None:
    entry = _building.prepared(tmp_path, KEY, range(12), item, part=5)
    assert entry.arrays["audio"].shape == (12, 5, 3)
    assert entry.arrays["video"].shape == (12, 6, 2, 2)
    assert entry.arrays["audio_lengths"].tolist() == [n % 5 + 1 for n in range(12)]
    for n in range(12):
        made = item(n)
        for name, value in made.items():
            row = entry.arrays[name][n]
            assert np.array_equal(row[: len(value)], value)
            assert not row[len(value) :].any()
    assert isinstance(entry.arrays["audio"], np.memmap)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == ["", ".lock"]


def test_several_processes_make_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMBENCH_WORKERS", "1")
    alone = _building.prepared(tmp_path / "one", KEY, range(12), item, part=3)
    monkeypatch.setenv("MMBENCH_WORKERS", "2")
    together = _building.prepared(tmp_path / "two", KEY, range(12), item, part=3)
    assert files(alone) == files(together)
    assert alone.fingerprint == together.fingerprint


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_bad_item_is_told_and_what_is_done_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    monkeypatch.setenv("MMBENCH_WORKERS", count)
    with pytest.raises(DataError, match="item 13 is bad"):
        _building.prepared(tmp_path, KEY, range(20), item, part=4)
    kept = sorted(p.name for p in next(tmp_path.glob("*.parts")).iterdir())
    assert kept[:3] == ["00000000.npz", "00000004.npz", "00000008.npz"]
    assert "00000012.npz" not in kept


def test_parts_that_are_there_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMBENCH_WORKERS", "1")
    jobs = [(n, str(tmp_path)) for n in range(12)]
    bad = [*jobs[:9], (13, str(tmp_path)), *jobs[10:]]
    with pytest.raises(DataError):
        _building.prepared(tmp_path / "cache", KEY, bad, logged, part=3)
    first = len((tmp_path / "log").read_text().split())
    entry = _building.prepared(tmp_path / "cache", KEY, jobs, logged, part=3)
    assert first == 10
    assert (tmp_path / "log").read_text().split()[first:] == ["9", "10", "11"]
    assert np.array_equal(entry.arrays["audio"][8][:4], item(8)["audio"])


def test_a_damaged_part_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMBENCH_WORKERS", "1")
    with pytest.raises(DataError):
        _building.prepared(tmp_path, KEY, range(14), item, part=4)
    folder = next(tmp_path.glob("*.parts"))
    part = folder / "00000004.npz"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 255
    part.write_bytes(bytes(content))
    (folder / "00000008.npz").write_bytes(b"half a fi")
    entry = _building.prepared(tmp_path, KEY, range(12), item, part=4)
    assert np.array_equal(entry.arrays["audio"][5][:1], item(5)["audio"])


SLOW = """
import json, sys, time
from pathlib import Path
import numpy as np
from mmbench.data import _building

def slow(job):
    time.sleep(0.05)
    with (Path(sys.argv[1]) / "log").open("a") as log:
        log.write(f"{job}\\n")
    return {"x": np.full((job % 3 + 1, 2), job, dtype=np.int16)}

if __name__ == "__main__":
    entry = _building.prepared(Path(sys.argv[1]), {"name": "slow"}, range(40), slow, part=4)
    print(json.dumps([entry.arrays["x"].tolist(), entry.arrays["x_lengths"].tolist()]))
"""


@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_killed_and_started_again_it_goes_on_where_it_was(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    root = str(Path(__file__).resolve().parents[2])
    env = {**os.environ, "MMBENCH_WORKERS": "1", "PYTHONPATH": root}
    command = [sys.executable, str(script), str(tmp_path)]
    first = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len([*tmp_path.glob("*.parts/*.npz")]) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    done = len([*tmp_path.glob("*.parts/*.npz")])
    assert 3 <= done < 10
    before = len((tmp_path / "log").read_text().split())
    again = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    made = (tmp_path / "log").read_text().split()[before:]
    assert made == [str(n) for n in range(4 * done, 40)]
    values, lengths = json.loads(again.stdout)
    assert lengths == [n % 3 + 1 for n in range(40)]
    assert [row[0][0] for row in values] == list(range(40))


def test_progress_is_told_to_who_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMBENCH_WORKERS", "1")
    seen: list[tuple[int, int]] = []
    with _building.watched(lambda done, total: seen.append((done, total))):
        _building.prepared(tmp_path, KEY, range(12), item, part=5)
    assert seen == [(5, 12), (10, 12), (12, 12)]


def test_elsewhere_than_on_a_terminal_lines_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMBENCH_WORKERS", "1")
    jobs = [n for n in range(200) if n != 13]
    _building.prepared(tmp_path, KEY, jobs, item, part=50)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "preparing data: 199/199 items"
    assert len(lines) == 4


def test_a_wrong_number_of_processes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMBENCH_WORKERS", "many")
    with pytest.raises(DataError, match="MMBENCH_WORKERS = 'many'"):
        _building.workers()
