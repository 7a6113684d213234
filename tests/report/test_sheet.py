from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import AxesImage
from matplotlib.patches import FancyArrowPatch, Rectangle

from mmbench import rng
from mmbench.references import Slots, TextReferences
from mmbench.report import canvas, colours, sheet
from mmbench.report.samples import Answers, choose, with_words
from mmbench.types import Modality, Ragged, Split

Neat = Callable[[Any], list[str]]
WORDS = ("<pad>", "<bos>", "<eos>", "<unk>", "dog", "beach", "run")
IMAGE = Modality("image", (3, 8, 8))
AUDIO = Modality("spectrogram", (2, 16, 24))
TAGS = Modality("text", (4,), WORDS)


def parse(text: str) -> Slots:
    known = {"red", "blue", "green"} & set(text.split())
    return {"colour": frozenset((word,) for word in known)}


def inputs(count: int) -> dict[str, tuple[Modality, Any]]:
    noise = rng.integers(3, "pixels", count=count * 3 * 64, below=256)
    heard = rng.integers(3, "bands", count=count * 2 * 16 * 24, below=256)
    return {
        "image": (IMAGE, noise.astype(np.uint8).reshape(count, 3, 8, 8)),
        "audio": (AUDIO, heard.astype(np.uint8).reshape(count, 2, 16, 24)),
        "tags": (TAGS, Ragged(np.tile([4, 5, 6, 0], (count, 1)), np.full(count, 3))),
    }


def answers(
    names: tuple[str, ...] = ("image", "audio"),
    said: str = "a red dog",
    true: tuple[str, ...] = ("a red dog runs", "the blue dog", "a third, green"),
    count: int = 14,
    slots: bool = True,
    present: Mapping[str, Any] | None = None,
) -> Answers:
    ids = [f"item-{k}" for k in range(count)]
    parts = {name: inputs(count)[name] for name in names}
    references = TextReferences(
        [true] * count, [parse("blue")] * count if slots else None, parse if slots else None
    )
    data = Split(
        ids,
        {name: values for name, (_, values) in parts.items()},
        {},
        {"caption": references},
        present=present or {},
    )
    return Answers(
        task="mini",
        split="test",
        output="caption",
        ids=ids,
        texts=[said] * count,
        metric="cider_d",
        scores=[float(k) for k in range(count)],
        data=data,
        row={name: k for k, name in enumerate(ids)},
        modalities={name: modality for name, (modality, _) in parts.items()},
    )


def draw(made: Answers, count: int = 12) -> Any:
    return sheet.figure(made, choose(made, count), "mini/hybrid small, seed 0")


def test_a_sheet_names_its_groups_items_and_texts(neat: Neat) -> None:
    texts = neat(draw(answers()))
    assert any("what it said about 12 items of test" in text for text in texts)
    for title in (
        "drawn at random",
        "worst of the others by cider_d",
        "best of the others by cider_d",
    ):
        assert title in texts
    assert sum(text.startswith("item-") for text in texts) == 12
    assert texts.count("said") == 12
    assert texts.count("true") == 24  # two references at most
    assert "green" not in texts
    assert texts.count("audio, left") == texts.count("audio, right") == 12


def test_wrong_words_are_coloured_and_underlined_right_ones_only_coloured() -> None:
    made = answers(said="a red blue dog")
    words = sheet.said_words(made, choose(made, 1)[0], ["red", "blue", "green", "dog"])
    looks = [(word.text, word.style.colour, word.underlined) for word in words]
    assert looks == [
        ("a", colours.INK, False),
        ("red", colours.WRONG, True),
        ("blue", colours.RIGHT, False),
        ("dog", colours.INK, False),
    ]
    underlines = [
        item
        for item in draw(made, 1).findobj(Rectangle)
        if item.get_height() < 3 and to_hex(item.get_facecolor()) == colours.WRONG
    ]
    assert len(underlines) == 2  # the word and the legend


def test_without_planted_facts_words_are_plain_and_the_legend_says_nothing_of_them(
    neat: Neat,
) -> None:
    made = answers(slots=False)
    words = sheet.said_words(made, choose(made, 1)[0], [])
    assert {word.style.colour for word in words} == {colours.INK}
    assert "holds" not in neat(draw(made))


def images(figure: Any) -> list[AxesImage]:
    return [image for axes in figure.axes for image in axes.get_images()]


def test_pictures_show_the_items_own_pixels_and_channels() -> None:
    made = answers()
    (sample,) = choose(made, 1)
    assert made.data is not None
    assert sample.row is not None
    picture, left, right = images(draw(made, 1))
    pixels, heard = made.data.inputs["image"], made.data.inputs["audio"]
    assert isinstance(pixels, np.ndarray)
    assert isinstance(heard, np.ndarray)
    assert np.array_equal(picture.get_array(), pixels[sample.row].transpose(1, 2, 0))
    for channel, shown in enumerate((left, right)):
        assert np.array_equal(shown.get_array(), heard[sample.row, channel].T)
        # One scale for both, or the louder side could not be seen.
        assert shown.get_clim() == (0, 255)
        assert shown.origin == "lower"


def test_tags_are_words_and_what_is_absent_is_said_to_be(neat: Neat) -> None:
    present = {"tags": np.arange(14) % 2 == 0}
    made = answers(("image", "tags"), present=present)
    texts = neat(draw(made))
    shown = [int(sample.id.removeprefix("item-")) for sample in choose(made, 12)]
    there = sum(number % 2 == 0 for number in shown)
    assert texts.count("beach") == there
    assert texts.count("none") == 12 - there
    assert "<pad>" not in texts


def test_a_grey_image_and_an_unknown_kind_are_drawn_or_named(neat: Neat) -> None:
    made = answers(("image",))
    assert made.data is not None
    grey = np.zeros((14, 1, 8, 8), dtype=np.uint8)
    made.data.inputs["image"] = grey  # type: ignore[index]
    made.data.inputs["smell"] = grey  # type: ignore[index]
    made.modalities["image"] = Modality("image", (1, 8, 8))  # type: ignore[index]
    made.modalities["smell"] = Modality("odour", (1, 8, 8))  # type: ignore[index]
    figure = draw(made, 1)
    assert images(figure)[0].get_array().shape == (8, 8)
    said = " ".join(neat(figure))
    assert "smell: odour" in said, "of numbers of any kind there is a heat map"


def test_three_modalities_take_a_second_row_and_overlap_nothing(neat: Neat) -> None:
    two, three = (
        draw(answers(names)) for names in (("image", "audio"), ("image", "audio", "tags"))
    )
    neat(three)
    assert three.get_figheight() > two.get_figheight()


@pytest.mark.parametrize("said", ["", "word " * 300, "m" * 500, "雪 の中 $x^2 \u202e \x07"])
def test_odd_predictions_stay_in_their_cells(neat: Neat, said: str) -> None:
    made = answers(said=said, true=("a dog " * 200, "雪の中の犬"))
    assert len(canvas.png(lambda: draw(made, 4))) > 1000
    if said.isascii():
        texts = neat(draw(answers(said=said, true=("a dog " * 200,)), 4))
        assert canvas.ELLIPSIS in "".join(texts)


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (4, 3), (12, 4)])
def test_the_sheet_grows_with_its_rows(count: int, rows: int) -> None:
    one = draw(answers(), 1).get_figheight()
    high = draw(answers(), count).get_figheight()
    groups = 1 if count < 4 else 3
    head, group = 84 / canvas.DPI, 44 / canvas.DPI
    assert high == pytest.approx(head + groups * group + rows * (one - head - group), abs=0.02)


def test_the_same_items_give_the_same_bytes() -> None:
    made = [canvas.png(lambda: draw(answers(), 3)) for _ in range(2)]
    assert made[0] == made[1]


def test_a_graph_is_drawn_with_the_names_of_its_nodes_and_an_arrow_for_each_edge(
    neat: Neat,
) -> None:
    graph = np.zeros((3, 4, 5), dtype=np.uint8)
    graph[0, :3, 0] = [6, 4, 5]  # run, dog, beach; no fourth node
    graph[1, 0, 1] = graph[2, 1, 2] = graph[2, 2, 1] = 1
    graph[1, 0, 3] = 1  # to nobody
    shown = with_words({"scene": Modality("graph", graph.shape), "tags": TAGS})
    drawn = sheet.drawing("scene", shown["scene"], graph)
    page = canvas.Page(sheet.CELL, drawn.high)
    drawn.draw(page, 0, 0)
    assert {"scene", "run", "dog", "beach"} <= set(neat(page.figure))
    arrows = [a for a in page.figure.patches if isinstance(a, FancyArrowPatch)]
    arrows += [a for a in page.figure.artists if isinstance(a, FancyArrowPatch)]
    assert len({id(a) for a in arrows}) == 3
    assert len({to_hex(a.get_edgecolor()) for a in arrows}) == 2, "one colour for each relation"


def test_a_row_is_as_high_as_what_stands_in_it() -> None:
    texts, pictures = answers(("tags",)), answers(("image",))
    few = sheet.band(texts, choose(texts, 1)[0])
    assert few < sheet.band(pictures, choose(pictures, 1)[0]) / 3
