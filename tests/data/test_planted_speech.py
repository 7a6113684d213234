"""The dataset speech: what is planted where, what every parameter does, pinned bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import speech
from mmbench.data._contract import Request
from mmbench.data.speech import features, grammar, lexicon, lips, sentences, timing, voice
from mmbench.data.speech.lexicon import NONE, WORDS
from mmbench.errors import SpecError
from mmbench.references import LabelReferences, texts_of
from mmbench.text import EOS, steps_needed
from mmbench.types import Dataset, Ragged, Split

Make: TypeAlias = Callable[..., Dataset]
SPLITS = {"train": 40, "val": 12, "test": 25}
STRUCTURES = ("words", "context", "translation", "intent")
TASKS = (
    "speech",
    "speech_text",
    "speech_async",
    "speech_wave",
    "speech_context",
    "translation",
    "speech_translation",
    "intent",
)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Build a dataset: structure, sizes of splits, parameters."""

    def made(name: str, sizes: dict[str, int] | None = None, **params: Any) -> Dataset:
        fields = {"structure": name, **params}
        return speech.build(
            Request("task", speech.VERSION, 7, fields, sizes or SPLITS, None, tmp_path)
        )

    return made


def ragged(split: Split, name: str) -> Ragged:
    found = split.inputs[name]
    assert isinstance(found, Ragged)
    return found


def said(split: Split) -> list[str]:
    return [texts[0] for texts in texts_of(split.references["words"]).texts]


# --- the dataset as the contract wants it --------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_tasks_promise_what_the_data_are(name: str) -> None:
    task = catalog.task(name)
    assert registry.load("dataset", task.dataset.name) is speech.build
    params = speech.Params(**{**task.dataset.params, "splits": {}})
    signature = speech.signature(params)
    assert {n: (m.kind, m.shape) for n, m in signature.modalities.items()} == {
        n: (m.kind, tuple(m.shape)) for n, m in task.modalities.items()
    }
    output = task.outputs[task.main_output]
    assert signature.outputs[task.main_output].kind == output.kind
    if output.kind == "transcript":
        steps = int(output.clock.partition(":")[2])
        assert steps >= signature.outputs[task.main_output].size


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_has_the_shapes_and_outputs_that_were_promised(
    make: Make, name: str
) -> None:
    dataset = make(name)
    for split_name, size in SPLITS.items():
        split = dataset.splits[split_name]
        assert len(split) == len(set(split.ids)) == size
        assert split.ids[3] == f"{split_name}-0003"
        for modality, told in dataset.signature.modalities.items():
            x = ragged(split, modality)
            assert x.values.shape[1:] == told.shape
            assert 1 <= x.lengths.min() <= x.lengths.max() <= told.shape[0]
            behind = np.arange(told.shape[0]) >= np.asarray(x.lengths)[:, None]
            assert not np.asarray(x.values)[behind].any(), "padding says nothing"
    main = dataset.signature.main
    output = dataset.signature.outputs[main]
    split = dataset.splits["train"]
    if output.kind == "label":
        references = split.references[main]
        assert isinstance(references, LabelReferences)
        np.testing.assert_array_equal(references.labels, split.targets[main])
        assert references.classes == output.vocabulary == lexicon.THINGS
        return
    for text, row in zip(
        texts_of(split.references[main]).texts, np.asarray(split.targets[main]), strict=True
    ):
        ids = [i for i in row.ravel().tolist() if i]
        if output.kind == "text":
            assert ids.pop() == EOS
        assert " ".join(output.vocabulary[i] for i in ids) == text[0]
        # The shortest utterance has more frames than the longest transcript has steps.
        assert output.kind == "text" or steps_needed(ids) <= output.size <= 6 + 4 * 3
    assert ragged(split, "video").lengths.min() >= 6 + 4 * 3


#: SHA-256 over all arrays of the splits above; a change here needs a new VERSION.
BYTES = {
    "words": "8fc3b0e3148d85450fd323ff14df00c25ecf30d5c1a1618c0dcb28aa4f6daa57",
    "context": "2e8d79774cfa5b63a791047e4bc46e11687c2b1e661e9352b12d30d166a88ea0",
    "translation": "19851ebb060099854cf62d2cc1b022ccd571ee75d5e4e9948801236bfbe55db3",
    "intent": "9dd6c112257cdfd047b4fcdb1914b02590cca0f4abbc60ba9d5ac0c400adce36",
    "wave": "7d9df1e162c73e16f18a05d3c93b1f59b1249bebe0393edef9136a84a49d2381",
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_are_pinned(make: Make, name: str) -> None:
    if name == "wave":
        dataset = make("words", {"train": 6, "test": 5}, render="wave", asynchrony_ms=120)
    else:
        dataset = make(name, snr_db=[5.0, -5.0], occlusion=0.3, asynchrony_ms=80)
    total = hashlib.sha256()
    for split in dataset.splits.values():
        inputs = [part for x in map(split.inputs.__getitem__, split.inputs) for part in parts(x)]
        for array in (*inputs, *split.targets.values()):
            total.update(np.ascontiguousarray(array).tobytes())
    assert total.hexdigest() == BYTES[name]


def parts(x: Any) -> tuple[Any, Any]:
    return (x.values, x.lengths)


@pytest.mark.parametrize("render", ["features", "wave"])
def test_the_first_items_do_not_depend_on_sizes_nor_on_other_splits(
    make: Make, render: str
) -> None:
    settings = {"render": render, "snr_db": [0.0, 10.0], "occlusion": 0.4, "asynchrony_ms": 120}
    small = make("intent", {"test": 8}, **settings).splits["test"]
    large = make("intent", {"train": 2, "test": 20}, **settings).splits["test"]
    part = large.take(np.arange(8))
    for name in small.inputs:
        np.testing.assert_array_equal(ragged(part, name).values, ragged(small, name).values)
        np.testing.assert_array_equal(ragged(part, name).lengths, ragged(small, name).lengths)
    np.testing.assert_array_equal(part.targets["intent"], small.targets["intent"])
    for column, values in small.groups.items():
        np.testing.assert_array_equal(part.groups[column], values)


@pytest.mark.parametrize(
    ("structure", "render"),
    [("words", "features"), ("words", "wave"), ("context", "features"),
     ("translation", "features"), ("intent", "features")],
)  # fmt: skip
def test_no_item_is_there_twice(make: Make, structure: str, render: str) -> None:
    sizes = {"train": 400, "val": 100, "test": 200} if render == "features" else SPLITS
    dataset = make(structure, sizes, render=render)
    for name in ("audio", "video"):
        seen = {
            hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest()
            for split in dataset.splits.values()
            for row in ragged(split, name).values
        }
        assert len(seen) == sum(sizes.values())


# --- what is planted -----------------------------------------------------------------------------


def test_sentences_have_three_to_six_words_that_are_all_as_likely() -> None:
    drawn = sentences.draw(3, "train", 6000, "words").words
    counts = np.bincount((drawn != NONE).sum(axis=1), minlength=7)
    assert not counts[:3].any()
    np.testing.assert_allclose(counts[3:] / 6000, 0.25, atol=0.03)
    words = np.bincount(drawn[drawn != NONE], minlength=len(WORDS))
    np.testing.assert_allclose(words / words.sum(), 1 / 12, atol=0.01)
    # A word says nothing of the next.
    pairs = np.zeros((12, 12))
    np.add.at(pairs, (drawn[:, 0], drawn[:, 1]), 1)
    assert abs(pairs / 6000 - 1 / 144).max() < 6 * (1 / 144 / 6000) ** 0.5


def test_states_last_as_long_as_the_law_says_and_the_longest_fit() -> None:
    words = sentences.draw(3, "train", 4000, "words").words
    uniforms = np.random.default_rng(0).random((4000, 6, 4))
    frames = timing.durations(words, uniforms)
    assert (frames > 0).sum() == 4 * (words != NONE).sum()
    real = frames[frames > 0]
    for length in (1, 2, 3, 6):
        assert (real == length).mean() == pytest.approx(0.45 * 0.55 ** (length - 1), abs=0.005)
    states, lengths = timing.paths(words, frames)
    assert (states[:, : timing.REST] == timing.SILENT).all()
    row = states[5, : lengths[5]]
    changes = row[np.append(True, np.diff(row) != 0)]
    numbers = [1 + 4 * w + s for w in words[5].tolist() if w != NONE for s in range(4)]
    assert changes.tolist() == [0, *numbers, 0]
    # Uniforms of nearly 1 make everything last for ever.
    slow = timing.durations(np.zeros((1, 6), dtype=np.int64), np.full((1, 6, 4), 1 - 1e-12))
    assert timing.paths(np.zeros((1, 6), dtype=np.int64), slow)[1][0] <= timing.FRAMES
    assert slow.min() >= 1


def test_the_chance_of_an_utterance_that_would_not_fit_is_negligible() -> None:
    chances = np.zeros(400)
    chances[0] = 1.0
    single = np.zeros(400)
    single[1:] = 0.45 * 0.55 ** np.arange(399)
    for _ in range(24):
        chances = np.convolve(chances, single)[:400]
    assert chances[timing.FRAMES - 2 * timing.REST + 1 :].sum() < 3e-6


def test_topics_like_words_that_no_other_topic_likes() -> None:
    tables = np.stack([lexicon.bigrams(t) for t in range(len(lexicon.TOPICS))])
    np.testing.assert_allclose(tables.sum(axis=2), 1.0)
    np.testing.assert_allclose(tables.mean(axis=0), 1 / 12)
    liked = tables > 0.1
    assert (liked.sum(axis=2) == 3).all()
    for row in liked[0]:
        assert len(set(np.flatnonzero(row) // 3)) == len(set(np.flatnonzero(row) % 3)) == 3


def test_a_translation_has_its_own_order_and_agreement() -> None:
    assert lexicon.translate((3, 6, 4)) == "il gatto la luna vede"
    assert lexicon.translate((1, 4, 8, 2, 5, 9)) == "la luna piccola il sasso rosso oggi trova"
    listed, chances = grammar.sentences(grammar.clauses())
    assert chances.sum() == pytest.approx(1.0)
    longest = max(len(lexicon.translate(row).split()) for row in listed)
    assert longest == lexicon.TRANSLATED
    known = set(lexicon.target_words())
    assert {word for row in listed for word in lexicon.translate(row).split()} == known


def test_typed_sources_show_words_or_gaps(make: Make) -> None:
    split = make("translation", {"test": 300}).splits["test"]
    known = sentences.typed_words("translation")
    words = sentences.draw(7, "test", 300, "translation").words
    text = ragged(split, "text")
    gap = known.ids[lexicon.GAP_TOKEN]
    for row, count, truth in zip(text.values, text.lengths, words, strict=True):
        assert count == (truth != NONE).sum()
        for token, word in zip(row[:count].tolist(), truth.tolist(), strict=False):
            assert token == gap or known.words[token] == WORDS[word]
    shown = np.asarray(text.values)[np.asarray(text.values) > 0]
    assert (shown == gap).mean() == pytest.approx(lexicon.GAP, abs=0.05)


def test_requests_are_told_as_their_kind_says(make: Make) -> None:
    split = make("intent", {"test": 800}).splits["test"]
    drawn = sentences.draw(7, "test", 800, "intent")
    known = sentences.typed_words("intent")
    kinds = np.asarray(split.groups["kind"])
    for kind in lexicon.KINDS:
        assert (kinds == kind).mean() == pytest.approx(0.25, abs=0.06)
    for item in range(800):
        typed = [known.words[t] for t in ragged(split, "text").values[item] if t]
        things = [lexicon.THINGS.index(t) for t in typed if t in lexicon.THINGS]
        spoken = [w for w in drawn.words[item].tolist() if w not in (NONE, *lexicon.FILLERS)]
        label = int(split.targets["intent"][item])
        kind = kinds[item]
        assert spoken == [label] if kind in ("spoken", "both") else True
        assert things == [label] if kind in ("typed", "both") else True
        assert not spoken if kind == "typed" else True
        assert not things if kind == "spoken" else True
        if kind == "referring":
            assert len(set(things)) == 2
            assert things[lexicon.ORDINALS.index(spoken[0])] == label


def test_the_voice_tells_the_group_loudly_and_the_lips_only_the_place() -> None:
    sound, sight = features.audio_means(), features.video_means()
    onset = [1 + 4 * w for w in range(12)]
    apart = np.linalg.norm(sound[onset][:, None] - sound[onset][None], axis=2)
    same_group = np.arange(12)[:, None] // 3 == np.arange(12) // 3
    assert apart[~same_group].min() > 3.5 * apart[same_group].max()
    assert apart[same_group & (apart > 0)].min() > 1.0, "but it does tell the place, faintly"
    seen = np.linalg.norm(sight[onset][:, None] - sight[onset][None], axis=2)
    same_place = np.arange(12)[:, None] % 3 == np.arange(12) % 3
    np.testing.assert_allclose(seen[same_place], 0.0)
    assert seen[~same_place].min() > 3.0
    assert (lips.axes()[onset][:3] == lips.axes()[onset][3:6]).all()


@pytest.mark.parametrize("ratio", [10.0, 0.0, -10.0])
def test_the_ratio_of_signal_to_noise_is_that_which_was_asked_for(make: Make, ratio: float) -> None:
    split = make("words", {"test": 60}, snr_db=ratio).splits["test"]
    audio = ragged(split, "audio")
    x, lengths = np.asarray(audio.values, dtype=np.float64), audio.lengths
    time = np.arange(112)
    speaking = (time >= timing.REST) & (time < lengths[:, None] - timing.REST)
    assert x[speaking].std() == pytest.approx(1.0, abs=0.03)
    # In rest there is noise only.
    rest = x[:, : timing.REST].var()
    spread = 10.0 ** (-ratio / 10)
    assert rest == pytest.approx(spread / (1 + spread), rel=0.1)
    np.testing.assert_array_equal(split.groups["snr_db"], ratio)


def test_the_ratio_of_a_waveform_is_that_which_was_asked_for() -> None:
    states = np.array([0, 0, 0, *range(1, 49), 0, 0, 0])
    clean = voice.wave(1, "x", states=states, snr_db=60.0)
    noisy = voice.wave(1, "x", states=states, snr_db=0.0)
    speaking = np.repeat(states != 0, voice.SAMPLES)
    assert np.sqrt((clean[speaking] ** 2).mean()) == pytest.approx(voice.LOUDNESS, rel=0.02)
    noise = noisy * np.sqrt(2.0) - clean
    assert (noise**2).mean() / (clean[speaking] ** 2).mean() == pytest.approx(1.0, rel=0.05)
    assert np.abs(clean).max() < 1.0


# --- what parameters do --------------------------------------------------------------------------


def test_a_split_like_another_has_its_sentences_and_its_noise(make: Make) -> None:
    sizes = {"test": 30, "loud": 20, "late": 20, "hidden": 20}
    changes = {
        "loud": {"like": "test", "snr_db": -5.0},
        "late": {"like": "test", "asynchrony_ms": 120},
        "hidden": {"like": "test", "occlusion": 0.5},
    }
    splits = make("words", sizes, splits=changes).splits
    test = splits["test"].take(np.arange(20))
    for name in ("loud", "late", "hidden"):
        assert said(splits[name]) == said(test)
    loud, quiet = ragged(splits["loud"], "audio").values, ragged(test, "audio").values
    assert not np.array_equal(loud, quiet)
    np.testing.assert_array_equal(
        ragged(splits["loud"], "video").values, ragged(test, "video").values
    )
    np.testing.assert_array_equal(ragged(splits["late"], "audio").values, quiet)
    leads = np.asarray(splits["late"].groups["lead_ms"])
    assert set(leads.tolist()) <= {0, 40, 80, 120}
    assert len(set(leads.tolist())) == 4
    # The lips of the late split are those of the test, so many frames earlier, in the same noise.
    words = sentences.draw(7, "test", 20, "words").words
    assert (words != NONE).sum() == sum(len(text.split()) for text in said(test))
    lengths = ragged(test, "video").lengths
    hidden = np.asarray(ragged(splits["hidden"], "video").values)
    for row, length, before in zip(hidden, lengths, ragged(test, "video").values, strict=True):
        gone = ~row[:length].any(axis=1)
        assert gone.sum() == pytest.approx(0.5 * length, abs=0.51)
        assert np.diff(np.flatnonzero(gone)).max(initial=1) == 1, "one stretch"
        np.testing.assert_array_equal(row[:length][~gone], before[:length][~gone])


def test_lips_lead_the_voice() -> None:
    states = np.array([[0, 0, 0, 5, 6, 7, 8, 0, 0, 0]])
    for lead, shown in ((0, states[0]), (2, [0, 5, 6, 7, 8, 0, 0, 0, 0, 0])):
        np.testing.assert_array_equal(timing.moved(states, np.array([lead]))[0], shown)


def test_covered_lips_of_a_picture_are_black_and_others_never(make: Make) -> None:
    split = make("words", {"test": 6}, render="wave", occlusion=0.5).splits["test"]
    video = ragged(split, "video")
    for clip, length in zip(video.values, video.lengths, strict=True):
        dark = (clip[:length] == 0).all(axis=(1, 2))
        assert dark.sum() == pytest.approx(0.5 * length, abs=0.51)
        assert clip[:length][~dark].min() >= 1
    audio = ragged(split, "audio")
    np.testing.assert_array_equal(audio.lengths, 4 * np.asarray(video.lengths) - 2)


def test_an_utterance_has_the_spectrogram_that_it_has_alone() -> None:
    rows = [np.array([0, 0, 0, 1, 2, 3, 4, 0, 0, 0]), np.array([0, 0, 0, 5, 6, 7, 8, 8, 0, 0, 0])]
    waves = [voice.wave(1, i, states=row, snr_db=5.0) for i, row in enumerate(rows)]
    both = voice.spectrograms(waves)
    for row, wave in zip(both, waves, strict=True):
        np.testing.assert_array_equal(row, voice.spectrograms([wave])[0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"structure": "song"}, "structure"),
        ({"snr": 3}, "unknown key 'snr'"),
        ({"occlusion": -0.1}, "occlusion"),
        ({"occlusion": 1.1}, "occlusion"),
        ({"snr_db": []}, "snr_db"),
        ({"snr_db": 99.0}, "snr_db"),
        ({"snr_db": "loud"}, "snr_db"),
        ({"asynchrony_ms": 50}, r"asynchrony_ms = 50: .* write 0, 40, 80 or 120"),
        ({"asynchrony_ms": -40}, "asynchrony_ms"),
        ({"asynchrony_ms": 160}, "asynchrony_ms"),
        ({"render": "paint"}, "render"),
        ({"output": "label"}, "output"),
        ({"structure": "intent", "output": "text"}, "output of 'intent' is a label"),
        ({"source_text": False}, "only structure = 'translation' has a source text"),
        ({"splits": {"tset": {}}}, r"splits.tset: did you mean 'test'\?"),
        ({"splits": {"test": {"like": "train2"}}}, "did you mean 'train'"),
        ({"splits": {"test": {"like": "test"}}}, "name a split with its own items"),
        ({"splits": {"test": {"asynchrony_ms": 30}}}, r"splits.test.asynchrony_ms = 30"),
        ({"splits": {"test": {"noise": 1.0}}}, "noise"),
    ],
    ids=lambda value: str(value)[:40].replace("'", "") if isinstance(value, dict) else "said",
)
def test_parameters_that_cannot_be_are_refused_by_name(
    make: Make, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as refusal:
        make(params.pop("structure", "words"), **params)
    assert "\n" not in str(refusal.value)
    assert "dataset.params" in str(refusal.value)


def test_a_clock_that_is_too_short_for_the_words_is_refused() -> None:
    task = catalog.task("speech")
    output = speech.signature(speech.Params(structure="words")).outputs["words"]
    assert output.size == steps_needed([1] * lexicon.MOST)
    head = registry.load("head", "transcript")
    with pytest.raises(SpecError, match=r"clock of 10 steps is too short: .* write clock"):
        head(replace(output, clock="latent:10"), 8)
    assert head(replace(output, clock=task.outputs["words"].clock), 8).symbols == output.vocabulary


def test_a_split_of_no_items_is_refused(tmp_path: Path) -> None:
    text = catalog.task_path("speech").read_text(encoding="utf-8")
    file = tmp_path / "empty.toml"
    file.write_text(
        text.replace("test = 1000", "test = 0").replace('"speech"\nversion', '"empty"\nversion', 1)
    )
    with pytest.raises(SpecError, match="splits"):
        catalog.task(str(file))


def test_another_version_is_refused(tmp_path: Path) -> None:
    request = Request("speech", 9, 7, {"structure": "words"}, SPLITS, None, tmp_path)
    with pytest.raises(SpecError, match=r"speech.toml: dataset.version = 9: .* version = 1"):
        speech.build(request)
