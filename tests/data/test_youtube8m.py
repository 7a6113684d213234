"""TFRecords made here byte by byte, from the published format, and YouTube-8M in them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _load, _tfrecord, youtube8m
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.references import MultilabelReferences
from mmbench.spec import OutputSpec
from mmbench.types import Dataset, Ragged

pytest.importorskip("google_crc32c", reason="google-crc32c (extra media) is not installed")
pytest.importorskip("google.protobuf", reason="protobuf (extra media) is not installed")

# --- an encoder of our own, that shares nothing with the reader ----------------------------------


def by_bits(crc: int) -> int:
    """Divide eight bits by the reflected polynomial of Castagnoli."""
    for _ in range(8):
        crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc


BYTES = [by_bits(k) for k in range(256)]


def crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = (crc >> 8) ^ BYTES[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def masked(content: bytes) -> bytes:
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + masked(length) + content + masked(content)


def varint(number: int) -> bytes:
    number %= 2**64
    found = bytearray()
    while number > 127:
        found.append(number % 128 + 128)
        number //= 128
    return bytes([*found, number])


def field(number: int, content: bytes) -> bytes:
    """Return a field of the wire type 2: its tag, its length, its content."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(value: Any) -> bytes:
    """Return a Feature: bytes_list = 1, float_list = 2 or int64_list = 3, its values packed."""
    if isinstance(value, bytes):
        return field(1, field(1, value))
    if isinstance(value[0], float):
        return field(2, field(1, struct.pack(f"<{len(value)}f", *value)))
    return field(3, field(1, b"".join(map(varint, value))))


def features(values: Mapping[str, Any]) -> bytes:
    return b"".join(
        field(1, field(1, name.encode()) + field(2, feature(value)))
        for name, value in values.items()
    )


def example(values: Mapping[str, Any], lists: Mapping[str, Sequence[bytes]] = {}) -> bytes:
    told = field(1, features(values))
    if lists:
        told += field(2, b"".join(
            field(1, field(1, name.encode())
                  + field(2, b"".join(field(1, feature(step)) for step in steps)))
            for name, steps in lists.items()
        ))  # fmt: skip
    return told


# --- the reader ----------------------------------------------------------------------------------


def test_the_checksum_is_that_of_the_published_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's polynomial, the usual check value
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    for content in (b"", b"123456789", bytes(range(256)) * 3):
        assert _tfrecord.masked(content) == struct.unpack("<I", masked(content))[0]


def test_records_are_found_and_read(tmp_path: Path) -> None:
    contents = [b"", b"one", bytes(1000), b"last"]
    file = tmp_path / "a.tfrecord"
    file.write_bytes(b"".join(map(record, contents)))
    places = _tfrecord.places(file)
    assert places == [0, 16, 35, 1051]
    assert [_tfrecord.read(file, place, "it") for place in places] == contents
    file.write_bytes(b"")
    assert _tfrecord.places(file) == []


def test_examples_of_both_kinds_are_decoded() -> None:
    plain = example({"id": b"abcd", "labels": [0, 300, -1], "mean_rgb": [1.5, -2.0]})
    found = _tfrecord.example(plain, "it")
    assert found.features["id"] == [b"abcd"]
    assert found.features["labels"].tolist() == [0, 300, -1]
    assert found.features["mean_rgb"].dtype == np.float32
    assert found.features["mean_rgb"].tolist() == [1.5, -2.0]
    assert found.lists == {}
    steps = example({"id": b"x", "labels": [7]}, {"rgb": [b"\x00\xff", b"ab"]})
    assert _tfrecord.example(steps, "it").lists == {"rgb": [[b"\x00\xff"], [b"ab"]]}
    with pytest.raises(DataError, match=r"it: is no tf\.train\.Example"):
        _tfrecord.example(b"\x0a\xff", "it")


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut in a head": (lambda b: b[:-23], "record 1: is cut off"),
    "cut in a content": (lambda b: b[:-6], "record 1: is cut off: it promises 8 bytes"),
    "a bit of a length": (lambda b: b[:21] + bytes([b[21] ^ 1]) + b[22:], "record 1: its length"),
    "no TFRecord": (lambda b: b"\x89PNG" * 40, "record 0: its length has a wrong checksum"),
}


@pytest.mark.parametrize(("damage", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_with_its_record(
    tmp_path: Path, damage: Callable[[bytes], bytes], told: str
) -> None:
    file = tmp_path / "a.tfrecord"
    file.write_bytes(damage(record(b"abcd") + record(b"12345678")))
    with pytest.raises(DataError, match=told) as caught:
        _tfrecord.places(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_bit_of_a_content_is_found_when_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.tfrecord"
    whole = bytearray(record(b"abcd") + record(b"12345678"))
    whole[-8] ^= 4
    file.write_bytes(whole)
    places = _tfrecord.places(file)
    assert _tfrecord.read(file, places[0], "first") == b"abcd"
    with pytest.raises(DataError, match="second: its content has a wrong checksum"):
        _tfrecord.read(file, places[1], "second")


# --- the set -------------------------------------------------------------------------------------

SIZES = {"train": 5, "val": 2, "test": 3}


def numbers(size: int, seed: int) -> list[float]:
    draw = np.random.default_rng(seed)
    return [float(x) for x in draw.normal(0.5, 2.0, size).astype(np.float32)]


def video(k: int, **over: Any) -> bytes:
    told = {"id": f"v{k:03d}".encode(), "labels": [k % 4, 5 + k],
            "mean_rgb": numbers(1024, k), "mean_audio": numbers(128, 100 + k)}  # fmt: skip
    return example({name: value for name, value in (told | over).items() if value is not None})


def frames(k: int, seconds: int, **over: Any) -> bytes:
    draw = np.random.default_rng(k)
    lists = {"rgb": [draw.bytes(1024) for _ in range(seconds)],
             "audio": [draw.bytes(128) for _ in range(seconds)]}  # fmt: skip
    return example({"id": f"v{k:03d}".encode(), "labels": [k % 4]}, lists | over)


def folder(root: Path, make: Callable[[int], bytes] = video) -> Path:
    """Two files of four videos to train on, one of three for the test."""
    root.mkdir(parents=True, exist_ok=True)
    for name, held in (("train01", range(4)), ("train02", range(4, 8)), ("validate7", (8, 9, 10))):
        content = b"".join(record(make(k)) for k in held)
        (root / f"{name}.tfrecord").write_bytes(content)
    return root


def build(root: Path | None, sizes: Mapping[str, int] = SIZES, **params: Any) -> Dataset:
    cache = (root or Path()).parent / "cache"
    outputs = {"labels": OutputSpec("multilabel", classes=tuple("abcdefgh"))}
    return youtube8m.build(Request("made", 1, 0, params, sizes, root, cache, outputs=outputs))


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMBENCH_WORKERS", "1")


def test_videos_are_sorted_by_file_and_record(tmp_path: Path) -> None:
    made = build(folder(tmp_path / "video"), standardise=False)
    ids = {name: list(split.ids) for name, split in made.splits.items()}
    assert ids == {
        "val": ["v000", "v001"],
        "train": ["v002", "v003", "v004", "v005", "v006"],
        "test": ["v008", "v009", "v010"],
    }
    train = made.splits["train"]
    for row, k in enumerate(range(2, 7)):
        assert np.allclose(train.inputs["rgb"][row], numbers(1024, k))  # type: ignore[index]
        assert np.allclose(train.inputs["audio"][row], numbers(128, 100 + k))  # type: ignore[index]
        wanted = np.zeros(8)
        wanted[[label for label in (k % 4, 5 + k) if label < 8]] = 1
        assert train.targets["labels"][row].tolist() == wanted.tolist()
    references = train.references["labels"]
    assert isinstance(references, MultilabelReferences)
    assert references.labels.tolist() == (train.targets["labels"] > 0).tolist()
    assert references.classes == tuple("abcdefgh")


def test_features_are_standardised_by_the_training_videos(tmp_path: Path) -> None:
    root = folder(tmp_path / "video")
    raw = np.array([numbers(1024, k) for k in range(2, 7)])
    made = build(root)
    wanted = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    assert np.allclose(made.splits["train"].inputs["rgb"], wanted, atol=1e-4)
    other = (np.array(numbers(1024, 8)) - raw.mean(axis=0)) / raw.std(axis=0)
    assert np.allclose(made.splits["test"].inputs["rgb"][0], other, atol=1e-4)  # type: ignore[index]


def test_frames_are_taken_every_so_often_and_dequantised(tmp_path: Path) -> None:
    root = folder(tmp_path / "frame", lambda k: frames(k, 3 + k))
    made = build(root, level="frame", frames=14, every=3, standardise=False)
    assert made.signature.modalities["rgb"].shape == (5, 1024)
    train = made.splits["train"]
    rgb, audio = train.inputs["rgb"], train.inputs["audio"]
    assert isinstance(rgb, Ragged)
    assert isinstance(audio, Ragged)
    assert rgb.lengths.tolist() == audio.lengths.tolist() == [2, 2, 3, 3, 3]
    draw = np.random.default_rng(4)
    seconds = np.stack([np.frombuffer(draw.bytes(1024), np.uint8) for _ in range(7)])[::3]
    assert np.allclose(rgb.values[2, :3], seconds.astype(float) * 4 / 255 + 4 / 512 - 2, atol=1e-6)
    assert not rgb.values[0, 2:].any(), "padding is 0"
    assert np.abs(rgb.values).max() <= 2.01


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({"id": None}, "has no id"),
    "no labels": ({"labels": None}, "labels: expected one whole number"),
    "a label of another version": ({"labels": [4000]}, "has a label outside of 0 to 3861"),
    "short features": ({"mean_rgb": [1.0]}, r"mean_rgb: expected 1024 numbers"),
    "no features": ({"mean_audio": None}, r"mean_audio: expected 128 numbers"),
    "not finite": ({"mean_audio": [float("nan")] * 128}, "mean_audio: holds a number that is not"),
}


@pytest.mark.parametrize(("over", "told"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_or_left_out(
    tmp_path: Path, over: dict[str, Any], told: str
) -> None:
    root = folder(tmp_path / "video", lambda k: video(k, **(over if k == 5 else {})))
    with pytest.raises(DataError, match=f"train02.tfrecord: record 1: {told}"):
        build(root)
    made = build(root, skip_bad=True)
    assert list(made.splits["train"].ids) == ["v002", "v003", "v004", "v006"]
    (line,) = made.left_out["train"]
    assert "train02.tfrecord: record 1" in line
    raw = np.array([numbers(1024, k) for k in (2, 3, 4, 6)])
    assert np.allclose(
        made.splits["train"].inputs["rgb"], (raw - raw.mean(axis=0)) / raw.std(axis=0), atol=1e-4
    )


def test_frames_that_are_wrong_are_named(tmp_path: Path) -> None:
    long = folder(tmp_path / "frame", lambda k: frames(k, 5))
    with pytest.raises(DataError, match=r"train01.*record 0: rgb: has 5 seconds, .*frames = 4"):
        build(long, level="frame", frames=4)
    uneven = folder(tmp_path / "frame", lambda k: frames(k, 3, audio=[bytes(128)] * 2))
    with pytest.raises(DataError, match="has 3 seconds of rgb and 2 of audio"):
        build(uneven, level="frame")
    short = folder(tmp_path / "frame", lambda k: frames(k, 2, rgb=[bytes(1024), bytes(7)]))
    with pytest.raises(DataError, match="rgb: second 1: expected 1024 bytes"):
        build(short, level="frame")
    with pytest.raises(DataError, match=r'mean_rgb: expected 1024 numbers \(level = "video"\)'):
        build(short)


def test_an_id_twice_too_few_videos_and_no_files_are_one_line(tmp_path: Path) -> None:
    twice = folder(tmp_path / "video", lambda k: video(3 if k == 9 else k))
    with pytest.raises(DataError, match=r"validate7.*record 1: the id 'v003' is that of .*train01"):
        build(twice)
    with pytest.raises(DataError, match=r"2 files of 'train' hold 8 videos, .* expects 9"):
        build(folder(tmp_path / "video"), {"train": 7, "val": 2, "test": 3})
    with pytest.raises(DataError, match="needs data of yours"):
        build(None)
    with pytest.raises(DataError, match=r"neither it nor video/ holds trainXXXX\.tfrecord"):
        build(tmp_path / "cache", folders=["video"])
    with pytest.raises(SpecError, match="classes: names 8 classes, expected 1 to 7"):
        build(tmp_path, vocabulary=7)
    with pytest.raises(SpecError, match="every: means nothing"):
        build(tmp_path, every=2)


@pytest.mark.parametrize("name", ["youtube8m", "youtube8m_frames"])
def test_the_task_promises_what_the_builder_makes(tmp_path: Path, name: str) -> None:
    import msgspec

    make = video if name == "youtube8m" else (lambda k: frames(k, 20))
    folder(tmp_path / "made", make)
    task = msgspec.structs.replace(catalog.task(name), splits=SIZES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMBENCH_CACHE", str(tmp_path / "cache"))
        found = _load.load(task, tmp_path / "made")
    assert {n: len(split) for n, split in found.splits.items()} == SIZES
    assert len(found.signature.outputs["labels"].vocabulary) == 100
