"""Photographs with captions: on a small drawn dataset, and on the real one where it is at hand."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _building, _images, karpathy
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.text import EOS, PAD, UNK, Vocabulary, tokenize
from mmbench.types import Dataset, Ragged

PEOPLE = ("man", "woman", "boy", "girl", "child")
VERBS = ("jumps", "runs", "sits", "sleeps", "swims")
PLACES = ("water", "beach", "grass", "street", "snow")
SPLITS = {"train": 6, "val": 2, "test": 3}
COLOURS = ((250, 10, 10), (10, 250, 10), (10, 10, 250), (240, 240, 20))


def sentences(index: int) -> list[str]:
    """Five captions of the image `index`, all different, with shared words."""
    found = []
    for k in range(5):
        who, does = PEOPLE[(index + k) % 5], VERBS[(index + 2 * k) % 5]
        found.append(f"A {who} {does} near the {PLACES[(index + 3 * k) % 5]} .")
    return found


def draw(path: Path, index: int, size: tuple[int, int] = (90, 60)) -> None:
    """Save an image whose left half has a colour of its own and whose right half is black."""
    from PIL import Image

    image = Image.new("RGB", size)
    image.paste(COLOURS[index % len(COLOURS)], (0, 0, size[0] // 2, size[1]))
    image.save(path, quality=95)


class Folder:
    """A dataset on disk: 6 + 2 + 3 images and one marked restval, in a mixed order."""

    ORDER = (*("train", "test", "train", "val", "restval", "train"), *("test", "train") * 2, "val")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root.parent / "cache"
        (root / "Images").mkdir(parents=True)
        splits = [*self.ORDER, "train"]
        self.content: dict[str, Any] = {"dataset": "drawn", "images": []}
        for index, split in enumerate(splits):
            name = f"{index * 7919 % 101:03d}_drawn.jpg"
            draw(root / "Images" / name, index)
            spoken = [
                {"raw": raw, "sentid": 5 * index + k} for k, raw in enumerate(sentences(index))
            ]
            self.images.append({"filename": name, "split": split, "sentences": spoken})
        self.write()

    @property
    def images(self) -> list[dict[str, Any]]:
        return self.content["images"]  # type: ignore[no-any-return]

    @property
    def file(self) -> Path:
        return self.root / "dataset_flickr8k.json"

    def write(self) -> None:
        self.file.write_text(json.dumps(self.content), encoding="utf-8")

    def path(self, index: int) -> Path:
        return self.root / "Images" / str(self.images[index]["filename"])

    def request(self, **params: Any) -> Request:
        splits = params.pop("splits", SPLITS)
        seed = params.pop("seed", 0)
        root = params.pop("root", self.root)
        version = params.pop("version", 1)
        params = {"size": 16, "min_count": 2, **params}
        return Request("drawn_captioning", version, seed, params, splits, root, self.cache)

    def build(self, **params: Any) -> Dataset:
        return karpathy.build(self.request(**params))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "flickr8k")


def tags_of(dataset: Dataset, split: str) -> dict[str, list[str]]:
    """Return the words of the tags of every item."""
    words = dataset.signature.modalities["tags"].vocabulary
    part = dataset.splits[split]
    ragged = part.inputs["tags"]
    assert isinstance(ragged, Ragged)
    return {
        name: [words[i] for i in row[:length]]
        for name, row, length in zip(part.ids, ragged.values, ragged.lengths, strict=True)
    }


# --- what a split holds --------------------------------------------------------------------------


def test_items_are_karpathys_splits_in_the_files_order(folder: Folder) -> None:
    dataset = folder.build()
    for name, size in SPLITS.items():
        expected = [image["filename"] for image in folder.images if image["split"] == name]
        assert dataset.splits[name].ids == expected
        assert len(dataset.splits[name]) == size


def test_restval_images_are_in_no_split_unless_training_takes_them(folder: Folder) -> None:
    marked = next(image["filename"] for image in folder.images if image["split"] == "restval")
    assert all(marked not in split.ids for split in folder.build().splits.values())
    more = folder.build(restval=True, splits={**SPLITS, "train": 7})
    # In the file's order, not behind the others.
    names = [i["filename"] for i in folder.images if i["split"] in ("train", "restval")]
    assert more.splits["train"].ids == names


def test_shapes_types_and_signature_agree(folder: Folder) -> None:
    dataset = folder.build(size=24, max_length=9)
    assert dataset.signature.modalities["image"].shape == (3, 24, 24)
    assert set(dataset.signature.modalities) == {"image"}
    assert dataset.signature.outputs["caption"].size == 9
    for name, size in SPLITS.items():
        split = dataset.splits[name]
        image = split.inputs["image"]
        assert isinstance(image, np.memmap)
        assert image.shape == (size, 3, 24, 24)
        assert image.dtype == np.uint8
        assert split.targets["caption"].shape == (size, 5, 9)
        assert split.targets["caption"].dtype == np.int16
        assert all(len(column) == size for column in split.groups.values())
        assert split.present == {}
        assert split.clusters is None


def test_references_are_the_captions_as_people_wrote_them(folder: Folder) -> None:
    folder.images[1]["sentences"][0]["raw"] = "  A MAN's dog -- isn't it?  "
    folder.write()
    split = folder.build().splits["test"]
    for name, texts in zip(split.ids, split.references["caption"].texts, strict=True):
        image = next(image for image in folder.images if image["filename"] == name)
        assert texts == tuple(sentence["raw"] for sentence in image["sentences"])


def test_targets_are_the_captions_words_then_the_end_mark_then_padding(folder: Folder) -> None:
    dataset = folder.build()
    vocabulary = Vocabulary(dataset.signature.outputs["caption"].vocabulary)
    for split in dataset.splits.values():
        for rows, texts in zip(
            split.targets["caption"], split.references["caption"].texts, strict=True
        ):
            for row, tokens in zip(rows, tokenize(texts, "ptb"), strict=True):
                expected = [*vocabulary.encode(tokens), EOS]
                assert row.tolist() == expected + [PAD] * (20 - len(expected))


def test_a_long_caption_is_cut_before_its_end_mark_and_its_reference_is_not(
    folder: Folder,
) -> None:
    dataset = folder.build(max_length=4)
    split = dataset.splits["train"]
    whole = folder.build().splits["train"].targets["caption"]
    np.testing.assert_array_equal(split.targets["caption"][..., :3], whole[..., :3])
    assert (split.targets["caption"][..., 3] == EOS).all()
    assert split.references["caption"].texts[0] == tuple(sentences(0))


def test_images_with_fewer_captions_have_empty_target_rows(folder: Folder) -> None:
    folder.images[0]["sentences"] = folder.images[0]["sentences"][:2]
    folder.write()
    split = folder.build().splits["train"]
    assert split.targets["caption"].shape == (6, 5, 20)
    assert split.targets["caption"].any(axis=2).sum(axis=1).tolist() == [2, 5, 5, 5, 5, 5]
    assert len(split.references["caption"].texts[0]) == 2


@pytest.mark.parametrize("tags", [False, True])
@pytest.mark.parametrize(("caption", "why"), [
    (" . ", "its caption 4 has no word"),
    ("", "its caption 4 has no word"),
    ("dog " * 2500, "its caption 4 has 10,000 characters, more than any caption"),
])  # fmt: skip
def test_a_caption_that_is_none_is_an_error_and_its_item_left_out_on_demand(
    folder: Folder, caption: str, why: str, tags: bool
) -> None:
    whole = folder.build(tags=tags)
    name = folder.images[0]["filename"]
    folder.images[0]["sentences"][3]["raw"] = caption
    folder.write()
    with pytest.raises(DataError, match=rf"images\[0\]: {name}: {why}.*: --skip-bad") as caught:
        folder.build(tags=tags)
    assert "\n" not in str(caught.value)
    made = folder.build(skip_bad=True, tags=tags)
    assert [why in line and name in line for line in made.left_out["train"]] == [True]
    kept = [item for item in whole.splits["train"].ids if item != name]
    assert list(made.splits["train"].ids) == kept
    references = made.splits["train"].references["caption"].texts
    assert list(references) == list(whole.splits["train"].references["caption"].texts[1:])


def test_the_vocabulary_is_built_on_the_training_captions_alone(folder: Folder) -> None:
    for image in folder.images:
        extra = {"train": "", "val": "zebra", "test": "zebra", "restval": "zebra"}[image["split"]]
        for sentence in image["sentences"]:
            sentence["raw"] += f" {extra}"
    folder.images[0]["sentences"][0]["raw"] += " heron"  # once, in training
    folder.write()
    often = folder.build().signature.outputs["caption"].vocabulary
    assert {"man", "water", "jumps"} <= set(often)
    assert not {"zebra", "heron"} & set(often)
    assert "heron" in folder.build(min_count=1).signature.outputs["caption"].vocabulary
    test = folder.build().splits["test"].targets["caption"]
    assert (test == UNK).any(axis=2).all()


def test_groups_tell_how_much_people_wrote(folder: Folder) -> None:
    for index, words in ((0, 9), (2, 10), (5, 12)):
        for sentence in folder.images[index]["sentences"]:
            sentence["raw"] = "dog " * words
    folder.write()
    groups = folder.build().splits["train"].groups["length"]
    assert groups[:3].tolist() == ["under 10 words", "10 to under 12 words", "12 words and more"]


# --- pixels --------------------------------------------------------------------------------------


def test_each_item_has_its_own_photograph_upright_and_in_rgb(folder: Folder) -> None:
    dataset = folder.build()
    places = {image["filename"]: index for index, image in enumerate(folder.images)}
    for split in dataset.splits.values():
        for name, pixels in zip(split.ids, np.asarray(split.inputs["image"]), strict=True):
            colour = np.array(COLOURS[places[name] % len(COLOURS)])
            left, right = pixels[:, :, :6], pixels[:, :, 10:]
            assert np.abs(left.mean(axis=(1, 2)) - colour).max() < 8
            assert right.mean() < 8


def test_orientation_marks_are_obeyed(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.new("RGB", (64, 32))
    image.paste((255, 255, 255), (0, 0, 32, 32))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: left goes up
    image.save(tmp_path / "turned.jpg", exif=exif)
    pixels = _images.decode_one(tmp_path / "turned.jpg", "it", 8)
    assert pixels[:, :3].mean() > 240
    assert pixels[:, 5:].mean() < 15


@pytest.mark.parametrize(
    ("mode", "ending"), [("L", "jpg"), ("CMYK", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png")]
)
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str, ending: str) -> None:
    from PIL import Image

    path = tmp_path / f"it.{ending}"
    Image.new("RGB", (30, 20), (255, 255, 255)).convert(mode).save(path)
    pixels = _images.decode_one(path, "it", 8)
    assert pixels.shape == (3, 8, 8)
    assert pixels.min() > 250


def test_the_fast_way_through_a_large_jpeg_looks_like_the_slow_one(tmp_path: Path) -> None:
    from PIL import Image

    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    large = Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)
    fast = _images.decode_one(tmp_path / "large.jpg", "it", 32).astype(float)
    with Image.open(tmp_path / "large.jpg") as image:
        slow = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS), float)
    assert np.abs(fast - slow.transpose(2, 0, 1)).mean() < 1.5


# --- tags ----------------------------------------------------------------------------------------

#: Written down once. These words are drawn by 64-bit words that are the same on every platform,
#: for ever; if they differ, the task `flickr8k_tagged` has silently become another one.
GOLDEN = {
    "000_drawn.jpg": ["near", "sleeps", "the"],
    "082_drawn.jpg": ["a", "near"],
    "003_drawn.jpg": ["a", "beach", "the"],
    "085_drawn.jpg": ["a", "jumps", "snow", "the"],
    "066_drawn.jpg": ["a", "boy", "jumps", "near"],
    "047_drawn.jpg": ["snow", "the"],
}


def test_the_tags_are_these_and_no_others(folder: Folder) -> None:
    assert tags_of(folder.build(tags=True), "train") == GOLDEN


def test_tags_are_words_of_the_one_caption_that_was_taken_away(folder: Folder) -> None:
    dataset = folder.build(tags=True, tag_keep=1.0)
    captions = {i["filename"]: [s["raw"] for s in i["sentences"]] for i in folder.images}
    for name, split in dataset.splits.items():
        tags = tags_of(dataset, name)
        for item, texts, rows in zip(
            split.ids, split.references["caption"].texts, split.targets["caption"], strict=True
        ):
            (taken,) = set(captions[item]) - set(texts)
            assert list(texts) == [raw for raw in captions[item] if raw != taken]
            assert tags[item] == sorted(set(tokenize([taken])[0]))
            assert rows.shape == (4, 20)
            vocabulary = Vocabulary(dataset.signature.outputs["caption"].vocabulary)
            assert [vocabulary.decode(row) for row in rows] == tokenize(texts)


def test_tags_do_not_depend_on_the_order_or_on_other_images(folder: Folder) -> None:
    before = tags_of(folder.build(tags=True), "test")
    kept = [image for image in folder.images if image["split"] != "val"]
    random.Random(1).shuffle(kept)
    folder.content["images"] = kept
    folder.write()
    after = tags_of(folder.build(tags=True, splits={"train": 6, "test": 3}), "test")
    assert list(after) != list(before)
    assert after == before


def test_the_data_seed_draws_other_tags(folder: Folder) -> None:
    seeds = [folder.build(tags=True, seed=seed) for seed in (0, 1)]
    assert tags_of(seeds[0], "train") != tags_of(seeds[1], "train")
    left = [dataset.splits["train"].references["caption"].texts for dataset in seeds]
    assert left[0] != left[1]
    captions = [folder.build(seed=seed) for seed in (0, 1)]  # without tags nothing is drawn
    assert captions[0].fingerprint == captions[1].fingerprint


def test_a_lower_share_keeps_a_subset(folder: Folder) -> None:
    shares = [tags_of(folder.build(tags=True, tag_keep=p), "train") for p in (0.2, 0.5, 0.8)]
    for fewer, more in pairwise(shares):
        assert all(set(fewer[name]) <= set(more[name]) for name in more)
        assert sum(map(len, fewer.values())) < sum(map(len, more.values()))


def test_an_item_without_tags_is_told_to_lack_them(folder: Folder) -> None:
    dataset = folder.build(tags=True, tag_keep=0.2)
    split = dataset.splits["train"]
    ragged = split.inputs["tags"]
    assert isinstance(ragged, Ragged)
    assert {True, False} == set(split.present["tags"].tolist())
    np.testing.assert_array_equal(split.present["tags"], ragged.lengths > 0)
    for row, length in zip(ragged.values, ragged.lengths, strict=True):
        assert (row[:length] > UNK).all()
        assert (row[length:] == PAD).all()
    labels = np.where(ragged.lengths == 0, "none", "1 to 3")
    assert split.groups["tag_count"].tolist() == labels.tolist()


def test_where_too_many_are_kept_the_lowest_draws_stay(folder: Folder) -> None:
    all_tags = tags_of(folder.build(tags=True, tag_keep=1.0), "train")
    assert min(map(len, all_tags.values())) > 3
    dataset = folder.build(tags=True, tag_keep=1.0, max_tags=3)
    assert dataset.signature.modalities["tags"].shape == (3,)
    few = tags_of(dataset, "train")
    lower = tags_of(folder.build(tags=True, tag_keep=0.3), "train")
    for name, tags in few.items():
        assert len(tags) == 3
        assert tags == sorted(tags)
        if len(lower[name]) <= 3:
            assert set(lower[name]) <= set(tags) <= set(all_tags[name])


def test_rare_words_and_signs_are_no_tags(folder: Folder) -> None:
    for index, image in enumerate(folder.images):
        for sentence in image["sentences"]:
            sentence["raw"] = f'Dog & cat say "rare{index}"'
    folder.write()
    dataset = folder.build(tags=True, tag_keep=1.0, min_count=6)
    assert "&" in dataset.signature.outputs["caption"].vocabulary
    assert set(map(tuple, tags_of(dataset, "train").values())) == {("cat", "dog", "say")}


def test_a_word_outside_the_vocabulary_moves_no_draw(folder: Folder) -> None:
    small, large = (tags_of(folder.build(tags=True, min_count=n), "test") for n in (9, 1))
    assert small != large
    assert all(set(small[name]) <= set(large[name]) for name in large)


def test_captions_and_words_are_drawn_evenly() -> None:
    vocabulary = Vocabulary.build([["a", "b", "c", "d", "e", "f"]])
    captions = tuple((word, [word, "f"]) for word in "abcde")
    params = karpathy.Params(tags=True)
    chosen: Counter[str] = Counter()
    kept = 0
    for index in range(2000):
        rest, ids = karpathy._draw(karpathy._Item(f"{index}.jpg", captions), vocabulary, 0, params)
        (taken,) = set("abcde") - {raw for raw, _ in rest.captions}
        chosen[taken] += 1
        kept += len(ids)
    assert all(abs(chosen[word] - 400) < 4 * np.sqrt(2000 * 0.2 * 0.8) for word in "abcde")
    assert abs(kept - 2000) < 4 * np.sqrt(4000 * 0.25)


def test_tags_need_a_second_caption(folder: Folder) -> None:
    folder.images[3]["sentences"] = folder.images[3]["sentences"][:1]
    folder.write()
    folder.build()
    with pytest.raises(DataError, match=r"images\[3\].*has 1 captions: at least 2"):
        folder.build(tags=True)


# --- the cache -----------------------------------------------------------------------------------


_DECODE = _images.decode_one


def _no_decoding(*_: Any) -> Any:
    raise AssertionError("decoded again")


def test_photographs_are_decoded_once_for_all_tasks_and_seeds(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = folder.build()
    monkeypatch.setattr(_images, "decode_one", _no_decoding)
    again = folder.build()
    tagged = [folder.build(tags=True, seed=seed) for seed in (0, 1)]
    assert again.fingerprint == first.fingerprint
    assert len({d.fingerprint for d in (first, *tagged)}) == 3
    with pytest.raises(AssertionError, match="decoded again"):
        folder.build(size=8)


def test_a_replaced_photograph_is_noticed(folder: Folder) -> None:
    before = folder.build()
    draw(folder.path(0), 1, size=(300, 200))
    after = folder.build()
    assert after.fingerprint != before.fingerprint
    pixels = [np.asarray(d.splits["train"].inputs["image"]) for d in (before, after)]
    assert np.abs(pixels[0][0].astype(int) - pixels[1][0]).max() > 200
    np.testing.assert_array_equal(pixels[0][1:], pixels[1][1:])


def test_one_of_the_same_size_is_noticed_too(folder: Folder) -> None:
    from PIL import Image

    def paint(colour: int) -> None:
        Image.new("RGB", (40, 40), (colour, 0, 0)).save(path, format="bmp")

    path = folder.path(2)
    paint(250)
    before, seen = folder.build(), path.stat()
    paint(20)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert path.stat().st_size == seen.st_size
    after = folder.build()
    assert after.fingerprint != before.fingerprint
    pixels = [np.asarray(d.splits["train"].inputs["image"]).astype(int) for d in (before, after)]
    assert (np.abs(pixels[0] - pixels[1]).max(axis=(1, 2, 3)) > 200).sum() == 1


def test_what_was_decoded_when_a_process_died_is_not_decoded_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_building, "PART", 2)
    monkeypatch.setenv("MMBENCH_WORKERS", "1")
    decoded: list[str] = []

    def dies(path: Path, *rest: Any) -> Any:
        if len(decoded) == 5:
            raise KeyboardInterrupt
        decoded.append(path.name)
        return _DECODE(path, *rest)

    monkeypatch.setattr(_images, "decode_one", dies)
    with pytest.raises(KeyboardInterrupt):
        folder.build()
    first, told = list(decoded), []
    decoded.clear()

    def goes_on(path: Path, *rest: Any) -> Any:
        decoded.append(path.name)
        return _DECODE(path, *rest)

    monkeypatch.setattr(_images, "decode_one", goes_on)
    with _building.watched(lambda done, of: told.append((done, of))):
        made = folder.build()
    count = sum(SPLITS.values())
    assert sorted([*first[:4], *decoded]) == sorted(i for s in made.splits.values() for i in s.ids)
    assert told[0] == (4, count)
    assert told[-1] == (count, count)


def test_a_changed_caption_changes_fingerprint_and_digest(folder: Folder) -> None:
    before, digest = folder.build(), karpathy.source_digest(folder.request())
    assert digest == hashlib.sha256(folder.file.read_bytes()).hexdigest()
    folder.images[0]["sentences"][0]["raw"] = "A dog ."
    folder.write()
    assert folder.build().fingerprint != before.fingerprint
    assert karpathy.source_digest(folder.request()) != digest


def test_the_same_data_elsewhere_have_the_same_fingerprint(tmp_path: Path) -> None:
    one, other = Folder(tmp_path / "a" / "flickr8k"), Folder(tmp_path / "b" / "flickr8k")
    assert one.cache != other.cache
    for tags in (False, True):
        assert one.build(tags=tags).fingerprint == other.build(tags=tags).fingerprint


def test_the_order_in_which_a_task_names_its_splits_is_none_of_the_data(folder: Folder) -> None:
    # A record tells them in alphabetical order.
    one, other = (
        folder.build(splits=dict(order)) for order in (SPLITS.items(), sorted(SPLITS.items()))
    )
    assert one.fingerprint == other.fingerprint
    assert folder.build(splits=dict(reversed(SPLITS.items()))).fingerprint == one.fingerprint


# --- where data lie, and what is wrong with them -------------------------------------------------


def test_the_folder_or_the_one_above_may_be_named(folder: Folder) -> None:
    inside = folder.build()
    above = folder.build(root=folder.root.parent)
    assert above.fingerprint == inside.fingerprint


@pytest.mark.parametrize("name", ["images", "Flicker8k_Dataset", "Flickr8k_Dataset", "photos"])
def test_other_names_of_the_image_folder_are_found(folder: Folder, name: str) -> None:
    (folder.root / "Images").rename(folder.root / name)
    images = name if name == "photos" else "Images"
    assert len(folder.build(images=images).splits["train"]) == 6


def _line(folder: Folder, **request: Any) -> str:
    with pytest.raises(DataError) as caught:
        folder.build(**request)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_data_the_error_says_what_to_name(folder: Folder, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for root in (None, empty, tmp_path / "nowhere"):
        message = _line(folder, root=root)
        for part in ("'drawn_captioning'", "--data", "MMBENCH_DATA", "dataset_flickr8k.json"):
            assert part in message
        assert "Images/" in message
        assert root is None or str(root) in message
        with pytest.raises(DataError, match="MMBENCH_DATA"):
            karpathy.source_digest(folder.request(root=root))


def test_annotations_that_cannot_be_read_are_one_line(folder: Folder) -> None:
    folder.file.unlink()
    folder.file.symlink_to(folder.file)
    with pytest.raises(DataError, match=r"dataset_flickr8k\.json"):
        karpathy.source_digest(folder.request())
    with pytest.raises(DataError, match="cannot be read: No such file"):
        karpathy.digest_of(folder.root / "gone.json")


def test_without_images_the_error_says_which_names_were_tried(folder: Folder) -> None:
    (folder.root / "Images").rename(folder.root / "elsewhere")
    message = _line(folder)
    assert str(folder.root) in message
    assert "'Images' or 'images' or 'Flicker8k_Dataset'" in message


def _cut(folder: Folder) -> None:
    data = folder.file.read_bytes()
    folder.file.write_bytes(data[: len(data) // 2])


def _set(index: int, key: str, value: Any) -> Callable[[Folder], None]:
    def change(folder: Folder) -> None:
        folder.images[index][key] = value
        folder.write()

    return change


def _drop(index: int, key: str) -> Callable[[Folder], None]:
    def change(folder: Folder) -> None:
        del folder.images[index][key]
        folder.write()

    return change


def _rename_images(folder: Folder) -> None:
    folder.content["photos"] = folder.content.pop("images")
    folder.write()


def _remove(folder: Folder) -> None:
    folder.content["images"].pop(0)
    folder.write()


BROKEN: dict[str, tuple[Callable[[Folder], object], str]] = {
    "no JSON": (lambda f: f.file.write_text("image,caption\n"), "is not JSON"),
    "empty": (lambda f: f.file.write_text(""), "truncated"),
    "truncated": (_cut, "truncated"),
    "no UTF-8": (
        lambda f: f.file.write_bytes(f.file.read_bytes().replace(b"A man", b"A m\xe4n")),
        "utf-8",
    ),
    "a list": (lambda f: f.file.write_text("[]"), "Expected `object`, got `array`"),
    "no images": (_rename_images, "missing required field `images`"),
    "no split": (_drop(2, "split"), "images[2]: Object missing required field `split`"),
    "no sentences": (_drop(4, "sentences"), "images[4]: Object missing required field `sentences`"),
    "no filename": (_drop(1, "filename"), "images[1]: Object missing required field `filename`"),
    "no raw": (_set(0, "sentences", [{"tokens": ["a"]}]), "images[0]: Object missing required"),
    "a number": (_set(0, "filename", 7), "images[0]: Expected `str`, got `int`"),
    "no caption": (_set(3, "sentences", []), "images[3]: {3} has no captions"),
    "no word": (_set(3, "sentences", [{"raw": " ."}]), "images[3]: {3}: its caption 1 has no word"),
    "unknown split": (_set(5, "split", "dev"), "{5}: unknown split 'dev', expected one of train,"),
    "a path": (_set(1, "filename", "../a.jpg"), "images[1]: filename '../a.jpg' is not the bare"),
    "twice": (
        lambda f: _set(6, "filename", f.images[2]["filename"])(f),
        "images[6]: {2} stands at images[2] already",
    ),
    "too few": (_remove, "the split 'train' has 5 images, task 'drawn_captioning' expects 6"),
}


@pytest.mark.parametrize(("damage", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_annotations_are_one_line_that_names_file_and_place(
    folder: Folder, damage: Callable[[Folder], object], expected: str
) -> None:
    names = [image["filename"] for image in folder.images]
    damage(folder)
    message = _line(folder)
    assert message.startswith(str(folder.file))
    for index, name in enumerate(names):
        expected = expected.replace(f"{{{index}}}", name)
    assert expected in message


def _cut_to(share: float) -> Callable[[Path], object]:
    def cut(path: Path) -> None:
        draw(path, 0, size=(400, 300))
        data = path.read_bytes()
        path.write_bytes(data[: min(int(share * len(data)), len(data) - 1)])

    return cut


PHOTOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "cannot be read: no such file"),
    "cut in its head": (_cut_to(0.02), "truncated"),
    "cut in its middle": (_cut_to(0.5), "image file is truncated"),
    "short of a byte": (_cut_to(1.0), "image file is truncated"),
    "empty": (lambda path: path.write_bytes(b""), "cannot identify image file"),
    "no image": (lambda path: path.write_text("<html>404</html>"), "cannot identify image file"),
}


@pytest.mark.parametrize(("damage", "expected"), PHOTOS.values(), ids=PHOTOS.keys())
def test_a_broken_photograph_is_one_line_that_names_it(
    folder: Folder, damage: Callable[[Path], object], expected: str
) -> None:
    damage(folder.path(7))
    message = _line(folder)
    assert message.startswith(f"{folder.path(7)}: ")
    assert "(images[7])" in message
    assert expected in message.lower()
    entries = folder.cache.glob("photographs-*/")
    assert [entry for entry in entries if entry.suffix != ".parts"] == []


def test_a_photograph_that_is_in_no_split_may_be_missing(folder: Folder) -> None:
    place = next(i for i, image in enumerate(folder.images) if image["split"] == "restval")
    folder.path(place).unlink()
    made = folder.build()
    assert not any(folder.path(place).name in split.ids for split in made.splits.values())


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"sise": 16}, "unknown key 'sise': did you mean 'size'?"),
        ({"size": 0}, "size"),
        ({"tag_keep": 1.5}, "tag_keep"),
        ({"tags": "yes"}, "tags: expected `bool`"),
        ({"version": 2}, "dataset.version = 2: this mmbench makes karpathy 1"),
    ],
)
def test_wrong_parameters_are_named(folder: Folder, params: Any, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        folder.build(**params)
    assert expected in str(caught.value)
    assert "drawn_captioning" in str(caught.value)


# --- the tasks, and the real photographs ---------------------------------------------------------

TASKS = ("flickr8k_captioning", "flickr8k_tagged")
REAL = Path(
    os.environ.get("MMBENCH_TEST_DATA") or Path(__file__).resolve().parents[2] / "../shared/data"
)
real = pytest.mark.skipif(
    not (REAL / "flickr8k" / "dataset_flickr8k.json").is_file(),
    reason="needs Flickr8k: MMBENCH_TEST_DATA names the folder that holds flickr8k/",
)


@pytest.mark.parametrize("name", TASKS)
def test_the_tasks_promise_what_the_builder_makes(folder: Folder, name: str) -> None:
    task = catalog.task(name)
    request = Request(
        name, task.dataset.version, task.dataset.seed, task.dataset.params, SPLITS,
        folder.root, folder.cache,
    )  # fmt: skip
    signature = karpathy.build(request).signature
    promised = {key: (spec.kind, spec.shape) for key, spec in task.modalities.items()}
    assert promised == {key: (m.kind, m.shape) for key, m in signature.modalities.items()}
    assert {key: spec.kind for key, spec in task.outputs.items()} == {"caption": "text"}
    assert signature.main == "caption"
    if "tags" in signature.modalities:
        words = signature.modalities["tags"].vocabulary
        assert words == signature.outputs["caption"].vocabulary


def test_published_rows_stand_only_where_the_input_is_the_photograph_alone() -> None:
    plain, tagged = (catalog.task(name).source.published for name in TASKS)
    assert tagged == ()
    assert plain
    for row in plain:
        assert set(row.scores) <= set(catalog.task(TASKS[0]).metrics.names)
        assert all(0 < score < 1 for score in row.scores.values())


@pytest.fixture(scope="module")
def flickr(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Dataset]:
    cache = tmp_path_factory.mktemp("cache")

    def build(name: str) -> Dataset:
        task = catalog.task(name)
        return karpathy.build(
            Request(
                name, task.dataset.version, task.dataset.seed, task.dataset.params, task.splits,
                REAL, cache,
            )
        )  # fmt: skip

    return build


@real
@pytest.mark.parametrize(("name", "captions"), [(TASKS[0], 5), (TASKS[1], 4)])
def test_real_splits_have_the_official_sizes_and_every_caption(
    flickr: Callable[[str], Dataset], name: str, captions: int
) -> None:
    dataset = flickr(name)
    assert {key: len(split) for key, split in dataset.splits.items()} == {
        "train": 6000, "val": 1000, "test": 1000,
    }  # fmt: skip
    ids = [name for split in dataset.splits.values() for name in split.ids]
    assert len(set(ids)) == 8000
    for split in dataset.splits.values():
        assert {len(texts) for texts in split.references["caption"].texts} == {captions}
        assert split.targets["caption"].shape[1:] == (captions, 20)
        assert split.targets["caption"].any(axis=2).all()


@real
def test_real_vocabulary_has_the_usual_size(flickr: Callable[[str], Dataset]) -> None:
    dataset = flickr(TASKS[0])
    words = dataset.signature.outputs["caption"].vocabulary
    assert 2500 < len(words) < 2600  # Karpathy's own tokens give 2,538
    targets = dataset.splits["test"].targets["caption"]
    assert (targets == UNK).sum() / (targets > PAD).sum() < 0.03
    cut = [len(t) > 19 for texts in dataset.splits["train"].references["caption"].texts
           for t in tokenize(texts)]  # fmt: skip
    assert np.mean(cut) < 0.03


@real
def test_real_pixels_look_like_photographs(flickr: Callable[[str], Dataset]) -> None:
    for split in flickr(TASKS[0]).splits.values():
        pixels = np.asarray(split.inputs["image"])
        means, spread = pixels.mean(axis=(0, 2, 3)), pixels.std(axis=(0, 2, 3))
        np.testing.assert_allclose(means, [116.8, 113.8, 103.4], atol=2.5)
        np.testing.assert_allclose(spread, [66.4, 65.1, 68.8], atol=2.0)
        assert (pixels.reshape(len(pixels), -1).std(axis=1) > 5).all()  # none is blank
        near = np.corrcoef(pixels[..., 1:].ravel()[::97], pixels[..., :-1].ravel()[::97])[0, 1]
        assert near > 0.9  # neighbours are alike: rows and columns are in order


@real
def test_real_tags_are_half_the_words_and_fit(flickr: Callable[[str], Dataset]) -> None:
    dataset = flickr(TASKS[1])
    ragged = [split.inputs["tags"] for split in dataset.splits.values()]
    together = np.concatenate([tags.lengths for tags in ragged if isinstance(tags, Ragged)])
    assert len(together) == 8000
    assert 4.5 < together.mean() < 5.1
    assert 0 < (together == 0).mean() < 0.02
    assert together.max() < 20  # so none was left out for want of room
    hints = set(tags_of(dataset, "test")["1056338697_4f7d7ce270.jpg"])
    assert hints == {"behind", "from", "seen"}
