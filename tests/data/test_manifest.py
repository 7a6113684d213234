"""Data of one's own: every format, every kind of cell, and what can be wrong with one."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench.data import _building, manifest
from mmbench.data._contract import Request
from mmbench.data.manifest import rule
from mmbench.errors import DataError, SpecError, UsageError
from mmbench.spec import ModalitySpec, OutputSpec
from mmbench.types import Dataset, Ragged

SPLITS = {"train": 8, "val": 3, "test": 4}
CLASSES = ("cat", "dog")
Rows = list[dict[str, Any]]

MODALITIES = {
    "image": ModalitySpec("image", (3, 10, 12)),
    "numbers": ModalitySpec("vector", (4,)),
    "note": ModalitySpec("text", (6,)),
}
OUTPUTS = {"label": OutputSpec("label", main=True, classes=CLASSES)}


def picture(path: Path, index: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (10 * index, 200, 30))
    image.putpixel((0, 0), (255, index, 0))
    image.convert(mode).save(path)


class Place:
    """A folder with a manifest of 15 items, each a picture, four numbers and a text."""

    def __init__(self, root: Path) -> None:
        self.root = root / "data"
        self.cache = root / "cache"
        draw = np.random.default_rng(0)
        self.rows: Rows = []
        for index, split in enumerate(s for s, n in SPLITS.items() for _ in range(n)):
            picture(self.root / f"pictures/{index:02d}.png", index)
            self.rows.append({
                "id": f"item{index}",
                "split": split,
                "image": f"pictures/{index:02d}.png",
                "numbers": draw.normal(5, 2, 4).round(3).tolist(),
                "note": f"Animal number {index} says hello",
                "label": CLASSES[index % 2],
                "size": float(index),
                "speaker": f"s{index % 5}",
            })  # fmt: skip
        self.write()

    def write(self) -> None:
        lines = [json.dumps(row) for row in self.rows]
        (self.root / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def write_as(self, ending: str) -> str:
        """Write the rows in another format; return the file's name."""
        if ending == "jsonl":
            self.write()
        elif ending == "csv":
            with (self.root / "items.csv").open("w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, list(self.rows[0]))
                table.writeheader()
                for row in self.rows:
                    table.writerow({**row, "numbers": json.dumps(row["numbers"])})
        elif ending == "parquet":
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(
                pyarrow.Table.from_pylist(self.rows), self.root / "items.parquet"
            )
        else:
            import datasets

            datasets.Dataset.from_list(self.rows).save_to_disk(self.root / "items")
            return "items"
        return f"items.{ending}"

    def build(
        self,
        modalities: Mapping[str, ModalitySpec] = MODALITIES,
        outputs: Mapping[str, OutputSpec] = OUTPUTS,
        splits: Mapping[str, int] = SPLITS,
        seed: int = 0,
        **params: Any,
    ) -> Dataset:
        given = {"file": "items.jsonl", "split": "split", **params}
        given = {key: value for key, value in given.items() if value is not None}
        return manifest.build(
            Request("own", 1, seed, given, splits, self.root, self.cache, modalities, outputs)
        )

    def fails(self, **params: Any) -> str:
        with pytest.raises((DataError, SpecError)) as caught:
            self.build(**params)
        message = str(caught.value)
        assert "\n" not in message
        return message


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# --- what a data set holds -----------------------------------------------------------------------


def test_items_are_in_their_splits_in_the_files_order(place: Place) -> None:
    made = place.build(cluster="speaker", groups=["speaker"])
    assert {name: len(split) for name, split in made.splits.items()} == SPLITS
    train = made.splits["train"]
    assert train.ids == [f"item{i}" for i in range(8)]
    pixels = np.asarray(train.inputs["image"])
    assert pixels.shape == (8, 3, 10, 12)
    assert pixels.dtype == np.uint8
    assert pixels[3, :, 0, 0].tolist() == [255, 3, 0]
    assert pixels[3, :, 5, 5].tolist() == [30, 200, 30]
    assert train.targets["label"].tolist() == [0, 1] * 4
    assert list(train.clusters)[:6] == ["s0", "s1", "s2", "s3", "s4", "s0"]  # type: ignore[arg-type]
    note = train.inputs["note"]
    assert isinstance(note, Ragged)
    words = made.signature.modalities["note"].vocabulary
    assert [words[i] for i in note.values[2, : note.lengths[2]]] == [
        "animal", "number", "2", "says", "hello"
    ]  # fmt: skip
    assert "12" not in words, "the vocabulary is that of the training items"
    assert not made.left_out


def test_numbers_are_standardised_by_the_training_items_unless_it_is_said(place: Place) -> None:
    made = place.build()
    train = np.asarray(made.splits["train"].inputs["numbers"])
    assert np.allclose(train.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(train.std(axis=0), 1, atol=1e-5)
    given = Request("own", 1, 0, {"file": "items.jsonl", "split": "split",
                    "modalities": {"numbers": {"standardise": False}}},
                    SPLITS, place.root, place.cache, MODALITIES, OUTPUTS)  # fmt: skip
    plain = manifest.build(given)
    expected = [row["numbers"] for row in place.rows if row["split"] == "test"]
    assert np.allclose(np.asarray(plain.splits["test"].inputs["numbers"]), expected)


def test_every_format_gives_the_same_data(place: Place) -> None:
    import datasets
    import pyarrow
    import pyarrow.parquet

    expected = place.build()
    with (place.root / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(place.rows[0]))
        writer.writeheader()
        writer.writerows({**r, "numbers": json.dumps(r["numbers"])} for r in place.rows)
    with (place.root / "items.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(place.rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows({**r, "numbers": " ".join(map(str, r["numbers"]))} for r in place.rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(place.rows), place.root / "items.parquet")
    parts = {
        split: datasets.Dataset.from_list(
            [
                {k: v for k, v in r.items() if k != "split"}
                for r in place.rows
                if r["split"] == split
            ]
        ).cast_column("label", datasets.ClassLabel(names=list(CLASSES)))
        for split in SPLITS
    }
    for split, part in parts.items():
        pictures = [str(place.root / row["image"]) for row in part]
        column = datasets.Dataset.from_dict({"image": pictures}).cast_column(
            "image", datasets.Image()
        )
        parts[split] = datasets.concatenate_datasets([part.remove_columns("image"), column], axis=1)
    datasets.DatasetDict(parts).save_to_disk(str(place.root / "folder"))
    for row in place.rows:  # what is embedded needs no files beside it
        assert (place.root / row["image"]).is_file()
    for file in ("items.csv", "items.tsv", "items.parquet", "folder"):
        made = place.build(file=file)
        for name in SPLITS:
            assert made.splits[name].ids == expected.splits[name].ids, file
            for m in ("image", "numbers"):
                one, other = made.splits[name].inputs[m], expected.splits[name].inputs[m]
                assert np.array_equal(np.asarray(one), np.asarray(other)), (file, m)
            assert np.array_equal(made.splits[name].targets["label"],
                                  expected.splits[name].targets["label"])  # fmt: skip


def test_several_columns_make_a_vector(place: Place) -> None:
    for row in place.rows:
        row |= {"a": 1, "b": "2.5"}
    place.write()
    request = Request("own", 1, 0, {"file": "items.jsonl", "split": "split", "modalities": {
                      "both": {"column": ["a", "b"], "standardise": False}}}, SPLITS, place.root,
                      place.cache, {"both": ModalitySpec("vector", (2,))}, OUTPUTS)  # fmt: skip
    found = np.asarray(manifest.build(request).splits["test"].inputs["both"])
    assert found.tolist() == [[1.0, 2.5]] * 4


def built(place: Place, modality: ModalitySpec, **source: Any) -> Any:
    """Return what the modality ``thing`` holds of the training split."""
    params = {"file": "items.jsonl", "split": "split", "modalities": {"thing": source}}
    request = Request("own", 1, 0, params, SPLITS, place.root, place.cache,
                      {"thing": modality}, OUTPUTS)  # fmt: skip
    return manifest.build(request).splits["train"].inputs["thing"]


def told(place: Place, modality: ModalitySpec, **source: Any) -> str:
    with pytest.raises((DataError, SpecError)) as caught:
        built(place, modality, **source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_arrays(place: Place, make: Callable[[int], Any]) -> None:
    for index, row in enumerate(place.rows):
        np.save(place.root / f"{index}.npy", make(index))
        row["thing"] = f"{index}.npy"
    place.write()


def test_arrays_of_each_kind_are_read_from_npy_files(place: Place) -> None:
    with_arrays(place, lambda i: np.full((i % 3 + 1, 2), i, dtype=np.float64))
    found = built(place, ModalitySpec("sequence", (3, 2)), standardise=False)
    assert found.lengths.tolist() == [i % 3 + 1 for i in range(8)]
    assert found.values[4, :2].tolist() == [[4, 4], [4, 4]]
    assert not found.values[4, 2:].any()
    assert "has 3 steps, and the shape says 2 at most" in told(
        place, ModalitySpec("sequence", (2, 2))
    )
    cut = built(place, ModalitySpec("sequence", (2, 2)), cut=True, standardise=False)
    assert cut.lengths.tolist() == [min(2, i % 3 + 1) for i in range(8)]
    assert "has the shape [1, 2], expected [3, 9]" in told(place, ModalitySpec("sequence", (3, 9)))
    with_arrays(place, lambda i: np.full((3, 4, 5), i, dtype=np.uint8))
    assert built(place, ModalitySpec("image", (3, 4, 5))).shape == (8, 3, 4, 5)
    with_arrays(place, lambda i: np.arange(4.0) + i)
    assert built(place, ModalitySpec("vector", (4,)), standardise=False)[2].tolist() == [2, 3, 4, 5]
    with_arrays(place, lambda i: np.array([1.0, np.inf]))
    assert "not finite" in told(place, ModalitySpec("vector", (2,)))
    with_arrays(place, lambda i: np.zeros((0, 2)))
    assert "is empty: it has 0 steps" in told(place, ModalitySpec("sequence", (3, 2)))


def test_a_kind_that_an_encoder_is_for_is_read_from_npy_files(place: Place) -> None:
    with_arrays(place, lambda i: np.full((i % 3 + 1, 2), i, dtype=np.float64))
    found = built(place, ModalitySpec("points", (3, 2)))
    assert found.lengths.tolist() == [i % 3 + 1 for i in range(8)]
    assert found.values[4, :2].tolist() == [[4, 4], [4, 4]]
    assert built(place, ModalitySpec("points", (1, 2)), cut=True).lengths.tolist() == [1] * 8
    assert "has 3 steps" in told(place, ModalitySpec("points", (2, 2)))
    assert "standardise: means nothing for a points: cut do" in told(
        place, ModalitySpec("points", (3, 2)), standardise=False
    )
    assert "a manifest has no 'ponits'" in told(place, ModalitySpec("ponits", (3, 2)))


def test_an_npy_of_objects_is_refused(place: Place) -> None:
    with_arrays(place, lambda i: np.array([1.0, 2.0]))
    np.save(place.root / "0.npy", np.array([print, 1], dtype=object), allow_pickle=True)
    message = told(place, ModalitySpec("vector", (2,)))
    assert "line 1 (id 'item0'): thing: 0.npy: is not a whole .npy file" in message


def hdf5(path: Path, arrays: Mapping[str, Any]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def test_arrays_are_read_from_hdf5_files(place: Place) -> None:
    """One file of all items, and one of each; whichever way, the same data."""
    arrays = {f"clips/{i}": np.full((i % 3 + 1, 2), i, dtype=np.float32) for i in range(16)}
    hdf5(place.root / "all.h5", arrays)
    for index, row in enumerate(place.rows):
        hdf5(place.root / f"{index}.hdf5", {"x": arrays[f"clips/{index}"]})
        row["thing"] = f"all.h5#clips/{index}"
    place.write()
    together = built(place, ModalitySpec("sequence", (3, 2)), standardise=False)
    for index, row in enumerate(place.rows):
        row["thing"] = f"{index}.hdf5"
    place.write()
    apart = built(place, ModalitySpec("sequence", (3, 2)), standardise=False)
    for found in (together, apart):
        assert found.lengths.tolist() == [i % 3 + 1 for i in range(8)]
        assert found.values[4, :2].tolist() == [[4, 4], [4, 4]]
    import h5py

    with h5py.File(place.root / "all.h5", "r+") as file:
        file["other names/#1 of them"] = h5py.SoftLink("/clips/4")
        file["other names/2"] = h5py.SoftLink("#1 of them")
        file.create_dataset("packed", data=arrays["clips/4"], chunks=(1, 2), compression="gzip")
    (place.root / "0.hdf5").rename(place.root / "clip#0.hdf5")
    place.rows[0]["thing"] = "clip#0.hdf5"
    for row, name in ((1, "other names/#1 of them"), (2, "./other names//2"), (3, "packed")):
        place.rows[row]["thing"] = f" all.h5#{name}"
    place.write()
    links = built(place, ModalitySpec("sequence", (3, 2)), standardise=False)
    assert links.lengths.tolist() == [1, 2, 2, 2, *(i % 3 + 1 for i in range(4, 8))]
    assert (links.values[1:4, :2] == 4).all()
    with_arrays(place, lambda i: arrays[f"clips/{i}"])
    plain = built(place, ModalitySpec("sequence", (3, 2)), standardise=False)
    assert np.array_equal(plain.values, together.values)
    assert np.array_equal(plain.values, apart.values)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("all.h5#nothing", "all.h5#nothing: holds no nothing (there are: a, b, group, text)"),
        ("all.h5#a/deeper", "holds no a/deeper"),
        ("all.h5#group", "group is a group: name an array in it, group/x"),
        ("all.h5#text", "holds object, expected numbers"),
        ("all.h5", "all.h5: holds 4 arrays, expected one: name it, FILE#NAME (there are: a, b, "),
        ("none.h5#a", "'none.h5': there is no such file"),
        ("../all.h5#a", "leads out of the folder"),
        ("cut.h5#a", "cut.h5#a: cannot be read as HDF5: "),
        ("nonsense.h5#a", "nonsense.h5#a: cannot be read as HDF5: "),
        ("linked.h5#a", "linked.h5#a: a is a link to another file"),
        ("linked.h5#soft", "linked.h5#soft: soft is a link to another file"),
        ("linked.h5#through/a", "through/a is a link to another file"),
        ("linked.h5#ring", "ring is a ring of links"),
        ("linked.h5#lost", "holds no lost"),
        ("linked.h5#nothing", "linked.h5#nothing: is empty"),
        ("linked.h5#kind", "kind is no array"),
        ("elsewhere.h5#a", "keeps its numbers in other files"),
        ("view.h5#a", "keeps its numbers in other files"),
        ("all.h5#b", "has the shape [3], expected [2]"),
    ],
)
def test_a_bad_hdf5_file_is_named(place: Place, tmp_path: Path, cell: str, says: str) -> None:
    import h5py

    good = {"a": np.ones(2), "b": np.ones(3), "group/x": np.ones(2), "text": "words"}
    hdf5(place.root / "all.h5", good)
    content = (place.root / "all.h5").read_bytes()
    (place.root / "cut.h5").write_bytes(content[: len(content) // 2])
    (place.root / "nonsense.h5").write_bytes(b"\0" * 500)
    hdf5(tmp_path / "secret.h5", {"a": np.ones(2)})
    (tmp_path / "secret.bin").write_bytes(np.ones(2).tobytes())
    with h5py.File(place.root / "linked.h5", "w") as file:
        file["a"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/a")
        file["whole"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/")
        file["soft"], file["through"] = h5py.SoftLink("/whole/a"), h5py.SoftLink("whole")
        file["ring"], file["lost"] = h5py.SoftLink("ring"), h5py.SoftLink("/nowhere")
        file["nothing"], file["kind"] = h5py.Empty("f"), np.dtype("f4")
    with h5py.File(place.root / "elsewhere.h5", "w") as file:
        held = [(str(tmp_path / "secret.bin"), 0, 16)]
        file.create_dataset("a", (2,), np.float64, external=held)
    with h5py.File(place.root / "view.h5", "w") as file:
        layout = h5py.VirtualLayout((2,), np.float64)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "a", (2,))
        file.create_virtual_dataset("a", layout)
    for row in place.rows:
        row["thing"] = "all.h5#a"
    place.write()
    assert built(place, ModalitySpec("vector", (2,)), standardise=False).shape == (8, 2)
    place.rows[2]["thing"] = cell
    place.write()
    message = told(place, ModalitySpec("vector", (2,)))
    assert "line 3 (id 'item2'): thing: " in message
    assert says in message


def test_hdf5_without_h5py_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    hdf5(place.root / "all.h5", {"a": np.ones(2)})
    for row in place.rows:
        row["thing"] = "all.h5#a"
    place.write()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"h5py, which reads HDF5, is not installed: pip install"):
        built(place, ModalitySpec("vector", (2,)))


def test_items_may_lack_what_is_optional(place: Place) -> None:
    place.rows[1]["numbers"] = None
    place.rows[2]["note"] = ""
    del place.rows[3]["image"]
    place.write()
    assert "line 2 (id 'item1'): numbers: is blank: optional = true" in place.fails()
    source = {"optional": True}
    request = Request("own", 1, 0, {"file": "items.jsonl", "split": "split", "modalities": {
                      "image": source, "numbers": source, "note": source}}, SPLITS, place.root,
                      place.cache, MODALITIES, OUTPUTS)  # fmt: skip
    train = manifest.build(request).splits["train"]
    assert {m: np.flatnonzero(~there).tolist() for m, there in train.present.items()} == {
        "image": [3], "numbers": [1], "note": [2]
    }  # fmt: skip
    numbers = np.asarray(train.inputs["numbers"])
    assert not numbers[1].any()
    rest = np.delete(numbers, 1, axis=0)
    assert np.allclose(rest.mean(axis=0), 0, atol=1e-5), "an absent item has no part in the mean"


@pytest.mark.parametrize(
    ("kind", "cells", "right"),
    [
        ("label", ["cat", "dog", "cat"], [0, 1, 0]),
        ("multilabel", [["cat"], ["cat", "dog"], []], [[1, 0], [1, 1], [0, 0]]),
        ("multilabel", ["cat", "cat;dog", ""], [[1, 0], [1, 1], [0, 0]]),
        ("scalar", [1.5, -2, "3"], [1.5, -2.0, 3.0]),
    ],
)
def test_outputs_of_each_kind(place: Place, kind: str, cells: list[Any], right: list[Any]) -> None:
    for index, row in enumerate(place.rows):
        row["right"] = cells[index % 3]
    place.write()
    classes = CLASSES if kind.endswith("label") else ()
    outputs = {"right": OutputSpec(kind, main=True, classes=classes)}
    params = {"targets": {"right": {"separator": ";"}}} if kind == "multilabel" else {}
    made = place.build(outputs=outputs, **params)
    assert made.splits["train"].targets["right"][:3].tolist() == right
    output = made.signature.outputs["right"]
    assert output.kind == kind
    if kind == "scalar":
        values = [float(cells[i % 3]) for i in range(8)]
        assert output.offset == pytest.approx(np.mean(values))
        assert output.scale == pytest.approx(np.std(values))


def test_texts_are_right_answers_one_or_several(place: Place) -> None:
    for index, row in enumerate(place.rows):
        row["caption"] = [f"a cat {index}", "it sleeps a very long time"][: index % 2 + 1]
    place.write()
    outputs = {"caption": OutputSpec("text", main=True)}
    made = place.build(outputs=outputs, targets={"caption": {"max_length": 4, "cut": True}})
    train = made.splits["train"]
    assert train.targets["caption"].shape == (8, 2, 4)
    words = made.signature.outputs["caption"].vocabulary
    assert [words[i] for i in train.targets["caption"][1, 1]] == ["it", "sleeps", "a", "<eos>"]
    assert not train.targets["caption"][0, 1].any()
    assert train.references["caption"].texts[1] == (  # type: ignore[attr-defined]
        "a cat 1", "it sleeps a very long time")  # fmt: skip


# --- splits --------------------------------------------------------------------------------------


def test_no_group_crosses_splits_and_shares_are_about_met() -> None:
    units = [f"speaker{i % 40}" for i in range(1000)]
    shares = {"train": 0.8, "val": 0.1, "test": 0.1}
    found = rule.assign(units, shares, 0)
    assert found is not None
    told = {unit: {s for u, s in zip(units, found, strict=True) if u == unit} for unit in units}
    assert all(len(splits) == 1 for splits in told.values())
    counts = Counter(found)
    assert all(abs(counts[name] / 1000 - share) < 0.03 for name, share in shares.items())
    assert rule.assign(units, dict(reversed(shares.items())), 0) == found, "no order of the TOML"
    assert rule.assign(units, shares, 1) != found
    turned = rule.assign(units[::-1], shares, 0)
    assert turned == found[::-1], "nor of the file"


def test_the_rule_leaves_no_split_empty_in_silence(place: Place) -> None:
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    for row in place.rows:
        row["speaker"] = "one"
    place.write()
    told = place.fails(split=None, shares=shares, group="speaker")
    assert "1 values of 'speaker' are too few" in told


def test_shares_draw_splits_by_group(place: Place) -> None:
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    made = place.build(split=None, shares=shares, group="speaker", cluster="speaker")
    held = {name: set(split.clusters) for name, split in made.splits.items()}  # type: ignore[arg-type]
    assert set.union(*held.values()) == {f"s{i}" for i in range(5)}
    assert sum(len(h) for h in held.values()) == 5
    assert {name: len(split) for name, split in made.splits.items()} == {
        "train": 9, "val": 3, "test": 3
    }  # fmt: skip


def test_training_items_validate_where_the_file_has_none(place: Place) -> None:
    for row in place.rows:
        row["split"] = "Train" if row["split"] != "test" else "Test"
    place.write()
    names = {"Train": "train", "Test": "test"}
    made = place.build(names=names, validation=0.3, group="speaker", cluster="speaker")
    sizes = {name: len(split) for name, split in made.splits.items()}
    assert sizes["test"] == 4
    assert sizes["train"] + sizes["val"] == 11
    assert not set(made.splits["train"].clusters) & set(made.splits["val"].clusters)  # type: ignore[arg-type]


def test_names_of_splits_are_mapped_or_left_out(place: Place) -> None:
    place.rows[0]["split"] = "hold"
    place.write()
    assert "line 1: the split 'hold' is none of the task's, train, val, test" in place.fails()
    made = place.build(names={"hold": ""}, splits={**SPLITS, "train": 7})
    assert made.splits["train"].ids[0] == "item1"


@pytest.mark.parametrize(
    ("row", "split", "says"),
    [
        (4, "Train", "line 5: the split 'Train' is called 'train' at line 1: a split has one name"),
        (4, "train ", "line 5: the split 'train ' is called 'train' at line 1"),
        (4, "", "line 5: split: '' names no split"),
        (4, None, "line 5: split: None names no split"),
        (4, 1, "line 5: split: 1 names no split"),
    ],
)
def test_a_split_has_one_name(place: Place, row: int, split: Any, says: str) -> None:
    place.rows[row]["split"] = split
    place.write()
    assert says in place.fails()


# --- bad items -----------------------------------------------------------------------------------


def cut(place: Place, name: str, kept: int) -> None:
    path = place.root / name
    path.write_bytes(path.read_bytes()[:kept])


BAD: dict[str, tuple[Callable[[Place], Any], str]] = {
    "missing": (lambda p: (p.root / "pictures/02.png").unlink(),
                "image: 'pictures/02.png': there is no such file"),
    "truncated": (lambda p: cut(p, "pictures/02.png", 60),
                  "image: 02.png: cannot be decoded as an image"),
    "empty file": (lambda p: cut(p, "pictures/02.png", 0), "02.png: cannot be decoded"),
    "no image": (lambda p: (p.root / "pictures/02.png").write_text("hello"), "cannot be decoded"),
    "another size": (lambda p: picture(p.root / "pictures/02.png", 2, (13, 10)),
                     "02.png: is 13 x 10 (width x height), expected 12 x 10: resize = true"),
    "sixteen bits": (lambda p: picture(p.root / "pictures/02.png", 2, mode="I;16"),
                     "the mode I;16, expected 8 bits"),
    "dots": (lambda p: p.rows[2].update(image="../secret.png"), "'../secret.png' leads out"),
    "absolute": (lambda p: p.rows[2].update(image="/etc/passwd"), "leads out of the folder"),
    "backslash": (lambda p: p.rows[2].update(image="..\\x.png"), "leads out of the folder"),
    "address": (lambda p: p.rows[2].update(image="http://x.org/a.png"), "is an address"),
    "nul": (lambda p: p.rows[2].update(image="a\0.png"), "leads out of the folder"),
    "folder": (lambda p: p.rows[2].update(image="pictures"), "there is no such file"),
    "no path": (lambda p: p.rows[2].update(image=7), "7 is no path"),
    "blank": (lambda p: p.rows[2].update(image=""), "image: is blank: optional = true"),
    "no number": (lambda p: p.rows[2].update(numbers=[1, "x", 2, 3]), "is no list of numbers"),
    "too few": (lambda p: p.rows[2].update(numbers=[1, 2]), "has the shape [2], expected [4]"),
    "infinite": (lambda p: p.rows[2].update(numbers="1 2 3 inf"), "not finite"),
    "empty text": (lambda p: p.rows[2].update(note="  "), "note: '  ' is a text without a word"),
    "no word": (lambda p: p.rows[2].update(note=" ... !"), "is a text without a word"),
    "long text": (lambda p: p.rows[2].update(note="word " * 2000),
                  "note: has 10,000 characters, expected 2,000 at most: longest = N"),
    "many words": (lambda p: p.rows[2].update(note="a b c d e f g"),
                   "has 7 words, and the shape says 6 at most: cut = true"),
    "a number for a text": (lambda p: p.rows[2].update(note=5), "note: 5 is no text"),
    "unknown class": (lambda p: p.rows[2].update(label="cta"),
                      "label: 'cta' is none of the classes: did you mean 'cat'?"),
    "mixed labels": (lambda p: p.rows[2].update(label=1),
                     "label: 1 is a whole number, and the first label, cat, is text"),
    "blank label": (lambda p: p.rows[2].update(label=None), "label: is blank"),
    "a list for a label": (lambda p: p.rows[2].update(label=["cat"]), "is no label"),
    "an id twice": (lambda p: p.rows[2].update(id="item0"), "id: stands at line 1 already"),
    "no id": (lambda p: p.rows[2].update(id=None), "id: None is no id"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_item_is_named_with_its_row_or_left_out_on_demand(place: Place, name: str) -> None:
    spoil, says = BAD[name]
    spoil(place)
    place.write()
    message = place.fails()
    assert says in message
    assert f"{place.root / 'items.jsonl'}: line 3 (id " in message
    assert "--skip-bad leaves it out" in message
    made = place.build(skip_bad=True)
    assert len(made.splits["train"]) == 7
    assert len(made.splits["test"]) == SPLITS["test"]
    assert [*made.left_out] == ["train"]
    (line,) = made.left_out["train"]
    assert says in line
    assert line.startswith("line 3 (id ")
    kept = np.asarray(made.splits["train"].inputs["image"])
    assert kept[2, :, 0, 0].tolist() == [255, 3, 0], "the item behind it has moved up"
    numbers = np.asarray(made.splits["train"].inputs["numbers"])
    assert np.allclose(numbers.mean(axis=0), 0, atol=1e-5), "of the items that are left"


#: Of what may be wrong, that which a column of one type can hold.
EVERYWHERE = [name for name in BAD if name not in (
    "no path", "no number", "a number for a text", "mixed labels", "a list for a label", "nul",
    "infinite",
)]  # fmt: skip


@pytest.mark.parametrize("ending", ["csv", "parquet", "folder"])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_bad_item_is_named_whatever_the_format(place: Place, name: str, ending: str) -> None:
    spoil, says = BAD[name]
    spoil(place)
    file = place.write_as(ending)
    message = place.fails(file=file)
    if ending == "csv":  # it knows nothing but text
        says = says.replace("None is", "'' is")
    # Of a file with a head, the line of an item is not its number.
    where = {"csv": "line 4", "parquet": "row 3", "folder": "row 3"}[ending]
    # Paths of files in a folder of its own are relative to it, or to the folder of the data.
    assert says.replace("stands at line 1", f"stands at {'line 2' if ending == 'csv' else 'row 1'}"
                        ) in message  # fmt: skip
    assert f"{place.root / file}: {where} (id " in message
    made = place.build(skip_bad=True, file=file)
    assert {split: len(lines) for split, lines in made.left_out.items()} == {"train": 1}
    assert len(made.splits["train"]) == 7


def test_a_cut_jpeg_is_named(place: Place) -> None:
    picture(place.root / "pictures/02.jpg", 2)
    place.rows[2]["image"] = "pictures/02.jpg"
    place.write()
    place.build()
    cut(place, "pictures/02.jpg", (place.root / "pictures/02.jpg").stat().st_size - 10)
    assert "line 3 (id 'item2'): image: 02.jpg: cannot be decoded as an image" in place.fails()


def test_lines_of_a_table_are_the_files(place: Place) -> None:
    place.rows[0]["note"] = "it says\nhello\nagain"
    place.rows[2]["label"] = "fish"
    place.write_as("csv")
    file = place.root / "items.csv"
    head, rest = file.read_text(encoding="utf-8").split("\n", 1)
    file.write_text(f"{head}\n\n{rest}", encoding="utf-8")
    number = next(k for k, line in enumerate(file.read_text().split("\n"), 1) if "fish" in line)
    assert number == 7
    assert f"items.csv: line {number} (id 'item2'): label: 'fish'" in place.fails(file="items.csv")


def test_a_graph_without_one_of_its_planes_is_no_shorter_graph(place: Place) -> None:
    for index, row in enumerate(place.rows):
        np.save(place.root / f"{index}.npy", np.ones((2, 3, 5), dtype=np.float32))
        row["graph"] = f"{index}.npy"
    place.write()
    modalities = {"graph": ModalitySpec("graph", (2, 3, 5))}
    made = place.build(modalities)
    assert np.asarray(made.splits["test"].inputs["graph"]).shape == (4, 2, 3, 5)
    np.save(place.root / "2.npy", np.ones((1, 3, 5), dtype=np.float32))
    message = place.fails(modalities=modalities)
    assert (
        "line 3 (id 'item2'): graph: 2.npy: has the shape [1, 3, 5], expected [2, 3, 5]" in message
    )


@pytest.mark.parametrize("name", ["s1 ", " S1", "S1"])
def test_a_group_has_one_name(place: Place, name: str) -> None:
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    for row, own in zip(place.rows, ("s1 ", "s1"), strict=False):
        row["speaker"] = own
    place.write()
    made = place.build(split=None, shares=shares, group="speaker", cluster="speaker")
    assert sum("s1" in split.clusters for split in made.splits.values()) == 1  # type: ignore[operator]
    assert not any("s1 " in split.clusters for split in made.splits.values())  # type: ignore[operator]
    place.rows[5]["speaker"] = name
    place.write()
    if name.strip() == "s1":
        place.build(split=None, shares=shares, group="speaker", cluster="speaker")
        return
    message = place.fails(split=None, shares=shares, group="speaker")
    assert "line 6: speaker: 'S1' is called 's1' at line 1: a group has one name" in message


def test_a_cluster_has_one_name_in_all_splits(place: Place) -> None:
    place.rows[-1]["speaker"] = place.rows[-1]["speaker"].upper()
    place.write()
    place.build()
    assert "a group has one name" in place.fails(cluster="speaker")


def test_what_is_learned_is_cut_on_demand_only_and_what_is_scored_never(place: Place) -> None:
    for row in place.rows:
        row["caption"] = "a cat sleeps"
    place.rows[2]["caption"] = "it sleeps a very long time"
    place.write()
    outputs = {"caption": OutputSpec("text", main=True)}
    message = place.fails(outputs=outputs, targets={"caption": {"max_length": 4}})
    assert "line 3 (id 'item2'): caption: has 6 words, and max_length = 4 says 3" in message
    assert "cut = true" in message
    made = place.build(outputs=outputs, targets={"caption": {"max_length": 4, "cut": True}})
    assert made.splits["train"].references["caption"].texts[2] == (  # type: ignore[attr-defined]
        "it sleeps a very long time",)  # fmt: skip


def test_classes_in_lists_of_a_dataset_folder_have_their_names(place: Place) -> None:
    import datasets

    rows = [{**row, "tags": [index % 3] if index % 4 else [0, 2]}
            for index, row in enumerate(place.rows)]  # fmt: skip
    names = datasets.ClassLabel(names=["red", "green", "blue"])
    made = datasets.Dataset.from_list(rows)
    made = made.cast_column("tags", datasets.Sequence(names))
    made.save_to_disk(place.root / "items")
    outputs = {"tags": OutputSpec("multilabel", main=True, classes=("red", "green", "blue"))}
    built = place.build(file="items", outputs=outputs)
    assert built.splits["train"].targets["tags"][:3].tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_a_mended_file_makes_other_data(place: Place) -> None:
    def digest() -> str:
        given = {"file": "items.jsonl", "split": "split"}
        return manifest.source_digest(
            Request("own", 1, 0, given, SPLITS, place.root, place.cache, MODALITIES, OUTPUTS)
        )

    before = digest()
    assert digest() == before
    picture(place.root / "pictures/02.png", 3)
    assert digest() != before
    picture(place.root / "pictures/02.png", 2)
    assert digest() == before, "whenever it was written"
    (place.root / "pictures/02.png").unlink()
    assert digest() != before


def test_the_first_bad_row_is_named_and_the_others_are_counted(place: Place) -> None:
    for row in (6, 3, 12):
        place.rows[row]["label"] = "fish"
    place.write()
    message = place.fails()
    assert "line 4 (id 'item3'): label: 'fish'" in message
    assert "(2 more are bad; 'mmbench data check' names them)" in message
    made = place.build(skip_bad=True)
    assert {name: len(lines) for name, lines in made.left_out.items()} == {"train": 2, "test": 1}


def test_a_split_without_any_good_item_is_an_error_even_so(place: Place) -> None:
    for row in place.rows[8:11]:
        row["label"] = "fish"
    place.write()
    assert "every item of the split 'val' is bad" in place.fails(skip_bad=True)


def test_links_may_not_lead_out_of_the_folder(place: Place, tmp_path: Path) -> None:
    picture(tmp_path / "outside/secret.png", 1)
    (place.root / "link.png").symlink_to(tmp_path / "outside/secret.png")
    (place.root / "linked").symlink_to(tmp_path / "outside")
    (place.root / "loop.png").symlink_to("loop.png")
    (place.root / "inside.png").symlink_to("pictures/02.png")
    for path, says in (
        ("link.png", "'link.png' is a symbolic link out of the folder"),
        ("linked/secret.png", "is a symbolic link out of the folder"),
        ("loop.png", "loop.png"),
    ):
        place.rows[2]["image"] = path
        place.write()
        assert says in place.fails(), path
    place.rows[2]["image"] = "inside.png"
    place.write()
    assert len(place.build().splits["train"]) == 8
    (tmp_path / "outside/items.jsonl").write_text((place.root / "items.jsonl").read_text())
    (place.root / "theirs.jsonl").symlink_to(tmp_path / "outside/items.jsonl")
    assert "is a symbolic link out of the folder" in place.fails(file="theirs.jsonl")
    assert "no path inside of the data's folder" in place.fails(file="../outside/items.jsonl")


def test_nothing_is_resized_or_made_grey_unless_it_is_said(place: Place) -> None:
    for row in place.rows:
        row["thing"] = row["image"]
    place.write()
    assert "expected 6 x 6: resize" in told(place, ModalitySpec("image", (3, 6, 6)))
    assert built(place, ModalitySpec("image", (3, 6, 6)), resize=True).shape == (8, 3, 6, 6)
    assert "is in colour (RGB)" in told(place, ModalitySpec("image", (1, 10, 12)))
    grey = built(place, ModalitySpec("image", (1, 10, 12)), grey=True)
    assert grey.shape == (8, 1, 10, 12)
    assert "expected 1 or 3" in told(place, ModalitySpec("image", (2, 10, 12)))


# --- sound and video -----------------------------------------------------------------------------


def sounds(place: Place, rate: int = 8000, channels: int = 1, suffix: str = "flac") -> None:
    import soundfile

    for index, row in enumerate(place.rows):
        wave = np.sin(np.arange(800 + 80 * index)[:, None] * (0.2 + 0.1 * np.arange(channels)))
        soundfile.write(place.root / f"{index}.{suffix}", 0.5 * wave, rate)
        row["thing"] = f"{index}.{suffix}"
    place.write()


SPECTROGRAM = ModalitySpec("spectrogram", (1, 30, 16))


def test_sounds_become_spectrograms(place: Place) -> None:
    sounds(place)
    found = built(place, SPECTROGRAM, rate=8000)
    assert found.values.shape == (8, 1, 30, 16)
    assert found.values.dtype == np.uint8
    assert found.lengths.tolist() == [1 + (800 + 80 * i - 200) // 80 for i in range(8)]
    assert found.values[3, 0, 0].argmax() == found.values[0, 0, 0].argmax(), "one tone"
    louder = found.values[0, 0, :8]
    assert louder.max() > 150
    assert (found.values[0, 0, 8:] == 0).all()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: cut(p, "2.flac", 300), "2.flac: "),
        (lambda p: cut(p, "2.flac", 10), "2.flac: cannot be decoded as sound"),
        (lambda p: __import__("soundfile").write(p.root / "2.flac", np.zeros((0, 1)), 8000),
         "2.flac: "),
        (lambda p: __import__("soundfile").write(p.root / "2.flac", np.zeros((900, 1)), 16000),
         "has 16000 samples a second, and the TOML says 8000: resample = true"),
        (lambda p: __import__("soundfile").write(p.root / "2.flac", np.zeros((900, 2)), 8000),
         "has 2 channels, and the shape says 1: mono = true averages them"),
        (lambda p: __import__("soundfile").write(p.root / "2.flac", np.zeros((9000, 1)), 8000),
         "has 111 steps, and the shape says 30 at most: cut = true"),
    ],
)  # fmt: skip
def test_a_bad_sound_is_named(place: Place, spoil: Callable[[Place], Any], says: str) -> None:
    sounds(place)
    spoil(place)
    message = told(place, SPECTROGRAM, rate=8000)
    assert says in message
    assert "line 3 (id 'item2'): thing: " in message


def test_a_sound_of_no_length_is_named(place: Place) -> None:
    import soundfile

    sounds(place, suffix="wav")
    soundfile.write(place.root / "2.wav", np.zeros((0, 1)), 8000)
    assert "2.wav: holds no sound: it is 0 samples long" in told(place, SPECTROGRAM, rate=8000)


def test_sounds_are_changed_only_as_is_said(place: Place) -> None:
    sounds(place, rate=16000, channels=2)
    assert "rate is missing" in told(place, SPECTROGRAM)
    found = built(place, SPECTROGRAM, rate=8000, resample=True, mono=True, cut=True)
    assert found.values.shape == (8, 1, 30, 16)
    assert found.lengths.tolist() == [max(1, 1 + ((800 + 80 * i) // 2 - 200) // 80)
                                      for i in range(8)]  # fmt: skip
    stereo = built(place, ModalitySpec("spectrogram", (2, 30, 16)), rate=16000)
    assert (stereo.values[0, 0] != stereo.values[0, 1]).any()


def videos(place: Place, frames: int = 6) -> None:
    import av

    for index, row in enumerate(place.rows):
        with av.open(str(place.root / f"{index}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
            for step in range(frames):
                pixels = np.full((16, 32, 3), 20 * step + index, dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        row["thing"] = f"{index}.mp4"
    place.write()


def test_videos_become_grey_frames(place: Place) -> None:
    videos(place)
    message = told(place, ModalitySpec("video", (8, 16, 32)))
    assert "thing: 0.mp4: may be in colour (yuv420p), and a video is read in grey: grey" in message
    found = built(place, ModalitySpec("video", (8, 16, 32)), grey=True)
    assert found.values.shape == (8, 8, 16, 32)
    assert set(found.lengths.tolist()) == {6}
    means = found.values[0, :6].mean(axis=(1, 2))
    assert (np.diff(means) > 10).all()
    every = built(place, ModalitySpec("video", (8, 16, 32)), every=2, grey=True)
    assert set(every.lengths.tolist()) == {3}
    assert "has 6 steps, and the shape says 5" in told(
        place, ModalitySpec("video", (5, 16, 32)), grey=True
    )
    assert "expected [8, 16, 16]" in told(place, ModalitySpec("video", (8, 16, 16)), grey=True)
    cut(place, "2.mp4", 400)
    message = told(place, ModalitySpec("video", (8, 16, 32)), grey=True)
    assert "line 3 (id 'item2'): thing: 2.mp4: " in message


# --- files of rows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.jsonl", '{"id": 1}\n{"id": \n', "x.jsonl: line 2: is not JSON"),
        ("x.jsonl", '{"id": 1}\n\n[1]\n', "x.jsonl: line 3: expected an object"),
        ("x.jsonl", '{"id": 1, "id": 2}\n', "x.jsonl: line 1: is not JSON: the key 'id' stands"),
        ("x.jsonl", '{"id": NaN}\n', "x.jsonl: line 1: is not JSON: NaN is no number"),
        ("x.jsonl", "[" * 100_000, "x.jsonl: line 1: is not JSON"),
        ("x.jsonl", "\n\n", "x.jsonl: holds no row"),
        ("x.jsonl", b"\xff\xfe{", "x.jsonl: is not UTF-8 text"),
        (
            "x.csv",
            "id,split\n1,train\n2\n",
            "x.csv: line 3: has 1 cells, and the first line names 2",
        ),
        ("x.csv", "id,id\n1,2\n", "names the column 'id' twice"),
        ("x.csv", 'id,split\n"1,train\n', "x.csv: line 2: unexpected end of data"),
        ("x.csv", "", "x.csv: holds no row"),
        ("x.parquet", b"PAR1xxxx", "x.parquet: is not a whole Parquet file"),
        ("x.xlsx", b"PK", "x.xlsx: expected a manifest with one of the endings .jsonl, .csv"),
        (
            "x.jsonl",
            '{"id": 1, "splt": "train"}\n',
            "no column 'split' (dataset.params.split): did",
        ),
    ],
)
def test_a_broken_manifest_is_one_line(
    place: Place, name: str, content: str | bytes, says: str
) -> None:
    path = place.root / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert says in place.fails(file=name)


def test_a_folder_that_is_no_data_set_is_one_line(place: Place) -> None:
    assert "is not a folder that datasets.save_to_disk wrote" in place.fails(file="pictures")


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"split": None}, "expected either split (a column) or shares"),
        ({"shares": {"train": 0.5, "val": 0.5}}, "expected either split"),
        ({"split": None, "shares": {"train": 0.5, "val": 0.4}}, "shares: names train, val, but"),
        ({"split": None, "shares": {"train": 0.5, "val": 0.4, "test": 0.4}}, "add up to 1.3"),
        ({"group": "speaker"}, "goes with shares or validation"),
        ({"names": {"train": "trian"}}, "'trian' is no split of the task"),
        ({"modalities": {"imag": {}}}, "modalities.imag: did you mean 'image'?"),
        ({"modalities": {"image": {"rate": 8000}}}, "image.rate: means nothing for a image"),
        ({"modalities": {"note": {"resize": True}}}, "note.resize: means nothing for a text"),
        ({"modalities": {"note": {"colum": "x"}}}, "unknown key"),
        ({"modalities": {"note": {"column": ["a", "b"]}}}, "several columns make a vector"),
        ({"targets": {"label": {"max_length": 5}}}, "label.max_length: means nothing for a label"),
        ({"targets": {"labels": {}}}, "targets.labels: did you mean 'label'?"),
        ({"cluster": "speakr"}, "has no column 'speakr' (dataset.params.cluster): did you mean"),
        ({"validation": 0.2}, "has a split val already"),
        ({"file": ""}, "no path inside"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(place: Place, params: dict[str, Any], says: str) -> None:
    given = {"file": "items.jsonl", "split": "split", **params}
    given = {key: value for key, value in given.items() if value is not None}
    with pytest.raises((DataError, SpecError)) as caught:
        manifest.build(
            Request("own", 1, 0, given, SPLITS, place.root, place.cache, MODALITIES, OUTPUTS)
        )
    assert says in str(caught.value)


# --- the cache -----------------------------------------------------------------------------------


def test_what_is_decoded_is_kept_until_a_file_or_a_parameter_changes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench.data.manifest import decode

    first = place.build()
    assert isinstance(first.splits["train"].inputs["image"], np.memmap)

    def never(*_: Any) -> Any:
        raise AssertionError("it is in the cache")

    with monkeypatch.context() as patch:
        patch.setitem(decode._DECODERS, "image", never)
        again = place.build()
        assert again.fingerprint == first.fingerprint
    picture(place.root / "pictures/03.png", 99)
    changed = place.build()
    assert changed.fingerprint != first.fingerprint
    pixels = np.asarray(changed.splits["train"].inputs["image"])
    assert pixels[3, :, 0, 0].tolist() == [255, 99, 0]


def test_the_same_data_elsewhere_have_the_same_fingerprint(place: Place, tmp_path: Path) -> None:
    import shutil

    first = place.build()
    other = Place.__new__(Place)
    other.root, other.cache, other.rows = tmp_path / "moved", tmp_path / "cache2", place.rows
    shutil.copytree(place.root, other.root)
    assert other.build().fingerprint == first.fingerprint


def test_paths_are_looked_for_beside_the_manifest_and_in_data(place: Place, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "items.jsonl").write_text((place.root / "items.jsonl").read_text())
    (place.root / "items.jsonl").unlink()
    given = {"file": "items.jsonl", "split": "split"}
    request = Request(
        "own", 1, 0, given, SPLITS, place.root, place.cache, MODALITIES, OUTPUTS, home
    )
    assert len(manifest.build(request).splits["train"]) == 8
    alone = Request("own", 1, 0, given, SPLITS, None, place.cache, MODALITIES, OUTPUTS, None)
    with pytest.raises(DataError, match="needs data of yours: --data DIR"):
        manifest.build(alone)


# --- prepared in parts ---------------------------------------------------------------------------


def many(place: Place, count: int = 150) -> dict[str, int]:
    """Make the manifest so long that it is prepared in several parts."""
    line = place.rows[0]
    place.rows += [{**line, "id": f"more{k}", "numbers": [k, 1, 2, 3]} for k in range(count)]
    place.write()
    return {**SPLITS, "train": SPLITS["train"] + count}


def test_preparing_is_watched_and_goes_on_where_it_was_killed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = many(place)
    monkeypatch.setenv("MMBENCH_WORKERS", "1")
    decoded: list[str] = []
    decode = manifest.modalities.decode.decode

    def counted(kind: str, content: Any, wanted: Any) -> Any:
        decoded.append(content.name)
        if len(decoded) == 140:
            raise KeyboardInterrupt
        return decode(kind, content, wanted)

    monkeypatch.setattr(manifest.modalities.decode, "decode", counted)
    with pytest.raises(KeyboardInterrupt):
        place.build(splits=splits)
    assert len(decoded) == 140
    seen: list[tuple[int, int]] = []
    with _building.watched(lambda done, of: seen.append((done, of))):
        made = place.build(splits=splits)
    total = sum(splits.values())
    assert len(decoded) == 140 + total - 128, "two parts of 64 were there already"
    assert (128, total) in seen
    assert (total, total) in seen
    decoded.clear()
    assert place.build(splits=splits).fingerprint == made.fingerprint
    assert not decoded
    assert not list(place.cache.glob("*.parts"))


def test_the_bytes_do_not_depend_on_the_number_of_threads(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    splits = many(place)
    monkeypatch.setenv("MMBENCH_WORKERS", "1")
    one = place.build(splits=splits)
    monkeypatch.setenv("MMBENCH_WORKERS", "3")
    place.cache = tmp_path / "another"
    assert place.build(splits=splits).fingerprint == one.fingerprint
