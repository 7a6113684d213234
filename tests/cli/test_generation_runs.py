"""Generation from the command line: run, stored pictures, scored anew and from files, shown."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from mmbench import catalog, store
from mmbench.data import _load

TASK = """
schema = 1
name = "painted"
version = 1
summary = "for tests"
default_budget = "brief"
[dataset]
name = "generation"
version = 1
seed = 5
[modalities]
caption = { kind = "text", shape = [11] }
tone = { kind = "spectrogram", shape = [1, 12, 16] }
[outputs]
image = { kind = "image", shape = [3, 32, 32] }
[splits]
train = 64
val = 16
test = 24
[metrics]
main = "attribute_accuracy"
also = ["kid", "memorised", "edit_accuracy"]
[budgets]
brief = { items = 64, steps = 4, validations = 1, validation_items = 8 }
"""


@pytest.fixture
def painted(workplace: Path) -> str:
    Path("painted.toml").write_text(TASK)
    return "./painted.toml"


def ran(cli: Any, task: str, *more: object) -> Any:
    small = ("--set", "width=16", "--set", "recipe.batch_size=16")
    return cli("run", "-t", task, *small, "-q", *more)


def folder_of(model: str, place: str = "results") -> Path:
    (folder,) = Path(place, "painted", model).iterdir()
    return folder


def test_a_run_is_stored_as_pixels_scored_anew_verified_and_shown(cli: Any, painted: str) -> None:
    done = ran(cli, painted, "-m", "cvae,cgan,mvae,caption_only")
    assert done.code == 0, done.err
    folder = folder_of("cvae")
    found = store.read(folder)
    assert set(found.record.scores["test"]) == {
        "attribute_accuracy", "kid", "memorised", "edit_accuracy"
    }  # fmt: skip
    kind = parquet.read_schema(folder / store.PREDICTIONS).field("image").type
    assert kind == pa.list_(pa.uint8(), 3 * 32 * 32)
    # 24 pictures of 3 kB and little beside them.
    assert (folder / store.PREDICTIONS).stat().st_size < 24 * 3 * 32 * 32 + 20_000
    again = ran(cli, painted, "-m", "cvae", "--metric", "image_coverage")
    assert again.code == 0, again.err
    assert "image_coverage" in store.read(folder).record.scores["test"]
    verified = cli("verify", "painted/cvae", "--rerun")
    assert verified.code == 0, verified.out + verified.err
    assert "reproduced" in verified.out
    told = json.loads(cli("show", "painted/cvae", "--json", "--items", "3").out)
    (first, *_) = told["samples"]
    values = {name for of in catalog_values() for name in of}
    assert set(first["references"][0].split(", ")) <= values
    shown = cli("show", "painted/cgan", "--items", "2")
    assert shown.code == 0, shown.err
    sheets = list(Path().rglob("*sheet*.png"))
    assert sheets
    assert sheets[0].stat().st_size > 5_000


def catalog_values() -> list[tuple[str, ...]]:
    from mmbench.data.generation import world

    return list(world.ATTRIBUTES.values())


def test_the_same_seed_paints_the_same_pixels_and_another_one_others(
    cli: Any, painted: str
) -> None:
    for place, seed in (("one", "0-0"), ("two", "0-0"), ("three", "1-1")):
        done = ran(cli, painted, "-m", "cgan", "--results", place, "--seeds", seed)
        assert done.code == 0, done.err
    one, two, three = (
        store.read_predictions(store.read(folder_of("cgan", place)), "test")["image"]
        for place in ("one", "two", "three")
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_late_fusion_is_refused_before_anything_is_trained(cli: Any, painted: str) -> None:
    done = ran(cli, painted, "-m", "late")
    assert done.code != 0
    assert "the fusion 'late' does not serve outputs of kind 'image'" in done.err
    assert "early, hybrid, concat and cross_attention serve it" in done.err


def test_pictures_of_others_are_scored_from_files_of_any_layout(cli: Any, painted: str) -> None:
    from PIL import Image

    split = _load.load(catalog.task(painted)).splits["test"]
    pixels, ids = np.array(split.targets["image"]), list(split.ids)
    np.save("right.npy", pixels)
    np.save("last.npy", pixels.transpose(0, 2, 3, 1))
    np.savez("named.npz", ids=np.array(ids), image=pixels.reshape(len(ids), -1))
    files = []
    Path("png").mkdir()
    for name, picture in zip(ids, pixels, strict=True):
        image = Image.fromarray(picture.transpose(1, 2, 0))
        image.save(f"png/{name}.png")
        held = io.BytesIO()
        image.save(held, "PNG")
        files.append(held.getvalue())
    parquet.write_table(pa.table({"id": ids, "image": files}), "bytes.parquet")
    rows = [{"id": name, "image": f"png/{name}.png"} for name in ids]
    Path("paths.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for file in ("right.npy", "last.npy", "named.npz", "bytes.parquet", "paths.jsonl"):
        done = cli("score", "-t", painted, file, "--json")
        assert done.code == 0, (file, done.err)
        got = json.loads(done.out)["metrics"]
        assert got["attribute_accuracy"]["value"] == 1.0, file
        assert got["edit_accuracy"]["value"] == 1.0, file
        assert got["kid"]["value"] == pytest.approx(0.0, abs=1e-9), file


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((24, 3, 16, 16), dtype=np.uint8), r"expected \[3, 32, 32\] whole numbers of 0"),
        (np.full((24, 3, 32, 32), 0.5), "image holds float64: expected"),
        (np.full((24, 3, 32, 32), 300), "whole numbers of 0 to 255"),
    ],
    ids=["too small", "floats", "too bright"],
)
def test_what_is_no_picture_is_one_line(
    cli: Any, painted: str, pixels: np.ndarray, message: str
) -> None:
    import re

    np.savez("said.npz", image=pixels)
    done = cli("score", "-t", painted, "said.npz")
    assert done.code != 0
    assert re.search(message, done.err), done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_file_that_is_no_image_is_named(cli: Any, painted: str) -> None:
    ids = [f"test-{k:04d}" for k in range(24)]
    Path("said.jsonl").write_text(
        "".join(json.dumps({"id": name, "image": "none.png"}) + "\n" for name in ids)
    )
    done = cli("score", "-t", painted, "said.jsonl")
    assert done.code != 0
    assert "said.jsonl" in done.err
    assert "cannot be read as an image" in done.err
