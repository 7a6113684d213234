"""Retrieval from the command line: run, score anew, verify, compare, show, and what is stored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from mmbench import store
from mmbench.items import predictions_of, predictions_table
from mmbench.types import GALLERY, QUERY, Predictions

PEOPLE = ("man", "woman", "boy", "girl", "child", "dog", "cat", "horse")
VERBS = ("jumps", "runs", "sits", "sleeps", "swims", "waits")

TASK = """
schema = 1
name = "found"
version = 1
summary = "for tests"
[dataset]
name = "caption_retrieval"
version = 1
params = { folder = "flickr8k", size = 16, min_count = 1, max_length = 8 }
[modalities]
image = { kind = "image", shape = [3, 16, 16] }
caption = { kind = "text", shape = [8], role = "gallery" }
[outputs]
match = { kind = "match" }
[splits]
train = 24
val = 6
test = 10
[metrics]
main = "rsum"
also = ["recall_at_1", "median_rank", "recall_at_1_back", "median_rank_back"]
[budgets]
small = { items = 24, steps = 6, validations = 2, validation_items = 6 }
"""


@pytest.fixture
def data(workplace: Path) -> Path:
    """Draw 40 images of one colour each, with two captions each."""
    from PIL import Image

    folder = workplace / "data" / "flickr8k"
    (folder / "Images").mkdir(parents=True)
    images = []
    for k in range(40):
        name = f"{k:03d}.jpg"
        Image.new("RGB", (20, 20), (k * 6, 255 - k * 6, k * 40 % 256)).save(
            folder / "Images" / name
        )
        texts = [f"A {PEOPLE[k % 8]} {VERBS[(k + n) % 6]} near number {k} ." for n in range(2)]
        split = "train" if k < 24 else "val" if k < 30 else "test"
        images.append({"filename": name, "split": split, "sentences": [{"raw": t} for t in texts]})
    (folder / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))
    (workplace / "found.toml").write_text(TASK)
    return workplace / "data"


def ran(cli: Any, data: Path, *more: object) -> Any:
    return cli("run", "-t", "./found.toml", "-m", "late,constant", "--set", "width=16",
               "--data", data, "-q", *more)  # fmt: skip


def test_a_run_is_stored_scored_anew_verified_compared_and_shown(cli: Any, data: Path) -> None:
    done = ran(cli, data)
    assert done.code == 0, done.err
    (folder,) = Path("results/found/late").iterdir()
    found = store.read(folder)
    scores = found.record.scores["test"]
    assert set(scores) == {
        "rsum", "recall_at_1", "median_rank", "recall_at_1_back", "median_rank_back",
    }  # fmt: skip
    assert scores["rsum"].n == 10
    columns = store.read_predictions(found, "test")
    assert columns["match.embedding"].shape == (10, 18)
    assert columns["match.gallery"].shape == (20, 18)
    assert columns["match.embedding"].dtype == np.float32
    again = ran(cli, data, "--metric", "retrieval_map", "--metric", "mrr_back")
    assert again.code == 0, again.err
    found = store.read(folder)
    assert {"retrieval_map", "mrr_back", "rsum"} <= set(found.record.scores["test"])
    verified = cli("verify", "--data", data)
    assert verified.code == 0, verified.out + verified.err
    assert "2 rescored" in verified.out
    rerun = cli("verify", "found/late", "--rerun", "--data", data)
    assert rerun.code == 0, rerun.out + rerun.err
    assert "reproduced" in rerun.out
    compared = cli("compare", "late", "constant", "-t", "found")
    assert compared.code in (0, 3), compared.err
    assert "recall_at_1_back" in compared.out
    shown = cli("show", "found/late", "--data", data)
    assert shown.code == 0, shown.err
    named = columns["match"][columns["id"].index("030.jpg")]
    texts = [f"A {PEOPLE[k % 8]} {VERBS[(k + n) % 6]} near number {k} ." for k in range(30, 40)
             for n in range(2)]  # fmt: skip
    told = json.loads(cli("show", "found/late", "--data", data, "--json", "--items", "10").out)
    (sample,) = [one for one in told["samples"] if one["id"] == "030.jpg"]
    assert sample["said"] == " / ".join(texts[entry] for entry in named[:3])
    assert list(sample["references"])[:2] == texts[:2]


def test_the_same_seed_gives_the_same_bits(cli: Any, data: Path) -> None:
    for place in ("one", "two"):
        assert ran(cli, data, "--results", place).code == 0
    both = [
        store.read_predictions(store.read(next(Path(place, "found/late").iterdir())), "test")
        for place in ("one", "two")
    ]
    for column in ("match.embedding", "match.gallery"):
        np.testing.assert_array_equal(both[0][column], both[1][column])
    assert both[0]["match"] == both[1]["match"]


HARD = """
schema = 1
extends = "matched"
name = "hard"
summary = "the hardest wrong entry"
family = "own"
fusion = { name = "late" }
heads.match = { name = "match", params = { loss = "hardest" } }
"""


def test_two_processes_agree_with_one(data: Path) -> None:
    Path("hard.toml").write_text(HARD)
    for place, more in (("one", []), ("two", ["--devices", "2", "--device", "cpu"])):
        command = [
            *(sys.executable, "-m", "mmbench", "run", "-t", "./found.toml", "-q"),
            *("-m", "late,./hard.toml", "--set", "width=16", "--set", "recipe.batch_size=9"),
            *("--set", "recipe.modality_dropout=0.3", "--data", str(data), "--results", place),
            *more,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    for name in ("late", "hard"):
        one, two = (
            store.read(next(Path(place, f"found/{name}").iterdir())) for place in ("one", "two")
        )
        assert two.record.definition["execution"] == "2 devices"
        curves = [[point["loss"] for point in s.record.curve] for s in (one, two)]
        assert np.allclose(curves[0], curves[1], atol=1e-4), name
        told = [store.read_predictions(stored, "test") for stored in (one, two)]
        assert told[0]["id"] == told[1]["id"]
        for column in ("match.embedding", "match.gallery"):
            np.testing.assert_allclose(told[0][column], told[1][column], atol=1e-4)


def test_seeds_that_train_as_a_batch_learn_what_each_learns_alone(cli: Any, data: Path) -> None:
    options = (
        "--seeds",
        2,
        "--set",
        "recipe.batch_size=16",
        "--set",
        "recipe.modality_dropout=0.3",
    )
    assert ran(cli, data, *options, "--results", "alone").code == 0
    assert ran(cli, data, *options, "--results", "together", "--batch-seeds").code == 0
    alone, together = (
        {(s.record.model, s.record.seed): s for s in store.scan(Path(place))[0]}
        for place in ("alone", "together")
    )
    for run in (("late", 0), ("late", 1)):
        assert together[run].record.definition["execution"] == "batched seeds"
        told = [store.read_predictions(stored[run], "test") for stored in (alone, together)]
        for column in ("match.embedding", "match.gallery"):
            np.testing.assert_allclose(told[0][column], told[1][column], atol=1e-4)


def test_a_timed_query_looks_through_a_gallery_that_was_read_before(
    cli: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench.models.model import Model

    read, sizes = Model.read_out, []

    def noted(self: Model, batch: Any, options: Any, role: str = QUERY) -> Any:
        sizes.append((role, batch.size))
        return read(self, batch, options, role)

    monkeypatch.setattr(Model, "read_out", noted)
    assert ran(cli, data).code == 0
    galleries = [size for role, size in sizes if role == GALLERY]
    single = [role for role, size in sizes if size == 1]
    assert set(single) == {QUERY}
    assert len(single) >= 2 * 2, "items of both models were timed, as many as there was time for"
    # Two validations, the test and what is timed, of either model.
    assert len(galleries) == 2 * 4


def test_fewer_test_items_look_through_the_whole_gallery(cli: Any, data: Path) -> None:
    assert ran(cli, data, "--limit", "4").code == 0
    found = store.read(next(Path("results/found/late").iterdir()))
    columns = store.read_predictions(found, "test")
    assert len(columns["id"]) == 4
    assert len(columns["match.gallery"]) == 20


def test_a_fusion_that_has_nothing_to_fuse_is_one_line(cli: Any, data: Path) -> None:
    done = cli("run", "-t", "./found.toml", "-m", "late,hybrid", "--data", data)
    assert "the fusion 'hybrid' merges modalities of one side" in done.error
    assert "run late" in done.error
    assert not Path("results").exists()


def test_describe_says_which_modality_is_the_gallery(cli: Any, data: Path) -> None:
    done = cli("describe", "./found.toml")
    assert "caption: text [8], of the gallery" in done.out


def test_a_site_shows_queries_and_what_they_found(cli: Any, data: Path) -> None:
    assert ran(cli, data).code == 0
    done = cli("report", "--out", "site", "--data", data)
    assert done.code == 0, done.err
    pages = "".join(path.read_text() for path in Path("site").rglob("*.html"))
    assert "near number" in pages


# --- what is stored ------------------------------------------------------------------------------


def test_predictions_of_both_sides_come_back_as_they_were(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    told = {
        split: Predictions(
            [f"{split}{k}" for k in range(n)],
            {"match": [[k, 0] for k in range(n)]},
            {
                "match.embedding": draw.normal(size=(n, 5)).astype(np.float32),
                "match.gallery": draw.normal(size=(m, 5)).astype(np.float32),
                "branches": [["image"]] * n,
            },
        )
        for split, n, m in (("test", 3, 7), ("ood", 2, 4))
    }
    path = tmp_path / "predictions.parquet"
    parquet.write_table(predictions_table(told), path)
    table = parquet.read_table(path)
    for split, said in told.items():
        found = predictions_of(table, split)
        assert found["id"] == list(said.ids)
        assert found["match"] == said.outputs["match"]
        assert found["branches"] == said.columns["branches"]
        for name in ("match.embedding", "match.gallery"):
            np.testing.assert_array_equal(found[name], said.columns[name])
            assert found[name].dtype == np.float32


def test_vectors_take_little_more_than_their_bytes(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(2000, 128)).astype(np.float32)
    ids = [str(k) for k in range(200)]
    columns = {"match.embedding": vectors[:200], "match.gallery": vectors}
    table = predictions_table({"test": Predictions(ids, {"match": [[0]] * 200}, columns)})
    parquet.write_table(table, tmp_path / "p.parquet", compression="zstd")
    assert (tmp_path / "p.parquet").stat().st_size < 1.5 * (vectors.nbytes + vectors[:200].nbytes)


def test_predictions_without_vectors_are_laid_out_as_before() -> None:
    said = Predictions(["a", "b"], {"label": ["x", "y"]}, {"label.scores": [[0.1], [0.9]]})
    table = predictions_table({"test": said})
    assert table.column_names == ["split", "id", "label", "label.scores"]
    assert predictions_of(table, "test")["label.scores"] == [[0.1], [0.9]]
