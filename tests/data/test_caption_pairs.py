"""Photographs beside captions that belong to them or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_karpathy import COLOURS, REAL, draw, real

from mmbench import catalog
from mmbench.data import _images, caption_pairs
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.references import LabelReferences
from mmbench.text import EOS, UNK, Vocabulary, tokenize
from mmbench.types import Dataset, Ragged

ROWS = [
    ("train", "a.jpg", "match", "A dog runs near the water ."),
    ("train", "a.jpg", "no-match", "A man sits on the beach ."),
    ("valid", "b.jpg", "match", "A zebra runs ."),
    ("train", "c.jpg", "match", "A dog and a man jump ."),
    ("test", "b.jpg", "no-match", "A man runs near the dog ."),
    ("test", "d.jpg", "match", "A dog sits ."),
    ("valid", "d.jpg", "no-match", "A dog runs near the water and the beach ."),
]
SPLITS = {"train": 3, "val": 2, "test": 2}


class Folder:
    def __init__(self, root: Path) -> None:
        self.root, self.cache = root, root.parent / "cache"
        (root / "Images").mkdir(parents=True)
        for k, name in enumerate("abcd"):
            draw(root / "Images" / f"{name}.jpg", k)
        self.rows = [list(row) for row in ROWS]
        self.write()

    @property
    def file(self) -> Path:
        return self.root / "itm_pairs.tsv"

    def write(self, head: str = "split\timage\tlabel\tcaption") -> None:
        lines = [head, *("\t".join(row) for row in self.rows)]
        self.file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def request(self, **params: Any) -> Request:
        splits, root = params.pop("splits", SPLITS), params.pop("root", self.root)
        version = params.pop("version", 1)
        params = {"size": 16, "min_count": 1, **params}
        return Request("drawn_matching", version, 0, params, splits, root, self.cache)

    def build(self, **params: Any) -> Dataset:
        return caption_pairs.build(self.request(**params))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "flickr8k")


def test_an_item_is_a_row_with_its_photograph_its_caption_and_its_label(folder: Folder) -> None:
    dataset = folder.build()
    names = {"train": "train", "valid": "val", "test": "test"}
    vocabulary = Vocabulary(dataset.signature.modalities["caption"].vocabulary)
    for split, mine in names.items():
        rows = [row for row in ROWS if row[0] == split]
        found = dataset.splits[mine]
        lines = [k for k, row in enumerate(ROWS, start=2) if row[0] == split]
        assert found.ids == [f"{row[1]}:{k}" for row, k in zip(rows, lines, strict=True)]
        assert found.clusters is not None
        assert found.clusters.tolist() == [row[1] for row in rows]
        labels = [int(row[2] == "match") for row in rows]
        assert found.targets["match"].tolist() == labels
        references = found.references["match"]
        assert isinstance(references, LabelReferences)
        assert references.labels.tolist() == labels
        assert references.classes == ("no-match", "match")
        captions = found.inputs["caption"]
        assert isinstance(captions, Ragged)
        for k, row in enumerate(rows):
            ids = captions.values[k][: captions.lengths[k]].tolist()
            assert ids == vocabulary.encode(tokenize([row[3]])[0])
            picture = np.asarray(found.inputs["image"])[k]
            wanted = np.array(COLOURS["abcd".index(row[1][0])])
            assert np.abs(picture[:, :, :6].mean(axis=(1, 2)) - wanted).max() < 8


def test_the_vocabulary_is_of_the_training_rows_and_captions_are_cut(folder: Folder) -> None:
    dataset = folder.build(max_length=4)
    assert "zebra" not in dataset.signature.modalities["caption"].vocabulary
    captions = dataset.splits["val"].inputs["caption"]
    assert isinstance(captions, Ragged)
    assert captions.values.shape == (2, 4)
    assert captions.lengths.tolist() == [3, 4]
    assert UNK in captions.values[0]
    assert not (captions.values == EOS).any()


def test_a_photograph_is_decoded_once_however_many_rows_it_has(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    decode = _images.decode_one

    def counted(path: Any, *rest: Any) -> Any:
        counts.append(path)
        return decode(path, *rest)

    monkeypatch.setattr(_images, "decode_one", counted)
    first = folder.build()
    assert len(counts) == 4
    assert folder.build().fingerprint == first.fingerprint
    assert len(counts) == 4


def test_a_row_may_stand_twice_and_is_two_items(folder: Folder) -> None:
    folder.rows.append(list(ROWS[0]))
    folder.write()
    ids = folder.build(splits={**SPLITS, "train": 4}).splits["train"].ids
    assert len(set(ids)) == 4


def _cell(row: int, column: int, value: str) -> Callable[[Folder], None]:
    def change(folder: Folder) -> None:
        folder.rows[row][column] = value
        folder.write()

    return change


def _short(folder: Folder) -> None:
    folder.rows[1].pop()
    folder.write()


WRONG: dict[str, tuple[Callable[[Folder], Any], str]] = {
    "unknown split": (_cell(1, 0, "dev"), ":3: unknown split 'dev', expected one of train, valid"),
    "unknown label": (_cell(2, 2, "yes"), ":4: unknown label 'yes', expected one of no-match, mat"),
    "empty caption": (_cell(3, 3, ""), ":5: the caption of c.jpg has no word"),
    "no word": (_cell(4, 3, " . "), ":6: the caption of b.jpg has no word"),
    "too long": (_cell(5, 3, "dog " * 2500), ":7: the caption of d.jpg has 10,000 characters"),
    "a path": (_cell(0, 1, "../a.jpg"), ":2: image '../a.jpg' is not the bare name of a file"),
    "too few cells": (_short, ":3: has 3 cells, expected 4"),
    "no head": (lambda f: f.write("a\tb\tc\td"), ":1: expected the columns split, image, label"),
    "empty": (lambda f: f.file.write_text(""), ":1: expected the columns"),
    "no UTF-8": (lambda f: f.file.write_bytes(b"\xff\xfe"), ": is not UTF-8 text"),
    "sizes": (lambda f: (f.rows.pop(), f.write()), ": the split 'val' has 1 rows, task"),
}


@pytest.mark.parametrize(("damage", "expected"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_in_the_table_is_one_line_with_its_number(
    folder: Folder, damage: Callable[[Folder], Any], expected: str
) -> None:
    damage(folder)
    with pytest.raises(DataError) as caught:
        folder.build()
    assert str(caught.value).startswith(f"{folder.file}{expected}"[: len(str(folder.file)) + 1])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_photograph_that_is_missing_or_cut_is_named_with_its_row(folder: Folder) -> None:
    path = folder.root / "Images" / "b.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b.jpg: cannot be decoded \(itm_pairs.tsv:(4|6)\)"):
        folder.build()
    path.unlink()
    with pytest.raises(DataError, match=r"b.jpg: cannot be read.*\(itm_pairs.tsv:(4|6)\)"):
        folder.build()


def test_without_data_the_error_says_what_to_name(folder: Folder, tmp_path: Path) -> None:
    for root in (None, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"MMBENCH_DATA.*itm_pairs.tsv and Images/"):
            folder.build(root=root)
    with pytest.raises(SpecError, match="makes caption_pairs 1"):
        folder.build(version=2)
    with pytest.raises(SpecError, match="unknown key 'sise'"):
        folder.build(sise=3)


def test_the_task_promises_what_the_builder_makes(folder: Folder) -> None:
    task = catalog.task("flickr8k_matching")
    signature = folder.build(**task.dataset.params).signature
    promised = {name: (m.kind, m.shape) for name, m in task.modalities.items()}
    assert promised == {name: (m.kind, m.shape) for name, m in signature.modalities.items()}
    assert task.outputs["match"].classes == signature.outputs["match"].vocabulary
    assert task.metrics.main == "balanced_accuracy"


@real
def test_the_real_table_has_its_sizes_and_no_training_photograph_is_tested(
    tmp_path: Path,
) -> None:
    task = catalog.task("flickr8k_matching")
    params = {**task.dataset.params, "size": 4}
    dataset = caption_pairs.build(Request(task.name, 1, 0, params, task.splits, REAL, tmp_path))
    shown = {}
    for name, split in dataset.splits.items():
        assert split.clusters is not None
        shown[name] = set(split.clusters.tolist())
    assert not shown["train"] & (shown["val"] | shown["test"])
    assert len(shown["val"] & shown["test"]) == 309  # as its documentation says
    share = dataset.splits["test"].targets["match"].mean()
    always = task.source.published[0].scores["accuracy"]
    assert 1 - share == pytest.approx(always, abs=5e-4)
