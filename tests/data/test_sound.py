"""Sound: log-mel spectrograms, noise at a ratio, and what damaged files are told."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import signal

from mmbench.data import _sound, _video
from mmbench.data._sound import MelParams
from mmbench.errors import DataError, MissingExtraError


def tone(seconds: float = 1.0, rate: int = 8000, hertz: float = 700.0) -> Any:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def independent(wave: Any, params: MelParams) -> Any:
    """Decibels by scipy's spectrogram, and bands interpolated between their corners."""
    window, hop = (round(params.rate * ms / 1000) for ms in (params.window_ms, params.hop_ms))
    size = 1 << (window - 1).bit_length()
    _, _, power = signal.spectrogram(
        wave,
        params.rate,
        signal.get_window("hann", window),
        noverlap=window - hop,
        nfft=size,
        detrend=False,
        scaling="spectrum",
    )
    power[1:-1] /= 2.0  # scipy counts negative frequencies, too
    mel = np.linspace(0, 2595 * np.log10(1 + params.rate / 2 / 700), params.bands + 2)
    corners = 700 * (10 ** (mel / 2595) - 1)
    places = np.arange(size // 2 + 1) * params.rate / size
    bands = []
    for k in range(params.bands):
        row = np.interp(places, corners[k : k + 3], [0, 1, 0], left=0, right=0)
        bands.append(row @ power / row.sum())
    return 10 * np.log10(np.maximum(np.stack(bands, axis=1), 1e-10))


def test_a_spectrogram_is_what_scipy_makes_of_it() -> None:
    params = MelParams(bands=20)
    draw = np.random.default_rng(0)
    wave = tone() + 0.01 * draw.standard_normal(8000)
    got = _sound.log_mel(wave, params).astype(float) * _sound.STEP + _sound.LOWEST
    wanted = independent(wave, params)
    assert got.shape == wanted.shape == (98, 20)
    assert np.abs(got - wanted).max() <= _sound.STEP / 2 + 1e-6


def test_a_tone_is_loud_in_its_band() -> None:
    params = MelParams(bands=24)
    levels = _sound.log_mel(tone(hertz=1000.0), params)
    mel = np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 26)
    middles = (700 * (10 ** (mel / 2595) - 1))[1:-1]
    assert set(levels.argmax(axis=1)) <= {int(np.abs(middles - 1000.0).argmin())}
    assert levels.dtype == np.uint8


def test_bands_weigh_what_they_hold() -> None:
    for bands, size in ((40, 256), (80, 256), (8, 512)):
        weights = _sound.mel_bands(bands, size, 8000)
        np.testing.assert_allclose(weights.sum(axis=1), 1.0)
        assert (weights >= 0).all()


def test_what_is_shorter_than_a_window_is_one_frame_and_silence_is_zero() -> None:
    assert _sound.log_mel(tone()[:10], MelParams()).shape == (1, 40)
    assert not _sound.log_mel(np.zeros(800), MelParams()).any()


@pytest.mark.parametrize("ratio", [20.0, 0.0, -5.0])
def test_noise_has_the_ratio_that_is_asked_for(ratio: float) -> None:
    wave = tone()
    noise = _sound.white(3, "a", count=len(wave))
    got = _sound.mix(wave, noise, ratio) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(got**2)) == pytest.approx(ratio, abs=1e-9)
    assert np.array_equal(_sound.mix(wave, np.zeros(len(wave)), ratio), wave)


def test_white_noise_is_standard_normal_and_its_own_stream() -> None:
    drawn = _sound.white(0, "x", count=20001)
    assert len(drawn) == 20001
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1.0) < 0.02
    assert abs((drawn**4).mean() - 3.0) < 0.2
    assert np.array_equal(drawn, _sound.white(0, "x", count=20001))
    assert not np.array_equal(drawn, _sound.white(0, "y", count=20001))


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    import soundfile

    wave = tone()
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, wave, 8000)
        np.testing.assert_allclose(_sound.read(tmp_path / name, "row 1", 8000), wave, atol=1e-4)
    both = np.stack([wave, np.zeros_like(wave)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", both, 8000)
    np.testing.assert_allclose(_sound.read(tmp_path / "stereo.wav", "", 8000), wave / 2, atol=1e-4)


def damaged(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are wrong in one way each, with what is said of them."""
    import soundfile

    soundfile.write(folder / "whole.wav", tone(), 8000)
    soundfile.write(folder / "whole.flac", tone(), 8000)
    soundfile.write(folder / "rate.flac", tone(), 16000)
    soundfile.write(folder / "nothing.wav", np.zeros(0), 8000)
    (folder / "cut.wav").write_bytes((folder / "whole.wav").read_bytes()[:5000])
    whole = (folder / "whole.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "text.wav").write_text("no sound at all")
    (folder / "empty.flac").write_bytes(b"")
    return {
        "cut.wav": (folder / "cut.wav", "is cut off"),
        "cut.flac": (folder / "cut.flac", "lost sync|is cut off|cannot be decoded"),
        "text": (folder / "text.wav", "cannot be decoded"),
        "zero": (folder / "nothing.wav", "holds no sound.*0 samples"),
        "empty": (folder / "empty.flac", "is an empty file"),
        "rate": (folder / "rate.flac", "has 16000 samples a second .*and the task says 8000"),
        "missing": (folder / "none.flac", "there is no such file"),
    }


@pytest.mark.parametrize(
    "case", ["cut.wav", "cut.flac", "text", "zero", "empty", "rate", "missing"]
)
def test_a_damaged_sound_is_named_with_its_row(tmp_path: Path, case: str) -> None:
    path, told = damaged(tmp_path)[case]
    with pytest.raises(DataError, match=told) as caught:
        _sound.read(path, "line 7, id 'x'", 8000)
    assert str(path) in str(caught.value)
    assert "line 7, id 'x'" in str(caught.value)
    assert "\n" not in str(caught.value)


def write_video(path: Path, frames: Any, rate: int = 25) -> None:
    """Write grey frames [T, H, W] as MP4, its index in front, so that a cut leaves it readable."""
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode(None))


def test_a_clip_that_was_trimmed_without_encoding_it_anew_is_whole(tmp_path: Path) -> None:
    """Ten frames before the cut are in the file, and its list of edits leaves them out."""
    import av

    whole, trimmed = tmp_path / "whole.mp4", tmp_path / "trimmed.mp4"
    write_video(whole, moving())
    with (
        av.open(str(whole)) as source,
        av.open(
            str(trimmed), "w", options={"avoid_negative_ts": "disabled", "movflags": "faststart"}
        ) as target,
    ):
        old = source.streams.video[0]
        new = target.add_stream_from_template(old)
        for packet in source.demux(old):
            if packet.dts is None:
                continue
            ahead = int(4 / 25 / packet.time_base)
            packet.stream, packet.pts, packet.dts = new, packet.pts - ahead, packet.dts - ahead
            target.mux(packet)
    found = _video.read(trimmed, "it")
    assert len(found) == 12 - 4
    np.testing.assert_array_equal(found, _video.read(whole, "it")[4:])
    content = trimmed.read_bytes()
    trimmed.write_bytes(content[: len(content) - 200])
    with pytest.raises(DataError, match=r"is cut off|cannot be decoded"):
        _video.read(trimmed, "it")


def test_a_sound_of_no_numbers_is_none(tmp_path: Path) -> None:
    import soundfile

    wave = np.zeros(800, dtype=np.float32)
    wave[400] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 8000, subtype="FLOAT")
    with pytest.raises(DataError, match="holds a sample that is no finite number"):
        _sound.read(tmp_path / "a.wav", "it", 8000)


def moving(frames: int = 12) -> Any:
    made = np.full((frames, 32, 48), 20, dtype=np.uint8)
    for t in range(frames):
        made[t, 8:24, 2 * t : 2 * t + 16] = 220
    return made


def test_a_video_is_decoded_frame_by_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving())
    got = _video.read(tmp_path / "a.mp4", "row 1")
    assert got.shape == (12, 32, 48)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - moving()).mean() < 4.0


@pytest.mark.parametrize("width", [48, 50])  # 50: rows of a plane are padded
def test_grey_is_what_ffmpeg_makes_of_it(tmp_path: Path, width: int) -> None:
    import av

    noise = np.random.default_rng(0).integers(0, 255, (5, 32, width), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", noise)
    with av.open(str(tmp_path / "a.mp4")) as container:
        theirs = np.stack([f.to_ndarray(format="gray") for f in container.decode(video=0)])
    got = _video.read(tmp_path / "a.mp4", "")
    assert np.abs(got.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("case", ["cut", "head", "text", "empty", "missing", "sound"])
def test_a_damaged_video_is_named_with_its_row(tmp_path: Path, case: str) -> None:
    import soundfile

    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64), dtype=np.uint8)
    write_video(tmp_path / "whole.mp4", noise)
    whole = (tmp_path / "whole.mp4").read_bytes()
    path = tmp_path / f"{case}.mp4"
    if case == "sound":
        path = tmp_path / "sound.wav"
        soundfile.write(path, tone(), 8000)
    elif case != "missing":
        cut = {"cut": whole[: len(whole) // 2], "head": whole[:60], "text": b"none", "empty": b""}
        path.write_bytes(cut[case])
    told = {
        "cut": "is cut off|cannot be decoded",
        "head": "holds no video|cannot be decoded",
        "empty": "is an empty file",
        "missing": "there is no such file",
        "sound": "holds no video",
    }.get(case, "cannot be decoded")
    with pytest.raises(DataError, match=told) as caught:
        _video.read(path, "line 3, id 'y'")
    assert str(path) in str(caught.value)
    assert "line 3, id 'y'" in str(caught.value)


@pytest.mark.parametrize(("library", "reader"), [("soundfile", _sound), ("av", _video)])
def test_a_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, library: str, reader: Any
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == library:
            raise ModuleNotFoundError(name=library)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="media"):
        reader.library()
