"""Questions about one coloured shape: on a small made folder, and the real one where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmbench import catalog
from mmbench.data import _images, _load, easy_vqa
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.references import LabelReferences
from mmbench.text import Vocabulary, tokenize
from mmbench.types import Dataset, Ragged

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"

ANSWERS = ["red", "no", "circle", "yes", "blue"]
COLOURS = [(255, 0, 0), (0, 0, 255), (128, 128, 128), (255, 0, 0)]
TRAIN = [
    ["what color is the shape?", "red", 0],
    ["is there a circle?", "yes", 0],
    ["what shape is in the image?", "circle", 1],
    ["is there not a red shape?", "yes", 1],
    ["does the image contain a circle?", "no", 2],
    ["what color is the shape?", "red", 3],
]
TEST = [["what color is the shape?", "blue", 0], ["is there a zebra?", "no", 1]]
SIZES = {"train": 4, "val": 2, "test": 2}


class Folder:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: dict[str, list[Any]] = {"train": [*TRAIN], "test": [*TEST]}
        for part, count in (("train", 4), ("test", 2)):
            (root / part / "images").mkdir(parents=True)
            for k in range(count):
                image = Image.new("RGB", (64, 64), COLOURS[k])
                image.putpixel((0, 0), (0, 255, 0))
                image.save(root / part / "images" / f"{k}.png")
        (root / "answers.txt").write_text("\n".join(ANSWERS) + "\n")
        self.write()

    def write(self) -> None:
        for part, rows in self.rows.items():
            (self.root / part / "questions.json").write_text(json.dumps(rows))

    def build(self, seed: int = 0, **params: Any) -> Dataset:
        sizes, root = params.pop("sizes", SIZES), params.pop("root", self.root)
        version = params.pop("version", 1)
        params = {"validation_images": 1, **params}
        cache = self.root.parent / "cache"
        return easy_vqa.build(Request("made", version, seed, params, sizes, root, cache))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "easy_vqa")


def drawn(folder: Folder) -> int:
    """Return the seed with which an image of two questions validates."""
    for seed in range(20):
        try:
            folder.build(seed)
        except DataError:
            continue
        return seed
    raise AssertionError("no seed sets two questions apart")


def test_an_item_is_a_question_with_its_image_and_its_answer(folder: Folder) -> None:
    made = folder.build(drawn(folder))
    vocabulary = Vocabulary(made.signature.modalities["question"].vocabulary)
    seen = []
    for name, split in made.splits.items():
        questions = split.inputs["question"]
        assert isinstance(questions, Ragged)
        assert split.clusters is not None
        references = split.references["answer"]
        assert isinstance(references, LabelReferences)
        assert references.classes == tuple(ANSWERS)
        for row, own in enumerate(split.ids):
            cluster, place = own.split(":")
            part, image = cluster.split("/")
            assert (part == "test") == (name == "test")
            question, answer, number = folder.rows[part][int(place)]
            assert number == int(image)
            assert split.clusters[row] == cluster
            assert split.targets["answer"][row] == ANSWERS.index(answer) == references.labels[row]
            ids = questions.values[row][: questions.lengths[row]].tolist()
            assert ids == vocabulary.encode(tokenize([question])[0])
            picture = np.asarray(split.inputs["image"])[row]
            assert picture[:, 0, 0].tolist() == [0, 255, 0]
            assert (picture[:, 1:, 1:] == np.array(COLOURS[number])[:, None, None]).all()
            seen.append((part, int(place)))
    assert len(seen) == len(set(seen)) == 8
    assert "zebra" not in vocabulary.words, "the vocabulary is of the training questions"
    asked = made.splits["test"].groups["asked"].tolist()
    assert asked == ["colour", "yes or no"]


def test_validation_takes_whole_images(folder: Folder) -> None:
    made = folder.build(drawn(folder))
    clusters = {n: set(split.clusters.tolist()) for n, split in made.splits.items()
                if split.clusters is not None}  # fmt: skip
    assert len(clusters["val"]) == 1
    assert len(clusters["train"]) == 3
    assert not clusters["val"] & clusters["train"]
    assert not clusters["test"] & (clusters["val"] | clusters["train"])


def test_an_image_is_decoded_once_and_made_smaller_on_demand(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = drawn(folder)
    counts = []
    decode = _images.decode_one

    def counted(path: Any, *rest: Any) -> Any:
        counts.append(path)
        return decode(path, *rest)

    monkeypatch.setattr(_images, "decode_one", counted)
    made = folder.build(seed, size=16)
    assert folder.build(seed, size=16).fingerprint == made.fingerprint
    assert len(counts) == 6
    assert np.asarray(made.splits["test"].inputs["image"]).shape == (2, 3, 16, 16)
    assert made.signature.modalities["image"].shape == (3, 16, 16)


def _row(part: str, place: int, row: Any) -> Callable[[Folder], Any]:
    def change(folder: Folder) -> None:
        folder.rows[part][place] = row
        folder.write()

    return change


def _bytes(name: str, content: bytes) -> Callable[[Folder], Any]:
    return lambda folder: (folder.root / name).write_bytes(content)


WRONG: dict[str, tuple[Callable[[Folder], Any], str]] = {
    "unknown answer": (
        _row("train", 2, ["what shape?", "circel", 1]),
        r"train/questions\.json: \[2\]: the answer 'circel' is none of .*did you mean 'circle'",
    ),
    "a text for a number": (_row("test", 1, ["is it?", "no", "1"]), r"\[1\]: expected \[question"),
    "no list": (_row("test", 1, {"q": 1}), r"\[1\]: expected \[question"),
    "true for a number": (_row("test", 1, ["is it?", "no", True]), r"\[1\]: expected \[question"),
    "below 0": (_row("test", 1, ["is it?", "no", -1]), r"\[1\]: image -1: expected a number from"),
    "twice": (
        _row("test", 1, ["what color is the shape?", "no", 0]),
        r"test/questions\.json: \[1\]: the question .* about image 0 stands at \[0\] already",
    ),
    "no JSON": (_bytes("test/questions.json", b"[[1,"), r"questions\.json: is not a JSON list"),
    "empty": (_bytes("test/questions.json", b"[]"), "holds no question"),
    "no UTF-8": (_bytes("test/questions.json", b"\xff"), "is not UTF-8 text"),
    "an answer twice": (_bytes("answers.txt", b"no\nyes\nno\n"), "answer 'no' stands there twice"),
    "one answer": (_bytes("answers.txt", b"no\n"), "holds 1 answers"),
    "sizes": (
        lambda f: (f.rows["test"].pop(), f.write()),
        "split 'test' has 1 questions, .* expects 2",
    ),
}


@pytest.mark.parametrize(("damage", "told"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_in_the_files_is_one_line(
    folder: Folder, damage: Callable[[Folder], Any], told: str
) -> None:
    damage(folder)
    with pytest.raises(DataError, match=told) as caught:
        folder.build()
    assert str(caught.value).startswith(str(folder.root))
    assert "\n" not in str(caught.value)


def _link(folder: Folder) -> None:
    outside = folder.root.parent / "outside.png"
    file = folder.root / "test/images/1.png"
    file.rename(outside)
    file.symlink_to(outside)


def _cut(folder: Folder) -> None:
    file = folder.root / "test/images/1.png"
    file.write_bytes(file.read_bytes()[:-60])


BAD: dict[str, tuple[Callable[[Folder], Any], str]] = {
    "missing": (lambda f: (f.root / "test/images/1.png").unlink(), r"1\.png: cannot be read"),
    "cut": (_cut, r"1\.png: cannot be decoded \(test/questions\.json\[1\]\)"),
    "a link": (_link, r"1\.png: is a symbolic link out of the folder .*questions\.json\[1\]"),
    "another size": (
        lambda f: Image.new("RGB", (32, 64)).save(f.root / "test/images/1.png"),
        r"1\.png: is 32 x 64 \(test/questions\.json\[1\]\), expected 64 x 64",
    ),
    "no word": (_row("test", 1, [" ?", "no", 1]), r"\[1\]: the question has no word"),
    "too many words": (_row("test", 1, ["is " * 10, "no", 1]), r"\[1\]: the question has 10 words"),
    "too long": (
        _row("test", 1, ["a" * 10_000, "no", 1]),
        r"\[1\]: the question has 10,000 characters",
    ),
}


@pytest.mark.parametrize(("damage", "told"), BAD.values(), ids=BAD.keys())
def test_a_bad_item_is_named_or_left_out(
    folder: Folder, damage: Callable[[Folder], Any], told: str
) -> None:
    seed = drawn(folder)
    damage(folder)
    with pytest.raises(DataError, match=told):
        folder.build(seed)
    made = folder.build(seed, skip_bad=True)
    assert list(made.splits["test"].ids) == ["test/0:0"]
    assert [len(lines) for lines in made.left_out.values()] == [1]
    assert "\n" not in made.left_out["test"][0]
    assert {n: len(s) for n, s in made.splits.items()} == {"train": 4, "val": 2, "test": 1}


def test_all_questions_about_a_bad_image_go_and_a_split_needs_one(folder: Folder) -> None:
    seed = drawn(folder)
    (folder.root / "train/images/0.png").unlink()
    made = folder.build(seed, skip_bad=True)
    assert sum(len(lines) for lines in made.left_out.values()) == 2
    assert not any(own.startswith("train/0:") for s in made.splits.values() for own in s.ids)
    for k in range(2):
        (folder.root / f"test/images/{k}.png").write_bytes(b"")
    with pytest.raises(DataError, match="every item of the split 'test' is bad; the first"):
        folder.build(seed, skip_bad=True)


def test_without_data_the_error_says_what_to_name(folder: Folder, tmp_path: Path) -> None:
    for root in (None, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"MMBENCH_DATA.*answers\.txt, train/ and test/"):
            folder.build(root=root)
    with pytest.raises(DataError, match="about 4 training images: 4 cannot be set apart"):
        folder.build(validation_images=4)
    with pytest.raises(SpecError, match="makes easy_vqa 1"):
        folder.build(version=2)
    with pytest.raises(SpecError, match="unknown key 'sise'"):
        folder.build(sise=3)


def test_the_real_set_is_what_the_task_and_its_figures_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not REAL.is_dir():
        pytest.skip(f"the public sets are not at {REAL}")
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path))
    task = catalog.task("easy_vqa")
    made = _load.load(task, REAL)
    assert {name: len(split) for name, split in made.splits.items()} == dict(task.splits)
    assert made.signature.outputs["answer"].vocabulary == task.outputs["answer"].classes
    test, train = made.splits["test"], made.splits["train"]
    assert test.clusters is not None
    assert len(set(test.clusters.tolist())) == 1000
    figures = {row.model: row.scores["accuracy"] for row in task.source.published}
    right = test.targets["answer"]
    most = int(np.bincount(train.targets["answer"]).argmax())
    assert np.mean(right == most) == pytest.approx(figures["most frequent answer"], abs=5e-4)
    assert _by_question(train, test) == pytest.approx(figures["question alone"], abs=1e-3)


def _by_question(train: Any, test: Any) -> float:
    """Answer each question by its most frequent answer among the training questions."""
    counts: dict[bytes, Any] = {}
    for row, label in zip(train.inputs["question"].values, train.targets["answer"], strict=True):
        counts.setdefault(row.tobytes(), np.zeros(13))[label] += 1
    said = [counts[row.tobytes()].argmax() for row in test.inputs["question"].values]
    return float(np.mean(said == test.targets["answer"]))
