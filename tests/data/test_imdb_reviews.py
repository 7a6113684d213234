"""Reviews of films in the folders of aclImdb, made here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import imdb_reviews
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.text import UNK, Vocabulary, tokenize
from mmbench.types import Dataset, Ragged

SIZES = {"train": 9, "val": 3, "test": 4}
#: Part and kind -> the film of each review.
FILMS = {
    ("train", "neg"): [1, 1, 2, 3, 3, 4],
    ("train", "pos"): [1, 2, 2, 5, 5, 5],
    ("test", "neg"): [8, 9],
    ("test", "pos"): [8, 8],
}


def review(part: str, kind: str, k: int) -> str:
    return f"A {kind} film<br /><br />number {k}, {part}ed well !"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "aclImdb"
    for (part, kind), films in FILMS.items():
        (folder / part / kind).mkdir(parents=True)
        for k in range(len(films)):
            stars = (2 if kind == "neg" else 9) + k % 2
            text = review(part, kind, k)
            (folder / part / kind / f"{k}_{stars}.txt").write_text(text, encoding="utf-8")
        addresses = [f"http://www.imdb.com/title/tt{film:07d}/usercomments" for film in films]
        (folder / part / f"urls_{kind}.txt").write_text("\n".join(addresses), encoding="utf-8")
    unsup = folder / "train" / "unsup"
    unsup.mkdir()
    (unsup / "0_0.txt").write_text("nobody says")
    return tmp_path


def build(
    root: Path | None, seed: int = 0, sizes: dict[str, int] = SIZES, **params: Any
) -> Dataset:
    params = {"min_count": 1, "max_length": 12, **params}
    cache = (root or Path()) / "cache"
    return imdb_reviews.build(Request("made", 1, seed, params, sizes, root, cache))


def test_a_review_has_its_words_its_label_its_stars_and_its_film(root: Path) -> None:
    made = build(root)
    assert {name: len(split) for name, split in made.splits.items()} == SIZES
    vocabulary = Vocabulary(made.signature.modalities["review"].vocabulary)
    for split in made.splits.values():
        words = split.inputs["review"]
        assert isinstance(words, Ragged)
        assert split.clusters is not None
        for row, own in enumerate(split.ids):
            part, kind, name = own.split("/")
            number, stars = name.split("_")
            film = FILMS[part, kind][int(number)]
            assert split.clusters[row] == f"tt{film:07d}"
            assert split.groups["stars"][row] == stars
            assert split.targets["label"][row] == (kind == "pos")
            tokens = tokenize([f"A {kind} film number {number}, {part}ed well !"])[0]
            found = words.values[row][: words.lengths[row]].tolist()
            assert found == vocabulary.encode(tokens)
            assert len(found) == 7
    assert "br" not in vocabulary.words
    assert "nobody" not in vocabulary.words
    assert "tested" not in vocabulary.words, "the vocabulary is of the training reviews"
    tested = made.splits["test"].inputs["review"]
    assert isinstance(tested, Ragged)
    assert (tested.values == UNK).any()


def test_the_first_training_reviews_are_not_of_one_kind(root: Path) -> None:
    """Since budgets take the first so many."""
    labels = [build(root, seed).splits["train"].targets["label"] for seed in range(6)]
    assert all(0 < own.sum() < len(own) for own in labels)
    assert any(own[0] != own[1] for own in labels)
    assert any(own[0] == 1 for own in labels)
    assert any(own[0] == 0 for own in labels)


@pytest.mark.parametrize("seed", range(4))
def test_validation_takes_whole_films_and_just_so_many_reviews(root: Path, seed: int) -> None:
    made = build(root, seed)
    films = {}
    for name, split in made.splits.items():
        assert split.clusters is not None
        films[name] = set(split.clusters.tolist())
    assert len(made.splits["val"]) == SIZES["val"]
    assert not films["val"] & films["train"]
    assert not films["test"] & (films["val"] | films["train"])


def test_a_review_is_cut_behind_so_many_words(root: Path) -> None:
    made = build(root, max_length=3)
    words = made.splits["train"].inputs["review"]
    assert isinstance(words, Ragged)
    assert words.values.shape[1] == 3
    assert words.lengths.tolist() == [3] * 9
    assert "number" not in made.signature.modalities["review"].vocabulary


def _file(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another name": (_file("train/pos/notes.txt", b"x"), r"notes\.txt: expected a name like"),
    "stars of the other kind": (_file("train/neg/9_8.txt", b"x"), "has 8 stars, expected 1 to 4"),
    "no address": (_file("test/pos/2_9.txt", b"x"), r"urls_pos\.txt has 2 lines, .* number 2"),
    "a number twice": (_file("test/pos/1_7.txt", b"x"), "pos: the number 1 stands there twice"),
    "no film": (_file("test/urls_neg.txt", b"a\nb"), r"urls_neg\.txt: line 1: 'a' is no address"),
    "a folder is missing": (
        lambda f: (f / "test" / "pos").rename(f / "moved"),
        "test/pos: cannot be read",
    ),
    "sizes": (lambda f: (f / "test/pos/1_10.txt").unlink(), "'test' has 3 reviews, .* expects 4"),
}


@pytest.mark.parametrize(("damage", "told"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_in_the_folders_is_one_line(
    root: Path, damage: Callable[[Path], Any], told: str
) -> None:
    damage(root / "aclImdb")
    with pytest.raises(DataError, match=told) as caught:
        build(root)
    assert "\n" not in str(caught.value)


def _out(folder: Path) -> None:
    (folder.parent / "secret.txt").write_text("of somebody else")
    (folder / "train/neg/1_3.txt").unlink()
    (folder / "train/neg/1_3.txt").symlink_to(folder.parent / "secret.txt")


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (_file("train/neg/1_3.txt", b""), "holds no word"),
    "no word": (_file("train/neg/1_3.txt", b" <br /> . "), "holds no word"),
    "too long": (_file("train/neg/1_3.txt", b"word " * 30_000), "has 150,000 bytes, more than any"),
    "no UTF-8": (_file("train/neg/1_3.txt", b"caf\xe9"), "is not UTF-8 text: byte 3"),
    "a link": (_out, "is a symbolic link out of the folder"),
}


@pytest.mark.parametrize(("damage", "told"), BAD.values(), ids=BAD.keys())
def test_a_bad_review_is_named_or_left_out(
    root: Path, damage: Callable[[Path], Any], told: str
) -> None:
    whole = build(root)
    where = next(name for name, split in whole.splits.items() if "train/neg/1_3" in split.ids)
    damage(root / "aclImdb")
    with pytest.raises(DataError, match=rf"train/neg/1_3\.txt: {told}"):
        build(root)
    made = build(root, skip_bad=True)
    assert {name: len(lines) for name, lines in made.left_out.items()} == {where: 1}
    assert "train/neg/1_3.txt" in made.left_out[where][0]
    for name, split in whole.splits.items():
        kept = [own for own in split.ids if own != "train/neg/1_3"]
        assert list(made.splits[name].ids) == kept, "no other item moves"


def test_without_data_and_with_impossible_sizes_the_error_says_what_would_do(root: Path) -> None:
    with pytest.raises(DataError, match="needs data of yours"):
        build(None)
    with pytest.raises(DataError, match="neither train/pos nor other/train/pos is there"):
        build(root, folder="other")
    with pytest.raises(DataError, match=r"no choice of films .* just 12 .* splits\.val = 12"):
        build(root, sizes={**SIZES, "val": 12})
    with pytest.raises(SpecError, match="unknown key 'min_counts'"):
        build(root, min_counts=3)


def test_the_task_promises_what_the_builder_makes(root: Path) -> None:
    task = catalog.task("imdb_reviews")
    signature = build(root, **task.dataset.params).signature
    promised = {name: (m.kind, m.shape) for name, m in task.modalities.items()}
    assert promised == {name: (m.kind, m.shape) for name, m in signature.modalities.items()}
    assert task.outputs["label"].classes == signature.outputs["label"].vocabulary
    (file,) = task.source.files
    assert file.checksum == (
        "sha256",
        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
    )
    assert np.isclose(sum(task.splits.values()), 50_000)
