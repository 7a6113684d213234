from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from mmbench import rng
from mmbench.report import canvas, colours, voices
from mmbench.report.samples import Answers, Sample

BRANCHES = ("joint", "image", "audio")


def sample(said: str, weights: list[list[float]], **more: Any) -> Sample:
    return Sample("item 1", "random", said, weights=weights, **more)


def gated(said: str, seed: int = 0) -> Sample:
    count = len(said.split()) + 1
    raw = rng.uniform(seed, "gate", count=count * 3).reshape(count, 3)
    return sample(said, (raw / raw.sum(axis=1, keepdims=True)).tolist(), score=0.5)


def answers(*samples: Sample) -> Answers:
    return Answers(
        task="mini",
        split="test",
        output="caption",
        ids=[str(k) for k in range(len(samples))],
        texts=[s.said for s in samples],
        weights=[s.weights or [] for s in samples],
        branches=BRANCHES,
        metric="cider_d",
    )


def test_each_word_has_its_weights_and_the_end_mark_the_last() -> None:
    said = voices.voices(sample("red circle", [[1.0, 0.0], [0.2, 0.8], [0.6, 0.4]]))
    assert [voice.word for voice in said] == ["red", "circle", voices.END]
    assert [voice.loudest for voice in said] == [0, 1, 0]


def test_a_caption_that_was_cut_has_no_end_mark() -> None:
    said = voices.voices(sample("red circle", [[1.0, 0.0], [0.2, 0.8]]))
    assert [voice.word for voice in said] == ["red", "circle"]


def test_a_word_with_a_no_break_space_is_one_word() -> None:
    said = voices.voices(sample("no.\xa03 dog", [[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]))
    assert [voice.word for voice in said] == ["no.\xa03", "dog", voices.END]
    assert said[1].loudest == 1


def test_an_empty_caption_has_its_end_mark_alone() -> None:
    assert [v.word for v in voices.voices(sample("", [[0.5, 0.5]]))] == [voices.END]
    assert voices.voices(Sample("item 1", "random", "red")) == []


def test_a_mark_names_the_loudest_branch_and_its_weight() -> None:
    assert voices.mark(voices.Voice("red", (0.04, 0.91, 0.05)), BRANCHES) == "[i .91]"
    assert voices.mark(voices.Voice("red", (0.5, 0.5, 0.0)), BRANCHES) == "[j .50]"
    assert voices.mark(voices.Voice("red", (0.0, 0.0, 1.0)), BRANCHES) == "[a 1.0]"


def test_codes_tell_all_branches_apart() -> None:
    names = ["joint", "image", "imagenet", "audio", "#1", "#2"]
    found = voices.codes(names)
    assert len(set(found.values())) == len(names)
    assert found["image"] == "image"  # it begins another's name
    assert found["joint"] == "j"


def test_the_legend_explains_the_letters_or_gives_constant_weights() -> None:
    varied = [gated("a red circle")]
    assert "j joint, i image, a audio" in voices.legend(BRANCHES, varied)
    fixed = [sample("red", [[0.25, 0.75]] * 2), sample("a dog", [[0.25, 0.75]] * 3)]
    assert voices.legend(("image", "audio"), fixed).endswith("image .25, audio .75")
    assert voices.constant([*fixed, sample("dog", [[0.5, 0.5], [0.25, 0.75]])]) is None


def boxes(figure: Any) -> list[Rectangle]:
    return [item for item in figure.findobj(Rectangle) if item is not figure.patch]


def test_bars_are_as_high_as_the_weights_and_coloured_by_branch() -> None:
    weights = [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [1.0, 0.0, 0.0]]
    one = sample("red circle", weights)
    figure = voices.figure(answers(one), [one], "mini/hybrid")
    paint = colours.of_branches(BRANCHES)
    for k, name in enumerate(BRANCHES):
        bars = [b for b in boxes(figure) if to_hex(b.get_facecolor()) == paint[name]][1:]
        heights = [bar.get_height() for bar in bars]
        assert heights == pytest.approx([voices._BAR * word[k] for word in weights])


def test_long_captions_break_and_nothing_overlaps_or_is_cut_off(
    neat: Callable[[Any], list[str]],
) -> None:
    long = " ".join(["a", "red", "circle", "antidisestablishmentarianism", "far", "above"] * 9)
    samples = [gated("a red circle"), gated(long, 1), gated("m" * 400, 2)]
    figure = voices.figure(answers(*samples), samples, "mini/hybrid small, seed 0")
    texts = neat(figure)
    assert texts.count("antidisestablishmentarianism") == 9
    assert texts.count(voices.END) == 3
    assert {"joint", "image", "audio"} <= set(texts)
    assert any("which branch spoke each word" in text for text in texts)


def test_a_caption_without_words_or_weights_is_drawn_too(
    neat: Callable[[Any], list[str]],
) -> None:
    samples = [gated(""), sample("red", [])]
    texts = neat(voices.figure(answers(*samples), samples, "mini/hybrid"))
    assert "said nothing" in texts


def test_the_same_weights_give_the_same_bytes() -> None:
    samples = [gated("a red circle chirps")]
    made = [
        canvas.png(lambda: voices.figure(answers(*samples), samples, "mini/hybrid"))
        for _ in range(2)
    ]
    assert made[0] == made[1]
