"""Photographs and captions that look for each other, in all layouts that they are passed on in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_karpathy import REAL, SPLITS, Folder, draw, real, sentences

from mmbench import catalog, registry
from mmbench.data import _images, caption_retrieval, karpathy
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.references import MatchReferences
from mmbench.text import EOS, UNK, Vocabulary, tokenize
from mmbench.types import Dataset, Ragged, Split


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "flickr8k")


def build(folder: Folder, **params: Any) -> Dataset:
    return caption_retrieval.build(folder.request(**params))


def gallery_of(split: Split) -> tuple[Any, Any]:
    assert split.gallery is not None
    ragged = split.gallery.inputs["caption"]
    assert isinstance(ragged, Ragged)
    return np.asarray(ragged.values), np.asarray(ragged.lengths)


# --- what a split holds --------------------------------------------------------------------------


def test_the_gallery_is_every_caption_in_the_files_order(folder: Folder) -> None:
    folder.images[1]["sentences"] = folder.images[1]["sentences"][:2]
    folder.write()
    dataset = build(folder)
    spoken = {i["filename"]: [s["raw"] for s in i["sentences"]] for i in folder.images}
    for split in dataset.splits.values():
        references = split.references["match"]
        assert isinstance(references, MatchReferences)
        assert split.gallery is not None
        expected = [raw for name in split.ids for raw in spoken[name]]
        assert list(references.names) == expected
        assert references.gallery == len(split.gallery) == len(expected)
        for name, own, row in zip(
            split.ids, references.relevant, split.targets["match"], strict=True
        ):
            assert [references.names[e] for e in own] == spoken[name]
            assert tuple(row[row >= 0].tolist()) == own
            assert [split.gallery.ids[e] for e in own] == [f"{name}#{k}" for k in range(len(own))]


def test_captions_are_words_without_an_end_mark_cut_where_they_are_too_long(
    folder: Folder,
) -> None:
    dataset = build(folder, max_length=4)
    modality = dataset.signature.modalities["caption"]
    assert (modality.kind, modality.shape, modality.role) == ("text", (4,), "gallery")
    vocabulary = Vocabulary(modality.vocabulary)
    for split in dataset.splits.values():
        values, lengths = gallery_of(split)
        references = split.references["match"]
        assert isinstance(references, MatchReferences)
        for row, length, raw in zip(values, lengths, references.names, strict=True):
            expected = vocabulary.encode(tokenize([raw])[0][:4])
            assert row[:length].tolist() == expected
            assert not row[length:].any()
        assert not (values == EOS).any()


def test_pixels_and_tokens_are_those_of_captioning(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioning = folder.build()
    monkeypatch.setattr(_images, "decode_one", lambda *_: pytest.fail("decoded again"))
    found = build(folder)
    assert found.fingerprint != captioning.fingerprint
    for name, size in SPLITS.items():
        assert len(found.splits[name]) == size
        assert found.splits[name].ids == captioning.splits[name].ids
        np.testing.assert_array_equal(
            found.splits[name].inputs["image"],  # type: ignore[arg-type]
            captioning.splits[name].inputs["image"],  # type: ignore[arg-type]
        )


def test_taking_items_leaves_the_gallery_whole(folder: Folder) -> None:
    split = build(folder).splits["train"]
    few = split.take(np.array([4, 0]))
    assert few.gallery is split.gallery
    assert len(few) == len(few.references["match"]) == 2


def test_karpathys_coco_has_folders_and_restval(folder: Folder) -> None:
    for index, image in enumerate(folder.images):
        image["filepath"] = "val2014" if index % 2 else "train2014"
        place = folder.root / image["filepath"]
        place.mkdir(exist_ok=True)
        folder.path(index).rename(place / image["filename"])
    folder.write()
    dataset = build(folder, images=".", restval=True, splits={**SPLITS, "train": 7})
    assert len(dataset.splits["train"]) == 7
    folder.images[2]["filepath"] = "../elsewhere"
    folder.write()
    name = folder.images[2]["filename"]
    with pytest.raises(DataError, match=rf"images\[2\]: {name}: filepath '../elsewhere' is not"):
        build(folder, images=".")


# --- COCO's own files ----------------------------------------------------------------------------


class Coco:
    """COCO's own layout: 8 training images and 3 test images, with two captions each."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache = root, root.parent / "cache"
        (root / "annotations").mkdir(parents=True)
        self.content: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for split, count, first in (("train2017", 8, 0), ("val2017", 3, 100)):
            (root / split).mkdir()
            images, captions = [], []
            for k in range(first, first + count):
                name = f"{k:012d}.jpg"
                draw(root / split / name, k)
                images.append({"id": k, "file_name": name, "licence": 3})
                captions += [
                    {"id": 10 * k + n, "image_id": k, "caption": raw}
                    for n, raw in enumerate(sentences(k)[:2])
                ]
            # The captions of an image need not stand together.
            self.content[split] = {"images": images, "annotations": captions[::2] + captions[1::2]}
        self.write()

    def file(self, split: str = "train2017") -> Path:
        return self.root / "annotations" / f"captions_{split}.json"

    def write(self) -> None:
        for split, content in self.content.items():
            self.file(split).write_text(json.dumps(content), encoding="utf-8")

    def request(self, **params: Any) -> Request:
        splits = params.pop("splits", {"train": 6, "val": 2, "test": 3})
        root = params.pop("root", self.root)
        own = {
            "folder": "coco", "layout": "coco", "images": ".", "held_out": 2, "size": 8,
            "min_count": 1, "annotations": "annotations/captions_train2017.json",
            "test": "annotations/captions_val2017.json", **params,
        }  # fmt: skip
        return Request("drawn_coco", 1, 0, own, splits, root, self.cache)


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    return Coco(tmp_path / "coco")


@pytest.mark.parametrize("builder", [karpathy, caption_retrieval])
def test_cocos_own_files_are_read(coco: Coco, builder: Any) -> None:
    dataset = builder.build(coco.request(max_length=20))
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 6, "val": 2, "test": 3,
    }  # fmt: skip
    training = dataset.splits["train"].ids + dataset.splits["val"].ids
    assert sorted(training) == [image["file_name"] for image in coco.content["train2017"]["images"]]
    for split in dataset.splits.values():
        pixels = np.asarray(split.inputs["image"])
        for name, picture in zip(split.ids, pixels, strict=True):
            colours = ((250, 10, 10), (10, 250, 10), (10, 10, 250), (240, 240, 20))
            wanted = np.array(colours[int(name[:12]) % 4])
            assert np.abs(picture[:, :, :3].mean(axis=(1, 2)) - wanted).max() < 12
        for name, own in zip(split.ids, texts_of(split), strict=True):
            assert own == tuple(sentences(int(name[:12]))[:2])


def texts_of(split: Split) -> list[tuple[str, ...]]:
    (references,) = split.references.values()
    if isinstance(references, MatchReferences):
        return [tuple(references.names[e] for e in own) for own in references.relevant]
    return list(references.texts)  # type: ignore[attr-defined]


def test_what_is_held_out_depends_on_names_and_on_no_order(coco: Coco) -> None:
    before = karpathy.build(coco.request()).splits["val"].ids
    for content in coco.content.values():
        content["images"].reverse()
    coco.write()
    assert sorted(karpathy.build(coco.request()).splits["val"].ids) == sorted(before)


def test_both_files_are_part_of_what_the_data_are(coco: Coco) -> None:
    before = karpathy.source_digest(coco.request())
    coco.content["val2017"]["annotations"][0]["caption"] = "another"
    coco.write()
    assert karpathy.source_digest(coco.request()) != before


def _twice(key: str, field: str) -> Callable[[Coco], None]:
    def change(coco: Coco) -> None:
        rows = coco.content["train2017"][key]
        rows[3][field] = rows[1][field]

    return change


def _set(key: str, index: int, field: str, value: Any) -> Callable[[Coco], None]:
    def change(coco: Coco) -> None:
        coco.content["train2017"][key][index][field] = value

    return change


def _silent(coco: Coco) -> None:
    rows = coco.content["train2017"]["annotations"]
    coco.content["train2017"]["annotations"] = [row for row in rows if row["image_id"] != 2]


def _blank(coco: Coco) -> None:
    for row in coco.content["train2017"]["annotations"]:
        if row["image_id"] == 5:
            row["caption"] = "  "


WRONG: dict[str, tuple[Callable[[Coco], None], str]] = {
    "an image twice": (_twice("images", "id"), "images[3]: id 1 stands at images[1] already"),
    "a name twice": (
        _twice("images", "file_name"),
        "images[3]: 000000000001.jpg stands at images[1] already",
    ),
    "a caption twice": (
        _twice("annotations", "id"),
        "annotations[3]: id 10 stands at annotations[1] already",
    ),
    "of no image": (
        _set("annotations", 4, "image_id", 77),
        "annotations[4]: image_id 77 is no image of the file",
    ),
    "no caption": (_silent, "images[2]: 000000000002.jpg has no captions"),
    "no word": (_blank, "images[5]: 000000000005.jpg: its caption 1 has no word"),
    "a number": (_set("annotations", 0, "caption", 7), "annotations[0]: Expected `str`, got `int`"),
    "a path": (_set("images", 0, "file_name", "../a.jpg"), "images[0]: file_name '../a.jpg' is"),
    "too long": (
        _set("annotations", 2, "caption", "a dog " * 2000),
        "its caption 1 has 12,000 characters, more than any caption",
    ),
}


@pytest.mark.parametrize(("damage", "expected"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_in_cocos_files_is_one_line(
    coco: Coco, damage: Callable[[Coco], None], expected: str
) -> None:
    damage(coco)
    coco.write()
    with pytest.raises(DataError) as caught:
        karpathy.build(coco.request())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(coco.file()))
    assert expected in message


def test_cocos_files_that_are_missing_broken_or_of_other_sizes_are_one_line(coco: Coco) -> None:
    with pytest.raises(DataError, match=r"the split 'train' has 7 images.*expects 6"):
        karpathy.build(coco.request(held_out=1))
    coco.file("val2017").write_text("{}")
    with pytest.raises(DataError, match=r"captions_val2017.json: is no captions file in COCO's"):
        karpathy.build(coco.request())
    coco.file("val2017").unlink()
    with pytest.raises(DataError, match=r"captions_val2017.json: cannot be read: No such file"):
        karpathy.build(coco.request())
    with pytest.raises(DataError, match=r"--data \(or MMBENCH_DATA\)"):
        karpathy.build(coco.request(root=coco.root.parent / "nowhere"))


def test_a_cut_or_missing_photograph_of_cocos_is_named_with_its_row(coco: Coco) -> None:
    path = coco.root / "train2017" / "000000000004.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"000000000004.jpg: cannot be decoded \(images\[4\]\)"):
        karpathy.build(coco.request())
    path.unlink()
    with pytest.raises(DataError, match=r"000000000004.jpg: cannot be read.*\(images\[4\]\)"):
        karpathy.build(coco.request())


def test_a_caption_of_ten_thousand_characters_is_named(folder: Folder) -> None:
    folder.images[3]["sentences"][1]["raw"] = "x" * 10_000
    folder.write()
    with pytest.raises(DataError, match=r"images\[3\]: .*: its caption 2 has 10,000 characters"):
        build(folder)


# --- the tasks, and the real photographs ---------------------------------------------------------

TASKS = [
    name
    for name in catalog.task_names()
    if catalog.task(name).dataset.name in ("karpathy", "caption_retrieval")
]


def test_all_of_them_are_there() -> None:
    assert {
        "flickr8k_captioning", "flickr8k_retrieval", "flickr30k_captioning",
        "flickr30k_retrieval", "coco_captioning", "coco_retrieval", "coco2017_captioning",
    } <= set(TASKS)  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_tasks_promise_what_the_builder_makes_of_folders_in_their_layouts(
    name: str, folder: Folder, coco: Coco
) -> None:
    task = catalog.task(name)
    params = dict(task.dataset.params)
    if params.get("layout") == "coco":
        made = coco.request(**{**params, "held_out": 2})
    else:
        folder.file.rename(folder.root / params["annotations"])
        images = folder.root / params["images"]
        if not images.exists():
            (folder.root / "Images").rename(images)
        for index, image in enumerate(folder.images):
            if params["images"] == ".":
                image["filepath"] = "val2014"
                (folder.root / "val2014").mkdir(exist_ok=True)
                folder.path(index).rename(folder.root / "val2014" / image["filename"])
        (folder.root / params["annotations"]).write_text(json.dumps(folder.content))
        splits = {**SPLITS, "train": 7 if params.get("restval") else 6}
        made = folder.request(**params, splits=splits)
    dataset = registry.load("dataset", task.dataset.name)(made)
    told = {n: (m.kind, m.shape, m.role) for n, m in task.modalities.items()}
    assert told == {n: (m.kind, m.shape, m.role) for n, m in dataset.signature.modalities.items()}
    assert {n: o.kind for n, o in task.outputs.items()} == {
        n: o.kind for n, o in dataset.signature.outputs.items()
    }
    assert task.source.licence
    assert task.source.paper
    for row in task.source.published:
        assert row.source
        assert set(row.scores) <= set(task.metrics.names)


def test_official_sizes_stand_in_the_tasks() -> None:
    sizes = {
        "flickr8k": (6000, 1000, 1000),
        "flickr30k": (29000, 1014, 1000),
        "coco": (113287, 5000, 5000),
        "coco2017": (118287 - 5000, 5000, 5000),
    }
    for name in TASKS:
        task = catalog.task(name)
        expected = sizes[name.partition("_")[0]]
        assert tuple(task.splits[split] for split in ("train", "val", "test")) == expected
        assert task.dataset.params.get("held_out", 0) == (5000 if "2017" in name else 0)


def test_wrong_parameters_and_versions_are_named(folder: Folder) -> None:
    with pytest.raises(SpecError, match="unknown key 'tags'"):
        build(folder, tags=True)
    with pytest.raises(SpecError, match="this mmbench makes caption_retrieval 1"):
        build(folder, version=2)
    with pytest.raises(SpecError, match="'coko' is none of its values: did you mean 'coco'"):
        build(folder, layout="coko")


@real
def test_the_real_gallery_is_five_captions_a_photograph(tmp_path: Path) -> None:
    task = catalog.task("flickr8k_retrieval")
    made = Request(task.name, 1, 0, {**task.dataset.params, "size": 4}, task.splits, REAL, tmp_path)
    dataset = caption_retrieval.build(made)
    for name, size in task.splits.items():
        split = dataset.splits[name]
        assert split.targets["match"].shape == (size, 5)
        assert split.gallery is not None
        assert 5 * size - 10 <= len(split.gallery) <= 5 * size
        values, lengths = gallery_of(split)
        assert lengths.min() >= 1
        assert (values[:, 0] != 0).all()
        assert (values == UNK).sum() / lengths.sum() < 0.04
