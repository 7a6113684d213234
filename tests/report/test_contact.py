"""`mmbench describe TASK --save DIR`: items as they are seen and heard, with what is right."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmbench.report import contact, sheet
from mmbench.report.canvas import Page
from mmbench.types import Modality

Cli: TypeAlias = Callable[..., Any]


def drawn(task: str, **changes: Any) -> list[str]:
    """Return the texts of a task's sheet."""
    from mmbench import catalog
    from mmbench.data import _load

    spec = catalog.task(task)
    answers, right = contact._answers(spec, _load.load(spec), "test")
    samples = contact.choose(answers, contact.ITEMS)
    figure = contact.figure(answers, samples, right, "title")
    return [text.get_text() for text in figure.texts]


def test_a_sheet_and_the_sounds_are_written(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    done = cli("describe", "retrieval", "--save", str(folder))
    assert (done.code, done.err) == (0, "")
    assert f"picture     {folder / 'retrieval.png'}" in done.out
    assert "what is possible" in done.out
    names = sorted(path.name for path in folder.iterdir())
    assert names == [*(f"retrieval-{k:02d}-audio.wav" for k in range(1, 10)), "retrieval.png"]
    pixels = matplotlib.image.imread(folder / "retrieval.png")
    assert pixels.shape[0] > 600
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 500, "there are pictures"
    with wave.open(str(folder / "retrieval-01-audio.wav")) as sound:
        content = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    assert abs(content).max() > 3000


def test_json_names_the_files(cli: Cli, tmp_path: Path) -> None:
    done = cli("describe", "synergy", "--save", str(tmp_path), "--json")
    content = json.loads(done.out)
    assert (content["sheet"], content["sounds"]) == (str(tmp_path / "synergy.png"), [])
    assert Path(content["sheet"]).stat().st_size > 10_000


def test_what_is_right_stands_below_each_item() -> None:
    from mmbench import catalog
    from mmbench.data import _load

    texts = drawn("sentiment")
    assert texts.count("label") == texts.count("intensity") == contact.ITEMS
    texts = drawn("retrieval")
    split = _load.load(catalog.task("retrieval")).splits["test"]
    shown = [split.ids.index(text) for text in texts if text in split.ids]
    assert len(shown) == contact.ITEMS
    assert texts.count("text") == contact.ITEMS
    for row in shown:
        assert set(split.references["match"].names[row].split()) <= set(texts)  # type: ignore[attr-defined]


def test_the_picture_of_the_item_that_is_right_stands_beside_a_user() -> None:
    from mmbench import catalog
    from mmbench.data import _load

    task = catalog.task("recommendation")
    dataset = _load.load(task)
    answers, right = contact._answers(task, dataset, "test")
    assert list(answers.modalities) == ["user", "image, right"]
    assert list(right) == ["text"]
    gallery = dataset.splits["test"].gallery
    assert gallery is not None
    assert answers.data is not None
    np.testing.assert_array_equal(
        answers.data.inputs["image, right"][7], gallery.inputs["image"][7]
    )  # type: ignore[index]


ITEMS: dict[str, tuple[str, Any]] = {
    "vector": ("vector", np.linspace(-1, 1, 7)),
    "sequence": ("sequence", np.ones((5, 3))),
    "image": ("image", np.full((3, 8, 9), 7, dtype=np.uint8)),
    "grey-image": ("image", np.full((1, 8, 9), 7, dtype=np.uint8)),
    "spectrogram": ("spectrogram", np.full((2, 6, 5), 7, dtype=np.uint8)),
    "video": ("video", np.full((20, 12, 16), 7, dtype=np.uint8)),
    "one-frame": ("video", np.full((1, 40, 4), 7, dtype=np.uint8)),
    "video-in-colour": ("video", np.full((4, 3, 8, 8), 7, dtype=np.uint8)),
    "waveform": ("waveform", np.sin(np.arange(4000) / 9)),
    "two-channels": ("waveform", np.zeros((2, 50), dtype=np.int16)),
    "no-sound": ("waveform", np.zeros(0)),
    "text": ("text", np.array([4, 5, 0])),
    "set": ("set", np.ones((4, 3))),
    "graph": ("graph", np.arange(24).reshape(2, 3, 4)),
    "number": ("smell", np.array(3.0)),
    "no-steps": ("sequence", np.zeros((0, 3))),
    "not-finite": ("smell", np.array([np.nan, np.inf, 1.0])),
    "no-numbers": ("signs", np.array(["a", "b"])),
}


@pytest.mark.parametrize("name", ITEMS)
def test_every_kind_of_modality_is_drawn_within_its_place(name: str) -> None:
    kind, item = ITEMS[name]
    vocabulary = ("<pad>", "<bos>", "<eos>", "<unk>", "cat", "dog") if kind == "text" else ()
    wide, draw, high = sheet.drawing("what", Modality(kind, item.shape, vocabulary), item)
    assert 0 < wide <= sheet.CELL
    assert 0 < high <= sheet.IMAGE
    page = Page(sheet.CELL, sheet.IMAGE + 8)
    draw(page, 0, 4)
    renderer = FigureCanvasAgg(page.figure).get_renderer()
    page.figure.draw(renderer)
    for axes in page.figure.axes:
        box = axes.get_window_extent(renderer)
        assert box.x1 <= wide + 1
        assert box.y0 >= 0
    pictured = bool(page.figure.axes or page.figure.artists or page.figure.patches)
    assert pictured is (name not in ("text", "no-sound", "no-steps", "no-numbers"))


def test_a_waveform_is_written_as_it_is() -> None:
    told = np.array([[0, 100, -200, 32767], [1, 2, 3, 4]], dtype=np.int16)
    for item in (told, told / 32767.0):
        with wave.open(io.BytesIO(contact.recorded(item))) as sound:
            assert (sound.getnchannels(), sound.getframerate()) == (2, contact.RATE)
            content = np.frombuffer(sound.readframes(9), dtype="<i2").reshape(-1, 2)
        np.testing.assert_array_equal(content.T, told)


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("describe hybrid --save p", 2, "--save: draws items of a task, and 'hybrid' is none"),
        ("describe early_tokens --save p", 2, "--save: draws items of a task"),
        ("describe flickr8k_captioning --save p --data nowhere", 4, "nowhere"),
    ],
    ids=["model", "component", "no-data"],
)
def test_what_cannot_be_drawn_is_one_line(cli: Cli, line: str, code: int, message: str) -> None:
    done = cli(*line.split())
    assert done.code == code
    assert message in done.error
    assert "\n" not in done.error
    assert not Path("p").exists()
