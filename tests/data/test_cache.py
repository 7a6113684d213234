"""The cache of prepared arrays: made once, whole or absent, checksummed, mapped into memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from filelock import FileLock

from mmbench import rng, text
from mmbench.data import _cache
from mmbench.data._cache import (
    MANIFEST,
    Made,
    Parts,
    cached,
    entry_folder,
    source_digest,
    telling,
)
from mmbench.errors import DataError

KEY = {"name": "thing", "version": 1}


class Maker:
    """Counts how often it is called."""

    def __init__(self, **arrays: Any) -> None:
        self.calls = 0
        self.arrays = arrays or {"x": np.arange(12, dtype=np.int16).reshape(3, 4)}

    def __call__(self) -> Made:
        self.calls += 1
        return self.arrays, {"words": ["a", "ü"], "n": 3}


def folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def test_an_entry_is_made_once_and_read_back_the_same(tmp_path: Path) -> None:
    make = Maker()
    first = cached(tmp_path, KEY, make)
    second = cached(tmp_path, KEY, make)
    assert make.calls == 1
    for entry in (first, second):
        np.testing.assert_array_equal(entry.arrays["x"], make.arrays["x"])
        assert entry.arrays["x"].dtype == np.int16
        assert entry.values == {"words": ["a", "ü"], "n": 3}
    assert first.fingerprint == second.fingerprint


def test_arrays_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    entry = cached(tmp_path, KEY, Maker())
    assert isinstance(entry.arrays["x"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        entry.arrays["x"][0, 0] = 7


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 3), np.uint8), np.arange(30.0).reshape(10, 3), np.array(["ab", "ü", "c"])],
)
def test_an_array_made_in_parts_is_the_same_to_the_byte(array: Any, tmp_path: Path) -> None:
    parts = Parts(array.shape, array.dtype, lambda: (array[k : k + 4] for k in range(0, 12, 4)))
    whole = cached(tmp_path / "whole", KEY, Maker(x=array))
    made = cached(tmp_path / "parts", KEY, Maker(x=parts))
    assert made.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(made.arrays["x"], array)


def test_parts_that_are_too_few_leave_no_entry(tmp_path: Path) -> None:
    parts = Parts((5, 2), np.uint8, lambda: [np.zeros((3, 2), np.uint8)])
    with pytest.raises(ValueError, match="5 rows were promised and 3 made"):
        cached(tmp_path, KEY, Maker(x=parts))
    assert not folders(tmp_path)


@pytest.mark.parametrize(
    "array", [np.zeros((0, 3), np.uint8), np.array(2.5), np.array(["ab", "ü"]), np.array([True])]
)
def test_arrays_of_odd_shapes_and_types_survive(tmp_path: Path, array: Any) -> None:
    entry = cached(tmp_path, KEY, Maker(x=array))
    assert entry.arrays["x"].shape == array.shape
    assert entry.arrays["x"].dtype == array.dtype
    np.testing.assert_array_equal(entry.arrays["x"], array)


@pytest.mark.parametrize("other", [{"version": 2}, {"seed": 0}, {"name": "thing2"}])
def test_another_key_is_another_entry(tmp_path: Path, other: dict[str, Any]) -> None:
    make = Maker()
    cached(tmp_path, KEY, make)
    cached(tmp_path, {**KEY, **other}, make)
    assert make.calls == 2


def test_the_order_of_a_key_does_not_matter(tmp_path: Path) -> None:
    make = Maker()
    cached(tmp_path, {"name": "a", "seed": 0}, make)
    cached(tmp_path, {"seed": 0, "name": "a"}, make)
    assert make.calls == 1


def test_a_struct_in_a_key_counts_by_its_values(tmp_path: Path) -> None:
    class Params(msgspec.Struct, frozen=True):
        size: int
        parts: frozenset[str] = frozenset("abcdef")

    make = Maker()
    for size in (1, 1, 2):
        cached(tmp_path, {**KEY, "params": Params(size)}, make)
    assert make.calls == 2


def test_a_key_that_json_cannot_spell_is_refused(tmp_path: Path) -> None:
    # Spelt by its address, it would never be found again, and the cache would grow for ever.
    with pytest.raises(TypeError):
        cached(tmp_path, {**KEY, "thing": object()}, Maker())


def test_the_fingerprint_follows_the_content_not_the_key_or_the_place(tmp_path: Path) -> None:
    one = cached(tmp_path / "a", KEY, Maker()).fingerprint
    same = cached(tmp_path / "b", {**KEY, "version": 2}, Maker()).fingerprint
    other = cached(tmp_path / "c", KEY, Maker(x=np.arange(3))).fingerprint
    renamed = cached(tmp_path / "d", KEY, Maker(y=Maker().arrays["x"])).fingerprint
    assert one == same
    assert len({one, other, renamed}) == 3


def _flip(folder: Path) -> None:
    file = folder / "x.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def _shorten(folder: Path) -> None:
    file = folder / "x.npy"
    file.write_bytes(file.read_bytes()[:-1])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": _flip,
    "a truncated array": _shorten,
    "a missing array": lambda folder: (folder / "x.npy").unlink(),
    "other values": lambda folder: (folder / "values.json").write_text("{}"),
    "a missing manifest": lambda folder: (folder / MANIFEST).unlink(),
    "a manifest cut short": lambda folder: (folder / MANIFEST).write_text('{"files": {'),
    "a manifest of another shape": lambda folder: (folder / MANIFEST).write_text("[1]"),
    "a manifest without files": lambda folder: (folder / MANIFEST).write_text('{"files": 3}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    make = Maker()
    whole = cached(tmp_path, KEY, make)
    damage(folders(tmp_path)[0])
    mended = cached(tmp_path, KEY, make)
    assert make.calls == 2
    assert mended.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(mended.arrays["x"], make.arrays["x"])
    cached(tmp_path, KEY, make)
    assert make.calls == 2


def test_what_the_maker_raises_passes_through_and_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> Made:
        raise FileNotFoundError(2, "No such file or directory", "photo.jpg")

    # Not a DataError that blames the cache for a photograph that is missing.
    with pytest.raises(FileNotFoundError, match=r"photo\.jpg"):
        cached(tmp_path, KEY, fails)
    assert folders(tmp_path) == []
    make = Maker()
    cached(tmp_path, KEY, make)
    assert make.calls == 1


def test_an_array_that_needs_pickle_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"[Oo]bject arrays"):
        cached(tmp_path, KEY, Maker(x=np.array([{}, {}])))
    assert folders(tmp_path) == []


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    cached(tmp_path, KEY, Maker())
    entry = folders(tmp_path)[0]
    left = entry.with_name(f".{entry.name}.partial")
    entry.rename(left)  # as if killed just before the last step
    (left / "stray.npy").write_bytes(b"half")
    found = cached(tmp_path, KEY, Maker())
    assert set(found.arrays) == {"x"}
    assert folders(tmp_path) == [entry]


def test_a_cache_that_cannot_be_written_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = tmp_path / "file" / "cache"
    with pytest.raises(DataError) as caught:
        cached(cache, KEY, Maker())
    message = str(caught.value)
    assert str(cache) in message
    assert "MMBENCH_CACHE" in message
    assert "\n" not in message


def test_a_disk_that_fills_up_is_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match="No space left on device; MMBENCH_CACHE"):
        cached(tmp_path, KEY, Maker())
    assert folders(tmp_path) == []


def test_an_entry_may_be_read_by_others_as_the_umask_allows(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("no umask on Windows")
    cached(tmp_path, KEY, Maker())
    (tmp_path / "plain").mkdir()
    assert folders(tmp_path)[0].stat().st_mode == (tmp_path / "plain").stat().st_mode


RACER = """
import sys, time
from pathlib import Path
import numpy as np
from mmbench.data._cache import cached

def make():
    with open(sys.argv[1] + "/calls", "a") as file:
        file.write("x")
    time.sleep(0.5)
    return {"x": np.arange(5)}, {}

print(cached(Path(sys.argv[1]) / "cache", {"name": "race"}, make).fingerprint)
"""


def test_two_processes_make_an_entry_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    racers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(3)
    ]
    said = {racer.communicate(timeout=300)[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "x"
    assert len(said) == 1


def test_the_manifest_says_what_the_entry_was_made_of(tmp_path: Path) -> None:
    cached(tmp_path, KEY, Maker())
    manifest = json.loads((folders(tmp_path)[0] / MANIFEST).read_text())
    shared = manifest["key"].pop("shared")
    assert manifest["key"] == KEY
    assert shared == source_digest(rng.__file__, text.__file__)
    assert set(manifest["files"]) == {"x.npy", "values.json"}


def test_what_all_builders_stand_on_is_part_of_every_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entry_folder(tmp_path, KEY)
    monkeypatch.setattr(_cache, "_shared", lambda: "another way to encode")
    assert entry_folder(tmp_path, KEY) != before


def test_the_source_digest_follows_every_file(tmp_path: Path) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("a = 1\n")
    two.write_text("b = 1\n")
    before = source_digest(one, two)
    assert before == source_digest(one, two)
    two.write_text("b = 2\n")
    assert source_digest(one, two) != before


def test_who_waits_for_an_entry_says_so(tmp_path: Path) -> None:
    cached(tmp_path, KEY, Maker())
    (folder,) = folders(tmp_path)
    shutil.rmtree(folder)
    said: list[str] = []
    held = threading.Event()

    def hold() -> None:
        with FileLock(f"{folder}.lock"):
            held.set()
            deadline = time.monotonic() + 30
            while not said and time.monotonic() < deadline:
                time.sleep(0.01)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    with telling(said.append):
        cached(tmp_path, KEY, Maker())
        cached(tmp_path, KEY, Maker())
    other.join()
    assert said == [f"waiting for another process, which prepares {folder.name}"]
