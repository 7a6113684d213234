"""The shipped tasks on published sets run from their TOML to a record, on small sets made here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import test_cifar10
import test_easy_vqa
import test_youtube8m
from test_imdb_reviews import root

from mmbench import catalog
from mmbench.data import _load

__all__ = ["root"]

TASKS = Path(catalog.__file__).parents[1] / "tasks"
DATA = Path(os.environ.get("MMBENCH_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
#: Shipped tasks on data that are not generated.
REAL = [name for name in catalog.task_names() if _load.needs_data(catalog.task(name))]
#: Of these, those whose files lie in the folder of public data.
HERE = {
    "avmnist": "mnist", "easy_vqa": "easy_vqa", "esc10_fold3": "esc10", "mosi": "mosi",
    "flickr8k_captioning": "flickr8k", "flickr8k_matching": "flickr8k",
    "flickr8k_retrieval": "flickr8k", "grid_speech": "grid_s1", "grid_speech_noisy": "grid_s1",
    "griko_translation": "griko_italian",
}  # fmt: skip


def own(name: str, splits: Mapping[str, int], **over: str) -> str:
    """Write the shipped TOML with other sizes under another name."""
    text = (TASKS / f"{name}.toml").read_text(encoding="utf-8")
    text = text.replace(f'name = "{name}"', 'name = "own"', 1)
    for split, size in splits.items():
        text = re.sub(rf"^{split} = \d+", f"{split} = {size}", text, count=1, flags=re.M)
    for old, new in over.items():
        text = re.sub(rf"\b{old} = \d+", f"{old} = {new}", text)
    Path("own.toml").write_text(text, encoding="utf-8")
    return "./own.toml"


def run(cli: Any, task: str, model: str, data: Path) -> Mapping[str, Any]:
    settings = ["--set", "width=16", "--budget", "smoke", "--data", data, "-q"]
    done = cli("run", "-t", task, "-m", model, *settings)
    assert done.code == 0, done.err
    (file,) = Path("results").rglob("record.json")
    found: Mapping[str, Any] = json.loads(file.read_text())
    return found


def test_easy_vqa_task(cli: Any, tmp_path: Path) -> None:
    folder = test_easy_vqa.Folder(tmp_path / "sets" / "easy_vqa")
    answers = catalog.task("easy_vqa").outputs["answer"].classes
    (folder.root / "answers.txt").write_text("\n".join(answers))
    task = own("easy_vqa", test_easy_vqa.SIZES, validation_images="1", seed="SEED")
    text = Path("own.toml").read_text()
    for seed in range(20):
        Path("own.toml").write_text(text.replace("SEED", str(seed)))
        if cli("run", "-t", task, "-m", "majority", "--data", tmp_path / "sets", "-q").code == 0:
            break
    (tmp_path / "results").rename(tmp_path / "before")
    record = run(cli, task, "concat", tmp_path / "sets")
    assert record["scores"]["test"]["accuracy"]["n"] == 2


def test_cifar10_task(cli: Any, tmp_path: Path) -> None:
    folder = test_cifar10.batches(tmp_path / "sets" / "cifar-10-batches-py")
    names = list(catalog.task("cifar10").outputs["label"].classes)
    test_cifar10.write(folder / "batches.meta", label_names=names)
    record = run(cli, own("cifar10", test_cifar10.SIZES), "concat", tmp_path / "sets")
    assert record["scores"]["test"]["accuracy"]["n"] == test_cifar10.SIZES["test"]


def test_imdb_task(cli: Any, root: Path) -> None:
    sizes = {"train": 6, "val": 6, "test": 4}  # whichever films these are, of both kinds
    record = run(cli, own("imdb_reviews", sizes, min_count="1"), "concat", root)
    assert record["scores"]["test"]["accuracy"]["n"] == 4


@pytest.mark.parametrize(
    ("name", "make", "folder"),
    [
        ("youtube8m", test_youtube8m.video, "video"),
        ("youtube8m_frames", lambda k: test_youtube8m.frames(k, 25), "frame"),
    ],
    ids=["means", "seconds"],
)
def test_youtube8m_tasks(
    cli: Any, tmp_path: Path, name: str, make: Callable[[int], bytes], folder: str
) -> None:
    test_youtube8m.folder(tmp_path / folder, make)
    record = run(cli, own(name, test_youtube8m.SIZES), "late", tmp_path)
    assert record["scores"]["test"]["multilabel_map"]["n"] == test_youtube8m.SIZES["test"]


@pytest.mark.parametrize("name", REAL)
def test_a_task_on_real_data_tells_what_its_users_have_to_know(name: str) -> None:
    source = catalog.task(name).source
    for key in ("paper", "url", "licence", "cluster"):
        assert getattr(source, key), f"tasks/{name}.toml: source.{key}"
    for row in source.published:
        assert row.source, name
        assert row.scores, name
        assert set(row.scores) <= set(catalog.task(name).metric_names), name
    text = (TASKS / f"{name}.toml").read_text(encoding="utf-8")
    base = re.search(r'^extends = "(\w+)"', text, flags=re.M)
    if base is not None:
        text += (TASKS / f"_{base[1]}.toml").read_text(encoding="utf-8")
    assert source.published or "No published rows" in text, "rows, or why there are none"


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_a_shipped_task_reaches_its_record_on_the_published_files(
    cli: Any, name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (DATA / HERE[name]).is_dir():
        pytest.skip(f"the public sets are not at {DATA}")
    task = catalog.task(name)
    monkeypatch.setenv("MMBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "published"))
    splits = _load.load(task, DATA).splits
    assert {split: len(splits[split]) for split in task.splits} == dict(task.splits)
    for split, held in splits.items():
        if task.source.cluster == "none":
            assert held.clusters is None, split
        else:
            assert held.clusters is not None, split
            assert len(set(held.clusters)) < len(held), (
                f"{split}: items share a {task.source.cluster}"
            )
    kinds = {output.kind for output in task.outputs.values()}
    model = "dual_encoder" if kinds == {"match"} else "early"
    done = cli("run", "-t", name, "-m", model, "--budget", "smoke", "--data", DATA, "-q")
    assert done.code == 0, done.err
    (file,) = Path("results").rglob("record.json")
    record = json.loads(file.read_text())
    score = record["scores"]["test"][task.metrics.main]
    assert score["n"] == task.splits["test"]
    assert score["low"] <= score["value"] <= score["high"]
