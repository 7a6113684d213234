"""CMU-MOSI as vectors: on a small file of the same layout, and on the real one where it is here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _load, mosi_vectors
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError

DATA = Path(os.environ.get("MMBENCH_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def arrays(videos: int = 20, each: int = 5) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    count = videos * each
    made: dict[str, Any] = {
        name: draw.normal(3, 2, (count, size)).astype(np.float32)
        for name, size in mosi_vectors.MODALITIES.items()
    }
    made["text"][:, 7] = 4.0  # a column that never changes
    made["label"] = draw.integers(0, 2, count).astype(np.int8)
    made["video_id"] = np.repeat([f"v{n:02d}" for n in range(videos)], each)
    made["is_test"] = np.repeat(np.arange(videos) % 4 == 0, each)
    made["utt"] = np.tile(np.arange(each), videos).astype(np.int16)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "mosi").mkdir(parents=True)
    np.savez(tmp_path / "data" / "mosi" / "mosi.npz", **arrays())
    return tmp_path / "data"


def request(folder: Path | None, seed: int = 0, **params: Any) -> Request:
    cache = (folder or Path()).parent / "cache"
    return Request("mosi", 1, seed, {"validation_videos": 3, **params}, {}, folder, cache)


def test_splits_are_by_video_and_validation_is_drawn_by_the_seed(folder: Path) -> None:
    made = mosi_vectors.build(request(folder))
    videos = {name: set(split.clusters) for name, split in made.splits.items()}  # type: ignore[arg-type]
    assert {name: len(v) for name, v in videos.items()} == {"train": 12, "val": 3, "test": 5}
    assert videos["test"] == {f"v{n:02d}" for n in range(0, 20, 4)}
    assert not videos["train"] & videos["val"]
    again, other = mosi_vectors.build(request(folder)), mosi_vectors.build(request(folder, seed=1))
    assert again.splits["val"].ids == made.splits["val"].ids
    assert other.splits["val"].ids != made.splits["val"].ids
    assert other.splits["test"].ids == made.splits["test"].ids


def test_features_are_standardised_by_the_training_items(folder: Path) -> None:
    made = mosi_vectors.build(request(folder))
    train = np.asarray(made.splits["train"].inputs["audio"])
    assert np.allclose(train.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(train.std(axis=0), 1, atol=1e-5)
    assert not np.asarray(made.splits["test"].inputs["text"])[:, 7].any(), (
        "a constant tells nothing"
    )
    raw = mosi_vectors.build(request(folder, standardise=False))
    assert np.asarray(raw.splits["train"].inputs["audio"]).mean() == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda a: a.pop("audio"), "lacks audio: expected text, audio"),
        (lambda a: a.update(text=a["text"][:, :99]), "text is [100, 99], expected [100, 100]"),
        (lambda a: a["video"].__setitem__((4, 2), np.nan), "video: row 4 has a number"),
        (lambda a: a["label"].__setitem__(0, 2), "label: expected 0 (negative)"),
        (lambda a: a.update(utt=np.array([len], dtype=object)), "not a whole .npz of plain arrays"),
    ],
)
def test_a_broken_file_is_named(folder: Path, spoil: Any, says: str) -> None:
    content = arrays()
    spoil(content)
    np.savez(folder / "mosi" / "mosi.npz", **content)
    with pytest.raises(DataError) as caught:
        mosi_vectors.build(request(folder))
    assert says in str(caught.value)
    assert "mosi.npz" in str(caught.value)


def test_what_is_missing_or_impossible_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs data of yours: --data DIR"):
        mosi_vectors.build(request(None))
    with pytest.raises(DataError, match=r"there is no mosi.npz or mosi/mosi.npz"):
        mosi_vectors.build(request(tmp_path))
    with pytest.raises(DataError, match="15 cannot be set apart"):
        mosi_vectors.build(request(folder, validation_videos=15))
    with pytest.raises(SpecError, match=r"unknown key 'videos'"):
        mosi_vectors.build(request(folder, videos=3))
    content = (folder / "mosi" / "mosi.npz").read_bytes()
    (folder / "mosi" / "mosi.npz").write_bytes(content[:3000])
    with pytest.raises(DataError, match=r"is not a whole \.npz"):
        mosi_vectors.build(request(folder))


@pytest.mark.skipif(not (DATA / "mosi").is_dir(), reason="mosi/ is not in MMBENCH_TEST_DATA")
def test_the_real_file_has_the_published_split() -> None:
    task = catalog.task("mosi")
    made = _load.load(task, DATA)
    assert len(made.splits["test"]) == 752
    assert len(made.splits["train"]) + len(made.splits["val"]) == 1447
    test = made.splits["test"]
    assert (test.targets["label"] == 1).mean() == pytest.approx(0.621, abs=5e-4)
    assert test.clusters is not None
    assert len(set(test.clusters)) == 31
    assert len(set(made.splits["val"].clusters)) == 10  # type: ignore[arg-type]
