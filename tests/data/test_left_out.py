"""Items that cannot be read are left out in one way, whatever decodes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_caption_pairs
import test_grid
import test_karpathy
import test_small_sets
from test_small_sets import both, utterances

from mmbench.data import _building, _images, _left_out, caption_retrieval
from mmbench.errors import DataError
from mmbench.types import Dataset

__all__ = ["both", "utterances"]


def ids(made: Dataset) -> dict[str, list[str]]:
    return {name: list(split.ids) for name, split in made.splits.items()}


def check(
    build: Callable[..., Dataset],
    damage: Callable[[], Any],
    gone: Mapping[str, set[str]],
    told: str,
) -> Dataset:
    """Damage a set: without `skip_bad` it is refused, with it `gone` are left out, by name."""
    whole = ids(build())
    damage()
    with pytest.raises(DataError, match=told) as caught:
        build()
    assert "\n" not in str(caught.value)
    made = build(skip_bad=True)
    assert ids(made) == {
        name: [own for own in held if own not in gone.get(name, set())]
        for name, held in whole.items()
    }
    assert {name: len(lines) for name, lines in made.left_out.items()} == {
        name: len(own) for name, own in gone.items()
    }
    for lines in made.left_out.values():
        for line in lines:
            assert "\n" not in line
    again = build(skip_bad=True)
    assert again.left_out == made.left_out, "from the cache too"
    assert ids(again) == ids(made)
    return made


def halve(file: Path) -> Callable[[], Any]:
    return lambda: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMBENCH_WORKERS", "1")


# --- photographs ---------------------------------------------------------------------------------


def test_pairs_of_a_photograph_that_is_cut(tmp_path: Path) -> None:
    folder = test_caption_pairs.Folder(tmp_path / "flickr8k")
    made = check(
        folder.build,
        halve(folder.root / "Images" / "b.jpg"),
        {"val": {"b.jpg:4"}, "test": {"b.jpg:6"}},
        r"b\.jpg: cannot be decoded",
    )
    assert made.splits["test"].targets["match"].tolist() == [1]


def test_a_caption_that_is_too_long(tmp_path: Path) -> None:
    folder = test_caption_pairs.Folder(tmp_path / "flickr8k")

    def damage() -> None:
        folder.rows[3][3] = "zebra " * 2000
        folder.write()

    made = check(
        lambda **params: folder.build(**params),
        damage,
        {"train": {"c.jpg:5"}},
        ":5: the caption of c.jpg has 12,000 characters",
    )
    assert "zebra" not in made.signature.modalities["caption"].vocabulary


@pytest.mark.parametrize("how", ["missing", "cut", "link"])
def test_captioned_photographs(tmp_path: Path, how: str) -> None:
    folder = test_karpathy.Folder(tmp_path / "flickr8k")
    index = next(k for k, image in enumerate(folder.images) if image["split"] == "train")
    path, outside = folder.path(index), tmp_path / "outside.jpg"

    def link() -> None:
        path.rename(outside)
        path.symlink_to(outside)

    damage = {"missing": path.unlink, "cut": halve(path), "link": link}[how]
    told = {"missing": "cannot be read", "cut": "cannot be decoded", "link": "is a symbolic link"}
    check(folder.build, damage, {"train": {path.name}}, f"{path.name}: {told[how]}")


def test_a_gallery_stays_whole(tmp_path: Path) -> None:
    folder = test_karpathy.Folder(tmp_path / "flickr8k")
    index = next(k for k, image in enumerate(folder.images) if image["split"] == "test")

    def build(**params: Any) -> Dataset:
        return caption_retrieval.build(folder.request(**params))

    before = build().splits["test"].gallery
    made = check(build, halve(folder.path(index)), {"test": {folder.path(index).name}}, "decoded")
    after = made.splits["test"].gallery
    assert before is not None
    assert after is not None
    assert list(after.ids) == list(before.ids)


def test_many_photographs_are_counted_over_their_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_building, "PART", 2)
    for k in range(5):
        test_karpathy.draw(tmp_path / f"{k}.jpg", k)
    for k in (1, 4):
        (tmp_path / f"{k}.jpg").write_bytes(b"no image")
    paths = [tmp_path / f"{k}.jpg" for k in range(5)]
    shown = _images.Photographs(paths, [p.name for p in paths], 8)
    entry = _images.prepared(tmp_path / "cache", shown, skip_bad=True)
    assert sorted(_left_out.of(entry)) == [1, 4]
    assert entry.arrays["pixels"][0].any()
    assert not entry.arrays["pixels"][4].any()


# --- utterances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut sound", "cut video", "missing", "long text"])
def test_audio_visual_utterances(tmp_path: Path, how: str) -> None:
    folder = test_grid.Folder(tmp_path / "grid_s1")
    line = folder.lines[4]

    def longer() -> None:
        line["text"] = "bin " * 2500
        folder.write()

    damage, told = {
        "cut sound": (halve(folder.root / line["audio"]), r"train4\.flac: .*line 5"),
        "cut video": (halve(folder.root / line["video"]), r"train4\.mp4: .*line 5"),
        "missing": ((folder.root / line["video"]).unlink, "line 5: video = .* no such file"),
        "long text": (longer, "line 5: text has 10,000 characters"),
    }[how]
    made = check(folder.build, damage, {"train": {"train4"}}, told)
    assert len(made.splits["train"].targets["words"]) == 5


def test_what_is_drawn_for_others_does_not_change(utterances: Path) -> None:
    whole = ids(test_small_sets.spoken(utterances))
    name = next(name for name, held in whole.items() if "3" in held)
    file = utterances / "audio" / "3.flac"
    check(
        lambda **params: test_small_sets.spoken(utterances, **params),
        file.unlink,
        {name: {"3"}},
        "no such file",
    )


def test_all_pairs_of_a_recording(both: Path) -> None:
    made = test_small_sets.pairs(both)
    clip = test_small_sets.recordings(made, "train")[0]
    gone = {own for own in made.splits["train"].ids if own.endswith(f"+{clip}")}
    file = both / "fsdd" / "recordings" / f"{clip}.wav"
    check(
        lambda **params: test_small_sets.pairs(both, **params),
        lambda: file.write_bytes(b""),
        {"train": gone},
        rf"{clip}\.wav: is an empty file",
    )


def test_a_split_without_any_good_item_is_an_error(tmp_path: Path) -> None:
    folder = test_grid.Folder(tmp_path / "grid_s1")
    for line in folder.lines:
        if line["split"] == "valid":
            (folder.root / line["audio"]).write_bytes(b"")
    with pytest.raises(DataError, match=r"every item of the split 'val' is bad; the first: .*val0"):
        folder.build(skip_bad=True)
    for line in folder.lines:
        line["text"] = ""
    folder.write()
    with pytest.raises(DataError, match=r"every item of the split 'train' is bad; the .*: text"):
        folder.build(skip_bad=True)


# --- in parts ------------------------------------------------------------------------------------


def bad_beyond(number: int) -> dict[str, Any]:
    if number % 4 == 1 or number >= 8:
        raise DataError(f"item {number} is bad")
    return {"x": np.full((number + 1, 2), number)}


def test_parts_remember_what_is_bad_even_where_all_of_a_part_is(tmp_path: Path) -> None:
    entry = _building.prepared(tmp_path, {"name": "made"}, range(12), bad_beyond, 4, skip=True)
    assert sorted(_left_out.of(entry)) == [1, 5, 8, 9, 10, 11]
    assert _left_out.of(entry)[9] == "item 9 is bad"
    assert entry.arrays["x_lengths"].tolist() == [1, 0, 3, 4, 5, 0, 7, 8, 0, 0, 0, 0]
    assert entry.arrays["x"][6, :7].tolist() == [[6, 6]] * 7
    assert not entry.arrays["x"][[1, 5, 8]].any()
    with pytest.raises(DataError, match="item 1 is bad"):
        _building.prepared(tmp_path, {"name": "other"}, range(12), bad_beyond, 4)
    with pytest.raises(DataError, match="every item is bad; the first: item 8 is bad"):
        _building.prepared(tmp_path, {"name": "none"}, range(8, 12), bad_beyond, 4, skip=True)


def test_the_command_leaves_out_and_records(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run --skip-bad` on a dataset that is no manifest."""
    folder = test_caption_pairs.Folder(tmp_path / "data")
    halve(folder.root / "Images" / "c.jpg")()
    Path("own.toml").write_text(
        """
schema = 1
name = "own"
version = 1
summary = "made"
dataset = { name = "caption_pairs", version = 1, params = { size = 16, min_count = 1 } }
modalities.image = { kind = "image", shape = [3, 16, 16] }
modalities.caption = { kind = "text", shape = [24] }
outputs = { match = { kind = "label", classes = ["no-match", "match"] } }
splits = { train = 3, val = 2, test = 2 }
metrics = { main = "accuracy" }
[budgets]
small = { items = 3, steps = 1, validations = 1, validation_items = 2 }
""",
        encoding="utf-8",
    )
    asked = ["run", "-t", "./own.toml", "-m", "concat", "--set", "width=16", "--data", folder.root]
    assert r"c.jpg: cannot be decoded (itm_pairs.tsv:5)" in cli(*asked).error
    done = cli(*asked, "--skip-bad")
    assert done.code == 0, done.err
    (file,) = Path("results").rglob("record.json")
    left = json.loads(json.loads(file.read_text())["data"]["left_out"])
    assert [len(lines) for lines in left.values()] == [1]
    assert "c.jpg: cannot be decoded" in left["train"][0]
