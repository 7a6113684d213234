"""Feature files of MMSA and MultiBench: made up in their layouts, since the real ones are large."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog
from mmbench.cli import run_cli
from mmbench.data import affect
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.spec import OutputSpec
from mmbench.types import Ragged

SIZES = {"train": 12, "valid": 4, "test": 6}
Content = dict[str, dict[str, Any]]


def mmsa(sizes: dict[str, int] = SIZES, unaligned: bool = False) -> Content:
    """What MMSA's `aligned_50.pkl` and `unaligned_39.pkl` hold, smaller."""
    draw = np.random.default_rng(0)
    found: Content = {}
    start = 0
    for split, n in sizes.items():
        lengths = draw.integers(2, 7, n)
        mask = np.arange(6) < lengths[:, None]
        part: dict[str, Any] = {
            "raw_text": np.array([f"TEXT {i}" for i in range(n)], dtype=object),
            "text": (draw.normal(2, 3, (n, 6, 8)) * mask[..., None]).astype(np.float32),
            "audio": draw.normal(1, 2, (n, 6, 5)) * mask[..., None],
            "vision": draw.normal(0, 9, (n, 6, 4)) * mask[..., None],
            "id": [f"video{(start + i) // 3}$_${i}" for i in range(n)],
            "text_bert": np.stack([np.ones((n, 6)), mask, np.zeros((n, 6))], axis=1),
            "annotations": ["Positive"] * n,
            "classification_labels": np.ones(n),
            "regression_labels": draw.uniform(-3, 3, n).astype(np.float32),
        }
        part["audio"][0, 0, 0] = -np.inf
        for m in "TAV":
            part[f"regression_labels_{m}"] = draw.uniform(-1, 1, n).astype(np.float32)
        if unaligned:
            part["audio"] = draw.normal(1, 2, (n, 11, 5))
            part["audio"][0, 0, 0] = -np.inf
            part["audio_lengths"] = draw.integers(1, 12, n).tolist()
            part["vision_lengths"] = draw.integers(1, 7, n).tolist()
        found[split] = part
        start += n
    return found


def multibench() -> Content:
    """What MultiBench's `mosi_raw.pkl` holds, smaller: padding stands in front."""
    draw = np.random.default_rng(1)
    found: Content = {}
    for split, n in SIZES.items():
        start = draw.integers(0, 5, n)
        real = np.arange(6) >= start[:, None]
        found[split] = {
            name: (draw.normal(1, 2, (n, 6, d)) * real[..., None]).astype(np.float32)
            for name, d in (("text", 8), ("audio", 5), ("vision", 4))
        }
        found[split]["labels"] = draw.uniform(-3, 3, (n, 1, 1))
        found[split]["id"] = np.array([[f"{split}_1[{i}]", "0.1", "2.0"] for i in range(n)])
    found["test"]["text"][2] = 0.0  # nobody says a word
    return found


def request(tmp_path: Path, content: Any, outputs: tuple[str, ...] = (), **params: Any) -> Request:
    folder = tmp_path / "data" / "MOSI" / "Processed"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "aligned_50.pkl").write_bytes(pickle.dumps(content))
    given = {"file": "aligned_50.pkl", "folders": ["MOSI/Processed"], **params}
    wanted = {name: OutputSpec("scalar", main=i == 0) for i, name in enumerate(outputs)}
    root, cache = tmp_path / "data", tmp_path / "cache"
    return Request("mosi_mmsa", 1, 0, given, {}, root, cache, outputs=wanted)


def ragged(values: Any) -> Ragged:
    assert isinstance(values, Ragged)
    return values


def test_mmsa_lengths_come_from_the_mask_and_the_last_real_step(tmp_path: Path) -> None:
    content = mmsa()
    made = affect.build(request(tmp_path, content))
    for ours, theirs in (("train", "train"), ("val", "valid"), ("test", "test")):
        part, split = content[theirs], made.splits[ours]
        lengths = part["text_bert"][:, 1].sum(axis=1)
        for modality in affect.MODALITIES:
            held = ragged(split.inputs[modality])
            assert np.array_equal(held.lengths, lengths), modality
            assert held.values.dtype == np.float32
        assert np.allclose(split.targets["sentiment"], part["regression_labels"])
        assert split.ids == part["id"]
        assert list(split.clusters)[:4] == [i.partition("$_$")[0] for i in part["id"][:4]]  # type: ignore[arg-type]
    train = ragged(made.splits["train"].inputs["vision"])
    real = np.concatenate([v[:n] for v, n in zip(train.values, train.lengths, strict=True)])
    assert np.allclose(real.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(real.std(axis=0), 1, atol=1e-4)
    output = made.signature.outputs["sentiment"]
    assert output.offset == pytest.approx(content["train"]["regression_labels"].mean(), abs=1e-6)


def test_mmsa_unaligned_lengths_are_those_told(tmp_path: Path) -> None:
    content = mmsa(unaligned=True)
    made = affect.build(request(tmp_path, content, standardise=False))
    audio = ragged(made.splits["test"].inputs["audio"])
    assert audio.lengths.tolist() == content["test"]["audio_lengths"]
    assert made.signature.modalities["audio"].shape == (11, 5)
    assert audio.values[0, 0, 0] == 0.0, "what is not finite is 0"


def test_labels_of_each_modality_are_outputs_where_a_task_asks_for_them(tmp_path: Path) -> None:
    content = mmsa()
    made = affect.build(request(tmp_path, content, ("sentiment", "sentiment_audio")))
    assert made.signature.main == "sentiment"
    audio = made.splits["test"].targets["sentiment_audio"]
    assert np.allclose(audio, content["test"]["regression_labels_A"])
    with pytest.raises(SpecError, match="the dataset affect has sentiment, sentiment_text"):
        affect.build(request(tmp_path, content, ("polarity",)))


def test_multibench_items_begin_with_their_first_word(tmp_path: Path) -> None:
    content = multibench()
    made = affect.build(request(tmp_path, content, layout="multibench", standardise=False))
    part, split = content["test"], made.splits["test"]
    kept = [i for i in range(6) if i != 2]
    assert len(split) == 5, "the one without a word is left out, as MultiBench does"
    text = ragged(split.inputs["text"])
    for place, row in enumerate(kept):
        start = int((part["text"][row] != 0).any(axis=1).argmax())
        assert text.lengths[place] == 6 - start
        assert np.array_equal(text.values[place, : 6 - start], part["text"][row, start:])
        assert not text.values[place, 6 - start :].any()
    assert np.allclose(split.targets["sentiment"], part["labels"].ravel()[kept])
    assert split.ids[0] == "test_1[0] 0.1 2.0"
    assert set(split.clusters) == {"test_1"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "video"),
    [
        (["03bSnISJMiM$_$11"], "03bSnISJMiM"),
        (["_dI--eQ6qVU[3]", "1.0", "2.0"], "_dI--eQ6qVU"),
        (["abc_12"], "abc"),
        (["abc_12", "0.0", "1.0"], "abc_12"),
        (["x"], "x"),
    ],
)
def test_the_video_of_an_utterance(fields: list[str], video: str) -> None:
    assert affect._video(fields) == video


def test_ids_that_come_twice_are_told_apart(tmp_path: Path) -> None:
    content = mmsa()
    content["test"]["id"][3] = content["test"]["id"][0]
    made = affect.build(request(tmp_path, content))
    assert made.splits["test"].ids[3] == content["test"]["id"][0] + "#2"


class Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda c: c.pop("valid"), "expected a dict of the splits train, valid and test"),
        (lambda c: c["test"].pop("audio"), "test: lacks 'audio': it has annotations"),
        (lambda c: c["test"].update(audio=[[1]]), "'audio' is [1, 1], expected 3 axes of 6 items"),
        (lambda c: c["test"].update(audio=np.zeros((5, 6, 5))), "expected 3 axes of 6 items"),
        (lambda c: c["test"].update(vision=np.zeros((6, 6, 9))), "vision has another shape"),
        (lambda c: c["test"].pop("id"), "lacks 'id'"),
        (lambda c: c["test"].update(regression_labels=np.ones(2)), "expected a number an item"),
        (lambda c: c["test"].update(regression_labels=["x"] * 6), "or it is not of numbers"),
        (lambda c: c["test"].update(regression_labels=[np.nan] * 6), "is not a finite number"),
        (lambda c: c["test"].update(extra=Runs()), "system', which is refused"),
    ],
)
def test_a_broken_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content = mmsa()
    spoil(content)
    with pytest.raises(DataError) as caught:
        affect.build(request(tmp_path, content))
    assert says in str(caught.value)
    assert "aligned_50.pkl" in str(caught.value)
    assert not Path("ran").exists()


def test_parameters_lead_nowhere_else(tmp_path: Path) -> None:
    for params in ({"file": "../x.pkl"}, {"file": "/etc/passwd"}, {"folders": ["../other"]}):
        with pytest.raises(SpecError):
            affect.build(request(tmp_path, mmsa(), **params))


@pytest.mark.parametrize(
    "name", [n for n in catalog.task_names(True) if n.endswith(("mmsa", "bench"))]
)
def test_shipped_tasks_of_feature_files_have_the_published_sizes(name: str) -> None:
    task = catalog.task(name)
    total = {"mosi_mmsa": 2199, "mosei_mmsa": 22856, "sims_mmsa": 2281, "mosi_multibench": 2183,
             "mosei_multibench": 22777}  # fmt: skip
    assert sum(task.splits.values()) == total[name]


def test_a_model_runs_on_a_feature_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped task of MMSA's MOSI, on a file of its very sizes with numbers of our own."""
    monkeypatch.chdir(tmp_path)
    request(tmp_path, mmsa({"train": 40, "valid": 10, "test": 10}))
    text = catalog.task_path("mosi_mmsa").read_text(encoding="utf-8")
    for old, new in (("mosi_mmsa", "small_mmsa"), ("[50, 768]", "[6, 8]"), ("[50, 5]", "[6, 5]"),
                     ("[50, 20]", "[6, 4]"), ("1284", "40"), ("229", "10"), ("686", "10"),
                     ("_items = 50", "_items = 10"), ("256", "40")):  # fmt: skip
        text = text.replace(old, new)
    Path("small_mmsa.toml").write_text(text, encoding="utf-8")
    arguments = ["run", "-t", "./small_mmsa.toml", "-m", "late", "--budget", "smoke", "-q"]
    assert run_cli([*arguments, "--data", "data", "--set", "width=16"]) == 0
