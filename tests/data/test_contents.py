"""Digests of many files: right whatever was noted down, and read once where nothing changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from mmbench.data import _contents
from mmbench.errors import DataError

_READ = Path.read_bytes
LONG_AGO = 1_600_000_000_000_000_000


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files that were last changed long ago."""
    found = [tmp_path / "data" / "own" / f"{k}.bin" for k in range(3)]
    found[0].parent.mkdir(parents=True)
    for k, path in enumerate(found):
        path.write_bytes(bytes([k]) * 1000)
    return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gather what is read, on a clock on which everything was written long ago."""
    seen: list[str] = []

    def noted(path: Path) -> bytes:
        if path.suffix == ".bin":
            seen.append(path.name)
        return _READ(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    return seen


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute pass."""
    now = _contents.time.time_ns
    monkeypatch.setattr(_contents.time, "time_ns", lambda: now() + 60_000_000_000)


def ours(tmp_path: Path, files: list[Path], **rest: Any) -> list[str]:
    return _contents.digests(tmp_path / "cache", files, [path.name for path in files], **rest)


def right(files: list[Path]) -> list[str]:
    return [hashlib.sha256(_READ(path)).hexdigest() for path in files]


def test_a_file_is_read_once(
    tmp_path: Path, files: list[Path], reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    assert ours(tmp_path, files) == right(files)
    assert reads == ["0.bin", "1.bin", "2.bin"]
    assert ours(tmp_path, files[::-1]) == right(files[::-1])
    assert len(reads) == 3
    files[1].write_bytes(b"x" * 1000)
    assert ours(tmp_path, files) == right(files)
    assert reads[3:] == ["1.bin"]


def test_a_change_that_no_time_tells_is_seen_all_the_same(
    tmp_path: Path, files: list[Path], reads: list[str]
) -> None:
    ours(tmp_path, files)
    files[1].write_bytes(b"x" * 1000)
    assert ours(tmp_path, files) == right(files)
    assert len(reads) == 6, "all of them were written a moment ago"


def test_an_old_time_does_not_hide_a_change(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(files[0], ns=(LONG_AGO, LONG_AGO))
    settle(monkeypatch)
    ours(tmp_path, files)
    files[0].write_bytes(b"x" * 1000)
    os.utime(files[0], ns=(LONG_AGO, LONG_AGO))
    assert ours(tmp_path, files) == right(files)


def test_a_large_file_is_digested_all_the_same(tmp_path: Path, files: list[Path]) -> None:
    files[1].write_bytes(bytes(range(256)) * 8192)
    assert ours(tmp_path, files) == right(files)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"0.bin": 1}', b'{"0.bin": [1, 2, 3, 4]}'])
def test_broken_notes_cost_time_only(
    tmp_path: Path, files: list[Path], damage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    ours(tmp_path, files)
    (notes,) = (tmp_path / "cache").glob("contents-*.json")
    notes.write_bytes(damage)
    assert ours(tmp_path, files) == right(files)


def test_where_nothing_can_be_noted_down_digests_are_right(
    tmp_path: Path, files: list[Path]
) -> None:
    (tmp_path / "cache").write_text("no folder")
    assert ours(tmp_path, files) == right(files)


def test_what_cannot_be_read_is_named_or_noted(tmp_path: Path, files: list[Path]) -> None:
    files[1].unlink()
    with pytest.raises(DataError, match=r"1\.bin: cannot be read: .* \(1\.bin\)"):
        ours(tmp_path, files)
    bad: dict[int, str] = {}
    found = ours(tmp_path, files, bad=bad)
    assert [*bad] == [1]
    assert found[1] == ""
    assert found[::2] == right(files[::2])


def test_a_link_out_of_the_folder_is_no_file_of_it(tmp_path: Path, files: list[Path]) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"secret")
    files[2].unlink()
    files[2].symlink_to(secret)
    with pytest.raises(DataError, match=r"2\.bin: is a symbolic link out of the folder"):
        ours(tmp_path, files)
    files[2].unlink()
    files[2].symlink_to(files[0])
    assert ours(tmp_path, files) == right(files)
