"""Audio-visual sentences: on a small made folder, and on the real one where it is at hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _load, _sound, grid
from mmbench.data._contract import Request
from mmbench.errors import DataError, SpecError
from mmbench.types import Dataset, Ragged

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
WORDS = ("bin", "lay", "place", "set")
SPLITS = {"train": 6, "val": 2, "test": 3}
NAMES = {"val": "valid"}


class Folder:
    """Eleven utterances of three words each, one of two speakers."""

    def __init__(self, root: Path) -> None:
        import av
        import soundfile

        self.root, self.cache = root, root.parent / "cache"
        (root / "video").mkdir(parents=True)
        (root / "audio").mkdir()
        self.lines: list[dict[str, Any]] = []
        draw = np.random.default_rng(0)
        for name, count in SPLITS.items():
            for k in range(count):
                key = f"{name}{k}"
                frames = 10 + k
                with av.open(str(root / "video" / f"{key}.mp4"), "w") as container:
                    stream = container.add_stream("mpeg4", rate=25)
                    stream.height, stream.width, stream.pix_fmt = 16, 32, "yuv420p"
                    for frame in draw.integers(0, 255, (frames, 16, 32), dtype=np.uint8):
                        made = av.VideoFrame.from_ndarray(frame, format="gray")
                        container.mux(stream.encode(made))
                    container.mux(stream.encode(None))
                wave = 0.2 * draw.standard_normal(frames * 320)
                soundfile.write(root / "audio" / f"{key}.flac", wave, 8000)
                text = " ".join(WORDS[(k + j) % 4] for j in range(3))
                if key == "test2":
                    text = "bin bin never"
                self.lines.append(
                    {
                        "id": key,
                        "split": NAMES.get(name, name),
                        "video": f"video/{key}.mp4",
                        "audio": f"audio/{key}.flac",
                        "text": text,
                        "speaker": f"s{k % 2}",
                    }
                )
        self.write()

    def write(self) -> None:
        text = "\n".join(json.dumps(line) for line in self.lines)
        (self.root / "manifest.jsonl").write_text(text + "\n", encoding="utf-8")

    def build(self, seed: int = 0, root: Path | None = None, **params: Any) -> Dataset:
        place = self.root if root is None else root
        request = Request("made", 1, seed, params, SPLITS, place, self.cache)
        return grid.build(request)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "grid_s1")


def audio(dataset: Dataset, split: str) -> Any:
    found = dataset.splits[split].inputs["audio"]
    assert isinstance(found, Ragged)
    return found


def test_the_folder_is_read_as_it_is(folder: Folder) -> None:
    made = folder.build()
    assert {name: len(split) for name, split in made.splits.items()} == SPLITS
    video = made.splits["train"].inputs["video"]
    assert isinstance(video, Ragged)
    assert video.values.shape == (6, 15, 16, 32)
    assert video.lengths.tolist() == [10, 11, 12, 13, 14, 15]
    sound = audio(made, "train")
    assert sound.values.shape == (6, 1, 1 + (4800 - 200) // 80, 40)
    assert sound.lengths.tolist() == [1 + (n * 320 - 200) // 80 for n in video.lengths.tolist()]
    assert made.signature.outputs["words"].vocabulary == ("<blank>", *sorted(WORDS))
    assert made.signature.outputs["words"].size == 3
    test = made.splits["test"]
    assert test.references["words"].take([2]).texts == [("bin bin never",)]  # type: ignore[attr-defined]
    assert test.targets["words"][2].tolist() == [1, 1, 0]  # the word outside is left out
    assert test.clusters is not None
    assert test.clusters.tolist() == ["s0", "s1", "s0"]
    assert made.splits["val"].groups["speaker"].tolist() == ["s0", "s1"]


def test_features_are_those_of_the_files(folder: Folder) -> None:
    made = folder.build()
    wave = _sound.read(folder.root / "audio" / "val1.flac", "", 8000)
    wanted = _sound.log_mel(wave, grid.Params().mel)
    sound = audio(made, "val")
    assert np.array_equal(sound.values[1, 0, : sound.lengths[1]], wanted)
    assert not sound.values[1, 0, sound.lengths[1] :].any()


def test_characters_can_be_the_symbols(folder: Folder) -> None:
    made = folder.build(units="characters")
    symbols = made.signature.outputs["words"].vocabulary
    assert symbols[:2] == ("<blank>", " ")
    target = made.splits["train"].targets["words"][0]
    said = "".join(symbols[n] for n in target.tolist() if n)
    assert said == "bin lay place"


def test_the_folder_above_does_as_well_and_a_second_start_is_the_cache(folder: Folder) -> None:
    made, again = folder.build(), folder.build(root=folder.root.parent)
    assert made.fingerprint == again.fingerprint
    assert len([p for p in folder.cache.iterdir() if p.is_dir()]) == 1


def test_noise_is_part_of_the_key_and_seeded(folder: Folder) -> None:
    clean, noisy = folder.build(), folder.build(snr_db=0.0)
    assert clean.fingerprint != noisy.fingerprint
    assert noisy.fingerprint == folder.build(snr_db=0.0).fingerprint
    assert noisy.fingerprint != folder.build(snr_db=0.0, seed=1).fingerprint
    assert clean.fingerprint == folder.build(seed=1).fingerprint
    assert folder.build(snr_db=6.0).fingerprint != noisy.fingerprint
    babble = folder.build(snr_db=0.0, noise="babble", talkers=3)
    assert babble.fingerprint not in (clean.fingerprint, noisy.fingerprint)
    assert np.array_equal(audio(babble, "test").lengths, audio(clean, "test").lengths)


def test_a_babble_is_of_others_and_as_loud_as_asked(folder: Folder) -> None:
    params = grid.Params(snr_db=0.0, noise="babble", talkers=5)
    request = Request("made", 1, 0, {}, SPLITS, folder.root, folder.cache)
    rows = grid._splits(folder.root / "manifest.jsonl", params)["train"]
    for row in rows:
        others = grid._others(row, rows, request, params)
        assert len({other.id for other in others}) == 5
        assert row.id not in {other.id for other in others}
    with pytest.raises(DataError, match="talkers = 6, but there are 5 other"):
        folder.build(snr_db=0.0, noise="babble")


Break = Callable[[Folder], None]


def truncate(column: str) -> Break:
    def act(folder: Folder) -> None:
        path = folder.root / folder.lines[4][column]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return act


def change(row: int, **values: Any) -> Break:
    def act(folder: Folder) -> None:
        folder.lines[row] = {**folder.lines[row], **values}
        folder.write()

    return act


def link(folder: Folder) -> None:
    outside = folder.root.parent / "outside.flac"
    outside.write_bytes((folder.root / "audio" / "train0.flac").read_bytes())
    place = folder.root / "audio" / "train0.flac"
    place.unlink()
    place.symlink_to(outside)


BAD: Mapping[str, tuple[Break, str]] = {
    "cut flac": (truncate("audio"), r"train4\.flac: .*line 5, id 'train4'"),
    "cut mp4": (truncate("video"), r"train4\.mp4: .*line 5, id 'train4'"),
    "missing": (change(1, audio="audio/no.flac"), r"line 2: audio = 'audio/no\.flac': there is no"),
    "outside": (change(1, audio="../x.flac"), "line 2: audio .*leads out of the folder"),
    "link": (link, "line 1: audio .*leads out of the folder"),
    "twice": (change(3, id="train0"), "line 4: the id 'train0' stands on line 1 already"),
    "split": (change(2, split="dev"), "line 3: unknown split 'dev', expected one of train, valid"),
    "empty text": (change(2, text="  "), "line 3: text = '  ': expected a text"),
    "long text": (change(2, text="a" * 10_000), "line 3: text has 10,000 characters"),
    "number": (change(2, text=7), "line 3: text = 7: expected a text"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_its_line(folder: Folder, case: str) -> None:
    act, told = BAD[case]
    act(folder)
    with pytest.raises(DataError, match=told) as caught:
        folder.build()
    assert "\n" not in str(caught.value)


def test_a_broken_line_and_a_missing_file_are_named(folder: Folder) -> None:
    file = folder.root / "manifest.jsonl"
    file.write_text(file.read_text() + "{not json\n")
    with pytest.raises(DataError, match="line 12: is not a JSON object"):
        folder.build()
    file.unlink()
    with pytest.raises(DataError, match=r"neither manifest\.jsonl nor grid_s1/manifest\.jsonl"):
        folder.build()


def test_wrong_parameters_are_named(folder: Folder) -> None:
    with pytest.raises(SpecError, match="units"):
        folder.build(units="syllables")
    with pytest.raises(SpecError, match="snr"):
        folder.build(snr=3.0)
    request = Request("made", 2, 0, {}, SPLITS, folder.root, folder.cache)
    with pytest.raises(SpecError, match="write version = 1"):
        grid.build(request)


TOML = """
schema = 1
name = "mine"
version = 1
summary = "made sentences"
dataset = { name = "grid", version = 1 }
modalities.video = { kind = "video", shape = [15, 16, 32] }
modalities.audio = { kind = "spectrogram", shape = [1, 58, 40] }
outputs.words = { kind = "transcript", clock = "latent:12" }
splits = { train = 6, val = 2, test = 3 }
metrics = { main = "wer", also = ["cer"] }
budgets.tiny = { items = 6, steps = 2, validations = 1, validation_items = 2, beams = 2 }
default_budget = "tiny"
"""


def test_from_the_folder_to_a_board(folder: Folder, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    data = ["--data", str(folder.root), "--set", "width=16"]
    names = "audio_only,video_only,late,early,hybrid,concat,cross_attention"
    done = cli("run", "-t", "./mine.toml", "-m", names, *data)
    assert done.code == 0, done.err
    board = cli("leaderboard", "--format", "csv")
    assert board.code == 0
    for name in names.split(","):
        assert name in board.out
    shown = cli("show", "mine/hybrid")
    assert shown.code == 0, shown.err
    refused = cli("run", "-t", "./mine.toml", "-m", "contrastive", *data)
    assert "does not serve outputs of kind 'transcript'" in refused.error
    (tmp_path / "mine.toml").write_text(TOML.replace("latent:12", "latent:2"))
    short = cli("run", "-t", "./mine.toml", "-m", "audio_only", *data)
    assert "a clock of 2 steps is too short" in short.error


def test_the_same_seed_gives_the_same_bits(folder: Folder, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    told = []
    for place in ("one", "two"):
        data = ["--data", str(folder.root), "--results", place, "--set", "width=16"]
        assert cli("run", "-t", "./mine.toml", "-m", "early", *data).code == 0
        record = json.loads(next((tmp_path / place).rglob("record.json")).read_text())
        told.append((record["curve"], record["scores"]))
    assert told[0] == told[1]


def real(task: str) -> Dataset:
    if not REAL.is_dir():
        pytest.skip(f"the public sets are not at {REAL}")
    return _load.load(catalog.task(task), REAL)


@pytest.mark.slow
def test_the_real_set_has_the_published_sizes() -> None:
    made = real("grid_speech")
    assert {name: len(split) for name, split in made.splits.items()} == {
        "train": 750,
        "val": 100,
        "test": 150,
    }
    output = made.signature.outputs["words"]
    assert output.vocabulary == ("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz")
    assert output.size <= 75
    for split in made.splits.values():
        video = split.inputs["video"]
        assert isinstance(video, Ragged)
        assert set(np.asarray(video.lengths).tolist()) == {75}
