"""CIFAR-10 from pickled batches made here, and fetched from a server of our own."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from test_fetch import Server

from mmbench import catalog
from mmbench.cli import run_cli
from mmbench.data import _fetch, _load, cifar10
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.spec import FileSpec
from mmbench.types import Dataset

NAMES = ["airplane", "automobile", "bird"]
SIZES = {"train": 32, "val": 8, "test": 6}


def pixels(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def labels(count: int, seed: int) -> list[int]:
    return [int(k) for k in np.random.default_rng(seed).integers(0, len(NAMES), count)]


def batches(folder: Path) -> Path:
    """Five batches of eight images and a test batch of six, as Python 2 would have keyed them."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate((*cifar10.TRAINING, cifar10.TEST)):
        count = 6 if name == cifar10.TEST else 8
        write(folder / name, data=pixels(count, k), labels=labels(count, k))
    write(folder / cifar10.META, label_names=NAMES, num_vis=3072)
    return folder


def write(file: Path, **content: Any) -> None:
    file.write_bytes(pickle.dumps(content, protocol=2))


def build(
    root: Path | None, seed: int = 0, sizes: dict[str, int] = SIZES, **params: Any
) -> Dataset:
    cache = (root or Path()).parent / "cache"
    return cifar10.build(Request("made", 1, seed, params, sizes, root, cache))


def test_images_keep_their_label_and_their_number(tmp_path: Path) -> None:
    made = build(batches(tmp_path / cifar10.FOLDER))
    every = np.concatenate([pixels(8, k) for k in range(5)]).reshape(-1, 3, 32, 32)
    right = np.concatenate([labels(8, k) for k in range(5)])
    seen: list[int] = []
    for name in ("train", "val"):
        split = made.splits[name]
        assert len(split) == SIZES[name]
        numbers = [int(own.removeprefix("train/")) for own in split.ids]
        assert np.array_equal(np.asarray(split.inputs["image"]), every[numbers])
        assert split.targets["label"].tolist() == right[numbers].tolist()
        seen += numbers
    assert sorted(seen) == list(range(40)), "every image is in one split"
    test = made.splits["test"]
    assert np.array_equal(np.asarray(test.inputs["image"]), pixels(6, 5).reshape(-1, 3, 32, 32))
    assert test.targets["label"].tolist() == labels(6, 5)
    assert made.signature.outputs["label"].vocabulary == tuple(NAMES)


def test_validation_follows_the_seed_and_the_folder_may_be_named_itself(tmp_path: Path) -> None:
    folder = batches(tmp_path / cifar10.FOLDER)
    one, two, other = build(tmp_path), build(folder), build(tmp_path, seed=1)
    assert one.splits["val"].ids == two.splits["val"].ids
    assert one.splits["val"].ids != other.splits["val"].ids
    assert one.splits["test"].ids == other.splits["test"].ids


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    """Its strings are bytes: what Python 3 calls protocol 2 with keys and array of bytes."""
    folder = batches(tmp_path / cifar10.FOLDER)
    told = {b"data": pixels(8, 0), b"labels": labels(8, 0)}
    before = build(tmp_path).splits["train"]
    (folder / "data_batch_1").write_bytes(pickle.dumps(told, protocol=2))
    assert np.array_equal(
        np.asarray(build(tmp_path).splits["train"].inputs["image"]),
        np.asarray(before.inputs["image"]),
    )


class Trap:
    def __reduce__(self) -> Any:
        return (print, ("run",))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("data_batch_3", {"data": Trap()}, r"names '(__builtin__|builtins)\.print', which is ref"),
        ("data_batch_2", {"data": pixels(8, 0)}, "labels: expected a list of 8 numbers"),
        (
            "data_batch_2",
            {"data": pixels(2, 0), "labels": [0, "1"]},
            r"labels\[1\] = '1': expected a whole number from 0 to 2",
        ),
        ("data_batch_2", {"data": pixels(2, 0), "labels": [0, 3]}, r"labels\[1\] = 3: expected"),
        ("data_batch_2", {"labels": [0]}, "data: expected an array of unsigned bytes"),
        (
            "test_batch",
            {"data": pixels(2, 0)[:, :100], "labels": [0, 1]},
            "data: a row has 100 bytes, expected 3072",
        ),
        ("batches.meta", {"label_names": ["a", "a"]}, "label_names: expected a list of the names"),
    ],
    ids=["code", "no labels", "mixed labels", "unknown label", "no data", "other size", "names"],
)
def test_a_wrong_batch_is_named(
    tmp_path: Path, name: str, content: dict[str, Any], told: str, capsys: Any
) -> None:
    folder = batches(tmp_path / cifar10.FOLDER)
    write(folder / name, **content)
    with pytest.raises(DataError, match=told) as caught:
        build(tmp_path)
    assert str(caught.value).startswith(str(folder / name))
    assert "run" not in capsys.readouterr().out


def test_what_is_missing_or_cut_is_one_line(tmp_path: Path) -> None:
    folder = batches(tmp_path / cifar10.FOLDER)
    with pytest.raises(DataError, match=r"has 40 training images, of which .* wants 40"):
        build(tmp_path, sizes={**SIZES, "val": 40})
    whole = (folder / "data_batch_4").read_bytes()
    (folder / "data_batch_4").write_bytes(whole[:900])
    with pytest.raises(DataError, match="data_batch_4: is not a whole pickle"):
        build(tmp_path)
    (folder / "data_batch_4").unlink()
    with pytest.raises(DataError, match="data_batch_4: cannot be read"):
        build(tmp_path)
    with pytest.raises(DataError, match=r"there is no batches\.meta or other/batches\.meta"):
        build(tmp_path, folder="other")
    with pytest.raises(DataError, match="needs data of yours"):
        build(None)
    with pytest.raises(SpecError, match="makes cifar10 1"):
        cifar10.build(Request("made", 2, 0, {}, SIZES, tmp_path))


# --- fetched -------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def archive(folder: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        file.add(folder, folder.name)
    return out.getvalue()


def test_the_published_archive_is_named_with_its_sha256() -> None:
    (file,) = catalog.task("cifar10").source.files
    assert file.checksum == (
        "sha256",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    )
    assert file.url.endswith("/cifar-10-python.tar.gz")


def test_cifar10_is_fetched_by_its_sha256_and_built_without_data(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMBENCH_FETCHED", str(tmp_path / "fetched"))
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path / "cache"))
    content = archive(batches(tmp_path / "made" / cifar10.FOLDER))
    server.files["/cifar-10-python.tar.gz"] = content
    shipped = catalog.task("cifar10")
    told = msgspec.structs.replace(
        shipped.source.files[0],
        url=f"{server.address}/cifar-10-python.tar.gz",
        sha256=hashlib.sha256(content).hexdigest(),
    )
    task = msgspec.structs.replace(
        shipped, splits=SIZES, source=msgspec.structs.replace(shipped.source, files=(told,))
    )
    assert _load.needs_data(task)
    folder = _fetch.fetch(task)
    assert (folder / cifar10.FOLDER / "test_batch").is_file()
    assert not list(folder.glob("*.tar.gz")), "the archive goes when it is unpacked"
    assert _fetch.fetched(task) == folder
    made = _load.load(task)
    assert {name: len(split) for name, split in made.splits.items()} == SIZES
    server.files["/cifar-10-python.tar.gz"] = content[:-5] + b"other"
    _fetch.remove(task)
    with pytest.raises(DataError, match=f"has the SHA-256 .*, expected {told.sha256}"):
        _fetch.fetch(task)
    assert not (folder / cifar10.FOLDER).exists()


def test_the_command_fetches_from_a_toml_of_ones_own(
    server: Server, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("MMBENCH_FETCHED", str(workplace / "fetched"))
    content = archive(batches(workplace / "made" / cifar10.FOLDER))
    server.files["/a.tar.gz"] = content
    text = (Path(catalog.__file__).parents[1] / "tasks" / "cifar10.toml").read_text(
        encoding="utf-8"
    )
    text = text.replace("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                        f"{server.address}/a.tar.gz")  # fmt: skip
    text = text.replace(
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        hashlib.sha256(content).hexdigest(),
    )
    text = text.replace('name = "cifar10"', 'name = "own"', 1)
    Path("own.toml").write_text(text, encoding="utf-8")
    assert run_cli(["data", "fetch", "./own.toml", "--yes", "-q"]) == 0
    assert (workplace / "fetched" / "own" / cifar10.FOLDER / cifar10.META).is_file()
    assert run_cli(["data", "path", "./own.toml"]) == 0
    assert str(workplace / "fetched" / "own") in capsys.readouterr().out


def test_a_file_has_exactly_one_checksum() -> None:
    for told in ({}, {"md5": "0" * 32, "sha256": "0" * 64}):
        with pytest.raises(ValueError, match="exactly one of sha256 and md5"):
            FileSpec(url="http://x.org/a", **told)
