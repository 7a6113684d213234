"""ESC-10, AV-MNIST and Griko: on small made folders, and the real ones where they are at hand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _load, esc10, griko, mnist_fsdd
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.text import EOS
from mmbench.types import Dataset, Ragged

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


def real(task: str) -> Dataset:
    if not REAL.is_dir():
        pytest.skip(f"the public sets are not at {REAL}")
    return _load.load(catalog.task(task), REAL)


# --- ESC-10 --------------------------------------------------------------------------------------


def sounds(folder: Path, **over: Any) -> Path:
    """Five folds of four clips, two of each of two classes, in pairs from one recording."""
    draw = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "logmel": draw.integers(0, 255, (20, 6, 9), dtype=np.uint8),
        "label": np.tile(np.array([0, 0, 1, 1], dtype=np.int8), 5),
        "fold": np.repeat(np.arange(1, 6, dtype=np.int8), 4),
        "clip": np.array([f"{k // 4 + 1}-{100 + k // 2}-{'AB'[k % 2]}.ogg" for k in range(20)]),
        "classes": np.array(["rain", "dog"]),
    }
    arrays.update(over)
    np.savez(folder / "esc10_logmel.npz", **{k: v for k, v in arrays.items() if v is not None})
    return folder


def esc(root: Path | None, fold: int = 1, **params: Any) -> Dataset:
    request = Request("made", 1, 0, {"fold": fold, **params}, {}, root)
    return esc10.build(request)


def test_each_fold_is_the_test_once(tmp_path: Path) -> None:
    sounds(tmp_path)
    seen: list[str] = []
    for fold in range(1, 6):
        made = esc(tmp_path, fold)
        assert {name: len(split) for name, split in made.splits.items()} == {
            "train": 12,
            "val": 4,
            "test": 4,
        }
        ids = {name: set(split.ids) for name, split in made.splits.items()}
        assert not ids["train"] & ids["test"]
        assert not ids["val"] & (ids["train"] | ids["test"])
        assert {i.split("-")[0] for i in ids["test"]} == {str(fold)}
        assert {i.split("-")[0] for i in ids["val"]} == {str(fold % 5 + 1)}
        seen += sorted(ids["test"])
    assert len(seen) == len(set(seen)) == 20


def test_spectrograms_stand_in_time_and_recordings_are_clusters(tmp_path: Path) -> None:
    made = esc(sounds(tmp_path), 2)
    raw = np.load(tmp_path / "esc10_logmel.npz")
    test = made.splits["test"]
    audio = np.asarray(test.inputs["audio"])
    assert audio.shape == (4, 1, 9, 6)
    assert np.array_equal(audio[1, 0], raw["logmel"][5].T)
    assert test.clusters is not None
    assert test.clusters.tolist() == ["102", "102", "103", "103"]
    assert made.signature.outputs["label"].vocabulary == ("rain", "dog")


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"fold": None}, "holds no array 'fold'"),
        ({"label": np.zeros(19, np.int8)}, "label has 19 rows, and logmel 20"),
        ({"label": np.full(20, 2, np.int8)}, r"label\[0\] = 2: expected 0 to 1"),
        ({"logmel": np.zeros((20, 6, 9))}, "logmel is float64, expected uint8"),
        ({"logmel": np.zeros((20, 6), np.uint8)}, "logmel has 2 axes, expected 3"),
        ({"clip": np.array(["1-1-A.ogg"] * 20)}, r"clip\[1\] = '1-1-A\.ogg' is there twice"),
        ({"clip": np.array([{}] * 20, dtype=object)}, "cannot be read: .*pickle"),
    ],
)
def test_a_wrong_file_of_sounds_is_named(tmp_path: Path, over: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        esc(sounds(tmp_path, **over))


def test_a_cut_file_a_missing_one_and_a_wrong_fold_are_named(tmp_path: Path) -> None:
    file = sounds(tmp_path) / "esc10_logmel.npz"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot be read"):
        esc(tmp_path)
    with pytest.raises(DataError, match="needs data of yours"):
        esc(None)
    with pytest.raises(DataError, match=r"neither other\.npz nor esc10/other\.npz"):
        esc(tmp_path, file="other.npz")
    with pytest.raises(SpecError, match="fold"):
        esc(tmp_path, 6)


@pytest.mark.parametrize("fold", range(1, 6))
def test_the_shipped_folds_stand_on_one_base(fold: int) -> None:
    task = catalog.task(f"esc10_fold{fold}")
    assert task.dataset.params["fold"] == fold
    assert task.splits == {"train": 240, "val": 80, "test": 80}
    assert len(task.source.published) == 3
    assert "_esc10" not in catalog.task_names()


def test_the_real_folds() -> None:
    made = real("esc10_fold3")
    assert {name: len(split) for name, split in made.splits.items()} == {
        "train": 240,
        "val": 80,
        "test": 80,
    }
    assert np.bincount(made.splits["test"].targets["label"]).tolist() == [8] * 10


# --- AV-MNIST ------------------------------------------------------------------------------------

SIZES = {"train": 60, "val": 20, "test": 30}
SPEAKERS = ("ann", "ben", "cat")


def idx(path: Path, array: Any) -> None:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """80 and 30 images whose number of bright rows is their digit; 12 recordings a digit."""
    import soundfile

    (tmp_path / "mnist").mkdir()
    (tmp_path / "fsdd" / "recordings").mkdir(parents=True)
    for part, count in (("train", 90), ("t10k", 40)):
        labels = np.arange(count) % 10
        images = np.zeros((count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[: 2 * label + 1] = 250
        images += np.random.default_rng(count).integers(0, 5, images.shape, dtype=np.uint8)
        idx(tmp_path / "mnist" / f"{part}-images-idx3-ubyte.gz", images)
        idx(tmp_path / "mnist" / f"{part}-labels-idx1-ubyte.gz", labels)
    draw = np.random.default_rng(0)
    for digit in range(10):
        for speaker in SPEAKERS:
            for index in (0, 4, 5, 9, 10, 11):
                name = f"{digit}_{speaker}_{index}.wav"
                wave = 0.1 * draw.standard_normal(800 + 100 * index)
                soundfile.write(tmp_path / "fsdd" / "recordings" / name, wave, 8000)
    return tmp_path


def pairs(root: Path, seed: int = 0, sizes: dict[str, int] = SIZES, **params: Any) -> Dataset:
    return mnist_fsdd.build(Request("made", 1, seed, params, sizes, root, root / "cache"))


def recordings(made: Dataset, split: str) -> list[str]:
    return [key.partition("+")[2] for key in made.splits[split].ids]


def test_pairs_are_of_one_digit_and_told_by_the_id(both: Path) -> None:
    made = pairs(both)
    images = mnist_fsdd.read_idx(both / "mnist" / "train-images-idx3-ubyte.gz")
    for name, size in SIZES.items():
        split = made.splits[name]
        assert len(split) == size
        labels = split.targets["digit"].tolist()
        assert [int(clip[0]) for clip in recordings(made, name)] == labels
        assert split.clusters is not None
        assert split.clusters.tolist() == recordings(made, name)
        assert split.groups["speaker"].tolist() == [c.split("_")[1] for c in recordings(made, name)]
    train = made.splits["train"]
    for row in (0, 17):
        number = int(train.ids[row].removeprefix("train").partition("+")[0])
        assert np.array_equal(train.inputs["image"][row, 0], images[number])  # type: ignore[index]


def test_no_image_and_no_recording_is_in_two_splits(both: Path) -> None:
    made = pairs(both)
    shown = {name: {i.partition("+")[0] for i in split.ids} for name, split in made.splits.items()}
    heard = {name: set(recordings(made, name)) for name in made.splits}
    for found in (shown, heard):
        assert not found["train"] & found["val"]
        assert not found["test"] & (found["train"] | found["val"])
    indices = {n: {int(c.split("_")[2]) for c in clips} for n, clips in heard.items()}
    assert indices["test"] <= {0, 4}
    assert indices["val"] <= {5, 9}
    assert indices["train"] <= {10, 11}


def test_pairs_follow_the_seed_and_no_other_image(both: Path) -> None:
    made, again, other = pairs(both), pairs(both), pairs(both, seed=1)
    assert made.splits["train"].ids == again.splits["train"].ids
    assert made.fingerprint == again.fingerprint
    assert made.splits["test"].ids != other.splits["test"].ids
    fewer = pairs(both, sizes={**SIZES, "test": 10})
    assert fewer.splits["test"].ids == made.splits["test"].ids[:10]


def test_one_speaker_can_be_held_out(both: Path) -> None:
    made = pairs(both, held_out="ben")
    assert set(made.splits["test"].groups["speaker"].tolist()) == {"ben"}
    for name in ("train", "val"):
        assert set(made.splits[name].groups["speaker"].tolist()) == {"ann", "cat"}
    with pytest.raises(SpecError, match=r"held_out = 'ban': did you mean 'ben'\?"):
        pairs(both, held_out="ban")


def test_images_and_sounds_become_weaker(both: Path) -> None:
    plain = pairs(both)
    few = pairs(both, image_components=1)
    noisy = pairs(both, image_noise=0.5, snr_db=0.0)
    assert len({d.fingerprint for d in (plain, few, noisy)}) == 3
    before = np.asarray(plain.splits["test"].inputs["image"], dtype=float)
    after = np.asarray(few.splits["test"].inputs["image"], dtype=float)
    assert np.abs(before - after).mean() > 1.0
    assert after.var() < before.var()
    assert np.asarray(noisy.splits["test"].inputs["image"]).std() > before.std() * 0.5
    assert plain.splits["test"].ids == noisy.splits["test"].ids


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    images = np.random.default_rng(0).integers(0, 255, (50, 4, 5), dtype=np.uint8)
    flat = images.reshape(50, -1).astype(float)
    _, _, rows = np.linalg.svd(flat - flat.mean(axis=0))
    got = mnist_fsdd.components(images, 3)
    np.testing.assert_allclose(got.T @ got, rows[:3].T @ rows[:3], atol=1e-9)


Break = Callable[[Path], None]


def cut(name: str) -> Break:
    def act(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes()[:-30])

    return act


def rewritten(root: Path) -> None:
    path = root / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5]))


def gone(name: str) -> Break:
    return lambda root: (root / name).unlink()


def misnamed(root: Path) -> None:
    (root / "fsdd" / "recordings" / "0_ann_0.wav").rename(root / "fsdd" / "recordings" / "zero.wav")


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (cut("mnist/train-images-idx3-ubyte.gz"), "train-images-idx3-ubyte.gz: cannot be read"),
        (rewritten, "promises 70,560 bytes of data and holds 70,555"),
        (gone("mnist/t10k-labels-idx1-ubyte.gz"), "holds neither t10k-labels-idx1-ubyte.gz nor"),
        (cut("fsdd/recordings/3_ben_4.wav"), "3_ben_4.wav: is cut off"),
        (misnamed, "zero.wav: expected a name like DIGIT_SPEAKER_INDEX.wav"),
    ],
)
def test_wrong_files_of_digits_are_named(both: Path, act: Break, told: str) -> None:
    act(both)
    with pytest.raises(DataError, match=told):
        pairs(both)


def test_more_images_than_there_are_is_refused(both: Path) -> None:
    with pytest.raises(DataError, match="has 30 images left for the split 'val'"):
        pairs(both, sizes={**SIZES, "val": 31})


@pytest.mark.slow
def test_the_real_digits() -> None:
    made = real("avmnist")
    assert {name: len(split) for name, split in made.splits.items()} == {
        "train": 10000,
        "val": 2000,
        "test": 10000,
    }
    assert set(made.splits["test"].groups["speaker"].tolist()) == {"theo"}


# --- Griko ---------------------------------------------------------------------------------------


@pytest.fixture
def utterances(tmp_path: Path) -> Path:
    import soundfile

    root = tmp_path / "griko_italian"
    (root / "audio").mkdir(parents=True)
    lines = []
    for k in range(14):
        wave = 0.1 * np.random.default_rng(k).standard_normal(2000 + 400 * k)
        soundfile.write(root / "audio" / f"{k}.flac", wave, 8000)
        lines.append(
            {
                "id": str(k),
                "split": "train" if k < 10 else "dev",
                "audio": f"audio/{k}.flac",
                "griko": f"o àntrepo {'èna' if k % 2 else 'dìo'}",
                "italian": f"L' uomo {'uno' if k % 2 else 'due'} {'Anna ' * (k // 5)}".strip(),
            }
        )
    (root / "manifest.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return root


def spoken(root: Path, seed: int = 0, val: int = 3, **params: Any) -> Dataset:
    sizes = {"train": 10 - val, "val": val, "test": 4}
    request = Request("made", 1, seed, params, sizes, root, root.parent / "cache")
    return griko.build(request)


def test_utterances_with_their_translations(utterances: Path) -> None:
    made = spoken(utterances)
    assert {name: len(split) for name, split in made.splits.items()} == {
        "train": 7,
        "val": 3,
        "test": 4,
    }
    every = [*made.splits["train"].ids, *made.splits["val"].ids]
    assert sorted(every, key=int) == [str(k) for k in range(10)]
    assert made.splits["test"].ids == ["10", "11", "12", "13"]
    words = made.signature.outputs["italian"].vocabulary
    row = made.splits["test"].targets["italian"][0, 0].tolist()
    assert [words[n] for n in row[: row.index(EOS)]] == ["l'", "uomo", "due", "anna", "anna"]
    assert made.splits["test"].references["italian"].take([0]).texts == [  # type: ignore[attr-defined]
        ("L' uomo due Anna Anna",)
    ]
    heard = made.splits["train"].inputs["griko"]
    assert isinstance(heard, Ragged)
    assert heard.lengths.tolist() == [3] * 7
    assert "àntrepo" in made.signature.modalities["griko"].vocabulary


def test_validation_is_drawn_and_the_transcript_can_be_left_out(utterances: Path) -> None:
    ids = {seed: tuple(spoken(utterances, seed).splits["val"].ids) for seed in range(4)}
    assert len(set(ids.values())) > 1
    assert ids[0] == tuple(spoken(utterances).splits["val"].ids)
    assert set(spoken(utterances, transcript=False).signature.modalities) == {"audio"}
    with pytest.raises(DataError, match="has 10 lines for training, of which 10 are"):
        spoken(utterances, val=10)


def test_the_real_utterances() -> None:
    made = real("griko_translation")
    assert {name: len(split) for name, split in made.splits.items()} == {
        "train": 267,
        "val": 30,
        "test": 33,
    }
